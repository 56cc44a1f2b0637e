import os
from collections import Counter
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.bounded_text import TooLargeError, read_text
from fornet_keras.config import DataConfig
from fornet_keras.data import camvid, cityscapes
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.file_list import files_below, read_list, visible
from fornet_keras.data.samples import read_sample
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import alone_note, open_dataset, shared_note
from fornet_keras.errors import DataError
from fornet_keras.prediction.submission import label_values
from tests.data.unlisted import refuse_to_list

MINIMAL = """
name: harbour
classes:
  - {name: water, color: [0, 0, 200]}
  - {name: quay, color: [90, 90, 90]}
"""

COMPLETE = """
name: harbour
classes:
  - {name: water, color: [0, 0, 200], value: 10}
  - {name: mooring, color: [200, 200, 0], value: 7, thin: true}
  - {name: no, color: [90, 90, 90]}
ignore: [0, 255]
images: "{split}/photos"
labels: "masks_{split}"
image_suffixes: [_rgb.png, .png]
label_name: "{stem}_mask.png"
"""


def describe(root: Path, text: str) -> Path:
    (root / "dataset.yaml").write_text(text, encoding="utf-8")
    return root


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 6), np.uint8))


def test_defaults(tmp_path: Path) -> None:
    describe(tmp_path, MINIMAL)
    for name in ("images/train/b.JPG", "images/train/a.png", "images/val/c.jpg", "labels/train/a.PNG"):
        write(tmp_path / name)
    (tmp_path / "images/train/readme.txt").touch()
    dataset = open_dataset("folder", tmp_path, "train")
    assert dataset.name == "harbour"
    assert dataset.table.names == ("water", "quay")
    assert dataset.table.colors == ((0, 0, 200), (90, 90, 90))
    assert dataset.table.train_ids == {0: 0, 1: 1}
    found = [(sample.image.name, sample.label) for sample in dataset.samples]
    assert found == [("a.png", tmp_path / "labels/train/a.PNG"), ("b.JPG", None)]


def test_all_keys(tmp_path: Path) -> None:
    describe(tmp_path, COMPLETE)
    for name in (
        "train/photos/a_rgb.png",
        "train/photos/b.png",
        "masks_train/a_mask.png",
        "masks_train/b_mask.png",
    ):
        write(tmp_path / name)
    dataset = open_dataset("folder", tmp_path, "train")
    assert dataset.table.names == ("water", "mooring", "no")
    assert dataset.table.train_ids == {10: 0, 7: 1, 2: 2, 0: IGNORE, 255: IGNORE}
    assert dataset.table.thin == ("mooring",)
    labels = [sample.label and sample.label.name for sample in dataset.samples]
    assert labels == ["a_mask.png", "b_mask.png"]


def test_lists_tell_the_splits_apart_where_folders_do_not(tmp_path: Path) -> None:
    """The label of an image in a sub-folder is in the same one of the labels, or in none."""
    describe(tmp_path, MINIMAL + '\nimages: images\nlabels: labels\nlists: "{split}.txt"')
    for name in ("a.png", "day/a.png", "night/a.png"):
        write(tmp_path / "images" / name)
        write(tmp_path / "labels" / name)
    write(tmp_path / "images/night/b.png")
    write(tmp_path / "labels/b.png")
    (tmp_path / "train.txt").write_text("images/night/a.png\nimages/a.png\nimages/night/b.png\n")
    (tmp_path / "val.txt").write_text("images/day/a.png\n")
    found = {split: open_dataset("folder", tmp_path, split).samples for split in ("train", "val")}
    labels = {split: [sample.label for sample in samples] for split, samples in found.items()}
    folder = tmp_path / "labels"
    assert labels["train"] == [folder / "night/a.png", folder / "a.png", folder / "b.png"]
    assert labels["val"] == [folder / "day/a.png"]


def test_images_in_folders_of_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive's images are taken with the labels of the drive; a label that lies among them is no image."""
    describe(tmp_path, MINIMAL + '\nimages: "{split}"\nlabels: "{split}/masks"')
    for name in ("d1/a.png", "d2/a.png", "b.png", "d1/.trash/c.png"):
        write(tmp_path / "train" / name)
    labels = [tmp_path / "train/masks" / name for name in ("b.png", "d1/a.png", "d2/a.png")]
    for label in labels:
        write(label)
    assert [sample.label for sample in open_dataset("folder", tmp_path, "train").samples] == labels
    refuse_to_list(monkeypatch, tmp_path / "train/d1")
    with pytest.raises(DataError, match=r"train/d1: cannot be listed \(Permission denied\)"):
        open_dataset("folder", tmp_path, "train")


