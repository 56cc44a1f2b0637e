import io
import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from rich.console import Console

from fornet_keras.backend_choice import SHARED_GPU
from fornet_keras.cli.models import note_size
from fornet_keras.errors import FoRNetError
from fornet_keras.model_description import read_description
from tests.cli.conftest import Run, only_line
from tests.model.folders import edit


@pytest.mark.backend
def test_each_ratio_is_a_row(run: Run, model: Path, tmp_path: Path) -> None:
    import keras

    options = ("--size", "64x96", "--top-k", "0.25,1", "--repeats", 3, "--json", tmp_path / "times.json")
    result = run("benchmark", model, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads((tmp_path / "times.json").read_text())
    assert [row["top_k"] for row in rows] == [0.25, 1]
    for row in rows:
        assert row["device"] == "CPU"
        assert {"name", "runtime", "precision", "size", "top_k", "median_ms", "p95_ms"} <= set(row)
        assert (row["runtime"], row["size"]) == (f"keras {keras.backend.backend()}", [64, 96])
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p95_ms"]
        assert row["images_per_second"] == pytest.approx(1000 / row["median_ms"])
        assert row["megabytes"] > 0.01


def test_a_table_is_shown_though_its_json_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, "CPU")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "times.json")
    result = run("benchmark", tmp_path, "--json", tmp_path / "link")
    assert (result.exit_code, "1234.5" in result.stdout) == (1, True)
    assert str(tmp_path / "link") in only_line(result.stderr)


