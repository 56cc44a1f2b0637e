"""The scripts that nothing imports: each as its command, in this process, on frames in CamVid's layout."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from fornet_keras.cli.root import root
from fornet_keras.config import Config, dump_config, read_config
from fornet_keras.data.camvid import TABLE
from fornet_keras.data.images import read_image
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import ConfigError, ServingError
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.build import build_model
from fornet_keras.training.report import save_pictures
from tests.model.tiny import randomize, tiny_model
from tests.training.conftest import write_split

# Once, and there: PyTorch alone neither traces nor compiles each of a dozen networks.
pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs on PyTorch alone"),
]

ROOT = Path(__file__).parents[1]
CONFIG = """
data: {format: camvid}
augment: {crop: [64, 96]}
model: {preset: pico}
training: {epochs: 1, batch_size: 2, workers: 1}
"""

Run = Callable[..., None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames to train on and two to validate on, void among their labels; no name is there twice."""
    folder = tmp_path_factory.mktemp("camvid")
    for split, count in (("train", 3), ("val", 2)):
        write_split(folder, split, count, 64, 96)
        for file in [*(folder / split).glob("*/*.png")]:
            file.rename(file.with_name(f"{split}_{file.name}"))
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random weights: what the branch corrects is seen."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(randomize(tiny_model(num_classes=TABLE.num_classes)), TABLE, folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """And without two charts of each training, which take longer than it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        for chart in ("save_confusion_matrix", "save_class_bars"):
            patch.setattr(f"fornet_keras.training.report.{chart}", lambda *_: None)
        # Where another test of this process has left all pictures out.
        patch.setattr("fornet_keras.training.conclude.save_pictures", save_pictures)
        yield


@pytest.fixture(scope="module")
def run(data: Path, config: Path) -> Run:
    """Call a script's `main` with arguments, `--config` and `--data`; `changes` are of its own names."""

    def run(name: str, *arguments: object, on_data: bool = True, **changes: object) -> None:
        script = import_module(name)
        given = [*arguments, "--config", config, "--data", data] if on_data else [*arguments]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"{name}.py", *map(str, given)])
            for changed, value in changes.items():
                patch.setattr(script, changed, value)
            script.main()

    return run


