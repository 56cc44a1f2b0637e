from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.data.cityscapes import LABEL_IDS, TABLE
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError
from tests.data.unlisted import refuse_to_list


def write_frame(root: Path, split: str, city: str, frame: str, *labels: str) -> None:
    folders = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folders[0] / f"{frame}_leftImg8bit.png"), np.zeros((4, 8, 3), np.uint8))
    for kind in labels:
        cv2.imwrite(str(folders[1] / f"{frame}_gtFine_{kind}.png"), np.full((4, 8), 7, np.uint8))


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """Two cities to train on, one frame of them with train ids and one without a label; one test frame."""
    root = tmp_path / "city"
    write_frame(root, "train", "bonn", "bonn_000001_000019", "labelIds", "instanceIds", "color")
    write_frame(root, "train", "bonn", "bonn_000000_000019", "labelIds", "labelTrainIds")
    write_frame(root, "train", "aachen", "aachen_000000_000019")
    write_frame(root, "val", "ulm", "ulm_000000_000019", "labelIds")
    write_frame(root, "test", "berlin", "berlin_000000_000019")
    return root


def test_table_is_that_of_the_benchmark() -> None:
    assert TABLE.num_classes == 19 == len(TABLE.colors) == len(LABEL_IDS)
    by_name = dict(zip(TABLE.names, zip(LABEL_IDS, TABLE.colors, strict=True), strict=True))
    assert by_name["road"] == (7, (128, 64, 128))
    assert by_name["traffic light"] == (19, (250, 170, 30))
    assert by_name["car"] == (26, (0, 0, 142))
    assert by_name["bicycle"] == (33, (119, 11, 32))
    assert set(TABLE.thin) < set(TABLE.names)


def test_every_label_id_has_a_train_id() -> None:
    assert set(TABLE.train_ids) == {*range(34), 255}
    assert [TABLE.train_ids[label_id] for label_id in LABEL_IDS] == list(range(19))
    void = {label_id for label_id, train_id in TABLE.train_ids.items() if train_id == IGNORE}
    assert void == {0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255}


def test_samples_are_sorted_and_train_ids_are_preferred(city: Path) -> None:
    dataset = open_dataset("cityscapes", city, "train")
    assert (dataset.name, dataset.split, dataset.root, dataset.table) == ("cityscapes", "train", city, TABLE)
    labels = [
        (sample.label and sample.label.name, sample.label_holds_train_ids) for sample in dataset.samples
    ]
    assert labels == [
        (None, False),
        ("bonn_000000_000019_gtFine_labelTrainIds.png", True),
        ("bonn_000001_000019_gtFine_labelIds.png", False),
    ]
    assert dataset.samples[0].image.name == "aachen_000000_000019_leftImg8bit.png"


def test_a_split_without_labels_opens(city: Path) -> None:
    assert [sample.label for sample in open_dataset("cityscapes", city, "test").samples] == [None]


def test_coarse_labels_of_the_extra_images_and_jpegs(city: Path) -> None:
    """Coarse labels are there of train and val too, and not meant; JPEGs are a part of IDD's images."""
    for split in ("train", "train_extra"):
        write_frame(city, split, "bonn", "bonn_000002_000019")
        label = city / "gtCoarse" / split / "bonn" / "bonn_000002_000019_gtCoarse_labelIds.png"
        label.parent.mkdir(parents=True)
        label.touch()
    for image in city.rglob("*_000002_*_leftImg8bit.png"):
        image.rename(image.with_suffix(".jpg"))
    assert open_dataset("cityscapes", city, "train").samples[-1].label is None
    [extra] = open_dataset("cityscapes", city, "train_extra").samples
    assert (extra.label, extra.label_holds_train_ids) == (label, False)


def test_a_jpeg_beside_a_png_is_a_copy(city: Path) -> None:
    image = city / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    image.with_suffix(".jpg").touch()
    assert [sample.image for sample in open_dataset("cityscapes", city, "val").samples] == [image]


def test_splits_are_joined_in_the_order_given(city: Path) -> None:
    cities = [
        sample.image.parent.name for sample in open_dataset("cityscapes", city, "val+train+val").samples
    ]
    assert cities == ["ulm", "aachen", "bonn", "bonn"]
    assert open_dataset("cityscapes", city, "val").labels == "gtFine/val/CITY/*_gtFine_labelIds.png"
    assert open_dataset("cityscapes", city, "val+train").labels.startswith("gtFine/{val,train}/CITY/")


def test_files_of_other_programs_are_not_samples(city: Path) -> None:
    folder = city / "leftImg8bit" / "val" / "ulm"
    (folder / "._ulm_000000_000019_leftImg8bit.png").write_bytes(b"resource fork")
    (folder / "Thumbs.db").write_bytes(b"")
    (city / "leftImg8bit" / ".cache").mkdir()
    write_frame(city, "val", ".trash", "ulm_000001_000019", "labelIds")
    assert len(open_dataset("cityscapes", city, "val")) == 1
    with pytest.raises(DataError, match="expected one of test, train, val; choose it"):
        open_dataset("cityscapes", city, "tset")


def test_a_city_that_cannot_be_listed(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_list(monkeypatch, city / "leftImg8bit/train/bonn")
    with pytest.raises(DataError, match=r"train/bonn: cannot be listed \(Permission denied\); .*its mode$"):
        open_dataset("cityscapes", city, "train")


def test_cities_are_left_out_by_prefix(city: Path) -> None:
    kept = open_dataset("cityscapes", city, "train", exclude=["aachen", "bonn_000001"]).samples
    assert [sample.image.name for sample in kept] == ["bonn_000000_000019_leftImg8bit.png"]
    with pytest.raises(
        DataError, match=r"all 1 images of split 'val' are excluded by ulm; .*shorten the list"
    ):
        open_dataset("cityscapes", city, "val", exclude=["ulm"])


def test_a_split_that_is_not_there_lists_those_that_are(city: Path) -> None:
    with pytest.raises(DataError, match="has no split 'minival'; expected one of test, train, val"):
        open_dataset("cityscapes", city, "train+minival")


def test_an_empty_split_says_what_belongs_there(city: Path) -> None:
    (city / "leftImg8bit" / "extra").mkdir()
    with pytest.raises(DataError, match=r"'extra' holds no images; expected leftImg8bit/extra/CITY/\*"):
        open_dataset("cityscapes", city, "extra")


def test_wrong_layout_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not laid out as cityscapes data; .*found an empty folder; check"):
        open_dataset("cityscapes", tmp_path, "train")
    for name in "abcdef":
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"expected leftImg8bit/SPLIT/CITY/.*; found a, b, c, d, e, …; check"):
        open_dataset("cityscapes", tmp_path, "train")


@pytest.mark.parametrize("slip", ["..", "leftImg8bit", "gtFine/../leftImg8bit"])
def test_a_root_one_level_off_is_corrected(city: Path, slip: str) -> None:
    with pytest.raises(DataError, match=r"did you mean .*\?$") as caught:
        open_dataset("cityscapes", (city / slip).resolve(), "train")
    assert f"did you mean {city}?" in str(caught.value)


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder; expected a folder of the cityscapes data"):
        open_dataset("cityscapes", tmp_path / "nowhere", "train")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        open_dataset("cityscapes", file, "train")


def test_a_root_that_may_not_be_read(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\); .*change its mode"):
        open_dataset("cityscapes", city, "train")


def test_an_unknown_format(city: Path) -> None:
    with pytest.raises(
        DataError, match="format 'kitti' is unknown; expected one of cityscapes, camvid, folder"
    ):
        open_dataset("kitti", city, "train")
