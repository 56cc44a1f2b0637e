import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fornet_keras.bounded_text import read_text
from fornet_keras.data.file_list import read_list
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError
from tests.data.harbour import MINIMAL, describe, write


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


def test_an_image_outside_images_has_no_label_of_another(tmp_path: Path) -> None:
    """KITTI's test images are named as its training images; what a list names by a link is the same image."""
    root = describe(tmp_path, MINIMAL + '\nimages: training\nlabels: labels\nlists: "{split}.txt"')
    for name in ("training/0.png", "testing/0.png", "testing/1.png", "labels/0.png", "labels/1.png"):
        write(root / name)
    (root / "link").symlink_to("training")
    (root / "testing.txt").write_text("testing/0.png\ntesting/1.png\n")
    (root / "train.txt").write_text("link/0.png\n")
    found = {split: open_dataset("folder", root, split).samples for split in ("testing", "train")}
    assert [sample.label for sample in found["testing"]] == [None, root / "labels/1.png"]
    assert [sample.label for sample in found["train"]] == [root / "labels/0.png"]


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
    with pytest.raises(ValueError, match="^more than 4 bytes$"):
        read_text(tmp_path / "long.txt", 4)


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
    assert [*read_list(root / "train.txt", root)] == [root / "images/a.png"]


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
    names.write_bytes(b"day/b.0.JPG \r\na.jpg\t\n \n")
    assert open_dataset("folder", root, "train").samples == found
    names.write_text("gone.jpg\n")
    assert open_dataset("folder", root, "train").samples[0].image == root / "gone.jpg"
    names.write_text("gone")
    with pytest.raises(DataError, match="gone ends otherwise, and .*JPEGImages has no image of that name"):
        open_dataset("folder", root, "train")
    write(tmp_path.parent / "outside.png")
    (root / "JPEGImages/outside.png").symlink_to(tmp_path.parent / "outside.png")
    names.write_text("outside")
    with pytest.raises(DataError, match="outside.png leads out of it; expected a file in"):
        open_dataset("folder", root, "train")
