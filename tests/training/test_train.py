import ast
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fornet_keras
from fornet_keras.config import Config, read_config
from fornet_keras.data.images import image_size, verify_image
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import ConfigError, DataError
from fornet_keras.training import open_data
from fornet_keras.training.report import save_curves
from fornet_keras.training.train import _fit
from tests.training.conftest import write_split
from tests.training.test_resume import TIMES, cut_off

Train = Callable[..., Any]
MakeConfig = Callable[..., Config]


def read_log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.backend
def test_all_public_names_are_seen_and_found() -> None:
    assert {"train", "evaluate", "load_model", "LabelTable"} < {*dir(fornet_keras)}
    for name in dir(fornet_keras):
        assert isinstance(getattr(fornet_keras, name), str) == (name == "__version__")
    tree = ast.parse(Path(fornet_keras.__file__).read_text("utf-8"))
    (for_editors,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {name.name: line.module for line in for_editors.body for name in line.names}
    assert homes == fornet_keras._HOMES
    assert {*fornet_keras.__all__} == {*homes, "__version__"}


# === A finished run ===


def test_the_name_of_a_configuration_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a Config, which read_config gives; received 'synthetic'"):
        fornet_keras.train("synthetic", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_callback_is_no_list(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"callbacks must be a list, such as \[CSVLogger\(...\)\]"):
        fornet_keras.train(make_config(), tmp_path / "run", callbacks=keras.callbacks.CSVLogger("own.csv"))


@pytest.mark.backend
def test_the_run_folder_is_complete(run: SimpleNamespace) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        *("config.yaml", "log.csv", "result.json"),
        *("best", "last", "checkpoints", "tensorboard", "pictures", ".lock"),
    }
    assert read_config(run.folder / "config.yaml") == run.config
    checkpoints = {path.name for path in (run.folder / "checkpoints").iterdir()}
    assert checkpoints == {"step_000000006", "step_000000009"}, "where `best` was replaced, and at the end"


@pytest.mark.backend
def test_the_log_has_a_row_an_epoch(run: SimpleNamespace) -> None:
    rows = read_log(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["val_miou"]) for row in rows] == [False, True, True], "every second and the last"
    for row in rows:
        parts = [float(row[name]) for name in ("logits_loss", "coarse_loss", "selector_loss")]
        assert all(part > 0 for part in parts)
        assert float(row["loss"]) == pytest.approx(sum(parts), rel=1e-4)
        assert float(row["images_per_second"]) > 0
        assert 0 <= float(row["data_wait"]) <= 1
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    rates = [float(row["learning_rate"]) for row in rows]
    # Of the steps 0, 3 and 6 of 9, too few for a warm-up.
    assert rates == pytest.approx([3e-3 * (1 - done / 9) ** 0.9 for done in (0, 3, 6)], rel=1e-4)


@pytest.mark.backend
def test_a_callback_of_ones_own_sees_the_scores(run: SimpleNamespace) -> None:
    for logs, row in zip(run.recorded, read_log(run.folder), strict=True):
        assert f"{logs['loss']:.6g}" == row["loss"]
        assert (f"{logs['val_miou']:.6g}" if "val_miou" in logs else "") == row["val_miou"]