def timed(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    """A benchmark of a row for each of the devices."""
    row = {"name": "city", "runtime": "onnx", "precision": "int8", "size": [64, 96], "top_k": 0.25}
    row |= dict.fromkeys(("median_ms", "p95_ms", "ratio_to_first", "images_per_second", "megabytes"), 1234.5)
    rows = [row | {"label_agreement": None, "device": device} for device in devices]
    found = Mock(return_value=["city"] * len(rows))
    monkeypatch.setattr("fornet_keras.benchmark.candidates.candidates", found)
    monkeypatch.setattr("fornet_keras.benchmark.measure.measure", Mock(return_value=rows))


def test_a_folder_of_several_exported_models_is_each_of_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.benchmark import candidates

    timed(monkeypatch, "CPU")
    folders = [tmp_path / "phone", tmp_path / "ratios" / "top_k_0.1", tmp_path / "ratios" / "top_k_1"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
    assert run("benchmark", tmp_path / "phone", tmp_path / "ratios").exit_code == 0
    assert candidates.candidates.call_args.args[0] == tuple(folders)


def test_devices_are_named_where_one_is_a_gpu(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose memory no process takes for itself alone."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for devices, named in ((("CPU", "CPU"), False), (("CPU", "NVIDIA H200"), True)):
        timed(monkeypatch, *devices)
        result = run("benchmark", tmp_path)
        assert result.exit_code == 0
        assert ["device" in result.stdout, "NVIDIA H200" in result.stdout] == [named, named]
    assert {name: os.environ[name] for name in SHARED_GPU} == SHARED_GPU


def test_a_device_is_a_word_on_a_narrow_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    for room in ("benchmark", "screen"):
        monkeypatch.setattr(f"fornet_keras.cli.{room}.OUTPUT", console)
    timed(monkeypatch, "CPU", "NVIDIA H200")
    assert run("benchmark", tmp_path).exit_code == 0
    text = console.file.getvalue()
    assert ["NVIDIA" in text, "H200" in text] == [True, False]
    assert len(text.splitlines()) == 3 + 1 + 2 + 1, "title, head, a line, two rows, and an empty one"


def test_a_ratio_outside_its_range(run: Run, tmp_path: Path) -> None:
    result = run("benchmark", tmp_path, "--top-k", "0.5,2")
    assert result.exit_code == 2
    assert "2.0 is not in the range 0<x<=1." in result.stderr


def test_a_size_that_is_too_large(run: Run, tmp_path: Path) -> None:
    result = run("benchmark", tmp_path, "--size", "99999x99999")
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith("Error: 99999x99999: too large to be run; expected at most ")


def test_a_folder_that_is_neither(run: Run, tmp_path: Path) -> None:
    result = run("benchmark", tmp_path)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {tmp_path}: no model.json in it")


def test_a_budget_chooses_the_ratio(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Mock(return_value=(0.25, 1.0))
    monkeypatch.setattr("fornet_keras.benchmark.budget.fit_budget", fit)
    options = ("--config", config, "--data", data, "--json", tmp_path / "scores.json")
    result = run("evaluate", model, *options, "--budget-ms", 60_000)
    assert (result.exit_code, result.stderr) == (0, "top-k 0.25: 1.0 ms at 64x96 here\n")
    fit.assert_called_once_with(model, (64, 96), 60_000, 0)
    assert json.loads((tmp_path / "scores.json").read_text())["top_k"] == 0.25


def test_a_budget_that_is_too_small_says_what_it_costs(
    run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network is compiled for each ratio.
    monkeypatch.setattr("fornet_keras.benchmark.budget.BUDGET_RATIOS", (0.1, 1.0))
    monkeypatch.setattr("fornet_keras.benchmark.budget.BUDGET_ROUNDS", 1)
    result = run("predict", model, data / "images", "--output", tmp_path / "out", "--budget-ms", 1e-3)
    assert result.exit_code == 1
    line = only_line(result.stderr)
    assert line.startswith("Error: a budget of 0.001 ms is too small: at 64x96 this model takes ")
    assert not (tmp_path / "out").exists()


def test_a_budget_and_a_ratio(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    options = ("--output", tmp_path / "out", "--budget-ms", 5, "--top-k", 0.5)
    result = run("predict", model, data / "images", *options)
    assert result.exit_code == 2
    assert "--budget-ms chooses the top-k: give one of the two" in result.stderr
    result = run("predict", model, data / "images", *options[:4], "--flip")
    assert result.exit_code == 2
    assert "--budget-ms times one look at an image: leave out --window, --flip and" in result.stderr


def test_memory_scores_and_another_backend_in_the_same_table(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    times, scores = tmp_path / "times.json", tmp_path / "scores.json"
    for kind, mode in (("images", Image.Resampling.BILINEAR), ("labels", Image.Resampling.NEAREST)):
        with Image.open(file := data / kind / "test" / "b.png") as picture:
            picture.resize((192, 128), mode).save(file)
    options = ("--size", "64x96", "--repeats", 1, "--also", "jax", "--also", "tensorflow", "--memory")
    paths = ("--config", config, "--data", data, "--split", "train", "--json")
    result = run("benchmark", model, *options, *paths, times)
    assert result.exit_code == 0
    assert "not known whether the model was trained on these" in only_line(result.stderr)
    here, there = json.loads(times.read_text())
    assert (here["runtime"], there["runtime"]) == ("keras tensorflow", "keras jax")
    assert (here["ratio_to_first"], there["median_ms"] > 0) == (1, True)
    assert (here["peak_megabytes"] > 200, there["peak_megabytes"]) == (True, None), "TensorFlow too"
    assert there["miou"] == pytest.approx(here["miou"], abs=1e-3)
    assert run("evaluate", model, *paths, scores, "--short-side", 64).exit_code == 0
    assert here["miou"] == pytest.approx(json.loads(scores.read_text())["miou"], abs=0.02)


def test_options_that_no_argument_has(run: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    result = run("benchmark", tmp_path, "--top-k", "0.1,1", "--also", "jax", "--size", "64x96")
    assert result.exit_code == 2
    assert "--size, --top-k, --also: of a MODEL in Keras, and here are exported" in result.stderr


def test_scores_at_another_size_than_the_model_has_learnt(
    run: Run,
    model: Path,
    config: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learnt = shutil.copytree(model, tmp_path / "learnt")
    edit(learnt, lambda description: description.update(short_side=48))
    monkeypatch.setattr(
        "fornet_keras.cli.benchmark.start_backend", Mock(side_effect=FoRNetError("far enough"))
    )
    options = ("--size", "144x312")
    assert run("benchmark", learnt, *options).stderr == "Error: far enough\n", "its speed is that of the size"
    note, _, _ = run("benchmark", learnt, *options, "--config", config, "--data", data).stderr.splitlines()
    assert note == (
        f"note: {learnt} has learnt at a shorter side of 48 pixels; 144x312 shows it everything 3 times as "
        "large; --size 48x96 fits"
    )
    for folder, size in ((learnt, (48, 999)), (learnt, (50, 96)), (model, (144, 288))):
        note_size(folder, size)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("exported", [False, True])
def test_why_there_will_be_no_miou_is_said_before_timing(
    run: Run, model: Path, config: Path, data: Path, monkeypatch: pytest.MonkeyPatch, exported: bool
) -> None:
    far = Mock(side_effect=FoRNetError("far enough"))
    manifest = Mock(return_value=Mock(classes=read_description(model).classes))
    stand_ins = {"start_backend": far, "is_artifact": lambda _: exported, "read_manifest": manifest}
    for name, value in stand_ins.items():
        monkeypatch.setattr(f"fornet_keras.cli.benchmark.{name}", value)
    description = data / "dataset.yaml"
    description.write_text(description.read_text().replace("name: quay", "name: pier"))
    options = ("--config", config, "--data", data)
    note, end = run("benchmark", model, *options).stderr.splitlines()
    assert note.startswith(f"note: without mIoU: {model}: the model's 3 classes (water, quay, sky) are not")
    assert "class 1 is quay there and pier here" in note and end == "Error: far enough"


@pytest.mark.parametrize("option", ["--data", "--split"])
def test_data_without_a_configuration(run: Run, tmp_path: Path, option: str) -> None:
    result = run("benchmark", tmp_path, option, "test")
    assert result.exit_code == 2
    assert "--data and --split need --config" in result.stderr