def test_the_order_is_that_of_linux_on_windows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which compares paths without their case: the same seed would take other samples."""
    monkeypatch.setattr(PurePath, "__lt__", lambda one, other: str(one).lower() < str(other).lower())
    for name in ("a.png", "B.png", "d/C.png"):
        write(tmp_path / name)
    assert [path.name for path in files_below(tmp_path, [".png"])] == ["B.png", "a.png", "C.png"]
    assert [path.name for path in visible(tmp_path)] == ["B.png", "a.png", "d"]


@pytest.mark.parametrize("label_name", ["trainids/{stem}.png", "{stem}/mask.png"])
def test_a_label_in_a_folder_of_its_own(tmp_path: Path, label_name: str) -> None:
    """Beside it lies another label of the image's name, which is not meant."""
    describe(tmp_path, f'{MINIMAL}\nlabel_name: "{label_name}"')
    expected = []
    for name in ("a", "day/a"):
        write(tmp_path / "images/train" / f"{name}.png")
        write(tmp_path / "labels/train" / f"{name}.png")
        place, stem = Path("labels/train", name).parent, Path(name).name
        expected.append(tmp_path / place / label_name.replace("{stem}", stem))
        write(expected[-1])
    assert [sample.label for sample in open_dataset("folder", tmp_path, "train").samples] == expected


@pytest.mark.parametrize("images", ["{split}", "data/{split}_images", "./in/{split}/", "../outside/{split}"])
def test_splits_are_found_from_the_pattern(tmp_path: Path, images: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    describe(root, f'{MINIMAL}\nimages: "{images}"')
    write(root / images.replace("{split}", "day") / "a.png")
    assert len(open_dataset("folder", root, "day")) == 1
    with pytest.raises(DataError, match="has no split 'night'; expected one of day; .*root --val 0.2`, or"):
        open_dataset("folder", root, "night")


def test_wrong_layout_names_the_patterns(tmp_path: Path) -> None:
    describe(tmp_path, COMPLETE)
    message = (
        r"expected SPLIT/photos/\*_rgb.png or \*.png and masks_SPLIT/\*_mask.png; found dataset.yaml; .*--val"
    )
    with pytest.raises(DataError, match=message):
        open_dataset("folder", tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values, such as 'name: harbour'"),
        ("- water", "expected keys and values"),
        ("name: harbour", "classes: is missing; add it"),
        ("name: harbour\nclasses: []", "classes: List should have at least 2 items"),
        (f"{MINIMAL}\nnames: x", "names: unknown key; expected one of name, classes, .*; did you mean name?"),
        (f"{MINIMAL}\nzzz: x", "zzz: unknown key; expected one of name, .*; remove it"),
        (
            "name: x\nclasses:\n  - {name: water, colour: [0, 0, 0]}",
            r"classes.0.colour: unknown key; expected one of name, color, .*mean color\?$",
        ),
        ("name: x\nclasses: [{nama: water}]", r"classes.0.nama: unknown key; .*mean name\? \(and 1 more\)"),
        (
            "name: 5\nclasses:\n  - {name: a, color: [0, 0, 0]}",
            "name: Input should be a valid string; received 5",
        ),
        (
            "name: x\nclasses:\n  - {name: a, color: [0, 0]}",
            "classes.0.color: List should have at least 3 items",
        ),
        (
            "name: x\nclasses:\n  - {name: a, color: [0, 0, 256]}",
            "color.2: .*less than or equal to 255; received 256",
        ),
        ("name: x\nclasses:\n  - {name: a, color: [0, 0, 0], value: -1}", "value.0: .*received -1"),
        ("name: x\nclasses: [a, {name: b, value: []}]", "value: List should have at least 1 item"),
        ("name: x\nclasses: [a, {name: b, value: [3, 0]}]", "label value 0 is declared twice"),
        (
            "name: x\nclasses: [a, {name: b, colors: [[1, 2, 3]]}]",
            "colors is of labels in colours; set label_c",
        ),
        (
            "name: x\nclasses: [a, {name: b, color: [1, 2, 3]}]\nlabel_colors: true",
            "class a has no color; give",
        ),
        ("name: x\nclasses: [a, 5]", "classes.1: expected keys and values"),
        (f"{MINIMAL}\n  - {{name: quay, color: [1, 1, 1]}}", "class name quay is declared twice"),
        (f"{MINIMAL}\nignore: [1]", "label value 1 is declared twice; declare each once"),
        (f"name: x\nclasses:\n  - {{name: {'a' * 101}, color: [0, 0, 0]}}", "name: String should match"),
        (
            f"{MINIMAL}\nimages: images",
            "images: must be a relative path that contains {split} once, .*'images'",
        ),
        (
            f'{MINIMAL}\nlabels: "/a/{{split}}"',
            "labels: must be relative to the folder of this file, .*'/a/{split}'",
        ),
        (f'{MINIMAL}\nlabels: /a\nlists: "{{split}}.txt"', "labels: must be relative to the folder of this"),
        ("name: x\nclasses: {0: a, 1: b}", r"classes: expected a list, such as classes: \[water, quay\]$"),
        (
            'name: x\nclasses: [{name: a, color: "#ff0000"}, b]',
            r"classes.0.color: expected a list, such as color: \[0, 0, 200\]; received '#ff0000'",
        ),
        (f"{MINIMAL}\nignore_colors: [0, 0, 0]", r"ignore_colors.0: expected a list"),
        (f"{MINIMAL}\nlists: train.txt", "lists: must be a relative path that contains {split} once"),
        (f"{MINIMAL}\nlabel_name: mask.png", "label_name: must contain {stem} once, .*'mask.png'"),
        (f"{MINIMAL}\nname: again", "duplicate key 'name'"),
        ('name: "a\\e[31m"\nclasses:\n  - {name: a, color: [0, 0, 0]}', "name: String should match"),
        ("name: [", "dataset.yaml:1: not valid YAML"),
        (
            f"{MINIMAL}\n  - {{name: quay, color: [1, 300, 1]}}",
            r"dataset.yaml:\d: classes.\d.color.1: .* 255",
        ),
    ],
)
def test_a_wrong_description_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_dataset("folder", describe(tmp_path, text), "train")
    assert str(caught.value).startswith(str(tmp_path / "dataset.yaml"))
    assert "\n" not in str(caught.value)


