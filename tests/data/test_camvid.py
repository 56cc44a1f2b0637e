from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.data.camvid import TABLE
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError
from tests.data.unlisted import refuse_to_list

LAST = ("b_3.JPEG", "b_3.PNG")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Three frames to train on, the last without a label, and one to validate on."""
    frames = {"train": ("b_1.jpg", "a_1.png", "b_2.jpg"), "val": ("c_1.jpg",)}
    for split, names in frames.items():
        for folder in ("images", "labels"):
            (tmp_path / split / folder).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(tmp_path / split / "images" / name), np.zeros((4, 6, 3), np.uint8))
            if name != "b_2.jpg":
                label = tmp_path / split / "labels" / f"{Path(name).stem}.png"
                cv2.imwrite(str(label), np.zeros((4, 6), np.uint8))
    return tmp_path


def test_table_is_that_of_segnet() -> None:
    assert TABLE.num_classes == 11 == len(TABLE.colors)
    assert TABLE.names[0] == "sky" and TABLE.names[3] == "road" and TABLE.names[10] == "bicyclist"
    assert TABLE.colors[3] == (128, 64, 128)
    assert TABLE.train_ids == {value: value for value in range(11)} | {11: IGNORE}
    assert set(TABLE.thin) < set(TABLE.names)


def test_samples_are_sorted_with_their_labels(camvid: Path) -> None:
    (camvid / "train" / "images" / "notes.txt").touch()
    for name in ("images/b_3.JPEG", "labels/b_3.PNG"):
        cv2.imwrite(str(camvid / "train" / name), np.zeros((4, 6), np.uint8))
    dataset = open_dataset("camvid", camvid, "train")
    assert dataset.name == "camvid" and dataset.table is TABLE
    found = [(sample.image.name, sample.label and sample.label.name) for sample in dataset.samples]
    assert found == [("a_1.png", "a_1.png"), ("b_1.jpg", "b_1.png"), ("b_2.jpg", None), LAST]
    assert not any(sample.label_holds_train_ids for sample in dataset.samples)


def test_the_folders_of_segnets_download(camvid: Path) -> None:
    for split in ("train", "val"):
        (camvid / split).rename(camvid / "was")
        (camvid / "was" / "images").rename(camvid / split)
        (camvid / "was" / "labels").rename(camvid / f"{split}annot")
        (camvid / "was").rmdir()
    dataset = open_dataset("camvid", camvid, "train+val")
    found = [(sample.image.name, sample.label and sample.label.name) for sample in dataset.samples]
    assert found == [
        ("a_1.png", "a_1.png"),
        ("b_1.jpg", "b_1.png"),
        ("b_2.jpg", None),
        ("c_1.jpg", "c_1.png"),
    ]
    with pytest.raises(
        DataError,
        match="one of train, val; choose it with --split, or set data.train_split or",
    ):
        open_dataset("camvid", camvid, "test")


def test_images_that_cannot_be_listed(camvid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_list(monkeypatch, camvid / "train/images")
    with pytest.raises(DataError, match=r"train/images: cannot be listed \(Permission denied\)"):
        open_dataset("camvid", camvid, "train")


def test_splits_are_joined_and_sequences_left_out(camvid: Path) -> None:
    dataset = open_dataset("camvid", camvid, "train+val", exclude=("b_",))
    assert [sample.image.name for sample in dataset.samples] == ["a_1.png", "c_1.jpg"]
    assert dataset.split == "train+val"


@pytest.mark.parametrize("beginning", ["B_", "train/b_"])
def test_what_is_left_out_is_there(camvid: Path, beginning: str) -> None:
    """Of images that are to be held out, and are not because of a slip, scores are those of training."""
    message = f"exclude: no file name of split 'train' begins with '{beginning}'; .* such as a_1.png; correct"
    with pytest.raises(DataError, match=message):
        open_dataset("camvid", camvid, "train", exclude=("a_", beginning))


def test_a_split_that_is_not_there_lists_those_that_are(camvid: Path) -> None:
    with pytest.raises(DataError, match="has no split 'test'; expected one of train, val"):
        open_dataset("camvid", camvid, "test")


def test_a_root_one_level_too_low_is_corrected(camvid: Path) -> None:
    with pytest.raises(DataError, match=r"found images, labels; did you mean ") as caught:
        open_dataset("camvid", camvid / "train", "train")
    assert str(caught.value).endswith(f"did you mean {camvid}?")


def test_other_data_next_to_the_root_is_not_suggested(camvid: Path) -> None:
    (camvid / "empty").mkdir()
    with pytest.raises(DataError, match="found an empty folder; check the path and the format"):
        open_dataset("camvid", camvid / "empty", "train")