def test_a_callback_of_ones_own_may_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which goes on with --resume, and until it ends again has no result."""
    fits = []

    def fit(*_: Any, **named: Any) -> None:
        assert not fits, "called again"
        fits.append(named["callbacks"])
        model.stop_training = True

    model = SimpleNamespace(fit=fit)
    saver = SimpleNamespace(step=0, total_steps=9, restore=lambda _: None)
    monkeypatch.setattr("fornet_keras.training.train.fit_input", lambda *_: None)
    batches, goes_on = (
        SimpleNamespace(steps_per_epoch=3),
        SimpleNamespace(out_of_patience=False, folder=tmp_path),
    )
    (tmp_path / "result.json").touch()
    config = SimpleNamespace(training=SimpleNamespace(workers=1, epochs=3))
    _fit(model, config, batches, [], goes_on, saver)
    assert fits == [[]]
    assert not any(tmp_path.iterdir())


@pytest.mark.backend
def test_the_result_has_what_others_build_on(run: SimpleNamespace) -> None:
    written = json.loads((run.folder / "result.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert written == json.loads(json.dumps(run.result))
    assert {"backend", "device", "epochs", "steps", "best_miou", "seconds", "model"} <= set(written)
    assert written["stopped_early"] is False
    assert written["backend"] == (backend := keras.backend.backend())
    assert written["versions"].keys() == {"fornet_keras", "python", "keras", backend, "numpy"}
    assert written["versions"][backend] == import_module(backend).__version__
    assert (written["epochs"], written["steps"]) == (3, 9)
    assert Path(written["model"]) == run.folder / "best"
    scores = {int(row["epoch"]): float(row["val_miou"]) for row in read_log(run.folder) if row["val_miou"]}
    assert written["best_miou"] == pytest.approx(max(scores.values()), rel=1e-4)
    assert scores[written["best_epoch"]] == max(scores.values())


@pytest.mark.backend
def test_the_best_model_on_disk_scores_what_it_scored_in_training(run: SimpleNamespace) -> None:
    val = run.result["val"]
    assert val["miou"] == pytest.approx(run.result["best_miou"], abs=2e-3)
    assert (val["num_images"], val["top_k"]) == (2, 0.25)
    assert np.sum(val["confusion_matrix"]) == sum(
        int((label != 255).sum()) for label in val_labels(run.config)
    ), "every pixel that is not void, once"


def val_labels(config: Config) -> list[np.ndarray]:
    assert config.data.root is not None
    dataset = open_dataset("camvid", Path(config.data.root), "val")
    return [read_sample(sample, dataset.table)[1] for sample in dataset.samples]


@pytest.mark.backend
def test_tensorboard_shows_the_curves_and_the_pictures(run: SimpleNamespace) -> None:
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    for name, steps in (("loss", [1, 2, 3]), ("learning_rate", [1, 2, 3]), ("val_miou", [2, 3])):
        curve = events.Scalars(name)
        assert [event.step for event in curve] == steps
        logged = [float(row[name]) for row in read_log(run.folder) if row[name]]
        assert [event.value for event in curve] == pytest.approx(logged, rel=1e-4)
    classes = {tag: events.Scalars(tag)[-1] for tag in events.Tags()["scalars"] if tag.startswith("iou/")}
    assert {event.step for event in classes.values()} == {3}
    last_miou = np.mean([event.value for event in classes.values()])
    assert last_miou == pytest.approx(events.Scalars("val_miou")[-1].value, rel=1e-4)
    assert events.Tags()["images"] == ["val/0", "val/1"]
    picture = events.Images("val/0")[-1]
    assert picture.height == 70 and picture.width > 3 * 90  # label, prediction and regions side by side


@pytest.mark.backend
def test_pictures_are_drawn(run: SimpleNamespace) -> None:
    pictures = [*(run.folder / "pictures").iterdir()]
    names = ("first_batches", "curves", "confusion_matrix", "classes", "val")
    assert {path.name for path in pictures} == {f"{name}.png" for name in names}
    assert all(path.stat().st_size > 500 for path in pictures)


def test_curves_of_few_epochs_have_ticks_that_are_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    names = ("loss", "logits_loss", "coarse_loss", "selector_loss")
    scores = dict.fromkeys(("val_miou", "val_pixel_accuracy", "val_error_coverage"), 0.5)
    for epochs in ([1], [1, 2, 3]):
        save_curves(tmp_path, [{"epoch": epoch} | dict.fromkeys(names, 0.7) | scores for epoch in epochs])
        for axes in drawn[-1].axes:
            assert {tick for tick in axes.get_xticks() if epochs[0] <= tick <= epochs[-1]} == {*epochs}


def test_validation_images_of_many_sizes_are_noted(
    make_config: MakeConfig, own_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split(own_camvid / "other", "val", 1, 64, 96)
    for kind in ("images", "labels"):
        (own_camvid / "other" / "val" / kind / "0.png").rename(own_camvid / "val" / kind / "9.png")
    monkeypatch.setattr("fornet_keras.data.scan.CACHE", tmp_path / "cache")
    config = make_config(data={"root": str(own_camvid)})
    for most, noted in ((2, False), (1, True)):
        monkeypatch.setattr(open_data, "MAX_SIZES", most)
        text = StringIO()
        open_data.open_data(config, Console(file=text, width=200))
        assert ("note: 'val' has images of 2 sizes" in text.getvalue()) == noted


def test_classes_of_a_draft_or_without_pixels_are_noted(
    make_config: MakeConfig, own_camvid: Path, tmp_path: Path
) -> None:
    names = "".join(f", value_{value}" for value in range(2, 13))
    places = 'images: "{split}/images"\nlabels: "{split}/labels"'
    (own_camvid / "dataset.yaml").write_text(f"name: x\nclasses: [road, color_1{names}]\n{places}\n")
    config = make_config(data={"root": str(own_camvid), "format": "folder"})
    said = Console(file=StringIO(), width=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fornet_keras.data.scan.CACHE", tmp_path / "cache")
        open_data.open_data(config, said)
    assert "note: 12 class names of a draft, color_1, value_2, value_3, …; name" in said.file.getvalue()
    for split, what in (("train", "be learnt"), ("val", "score above 0")):
        note = f"note: no label of '{split}' has a pixel of value_12: such a class cannot {what}"
        assert note in said.file.getvalue()


def test_notes_show_brackets_of_a_file_name(
    make_config: MakeConfig, own_camvid: Path, tmp_path: Path
) -> None:
    """Which a console of one's own takes for markup."""
    for kind in ("images", "labels"):
        (own_camvid / "val" / kind / "[night].png").symlink_to(own_camvid / "train" / kind / "0.png")
    image = own_camvid / "val" / "images" / "[night].png"
    said = Console(file=StringIO(), width=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fornet_keras.data.scan.CACHE", tmp_path / "cache")
        open_data.open_data(make_config(data={"root": str(own_camvid)}), said)
    assert f"such as {image}: " in said.file.getvalue()


# === The same once more ===


@pytest.mark.backend
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="test_resume.py has it")
def test_a_traced_run_goes_on_to_the_same_bits(train: Train, run: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    cut_off(run.folder, folder, 6)
    train.__wrapped__(run.config, folder, resume=True)
    for model in ("best", "last"):
        path = Path(model) / "weights.safetensors"
        assert (folder / path).read_bytes() == (run.folder / path).read_bytes(), model
    rows = [[{**row, **dict.fromkeys(TIMES)} for row in read_log(x)] for x in (folder, run.folder)]
    assert rows[0] == rows[1]


AGAIN = """
import importlib.machinery, sys
from pathlib import Path

find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] == "tensorflow" else find_spec(name, *rest)
)
from fornet_keras.config import read_config
from fornet_keras.training.train import train

train(read_config(Path(sys.argv[1]) / "config.yaml"), Path(sys.argv[2]))
sys.exit("tensorflow" in sys.modules)
"""


@pytest.mark.backend
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow is there: test_resume.py")
def test_a_run_can_be_repeated_without_tensorflow(run: SimpleNamespace, tmp_path: Path) -> None:
    """The same losses from the run folder's own configuration, though the batches come from a PyDataset."""
    again = tmp_path / "again"
    command = [sys.executable, "-c", AGAIN, str(run.folder), str(again)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    for first, second in zip(read_log(run.folder), read_log(again), strict=True):
        for name in ("learning_rate", "loss", "logits_loss", "coarse_loss", "selector_loss"):
            # Six digits are written; compilers may differ in the last one.
            assert float(second[name]) == pytest.approx(float(first[name]), rel=2e-5), name


# === What is refused ===


def test_no_data_folder(train: Train, make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no data folder; expected `--data DIR` or `data.root`"):
        train(make_config(data={"root": None}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written(train: Train, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cache: cannot be written"):
        train(make_config(data={"cache": str(tmp_path / "cache")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_that_are_all_void(
    train: Train, make_config: MakeConfig, own_camvid: Path, tmp_path: Path
) -> None:
    for path in (own_camvid / "val" / "labels").iterdir():
        write_label(path, np.full((70, 90), 11, np.uint8))
    with pytest.raises(DataError, match="no label of split 'val' has a pixel of any class"):
        train(make_config(data={"root": str(own_camvid)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_of_one_class(train: Train, make_config: MakeConfig, own_camvid: Path, tmp_path: Path) -> None:
    for path in (own_camvid / "train" / "labels").iterdir():
        write_label(path, np.full((64, 96), 3, np.uint8))
    with pytest.raises(DataError, match="no label of split 'train' has a pixel of any class but road; exp"):
        train(make_config(data={"root": str(own_camvid)}), tmp_path / "run")


def test_palettes_that_contradict_each_other(
    train: Train, make_config: MakeConfig, own_camvid: Path, tmp_path: Path
) -> None:
    """Also where what has a problem is skipped: neither of the splits is the wrong one."""
    for split, colors in (("train", [0, 0, 0, 9, 0, 0]), ("val", [0, 0, 0, 0, 9, 0])):
        for path in (own_camvid / split / "labels").iterdir():
            label = Image.open(path).convert("P")
            label.putpalette(colors)
            label.save(path)
    config = make_config(data={"root": str(own_camvid), "on_error": "skip"})
    with pytest.raises(
        DataError, match=r"camvid: value 1 is \[9, 0, 0\] in 'train', .* \[0, 9, 0\] in 'val', "
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_wrong_label_is_found_before_training(
    train: Train, make_config: MakeConfig, own_camvid: Path, tmp_path: Path
) -> None:
    """And an image that is to train and to validate."""
    (own_camvid / "val/images/0.png").unlink()
    (own_camvid / "val/images/0.png").symlink_to(own_camvid / "train/images/0.png")
    write_label(own_camvid / "train" / "labels" / "3.png", np.full((64, 96), 40, np.uint8))
    said = Console(file=StringIO(), width=1000)
    with pytest.raises(DataError, match="3.png: value 40"):
        train(make_config(data={"root": str(own_camvid)}), tmp_path / "run", said)
    assert "note: 1 of 2 images of 'val' are in 'train' too" in said.file.getvalue()
    assert not (tmp_path / "run").exists()


def test_what_is_excluded_or_damaged_is_left_out(
    make_config: MakeConfig, own_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is excluded, of training alone: validation has a 0.png too. The next run reads what is bad."""

    def verify(path: Path) -> tuple[int, int]:
        read.append(path.name)
        return verify_image(path)

    read: list[str] = []
    monkeypatch.setattr("fornet_keras.data.scan_sample.verify_image", verify)
    monkeypatch.setattr("fornet_keras.data.scan.CACHE", tmp_path / "cache")
    (own_camvid / "train" / "images" / "3.png").write_bytes(b"")
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn
    with Image.open(own_camvid / "train" / "images" / "1.png") as image:
        image.save(image.filename, exif=exif)
    said = Console(file=StringIO(), width=1000)
    config = make_config(data={"root": str(own_camvid), "exclude": ["0"], "on_error": "skip"})
    train_set, val_set, report, _ = found = open_data.open_data(config, said)
    assert [sample.image.name for sample in train_set.samples] == ["1.png", "2.png", "4.png", "5.png"]
    assert len(val_set) == 2
    labels = [read_sample(sample, train_set.table)[1] for sample in train_set.samples]
    assert [*report.pixels] == [np.sum(np.equal(labels, number)) for number in range(11)]
    assert "camvid train: skipped 1 of 5 images: " in said.file.getvalue()
    assert said.file.getvalue().count("note: their EXIF orientation turns 1 image of 'train'") == 1
    assert len(read) == 5 + 2
    read.clear()
    assert open_data.open_data(config, said) == found and read == ["3.png"]


def write_label(path: Path, label: np.ndarray) -> None:
    import cv2

    cv2.imwrite(str(path), label)


@pytest.mark.parametrize("draws_first_batches", [True, False], ids=["first batches", "fit"])
def test_damage_that_is_found_while_training_is_one_line(
    draws_first_batches: bool,
    train: Train,
    make_config: MakeConfig,
    own_camvid: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that fails after the data was looked through, which is as if only the headers had been read."""
    monkeypatch.setattr("fornet_keras.data.scan_sample.verify_image", image_size)
    for path in (own_camvid / "train" / "images").iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    untrained = SimpleNamespace(fit=lambda x, **_: next(iter(x)))
    if not draws_first_batches:
        monkeypatch.setattr("fornet_keras.training.train.save_first_batches", lambda *_: None)
    monkeypatch.setattr("fornet_keras.training.build.build_model", lambda *_: untrained)
    monkeypatch.setattr("fornet_keras.training.build.compile_model", lambda *_: None)
    with pytest.raises(DataError, match=r"\d.png: cannot be read .*; copy or download it again") as caught:
        train(make_config(data={"root": str(own_camvid)}), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