def test_no_description(tmp_path: Path) -> None:
    message = "dataset.yaml: no such file; .*write one with name and classes, or .* `data describe "
    with pytest.raises(DataError, match=message):
        open_dataset("folder", tmp_path, "train")


def test_a_folder_of_the_data_in_place_of_the_data(tmp_path: Path) -> None:
    describe(tmp_path, MINIMAL)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images/dataset.yaml: no such file; .*; did you mean ") as caught:
        open_dataset("folder", tmp_path / "images", "train")
    assert str(caught.value).endswith(f"did you mean {tmp_path}?")


def test_an_image_named_twice(tmp_path: Path) -> None:
    describe(tmp_path, MINIMAL + '\nimages: images\nlabels: labels\nlists: "{split}.txt"')
    (tmp_path / "train.txt").write_text("images/a.png\nimages/b.png\nimages/day/../a.png\n")
    with pytest.raises(DataError, match=r"images/a.png: is in split 'train' 2 times; .*; remove a line"):
        open_dataset("folder", tmp_path, "train")
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("images/a.png\n")
    with pytest.raises(DataError, match=r"a.png: is in split 'train\+val' 2 times; .* joined by \+$"):
        open_dataset("folder", tmp_path, "train+val")


def test_a_link_to_a_device_is_not_read(tmp_path: Path) -> None:
    root = describe(tmp_path, MINIMAL + '\nlists: "{split}.txt"')
    (root / "train.txt").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is not laid out as harbour data"):
        open_dataset("folder", root, "train")
    with pytest.raises(DataError, match=r"train.txt: cannot be read \(not a file\)"):
        read_list(root / "train.txt", root)
    (root / "dataset.yaml").unlink()
    (root / "dataset.yaml").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"dataset.yaml: cannot be read \(not a file\)"):
        open_dataset("folder", root, "train")


def test_more_than_a_file_may_hold_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("12345")
    assert read_text(tmp_path / "long.txt", 5) == "12345"
    with pytest.raises(TooLargeError):
        read_text(tmp_path / "long.txt", 4)


def test_a_description_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(DataError, match="dataset.yaml: cannot be read .*save it as UTF-8"):
        open_dataset("folder", tmp_path, "train")


COLORED = """
name: harbour
classes:
  - {name: water, color: [0, 0, 200]}
  - {name: quay, color: [90, 90, 90]}
label_colors: true
ignore_colors: [[0, 0, 0]]
"""


