from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from fornet_keras.config import DataConfig
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.file_list import files_below, visible
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import alone_notes, open_dataset, palette_note, shared_note, unlisted_note
from fornet_keras.errors import DataError
from tests.data.harbour import MINIMAL, describe, write
from tests.data.unlisted import refuse_to_list

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


def test_labels_without_an_image(tmp_path: Path) -> None:
    """As where the other photos are TIFFs."""
    root = describe(tmp_path, MINIMAL)
    for name in ("images/train/a.jpg", "labels/train/a.png", "images/val/a.jpg", "labels/val/a.png"):
        write(root / name)
    train, val = (open_dataset("folder", root, split) for split in ("train", "train+val"))
    assert alone_notes(train, "folder") == alone_notes(val, "folder") == []
    for name in ("labels/train/b.PNG", "labels/train/day/c.png", "labels/train/d.txt"):
        write(root / name) if name.endswith("g") else (root / name).touch()
    (root / "images/train/b.tif").touch()
    [note] = alone_notes(train, "folder")
    assert note.startswith("note: 2 label files of 'train' have no image, such as ")
    assert "labels/train/b.PNG; images end in .png, .jpg, .jpeg, .webp, .bmp: convert others, or" in note


def test_further_labels_of_an_image(tmp_path: Path) -> None:
    """As after mmsegmentation's converters: one who means the others would not learn which are used."""
    root = describe(tmp_path, MINIMAL)
    for name in ("images/train/d/a_1.jpg", "labels/train/d/a_1.png", "labels/train/d/a_1_labelTrainIds.png"):
        write(root / name)
    [note] = alone_notes(open_dataset("folder", root, "train"), "folder")
    further = f"{root}/labels/train/d/a_1_labelTrainIds.png"
    assert note == (
        f"note: 1 files beside labels of 'train' are not used, such as {further}; of each image one label "
        "is, as label_name says: {stem}.png"
    )
    write(root / "labels/train/a_1_labelTrainIds.png")
    alone, again = alone_notes(open_dataset("folder", root, "train"), "folder")
    assert "1 label files of 'train' have no image" in alone and again == note


def test_labels_that_draw_a_class_in_the_colour_of_another(tmp_path: Path) -> None:
    """As those of an older version: the values are there in the newer one, as other classes."""
    root = describe(tmp_path, MINIMAL + "  - mast\nignore: [3]\n")
    write(root / "images/train/a.png")
    write(root / "labels/train/a.png")
    label = Image.fromarray(np.array([[0, 1, 2, 3, 3, 3]] * 4, np.uint8), mode="P")
    for palette, said in (
        (
            [0, 0, 200, 90, 90, 90, 128, 0, 0, 90, 90, 90],
            "",
        ),  # of void and of what has no colour nothing is said
        ([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], ""),
        (
            [0, 0, 200, 90, 90, 90, 0, 0, 200, 4, 4, 4],
            "draw 2, mast, in the colour of water; see with `data ",
        ),
    ):
        label.putpalette(palette)
        label.save(root / "labels/train/a.png")
        train = open_dataset("folder", root, "train")
        note = palette_note(train, "folder", scan(train).palette)
        assert said in (note or "") and bool(said) is bool(note)


def test_a_grey_palette_draws_values_not_colors(tmp_path: Path) -> None:
    root = describe(tmp_path, MINIMAL.replace("[90, 90, 90]", "[0, 0, 0]"))
    for kind in ("images", "labels"):
        write(root / f"{kind}/train/a.png")
    train = open_dataset("folder", root, "train")
    assert palette_note(train, "folder", [(0, (0, 0, 0), "a"), (1, (1, 1, 1), "a")]) is None
    assert "draw 0, water, in the colour of quay" in (
        palette_note(train, "folder", [(0, (0, 0, 0), "a"), (1, (128, 0, 0), "a")]) or ""
    )


def test_what_no_list_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a next batch of photos; what a list names by a way around is named."""
    root = describe(tmp_path, f'{MINIMAL}\nimages: images\nlabels: labels\nlists: "{{split}}.txt"')
    for name in ("a", "day/b", "c"):
        write(root / f"images/{name}.jpg")
        write(root / f"labels/{name}.png")
    (root / "photos").symlink_to("images")
    (root / "train.txt").write_text("images/day/../a.jpg\nphotos/day/b.jpg\n")
    (root / "test.txt").write_text("images/c.jpg")
    (root / "notes.txt").write_text("some are dark")
    for name in ("labels/a.jpg", "labels/a_color.png", "labels/no_image.png", "images/no_label.jpg"):
        write(root / name)
    write(root / "images/a.png")  # the same photo in another format, with the label that is learnt from
    train = open_dataset("folder", root, "train")
    assert unlisted_note(train, "folder") is None
    for name in ("images/d.jpg", "images/day/e.jpg", "labels/d.png", "labels/day/e.png"):
        write(root / name)
    note = unlisted_note(train, "folder")
    assert note == (
        f"note: 2 images with a label are in no {{split}}.txt, such as {root}/images/d.jpg: nothing is "
        "learnt from or scored on them; where they are meant, name them in a list"
    )
    with monkeypatch.context() as patch:
        refuse_to_list(patch, root / "images/day")
        assert unlisted_note(train, "folder") is None
    (root / "images/loop.jpg").symlink_to("loop.jpg")
    write(root / "labels/loop.png")
    unlisted_note(train, "folder")  # some systems follow it, to nowhere
    (root / f"images/{'x' * 251}.jpg").touch()  # its label's name would be too long
    describe(root, (root / "dataset.yaml").read_text() + '\nlabel_name: "{stem}_mask.png"')
    assert unlisted_note(train, "folder") is None
    describe(root, MINIMAL)
    assert unlisted_note(train, "folder") is None


def test_labels_among_the_images_that_no_list_names(tmp_path: Path) -> None:
    keys = 'images: "."\nlabels: "."\nlists: "{split}.txt"\nlabel_name: "{stem}_mask.png"'
    root = describe(tmp_path, f"{MINIMAL}\n{keys}")
    for name in ("a.png", "a_mask.png", "b.png", "b_mask.png"):
        write(root / name)
    (root / "train.txt").write_text("a.png")
    note = unlisted_note(open_dataset("folder", root, "train"), "folder")
    assert note is not None and f"1 images with a label are in no {{split}}.txt, such as {root}/b.p" in note


@pytest.mark.parametrize("line", ["gone", "../gone.jpg"])
def test_of_a_list_that_cannot_be_read_in_full_nothing_is_in_no_list(tmp_path: Path, line: str) -> None:
    root = describe(tmp_path, f'{MINIMAL}\nimages: images\nlabels: labels\nlists: "{{split}}.txt"')
    for name in ("a", "b"):
        write(root / f"images/{name}.jpg")
        write(root / f"labels/{name}.png")
    (root / "train.txt").write_text("a")
    train = open_dataset("folder", root, "train")
    assert unlisted_note(train, "folder")
    (root / "test.txt").write_text(f"b\n{line}")
    assert unlisted_note(train, "folder") is None


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