@pytest.fixture(scope="module")
def ablation(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows of two trainings."""
    folder = tmp_path_factory.mktemp("ablation") / "rows"
    rows = ("coarse only", "branch everywhere", "entropy")
    quick = partial(import_module("ablation").time_labels, repeats=1)
    run("ablation", "--output", folder, "--rows", *rows, time_labels=quick)
    return folder


@cache
def scores(model: Path, ratio: float, data: Path) -> dict[str, Any]:
    """What the package itself finds."""
    network, _ = load_model(model, ratio)
    return evaluate(Predictor(network), open_dataset("camvid", data, "val")).as_json()


def test_ablation(ablation: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads((ablation / "table.json").read_text())
    coarse, everywhere, entropy = rows.values()
    assert everywhere["miou"] == scores(ablation / "base", 1.0, data)["miou"]
    assert coarse["error_coverage"] is None and everywhere["error_coverage"] == 1
    assert 0 < entropy["error_coverage"] < 1
    assert coarse["gmacs"] < entropy["gmacs"] < everywhere["gmacs"]
    assert all(row["ms"] > 0 for row in rows.values())
    frozen = load_model(ablation / "coarse_only" / "best")[0].get_layer("branch").project
    assert not any(np.any(weight) for weight in frozen.get_weights())
    val = open_dataset("camvid", data, "val")
    one = import_module("ablation").measure(
        ablation / "base", 0.3, "entropy", replace(val, samples=val.samples[:1])
    )
    assert one["ms"] is None, "where the only image was compiled for"
    capsys.readouterr()
    run("ablation", "--output", ablation, "--rows", "coarse only", train=None)  # which is there
    assert f"{coarse['miou']:.3f}" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="made for model.preset s"):
        run("ablation", "--output", ablation)
    with pytest.raises(ConfigError, match="holds rows of another configuration"):
        run("ablation", "--output", ablation, "--rows", "coarse only", "--set", "training.seed=1")


def test_every_training_of_the_ablation_can_be_built(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, built = import_module("ablation"), {}

    def build(config: Any, folder: Path, *_: object, **__: object) -> None:
        built[folder.name] = build_model(config, TABLE.num_classes).count_params()

    monkeypatch.setattr(script, "train", build)
    for name in script.TRAININGS:
        script.trained(name, read_config(config), tmp_path / name)
    assert built["coarse_only"] < built["base"] < built["dense"]
    assert {training for training, _, _ in script.ROWS.values()} == {*built}


def test_ship(ablation: Path, model: Path, data: Path, config: Path, run: Run, tmp_path: Path) -> None:
    source, folder = shutil.copytree(ablation / "base", tmp_path / "run"), tmp_path / "shipped"
    shutil.copytree(model, source / "best", dirs_exist_ok=True)  # whose labels are of many classes
    run("ship", source, "--name", "shipped", FOLDER=tmp_path, RATIOS=(0.25, 1.0))
    assert load_model(folder)[1].names == TABLE.names
    half, whole = (path / "weights.safetensors" for path in (folder, source / "best"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["trained_on"], metrics["split"], metrics["num_images"]) == ("train", "val", 2)
    assert [*metrics["by_top_k"]] == ["0.25", "1.0"]
    for ratio, found in metrics["by_top_k"].items():
        assert found["miou"] == scores(folder, float(ratio), data)["miou"], "of what is shipped"
        assert {*found["band_miou"]} == {"1", "3", "5"}
        assert "image_miou" not in found
    assert (folder / "log.csv").read_bytes() == (source / "log.csv").read_bytes()
    assert str(ablation.parent) not in (folder / "config.yaml").read_text()
    assert str(data) not in (folder / "config.yaml").read_text()
    shown = np.unique(read_image(folder / "worst.png").reshape(-1, 3), axis=0).tolist()
    assert [0, 0, 0] in shown and [230, 40, 40] in shown, "void and mistakes"
    photograph = read_image(data / "val" / "images" / "val_0.png")
    assert np.isin(photograph, read_image(source / "pictures" / "worst.png")).all()
    of_mine = [
        *("data.root=/home/me/data", "data.cache=/home/me/cache", "model.weights=/home/me/before"),
        *("model.backbone=keras_hub:/home/me/preset", "loss.teacher=/home/me/teacher"),
    ]
    kept = import_module("ship").without_paths(read_config(config, of_mine))
    assert "/home/me" not in dump_config(kept)
    assert (kept.model.weights, kept.model.backbone) == ("before", "keras_hub:preset")
    assert kept.loss.teacher == "teacher"


def test_hard_regions(model: Path, data: Path, run: Run, tmp_path: Path) -> None:
    time_dial, file = import_module("hard_regions").time_dial, tmp_path / "found.json"

    def once_and_small(network: FoRNet, image: np.ndarray) -> Any:
        return time_dial(network, image[:64, :96], repeats=1)

    run("hard_regions", model, "--json", file, RATIOS=(0.25, 1.0), time_dial=once_and_small)
    found = json.loads(file.read_text())
    rows = {(row["choice"], row["ratio"]): row for row in found["scores"]}
    assert {choice for choice, _ in rows} == {"selector", "entropy", "random", "oracle"}
    for ratio in (0.25, 1.0):
        expected = scores(model, ratio, data)
        for key in ("miou", "error_coverage"):
            assert rows["selector", ratio][key] == pytest.approx(expected[key]), "the network's own regions"
    coverage = {choice: rows[choice, 0.25]["error_coverage"] for choice, _ in rows}
    assert 0 < coverage["random"] < coverage["oracle"] == max(coverage.values()) < 1
    assert {rows[choice, 1.0]["error_coverage"] for choice in coverage} == {1.0}
    few, every, *_ = found["times"]
    assert few["size"] == [64, 96] and few["median_ms"] > 0 and every["speedup"] == 1
    assert few["macs"] < every["macs"] and few["macs_saved"] > 0


def test_left_out(
    data: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in full, but for the training."""
    asked: list[Config] = []

    def train(config: Config, folder: Path, screen: object, resume: bool, processes: object) -> None:
        asked.append(config)
        assert resume and folder.name == f"run_{config.training.seed}"
        folder.mkdir()
        scores = {"miou": (1 + config.training.seed) / 4, "iou": {"Sky": 0.5, "Car": None}}
        (folder / "result.json").write_text(json.dumps({"val": scores}))
        raise SystemExit  # before anything is shown of a run that is none

    def start(command: list[object]) -> SimpleNamespace:
        assert command[:2] == [sys.executable, ROOT / "cli.py"]
        result = CliRunner().invoke(root, [*map(str, command[2:])])
        return SimpleNamespace(returncode=result.exit_code)

    monkeypatch.setattr("fornet_keras.training.train.train", train)
    output = tmp_path / "left_out"
    arguments = ["--output", output]
    for setting in ("data.train_split=train+val", "data.val_split=test", "training.selector_epochs=3"):
        arguments += ["--set", setting]
    for seeds in (1, 2, 2):  # those of before are there
        run("left_out", "train_1", *arguments, "--seeds", seeds, subprocess=SimpleNamespace(run=start))
    assert [config.training.seed for config in asked] == [0, 1]
    for config in asked:
        assert config.data.root == str(output / "data")
        assert (config.data.train_split, config.data.val_split) == ("train", "val")
        assert config.training.selector_epochs == 0, "of two Selectors val would choose"
        assert config.training.validate_every > config.training.epochs
    frames = {path.relative_to(output / "data").as_posix() for path in output.glob("data/*/labels/*")}
    trained = {f"train/labels/{name}.png" for name in ("train_0", "train_2", "val_0", "val_1")}
    assert frames == trained | {"val/labels/train_1.png"}
    found = json.loads((output / "scores.json").read_text())
    assert found["settings"]["arguments"] == arguments[2:]
    assert [scores["miou"] for scores in found["by_seed"]] == [0.25, 0.5]
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "train_1, left out, seed 0: mIoU 0.2500",
        "Sky 0.500",
        "train_1, left out, seed 1: mIoU 0.5000",
        "Sky 0.500",
        "mean 0.3750, standard deviation 0.1768",
    ]
    with pytest.raises(ConfigError, match="holds other frames"):
        run("left_out", "train_2", *arguments)
    with pytest.raises(ConfigError, match="holds runs with other settings"):
        run("left_out", "train_1", *arguments, "--set", "training.batch_size=1")


