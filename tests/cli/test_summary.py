import json
import shutil
from pathlib import Path
from typing import Any

import keras
import pytest

from fornet_keras.layers.conv_block import ConvBlock
from fornet_keras.summary import count_macs
from tests.cli.conftest import Run, only_line


def test_costs_of_a_configuration_by_part(run: Run, config: Path, tmp_path: Path) -> None:
    options = ("--size", "64x96", "--top-k", 0.5, "--num-classes", 3, "--json", tmp_path / "costs.json")
    result = run("summary", config, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert (costs["size"], costs["top_k"]) == ([64, 96], 0.5)
    assert costs["parameters"] == sum(part["parameters"] for part in costs["by_part"].values())
    assert costs["macs"] == sum(part["macs"] for part in costs["by_part"].values()) < costs["dense_macs"]
    assert "G multiply-accumulates at 64x96" in result.stdout
    assert (costs["refined_share"], "note: " in result.stdout) == (0.5, False)
    wider = run("summary", config, *options, "--set", "model.widths=[16, 24, 32, 48]")
    assert wider.exit_code == 0
    assert json.loads((tmp_path / "costs.json").read_text())["parameters"] > costs["parameters"]
    (total,) = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["all"]]
    assert total == ["all", f"{costs['parameters'] / 1e6:.3f}", f"{costs['macs'] / 1e9:.2f}"]


@pytest.mark.backend
def test_costs_of_a_model_at_its_own_top_k(run: Run, model: Path) -> None:
    result = run("summary", model, "--size", "64×96")
    assert (result.exit_code, f"{model}, 3 classes, top-k 0.5" in result.stdout) == (0, True)
    result = run("summary", model, "--set", "model.preset=s")
    assert (result.exit_code, "--set is for a CONFIG (.yaml)" in result.stderr) == (2, True)


def test_a_configuration_that_begins_with_weights_that_are_not_there(run: Run) -> None:
    result = run("summary", "configs/camvid_trainval.yaml", "--size", "64x96")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_shipped_configuration_by_its_name(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("camvid").mkdir()  # the data's folder may have the name
    result = run("summary", "camvid", "--size", "64x96")
    assert (result.exit_code, "camvid, 11 classes" in result.stdout) == (0, True), result.stderr
    shutil.copytree(model, "camvid", dirs_exist_ok=True)
    result = run("summary", "camvid", "--size", "64x96")
    assert (result.exit_code, "camvid, 3 classes" in result.stdout) == (0, True), result.stderr


def test_a_size_of_few_regions(run: Run, model: Path) -> None:
    result = run("summary", model, "--size", "16x32", "--top-k", "0.1")
    message = "note: 16x32 has so few regions of 16 pixels that 50% are refined: at least one always is"
    assert (result.exit_code, message in result.stdout) == (0, True), result.stdout


def test_how_many_classes_the_data_of_a_configuration_has(run: Run) -> None:
    result = run("summary", "folder")
    message = "folder does not say how many classes its data has: add --num-classes N"
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_backbones_of_every_kind_are_counted() -> None:
    """With a graph or without one; a transposed convolution reads each cell of its input once."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2DTranspose(4, 2, strides=2, use_bias=False, name="up")(inputs)
    counts = [count_macs(keras.Model(inputs, x), (8, 6))]

    class Plain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = keras.Model(inputs, x)

        def call(self, image: Any) -> Any:
            return self.inner(image)

        def compute_output_spec(self, image: Any) -> Any:
            return self.inner.compute_output_spec(image)

    counts.append(count_macs(Plain(), (8, 6)))
    assert counts == [8 * 6 * 2 * 2 * 3 * 4] * 2


def test_blocks_in_a_layer_without_a_graph_are_counted() -> None:
    """Which read their kernels themselves."""

    class Plain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.block = ConvBlock(4, strides=2)

        def call(self, image: Any) -> Any:
            return self.block(image)

    inputs = keras.Input((None, None, 3))
    counts = [
        count_macs(of, (8, 6)) for of in (Plain(), keras.Model(inputs, ConvBlock(4, strides=2)(inputs)))
    ]
    assert counts == [4 * 3 * 9 * 3 * 4] * 2


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml"])
def test_neither_model_nor_configuration(run: Run, name: str) -> None:
    result = run("summary", name)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {name}: ")


def test_no_model_is_said_before_a_backend_starts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.cli.summary.start_backend", lambda name: pytest.fail("it started"))
    result = run("summary", tmp_path)
    assert result.exit_code == 1 and only_line(result.stderr).startswith(f"Error: {tmp_path}: ")


def test_nothing_is_saved_where_the_dense_form_is_quicker(run: Run, config: Path, tmp_path: Path) -> None:
    options = ("--size", "128x128", "--top-k", 0.9, "--num-classes", 3, "--json", tmp_path / "costs.json")
    assert run("summary", config, *options).exit_code == 0
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["macs"] == costs["dense_macs"]
