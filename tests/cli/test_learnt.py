"""What is said where a model was trained on the images that it is scored on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from fornet_keras.artifacts.manifest import Source
from fornet_keras.cli.learnt import taught_note, trained_on
from fornet_keras.cli.settings import read_settings
from fornet_keras.config import dump_config, read_config
from fornet_keras.data.sources import open_split
from fornet_keras.errors import FoRNetError
from fornet_keras.model_description import config_beside, read_description
from fornet_keras.shipped import SHIPPED, find_config
from tests.cli.conftest import Run

NOTE = "note: the model was trained on {}: these scores say nothing about other images"
UNKNOWN = "note: it is not known whether the model was trained on these images: "


def write(folder: Path, config: Path, root: str | None, **model: str) -> Path:
    """The configuration of a run that has learnt from the data there."""
    settings = read_config(config, [f"model.{key}={value}" for key, value in model.items()])
    data = settings.data.model_copy(update={"root": root})
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(dump_config(settings.model_copy(update={"data": data})))
    return folder


def test_a_model_of_a_run_has_its_configuration_by_any_name(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write(tmp_path / "run", config, None)
    (run / "best").mkdir()
    (tmp_path / "production").symlink_to(run / "best")
    (tmp_path / "disk").mkdir()
    (run / "last").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(run / "best")
    for model in (run, run / "best", run / "last", tmp_path / "production", Path()):
        found = config_beside(model)
        assert found and found.samefile(run / "config.yaml"), model
    assert config_beside(tmp_path / "disk") is None


def test_as_the_configuration_beside_a_model_says(config: Path, data: Path, tmp_path: Path) -> None:
    here, gone = read_settings(config, data).data, tmp_path / "gone"
    copy = shutil.copytree(data, tmp_path / "copy")
    elsewhere = UNKNOWN + f"it has learnt from {{}}, these are in {data}"
    for root, split, learnt, note in (
        (str(data), "train", True, NOTE.format("train")),
        (str(data / ".." / data.name), "train", True, NOTE.format("train")),
        (None, "train", True, NOTE.format("train")),
        (None, "test+train", True, NOTE.format("test+train")),
        (None, "test", False, ""),
        (str(gone), "train", None, elsewhere.format(gone)),
        (str(gone), "test", None, elsewhere.format(gone)),
        (str(copy), "train", None, elsewhere.format(copy)),
        (str(copy), "test", False, ""),
    ):
        folder = write(tmp_path / "run", config, root)
        assert trained_on(folder, config, here, open_split(here, split)) == (learnt, note), (root, split)
    (folder / "config.yaml").write_text("site_name: another program's")
    test = open_split(here, "test")
    assert trained_on(folder, config, here, test) == (
        None,
        UNKNOWN + "no configuration of its training is beside it",
    )

    write(folder, config, str(data))
    shared = data / "images" / "test" / "a.png"
    shared.unlink()
    shared.hardlink_to(data / "images" / "train" / "b.png")
    learnt, note = trained_on(folder, config, here, test)
    assert learnt and note.startswith(f"note: 1 of 2 images of 'test' are in 'train' too, such as {shared}: ")
    without = [f"data.root={data}", 'data.exclude=["moved_"]']  # of which there are none any more
    (folder / "config.yaml").write_text(dump_config(read_config(config, without)))
    assert trained_on(folder, config, here, test) == (learnt, note)
    (data / "images" / "train").rename(tmp_path / "elsewhere")
    assert trained_on(folder, config, here, test) == (False, "")


def test_an_exported_model_is_the_one_that_it_was_made_of(
    config: Path, data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shipped one, or that of the run whose configuration is given."""
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "manifest.json").touch()
    run = write(tmp_path / "run", config, str(data))
    shutil.copytree(model, run / "best")
    here = read_settings(config, data).data
    camvid = here.model_copy(update={"format": "camvid"})
    train, val = open_split(here, "train"), Mock(split="val")

    def asked(source: Path | None, config_file: Path, *where: Any) -> tuple[bool | None, str]:
        made_of = Source(model="it", weights_sha256=read_description(source).sha256) if source else None
        manifest = Mock(return_value=SimpleNamespace(source=made_of))
        monkeypatch.setattr("fornet_keras.cli.learnt.read_manifest", manifest)
        return trained_on(tmp_path / "artifact", config_file, *where)

    shipped = SHIPPED / "fornet_nano_camvid"
    assert asked(shipped, find_config("camvid"), camvid, val) == (True, NOTE.format("val"))
    assert asked(shipped, config, here, train) == (None, ""), "CamVid may be laid out so, and seldom is"
    assert asked(model, run / "config.yaml", here, train) == (True, NOTE.format("train"))
    for source, config_file in ((model, config), (shipped, run / "config.yaml"), (None, run / "config.yaml")):
        found = asked(source, config_file, here, train)
        assert found[0] is None


def test_what_a_model_began_with_or_was_taught_by_has_seen(
    config: Path, data: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path / "first", config, str(data))
    second = write(tmp_path / "second", config, "/elsewhere", weights=str(first))
    write(first, config, str(data), weights=str(second))  # in the place of one that it began with
    note = "note: {} was trained on {}, and the model learns from it: "
    note += "scores of {} say nothing about other images"
    here = read_settings(config, data).data
    expected = note.format(first, "train", "train")
    for changes in ([f"model.weights={second}"], [f"loss.teacher={first}"]):
        assert taught_note(read_config(config, changes), here, "train") == expected
        assert taught_note(read_config(config, changes), here, "test") is None
    third = write(tmp_path / "third", config, "/elsewhere", weights=str(second))
    assert trained_on(third, config, here, open_split(here, "train")) == (True, expected)

    for split in ("train", "val"):
        (tmp_path / "camvid" / split / "images").mkdir(parents=True)
    far = Mock(side_effect=FoRNetError("far enough"))
    monkeypatch.setattr("fornet_keras.training.train.train", far)
    for name, said in (("fornet_s_camvid", True), ("fornet_s_camvid_train", False)):
        options = ("--config", "camvid", "--data", tmp_path / "camvid", "--output", tmp_path / "new")
        result = run("train", *options, "--set", f"model.weights={name}")
        assert (note.format(name, "val", "val") + "\n" in result.stderr) is said, result.stderr
    assert far.call_count == 2


def test_evaluate_and_benchmark_say_it(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    trained, result_file = tmp_path / "run" / "best", tmp_path / "scores.json"
    shutil.copytree(model, trained)
    write(tmp_path / "run", config, str(data))
    for folder, split, learnt, note in (
        (trained, "train", True, NOTE.format("train")),
        (trained, "test", False, ""),
        (model, "test", None, UNKNOWN + "no configuration of its training is beside it"),
    ):
        options = ("--config", config, "--data", data, "--split", split, "--json", result_file)
        result = run("evaluate", folder, *options)
        assert (result.exit_code, f"{note}\n" in result.stdout) == (0, True)
        assert ("note:" in result.stdout) is bool(note)
        assert json.loads(result_file.read_text())["trained_on_it"] is learnt
        result = run("benchmark", folder, *options, "--size", "64x96", "--repeats", 1)
        said = f"note: {folder}: {note.removeprefix('note: ')}\n" if note else ""
        assert (result.exit_code, result.stderr) == (0, said)
        assert json.loads(result_file.read_text())[0]["trained_on_it"] is learnt