def test_labels_in_colors(tmp_path: Path) -> None:
    describe(tmp_path, COLORED)
    write(tmp_path / "images/train/a.png")
    picture = np.full((4, 6, 3), (200, 0, 0), np.uint8)  # OpenCV's order
    picture[1], picture[2, 3] = 90, 0
    (tmp_path / "labels/train").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "labels/train/a.png"), picture)
    dataset = open_dataset("folder", tmp_path, "train")
    expected = np.zeros((4, 6), np.uint8)
    expected[1], expected[2, 3] = 1, IGNORE
    np.testing.assert_array_equal(read_sample(dataset.samples[0], dataset.table)[1], expected)
    report = scan(dataset)
    assert report.pixels == (17, 6) and report.ignored_pixels == 1 and not report.problems
    picture[0, 0] = 7
    cv2.imwrite(str(tmp_path / "labels/train/a.png"), picture)
    finding = scan(dataset).problems[0]
    assert finding.kind == "wrong label" and finding.finding.startswith("colour [7, 7, 7] of no class")


def test_several_colors_of_a_class(tmp_path: Path) -> None:
    """The first is the one that pictures show."""
    text = COLORED.replace("color: [0, 0, 200]", "colors: [[0, 0, 200], [0, 9, 9]]")
    text = text.replace("color: [90, 90, 90]", "color: [90, 90, 90], colors: [[8, 8, 8]]")
    table = read_dataset_yaml(describe(tmp_path, text)).table()
    assert table.colors == ((0, 0, 200), (90, 90, 90))
    expected = {(0, 0, 200): 0, (0, 9, 9): 0, (90, 90, 90): 1, (8, 8, 8): 1, (0, 0, 0): IGNORE}
    assert table.label_colors == expected


def test_one_value_to_ignore_needs_no_list(tmp_path: Path) -> None:
    table = read_dataset_yaml(describe(tmp_path, f"{MINIMAL}\nignore: 255")).table()
    assert table.train_ids == {0: 0, 1: 1, 255: IGNORE}


def test_several_values_of_a_class_and_colors_that_nobody_chose(tmp_path: Path) -> None:
    text = "name: harbour\nclasses:\n  - water\n  - {name: boat, value: [8, 3, 12]}\n  - no\nignore: [255]"
    table = read_dataset_yaml(describe(tmp_path, text)).table()
    assert table.names == ("water", "boat", "no")
    assert table.train_ids == {0: 0, 8: 1, 3: 1, 12: 1, 2: 2, 255: IGNORE}
    assert table.colors == ((128, 0, 0), (0, 128, 0), (128, 128, 0)), "those of PASCAL VOC"
    assert label_values(table).tolist() == [0, 8, 2]
    many = "name: x\nclasses: [" + ", ".join(f"c{number}" for number in range(255)) + "]"
    assert len({*read_dataset_yaml(describe(tmp_path, many)).table().colors}) == 255


def test_classes_without_a_color_get_those_of_streets_which_none_has_yet(tmp_path: Path) -> None:
    classes = ["{name: tram, color: [128, 0, 0]}", "car", "building", "quay", "rider"]
    text = f"name: x\nclasses: [{', '.join(classes)}]\n"
    colors = read_dataset_yaml(describe(tmp_path, text)).table().colors
    assert colors[1] == camvid.TABLE.colors[camvid.TABLE.names.index("car")]
    assert colors[4] == cityscapes.TABLE.colors[cityscapes.TABLE.names.index("rider")]
    assert len({*colors}) == 5, "building's in CamVid is the tram's here"


def test_a_list_of_many_files_follows_their_folders_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How often the disk is asked for what is on the way to them, here through a link."""
    (tmp_path / "disk/images").mkdir(parents=True)
    (tmp_path / "data").symlink_to("disk")
    root = describe(tmp_path / "data", f'{MINIMAL}\nimages: images\nlabels: labels\nlists: "{{split}}.txt"')
    for number in range(20):
        write(root / f"images/{number}.png")
        write(root / f"labels/{number}.png")
    (root / "images/19.png").unlink()
    (root / "images/19.png").symlink_to("18.png")
    lines = [f"images/{number}.png" for number in range(18)] + [str(root / "images/18.png"), "images/19.png"]
    (root / "train.txt").write_text("\n".join(lines))
    asked: list[str] = []
    lstat, os_stat = os.lstat, os.stat

    def ask(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        asked.extend([] if follow_symlinks else [os.fspath(path)])  # as Path.lstat does
        return os_stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "lstat", lambda path, **_: asked.append(os.fspath(path)) or lstat(path))
    monkeypatch.setattr(os, "stat", ask)
    samples = open_dataset("folder", root, "train").samples
    monkeypatch.undo()
    assert [sample.image for sample in samples] == [root / f"images/{number}.png" for number in range(20)]
    folders = Counter(path for path in asked if path.startswith(str(tmp_path)) and os.path.isdir(path))
    assert max(folders.values()) < 10, "not for each of 20 lines and 20 labels"


def test_a_list_in_a_folder_that_windows_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a junction, which is followed and is no link, or by the short form of a long name."""
    write(tmp_path / "disk/images/a.png")
    root = tmp_path / "data"
    root.symlink_to("disk")
    (root / "train.txt").write_text("images/a.png")
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: path.stat() if path == root else lstat(path))
    assert read_list(root / "train.txt", root) == [root / "images/a.png"]