def test_side_by_side(run: Run, tmp_path: Path) -> None:
    """A convolution in the place of KerasHub's nets, whose names and arguments this does not try."""

    def peer(models: object, num_classes: int, size: tuple[int, int]) -> keras.Model:
        return keras.Sequential([keras.Input((*size, 3)), keras.layers.Conv2D(num_classes, 1)])

    nets = ("fornet_pico", "deeplab_v3_plus_resnet18")
    file = tmp_path / "rows.json"
    asked = ("--output", file, "--epochs", 1, "--size", 64, 96)
    changes = {"NETS": nets, "import_library": lambda name: None, "deeplab": peer}
    run("side_by_side", *asked, "--nets", *nets, **changes)
    rows = json.loads(file.read_text())["rows"]
    assert [*rows] == [*nets]
    for row in rows.values():
        assert 0 <= row["miou"] <= 1 and 0 <= row["band_miou"] <= 1 and 0 <= row["thin_miou"] <= 1
        assert row["ms"] > 0 and row["train_seconds"] > 0 and row["epochs"] == 1
    assert rows[nets[0]]["parameters"] == tiny_model(num_classes=TABLE.num_classes).count_params()
    assert rows[nets[1]]["parameters"] == 4 * TABLE.num_classes
    assert rows[nets[1]]["macs"] >= 3 * TABLE.num_classes * 64 * 96
    written = json.loads(file.read_text())
    written["rows"][nets[0]]["ms"] = None  # as where each image was compiled for
    file.write_text(json.dumps(written))
    run("side_by_side", *asked, "--nets", nets[0], train_and_score=None, **changes)  # which is there
    with pytest.raises(ConfigError, match="holds rows of other settings"):
        run("side_by_side", *asked, "--set", "training.seed=1", **changes)


