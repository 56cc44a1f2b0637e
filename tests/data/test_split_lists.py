import shutil
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.dataset import Sample
from fornet_keras.data.describe import write_draft
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.sources import open_dataset
from fornet_keras.data.split_lists import _in_order, split_off
from fornet_keras.errors import DataError

CLASSES = "name: mine\nclasses: [road, car]  # mine\n"


def write(root: Path, images: str, labels: str, number: int, label_name: str = "{}.png") -> None:
    """Images frame_0, frame_1, …, and their labels."""
    for folder in (images, labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(number):
        Image.new("RGB", (2, 1)).save(root / images / f"frame_{index}.jpg")
        label = Image.fromarray(np.array([[0, 1]], np.uint8))
        label.save(root / labels / label_name.format(f"frame_{index}"))


def counts(images: dict[str, list[Path]]) -> dict[str, int]:
    return {part: len(found) for part, found in images.items()}


def numbers(root: Path, split: str) -> list[int]:
    samples = open_dataset("folder", root, split).samples
    assert all(sample.label for sample in samples)
    return [int(sample.image.stem.removeprefix("frame_")) for sample in samples]


def test_the_order_is_that_of_linux_on_windows_too() -> None:
    """Whose `\\` sorts after capitals: other images would validate."""
    names = ["street/9.png", "street/10.png", "streetB/1.png"]
    samples = [Sample(PureWindowsPath(name)) for name in reversed(names)]
    assert [sample.image.as_posix() for sample in sorted(samples, key=_in_order)] == names


@pytest.mark.parametrize(
    ("images", "labels", "label_name"),
    [
        ("images", "masks", "{}.png"),
        ("JPEGImages", "SegmentationClass", "{}.png"),
        (".", ".", "{}_mask.png"),
        ("images/default", "labels/default", "{}.png"),  # the only split
        ("all", "all", "{}.png"),
    ],
)
def test_what_validates_are_the_ends_of_stretches(
    tmp_path: Path, images: str, labels: str, label_name: str
) -> None:
    write(tmp_path, images, labels, 20, label_name)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    write_draft(tmp_path)
    assert counts(split_off(tmp_path, 0.3)) == {"train": 14, "val": 6, "unlabelled": 0}
    # By number, not by letter; the first stretch has the one that is over.
    assert numbers(tmp_path, "val") == [2, 3, 7, 11, 15, 19]
    assert sorted(numbers(tmp_path, "train") + numbers(tmp_path, "val")) == [*range(20)]
    description = read_dataset_yaml(tmp_path)
    assert (description.images, description.labels, description.lists) == (images, labels, "{split}.txt")


@pytest.mark.parametrize(
    ("number", "share", "val"), [(2, 0.9, [1]), (2, 0.1, [1]), (3, 0.5, [1, 2]), (7, 0.9, [0, 1, 3, 4, 5, 6])]
)
def test_few_images(tmp_path: Path, number: int, share: float, val: list[int]) -> None:
    write(tmp_path, "images", "labels", number)
    (tmp_path / "dataset.yaml").write_text(CLASSES)
    split_off(tmp_path, share)
    assert (numbers(tmp_path, "val"), len(numbers(tmp_path, "train"))) == (val, number - len(val))


def test_a_folder_beside_the_images_is_no_split_of_theirs(tmp_path: Path) -> None:
    """Of the four in `extra` there are fewer than of those beside it, to which they then belong."""
    write(tmp_path, "images", "labels", 10)
    write(tmp_path, "images/extra", "labels/extra", 4)
    write_draft(tmp_path)
    assert counts(split_off(tmp_path, 0.3)) == {"train": 10, "val": 4, "unlabelled": 0}


def test_the_place_of_the_splits_in_the_middle_of_a_path(tmp_path: Path) -> None:
    write(tmp_path, "data/images", "data/labels", 4)
    places = "images: data/{split}/images\nlabels: data/{split}/labels\n"
    (tmp_path / "dataset.yaml").write_text(CLASSES + places)
    split_off(tmp_path, 0.25)
    assert (read_dataset_yaml(tmp_path).images, len(numbers(tmp_path, "train"))) == ("data/images", 3)


def test_lists_of_ones_own_leave_out_what_they_do_not_name(tmp_path: Path) -> None:
    write(tmp_path, "images", "labels", 6)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    (tmp_path / "all.txt").write_text("".join(f"images/frame_{index}.jpg\n" for index in range(4)))
    lists = 'lists: "{split}.txt"\nimages: images\nlabels: labels\n'
    (tmp_path / "dataset.yaml").write_text(CLASSES + lists)
    (tmp_path / "night.txt").write_text("images/frame_5.jpg\n")
    with pytest.raises(DataError, match="has splits all, night; expected one or none"):
        split_off(tmp_path, 0.5)
    (tmp_path / "night.txt").unlink()
    assert counts(split_off(tmp_path, 0.5)) == {"train": 2, "val": 2, "unlabelled": 0}


def test_a_list_that_names_what_is_gone_is_no_other_text(tmp_path: Path) -> None:
    write(tmp_path, "JPEGImages", "SegmentationClass", 4)
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("frame_0\nframe_1\ngone\n")
    (lists / "val.txt").write_text("frame_2\nframe_3\n")
    keys = 'images: JPEGImages\nlabels: SegmentationClass\nlists: "ImageSets/Segmentation/{split}.txt"\n'
    (tmp_path / "dataset.yaml").write_text(CLASSES + keys)
    with pytest.raises(DataError, match="train.txt: .*gone"):
        split_off(tmp_path, 0.5)


def test_only_what_a_list_of_the_only_split_names(tmp_path: Path) -> None:
    write(tmp_path, "JPEGImages", "SegmentationClass", 6)
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("frame_0\nframe_1\nframe_2\nframe_3\n")
    (tmp_path / "SegmentationClass/frame_0.png").unlink()
    write_draft(tmp_path)
    assert counts(split_off(tmp_path, 0.5)) == {"train": 1, "val": 2, "unlabelled": 1}
    assert sorted(numbers(tmp_path, "train+val")) == [1, 2, 3]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_a_person_wrote_stays(tmp_path: Path, line_end: str) -> None:
    write(tmp_path, "photos/train", "labels/train", 5)
    text = f"images: photos/{{split}}  # moved\n{CLASSES}"
    (tmp_path / "dataset.yaml").write_text(text, newline=line_end)
    split_off(tmp_path, 0.2)
    lines = 'lists: "{split}.txt"\nimages: "photos/train"\nlabels: "labels/train"\n'
    assert (tmp_path / "dataset.yaml").read_bytes().decode() == CLASSES + lines


@pytest.mark.parametrize("images", ["rgb", "{split}", "."])
def test_flat_folders_that_a_person_described(tmp_path: Path, images: str) -> None:
    """Whose names and endings no draft guesses."""
    write(tmp_path, "rgb" if images == "rgb" else ".", "ann", 10, "{}_seg.png")
    places = f'images: "{images}"\nlabels: ann\nlabel_name: "{{stem}}_seg.png"\n'
    (tmp_path / "dataset.yaml").write_text(CLASSES + places)
    with pytest.raises(DataError, match=r"have some of them validate: `data describe DIR --val 0\.2`"):
        open_dataset("folder", tmp_path, "train")
    assert counts(split_off(tmp_path, 0.3)) == {"train": 7, "val": 3, "unlabelled": 0}
    assert sorted(numbers(tmp_path, "train") + numbers(tmp_path, "val")) == [*range(10)]
    assert (tmp_path / "dataset.yaml").read_text().startswith(CLASSES + 'label_name: "{stem}_seg.png"\n')


def test_split_once_more(tmp_path: Path) -> None:
    write(tmp_path, "images", "labels", 4)
    write_draft(tmp_path)
    split_off(tmp_path, 0.25)
    with pytest.raises(DataError, match=r"train\.txt: .*; remove train\.txt and val\.txt to split anew$"):
        split_off(tmp_path, 0.5)
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").unlink()
    assert counts(split_off(tmp_path, 0.5)) == {"train": 2, "val": 2, "unlabelled": 0}


def test_lists_of_ones_own_need_the_split_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(f"{CLASSES}images: rgb\nlabels: ann\nlists: all.txt\n")
    with pytest.raises(DataError, match="lists: must be a relative path that contains {split} once"):
        split_off(tmp_path, 0.5)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    write(tmp_path, "images/day", "labels/day", 2)
    description = tmp_path / "dataset.yaml"
    description.write_text("{name: mine, classes: [road, car]}")
    with pytest.raises(
        DataError, match='form is unusual; .*; write lists: "{split}.txt", images: "images/day"'
    ):
        split_off(tmp_path, 0.5)
    description.write_text(CLASSES)
    (tmp_path / "val.txt").write_text("mine")
    message = (
        "val.txt: exists already; expected none; remove train.txt and val.txt to split anew, or write lists"
    )
    with pytest.raises(DataError, match=message):
        split_off(tmp_path, 0.5)
    (tmp_path / "val.txt").unlink()
    shutil.copytree(tmp_path / "images/day", tmp_path / "images/night")
    shutil.copytree(tmp_path / "labels/day", tmp_path / "labels/night")
    with pytest.raises(
        DataError, match="has splits day, night; expected one or none; choose of them with --set"
    ):
        split_off(tmp_path, 0.5)
    shutil.rmtree(tmp_path / "labels/night")
    (tmp_path / "labels/day/frame_0.png").unlink()
    message = "1 images with labels; expected two or more, as .* and labels/SPLIT/\\*.png; label others, or c"
    with pytest.raises(DataError, match=message):
        split_off(tmp_path, 0.5)
    assert description.read_text() == CLASSES and not [*tmp_path.glob("*.txt")]


def test_images_that_no_list_can_name(tmp_path: Path) -> None:
    write(tmp_path / "data", "images", "labels", 2)
    (tmp_path / "data/dataset.yaml").write_text(CLASSES)
    image = tmp_path / "data/images/frame_1.jpg"
    image.rename(tmp_path / "frame_1.jpg")
    image.symlink_to(tmp_path / "frame_1.jpg")
    with pytest.raises(
        DataError,
        match=r"frame_1.jpg leads out of it; .*; copy it there \(`cp -al` takes no space\), or describe the "
        "folder that it is in; then call `data describe ",
    ):
        split_off(tmp_path / "data", 0.5)
    image.unlink()
    write(tmp_path / "data", "images", "labels", 2)
    for path in (image, tmp_path / "data/labels/frame_1.png"):
        path.rename(path.with_stem("a\nb"))
    with pytest.raises(DataError, match=r"a\\nb.jpg: cannot be written into a list; expected a plain name"):
        split_off(tmp_path / "data", 0.5)