def test_a_list_of_names_as_in_pascal_voc(tmp_path: Path) -> None:
    lists = 'lists: "ImageSets/Segmentation/{split}.txt"'
    root = describe(tmp_path, f"{MINIMAL}\nimages: JPEGImages\nlabels: SegmentationClass\n{lists}")
    for name in ("JPEGImages/a.jpg", "JPEGImages/day/b.0.JPG", "SegmentationClass/day/b.0.png"):
        write(root / name)
    names = root / "ImageSets/Segmentation/train.txt"
    names.parent.mkdir(parents=True)
    names.write_text("day/b.0\na\n")
    found = open_dataset("folder", root, "train").samples
    assert [sample.image for sample in found] == [root / "JPEGImages/day/b.0.JPG", root / "JPEGImages/a.jpg"]
    assert [sample.label for sample in found] == [root / "SegmentationClass/day/b.0.png", None]
    names.write_text("gone")
    with pytest.raises(DataError, match="gone ends otherwise, and .*JPEGImages has no image of that name"):
        open_dataset("folder", root, "train")
    write(tmp_path.parent / "outside.png")
    (root / "JPEGImages/outside.png").symlink_to(tmp_path.parent / "outside.png")
    names.write_text("outside")
    with pytest.raises(DataError, match="outside.png leads out of it; expected a file in"):
        open_dataset("folder", root, "train")


def test_labels_without_an_image(tmp_path: Path) -> None:
    """As where the other photos are TIFFs."""
    root = describe(tmp_path, MINIMAL)
    for name in ("images/train/a.jpg", "labels/train/a.png", "images/val/a.jpg", "labels/val/a.png"):
        write(root / name)
    train, val = (open_dataset("folder", root, split) for split in ("train", "train+val"))
    assert alone_note(train, "folder") is alone_note(val, "folder") is None
    for name in ("labels/train/b.PNG", "labels/train/day/c.png", "labels/train/d.txt"):
        write(root / name) if name.endswith("g") else (root / name).touch()
    (root / "images/train/b.tif").touch()
    note = alone_note(train, "folder")
    assert note is not None and note.startswith("note: 2 label files of 'train' have no image, such as ")
    assert "labels/train/b.PNG; images end in .png, .jpg, .jpeg, .webp, .bmp: convert others, or" in note


def test_a_label_of_images_of_two_splits(tmp_path: Path) -> None:
    """Drives whose frames are named alike, with labels of one of them in the folder of all."""
    root = describe(tmp_path, f'{MINIMAL}\nimages: images\nlabels: labels\nlists: "{{split}}.txt"')
    for name in ("images/d1/0.jpg", "images/d2/0.jpg", "images/d2/1.jpg", "labels/0.png", "labels/1.png"):
        write(root / name)
    (root / "train.txt").write_text("images/d1/0.jpg")
    (root / "val.txt").write_text("images/d2/0.jpg\nimages/d2/1.jpg")
    train, val = (open_dataset("folder", root, split) for split in ("train", "val"))
    note = shared_note(DataConfig(format="folder", train_split="train", val_split="val"), train, val)
    assert note == (
        f"note: 1 of 2 labels of 'val' belong to images of 'train' too, such as {root}/labels/0.png: "
        "one of its images has a wrong label; put the labels into folders as the images are"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ignore_colors: [[0, 0, 0]]", "ignore: [3]"), "label_colors is true, .* remove value and ignore"),
        (("[0, 0, 200]}", "[0, 0, 200], value: 4}"), "label_colors is true, .* remove value and ignore"),
        (("label_colors: true", ""), "ignore_colors is of labels in colours; set label_colors: true"),
        (("[[0, 0, 0]]", "[[90, 90, 90]]"), r"color \[90, 90, 90\] is declared twice"),
        (("90]}", "90], colors: [[0, 0, 0]]}"), r"color \[0, 0, 0\] is declared twice"),
    ],
)
def test_colors_that_do_not_fit(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset_yaml(describe(tmp_path, COLORED.replace(*change)))
