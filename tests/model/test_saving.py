"""A model folder is written whole or not at all, and what was there is kept until then."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.data.dataset import LabelTable
from fornet_keras.empty_build import empty_build
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from tests.model.folders import TABLE, content
from tests.model.tiny import randomize, tiny_model


def test_a_table_of_other_classes_is_refused(model: FoRNet, folder: Path) -> None:
    before = content(folder)
    other = LabelTable(names=("road",), colors=((0, 0, 0),), train_ids={0: 0})
    with pytest.raises(ModelError, match="the model has 3 classes but the label table 1;"):
        save_model(model, other, folder)
    assert content(folder) == before


def test_a_list_of_names_is_no_table(model: FoRNet, tmp_path: Path) -> None:
    message = (
        r"^table must be a LabelTable, of names, colors and train_ids; received \['road', 'pole', 'sky'\]$"
    )
    with pytest.raises(TypeError, match=message):
        save_model(model, ["road", "pole", "sky"], tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.backend
def test_saving_replaces_the_old_model(folder: Path) -> None:
    for name in (".DS_Store", "._model.json", "Thumbs.db", ".model.json.swp", ".fuse_hidden0001"):
        (folder / name).write_text("of a file browser, which must not end a training")
    save_model(randomize(tiny_model(top_k=0.3), seed=9), TABLE, folder)
    assert sorted(content(folder)) == ["model/model.json", "model/weights.safetensors"]
    assert load_model(folder)[0].top_k == 0.3


@pytest.mark.parametrize("name", ["thesis.txt", ".git/HEAD", ".gitattributes"])
def test_a_folder_with_other_files_is_refused(model: FoRNet, folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("years of work")
    before = content(folder)
    first = re.escape(name.partition("/")[0])
    with pytest.raises(ModelError, match=rf"holds more than a model \({first}\), .*; move that out of it"):
        save_model(model, TABLE, folder)
    assert content(folder) == before


def test_a_file_in_the_folders_place_is_refused(model: FoRNet, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("years of work")
    with pytest.raises(ModelError, match="model: is a file, which would be lost; name a new folder"):
        save_model(model, TABLE, tmp_path / "model")
    assert content(tmp_path / "model") == {"model": b"years of work"}


def test_a_link_stays_one(model: FoRNet, tmp_path: Path) -> None:
    link, disk = tmp_path / "model", tmp_path / "disk" / "model"
    link.symlink_to(disk)
    for top_k in (0.3, 0.4):
        save_model(model.with_top_k(top_k), TABLE, link)
        assert link.is_symlink()
        assert load_model(link)[0].top_k == load_model(disk)[0].top_k == top_k
    disk.rename(disk.with_name(".model.replaced"))  # a process was killed between its two renames
    assert load_model(link)[0].top_k == 0.4


@pytest.mark.backend
@pytest.mark.parametrize("backbone", [EfficientNetLite0, ResidualBackbone])
def test_what_has_no_description_is_not_saved(tmp_path: Path, backbone: Callable[[], Any]) -> None:
    sizes = {"context_filters": 8, "branch_filters": 8, "region_size": 2048}
    coarse = empty_build(lambda: FoRNet(3, backbone(), **sizes))
    with pytest.raises(ModelError, match="cannot be saved: region_size is 2048: Input should be less than"):
        save_model(coarse, TABLE, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_class_of_a_long_name_is_refused(model: FoRNet, tmp_path: Path) -> None:
    table = dataclasses.replace(TABLE, names=("x" * 101, "pole", "sky"))
    with pytest.raises(ModelError, match="the model cannot be saved: name is 'x*': String should match"):
        save_model(model, table, tmp_path / "model")


@pytest.mark.backend
@pytest.mark.parametrize("half", [False, True])
def test_a_network_of_nan_is_not_saved(model: FoRNet, tmp_path: Path, half: bool) -> None:
    broken = model.with_top_k(0.5)
    broken.get_layer("coarse_logits").bias.assign(np.full(3, np.nan, "float32"))
    with pytest.raises(ModelError, match="model: 'coarse_logits/bias' is not finite; nothing is saved"):
        save_model(broken, TABLE, tmp_path / "model", half)
    assert not list(tmp_path.iterdir())


def test_arrays_are_saved_by_value(model: FoRNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not as they lie in memory, which is all that safetensors writes."""
    weights = {"transposed": np.arange(6, dtype="float32").reshape(2, 3).T, "scalar": np.float32(7)}
    monkeypatch.setattr("fornet_keras.model_folder.named_weights", lambda model: weights)
    save_model(model, TABLE, tmp_path / "model")
    found = load_file(tmp_path / "model" / "weights.safetensors")
    assert found["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["scalar"].shape == ()


def test_a_model_that_could_not_be_loaded_again_is_not_saved(
    model: FoRNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.model_folder.MAX_NUMBERS", 1000)
    with pytest.raises(ModelError, match="parameters; expected at most 1,000; take a smaller backbone"):
        save_model(model, TABLE, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_folders_above_are_made(model: FoRNet, tmp_path: Path) -> None:
    save_model(model, TABLE, tmp_path / "runs" / "today" / "best")
    load_model(tmp_path / "runs" / "today")


def fail(*args: Any, **kwargs: Any) -> Any:
    raise OSError(28, "No space left on device")


def half_a_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    fail()


def rename_that_fails(path: Path, target: Path) -> Path:
    """Only for the new model: the old one can be moved away and back."""
    return fail() if path.name.endswith(".writing") else path.replace(target)


FAILURES = [
    (Path, "write_bytes", half_a_file),
    (Path, "write_text", fail),
    (Path, "rename", rename_that_fails),
]


@pytest.mark.parametrize(("where", "name", "failure"), FAILURES)
def test_a_failure_keeps_the_old_model(
    model: FoRNet, folder: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, failure: Callable
) -> None:
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, failure)
        with pytest.raises(OSError, match="No space left"):
            save_model(model, TABLE, folder)
    assert content(folder) == before


@pytest.mark.parametrize(("where", "name", "failure"), FAILURES)
def test_a_failure_leaves_nothing_half_written(
    model: FoRNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, failure: Callable
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, failure)
        with pytest.raises(OSError, match="No space left"):
            save_model(model, TABLE, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_does_not_matter(model: FoRNet, folder: Path) -> None:
    before = content(folder)
    (folder.parent / ".model.replaced").mkdir()
    (folder.parent / ".model.replaced" / "weights.safetensors").write_bytes(b"half")
    save_model(model, TABLE, folder)
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_kill_between_the_two_renames_loses_no_model(model: FoRNet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_model(model, TABLE, run / "best")
    before = content(run / "best")
    (run / "best").rename(run / ".best.replaced")
    for name in (run, run / "best"):
        assert load_model(name)[0].count_params() == model.count_params()
    save_model(model, TABLE, run / "best")
    assert content(run / "best") == before
    assert [path.name for path in run.iterdir()] == ["best"]


@pytest.mark.backend
def test_an_error_names_the_folder_that_was_asked_for(model: FoRNet, tmp_path: Path) -> None:
    large = model.with_top_k(0.5)
    large.set_weights([weight * 0 + 1e6 for weight in model.get_weights()])
    with pytest.raises(
        ModelError, match=re.escape(f"{tmp_path / 'model'}: '") + ".* is too large for float16"
    ):
        save_model(large, TABLE, tmp_path / "model", half=True)