def test_proportions(model: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("proportions", model, PROPORTIONS={"3:2": 3 / 2, "3:4": 3 / 4})
    head, _, *rows = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    assert head == ["width:height", "stretched", "letterboxed", "own size", "refined"]
    assert [row[0] for row in rows] == ["3:2", "3:4"]
    assert rows[0][3] == f"{scores(model, 0.5, data)['miou']:.3f}", "3:2 is the whole image"
    assert float(rows[0][4]) == pytest.approx(0.5, abs=0.05)
    assert all(0 <= float(score) <= 1 for row in rows for score in row[1:])


def test_input_pipeline(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--workers", 2, "--batches", 2, "--rounds", 1, "--json", tmp_path / "found.json")
    run("input_pipeline", *options)
    rows = json.loads((tmp_path / "found.json").read_text())
    assert len({row["name"] for row in rows}) == 6 and rows[0]["ratio"] == 1
    assert all(row["images_per_second"] > 0 and row["cpu_ms_per_image"] > 0 for row in rows)
    assert "camvid, batches of 2 crops of 64x96" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("input_pipeline", "--config", "camvid", on_data=False)
    assert "no data folder; add --data DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["left_out", "nobody", "--output", "new"],
            "'train': 5, 'val': 0} labelled frames without and of nobody",
        ),
        (["left_out", "train_1", "--output", "new", "--seeds", "0"], "--seeds 0: expected at least 1"),
        (["left_out", "train_1", "--output", "new", "--set", "training.seed=1"], "what --seeds decides"),
        (["ship", "nobody", "--name", "new"], "expected a run that has come to its end"),
    ],
)
def test_arguments_are_refused(
    arguments: list[str], message: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_said(data: Path, run: Run) -> None:
    arguments = ("train_1", "--config", "nobody", "--data", data, "--output", "new")
    with pytest.raises(ConfigError, match="nobody: no such file"):
        run("left_out", *arguments, on_data=False)


def test_serve_load_says_what_it_takes() -> None:
    """It starts a server over exported models, which only TensorFlow makes."""
    result = CliRunner().invoke(import_module("serve_load").main, ["--help"])
    assert (result.exit_code, "--clients" in result.output) == (0, True)


def test_serve_load_says_that_the_server_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = import_module("serve_load")
    (tmp_path / "cli.py").touch()  # which does nothing
    monkeypatch.setattr(script, "ROOT", tmp_path)
    with pytest.raises(ServingError, match="the server has ended"), script.serving(()):
        pass


@pytest.mark.parametrize("value", [0, 1])
def test_serve_load_counts_in_the_time_that_it_took(
    value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client's last answer comes after the end. Wrong ones are no success."""
    script, labels = import_module("serve_load"), np.zeros((64, 128), np.uint8)
    found = SimpleNamespace(
        manifest=SimpleNamespace(size=(36, 64)), find=lambda image: Mock(label_ids=labels)
    )
    answer = cv2.imencode(".png", labels + value)[1].tobytes()
    monkeypatch.setattr(script, "open_artifacts", lambda paths: {"it": found})
    monkeypatch.setattr(script, "serving", lambda paths: nullcontext("host"))
    monkeypatch.setattr(script, "memory", lambda host: 1.0)
    monkeypatch.setattr(script, "ask", lambda *_: (sleep(0.5), (200, 0, answer))[1])
    file = tmp_path / "found.json"
    arguments = [str(tmp_path), "--clients", "2", "--minutes", "0.001", "--json", str(file)]
    result = CliRunner().invoke(script.main, arguments)
    written = json.loads(file.read_text())
    if value:
        assert written["wrong"] == 2 and "2 answers are not" in str(result.exception)
    else:
        assert result.exit_code == 0 and 0 < written["images_per_second"] <= 2 / 0.5
