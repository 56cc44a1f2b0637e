from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.coco import rasterize, require_drawable
from fornet_keras.data.label_files import read_label
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.data.yolo_file import read_yolo
from fornet_keras.errors import DataError

HEIGHT, WIDTH = 4, 8
QUAY = "0 0.125 0.25 0.5 0.25 0.5 0.5 0.125 0.5\n"  # rows 1…2, columns 1…4
BOX = "1 0.5 0.5 0.25 0.25\n"
YAML = "path: .\ntrain: images/train\nval: images/val\ntest:\nnc: 2\nnames: [quay, boat]\ndownload: none\n"


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """`a` with a label and `b` without one to train on, `a` to validate on."""
    for name in ("train/day/a.jpg", "train/b.jpg", "val/a.jpg"):
        photo(tmp_path / "yolo/images" / name)
    for name in ("train/day/a.txt", "val/a.txt"):
        text(tmp_path / "yolo/labels" / name, QUAY + BOX)
    return text(tmp_path / "yolo/data.yaml", YAML)


def draw(path: Path) -> Path:
    output = path.parent / "out"
    for split, (coco, images) in read_yolo(path)[0].items():
        require_drawable(coco, images, output, split)
        rasterize(coco, images, output, split)
    return output


def test_polygons_are_drawn_of_all_splits(yolo: Path) -> None:
    output = draw(yolo)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:3, 1:5] = 1
    for name in ("train/day/a.png", "val/a.png"):
        np.testing.assert_array_equal(read_label(output / "labels" / name), expected)
    assert not read_label(output / "labels/train/b.png").any(), "background alone"
    report = scan(open_dataset("folder", output, "train+val"))
    assert (report.pixels, report.problems) == ((80, 16, 0), ())
    assert open_dataset("folder", output, "train").table.names == ("background", "quay", "boat")
    assert read_yolo(yolo)[0]["val"][0].undrawable() == [f"{yolo.parent}/labels/val/a.txt:2"]


def test_names_by_number_need_not_be_in_order(yolo: Path) -> None:
    output = draw(text(yolo, YAML.replace("[quay, boat]", "{1: boat, 0: quay}")))
    assert open_dataset("folder", output, "train").table.names == ("background", "quay", "boat")


def test_a_test_split_that_is_not_there_and_images_without_a_text_are_noted(yolo: Path) -> None:
    text(yolo, YAML.replace("test:", "test: images/test"))
    splits, notes = read_yolo(yolo)
    absent = f"split 'test' is left out: {yolo.parent}/images/test is not there"
    without = "split 'train': images without a text, taken as background: 1"
    assert [*splits] == ["train", "val"] and notes == [without, absent]


def test_images_of_other_formats_are_noted(yolo: Path) -> None:
    for name in ("b.tif", "a.jpg.json", "c.tif"):
        text(yolo.parent / "images/train" / name, "no image that is read")
    for name in ("b.txt", "classes.txt"):
        text(yolo.parent / "labels/train" / name, QUAY)
    (yolo.parent / "images/train/b.jpg").unlink()
    splits, notes = read_yolo(yolo)
    assert [picture.file_name for picture in splits["train"][0].images] == ["a.jpg"]
    left_out = "labelled files left out, other than .png, .jpg, .jpeg, .webp, .bmp"
    assert notes == [f"split 'train': {left_out}: 1 ({yolo.parent}/images/train/b.tif); convert them"]


def test_other_files_beside_images_and_labels_are_not_noted(tmp_path: Path) -> None:
    photo(tmp_path / "all/a.jpg")
    for name in ("a.txt", "b.txt"):
        text(tmp_path / "all" / name, QUAY)
    text(tmp_path / "all/a.json", "{}")
    assert not read_yolo(text(tmp_path / "data.yaml", "train: all\nnames: [quay]\n"))[1]


def test_validation_is_val(yolo: Path) -> None:
    """As Ultralytics has it, where there is no `val`."""
    assert [*read_yolo(text(yolo, YAML.replace("val:", "validation:")))[0]] == ["train", "val"]
    both = text(yolo, f"{YAML}validation: images/train\n")
    assert read_yolo(both)[0]["val"][1] == yolo.parent / "images/val"


def test_roboflows_paths_are_beside_the_file(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photo(tmp_path / "yolo" / split / "images/a.jpg")
        text(tmp_path / "yolo" / split / "labels/a.txt", QUAY)
    yaml = text(tmp_path / "yolo/data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [quay]\n")
    splits, _ = read_yolo(yaml)
    assert {split: folder for split, (_, folder) in splits.items()} == {
        "train": tmp_path / "yolo/train/images",
        "val": tmp_path / "yolo/valid/images",
    }
    photo(tmp_path / "train/images/other.jpg")  # where it is there, what is written is meant
    text(tmp_path / "train/labels/other.txt", QUAY)
    assert read_yolo(yaml)[0]["train"][1] == tmp_path / "train/images"


def test_lists_and_folders_elsewhere(yolo: Path, tmp_path: Path) -> None:
    """Absolute, or relative to the list; an image that is named twice counts once; links are followed."""
    data = yolo.parent
    (data / "images/train/link.jpg").symlink_to(photo(tmp_path / "pool/1.jpg"))
    lines = ["./images/train/day/a.jpg", f"{data}/images/train/b.jpg", "", "images/val/../train/b.jpg "]
    text(data / "train.txt", "\n".join([*lines, "images/train/link.jpg"]))
    yaml = text(
        tmp_path / "elsewhere/street.yaml",
        f"path: ../yolo\ntrain: [train.txt, {data}/images/val]\nnames: [quay, boat]\n",
    )
    coco, folder = read_yolo(yaml)[0]["train"]
    names = ["train/day/a.jpg", "train/b.jpg", "train/link.jpg", "val/a.jpg"]
    assert ([picture.file_name for picture in coco.images], folder) == (names, data / "images")
    assert (draw(yaml) / "images/train/train/link.jpg").samefile(tmp_path / "pool/1.jpg")


def test_labels_are_looked_for_from_where_a_link_leads(yolo: Path, tmp_path: Path) -> None:
    """In the place of the last `images`, as Ultralytics does."""
    disk = tmp_path / "images/disk"
    text(disk / "labels/train/a.txt", QUAY)
    (yolo.parent / "images/linked").symlink_to(photo(disk / "images/train/a.jpg").parent)
    coco, folder = read_yolo(text(yolo, "train: images/linked\nnames: [quay]\n"))[0]["train"]
    assert folder == disk / "images/train" and len(coco.annotations) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quay 0.1 0.1 0.2 0.2", "a.txt:2: 'quay 0.1 .*'; expected numbers: a class, then x and y in turn"),
        ("2 0.1 0.1 0.2 0.2 0.2 0.1", "a.txt:2: class 2; expected one of names, 0, 1; correct it"),
        ("0.5 0.1 0.1 0.2 0.2 0.2 0.1", "a.txt:2: class 0.5; expected one of names"),
        ("nan 0.1 0.1 0.2 0.2 0.2 0.1", "a.txt:2: class nan; expected one of names"),
        ("0 0.1 0.1 0.2 0.2 0.2", "a.txt:2: 5 coordinates; expected x and y of three corners or more"),
        ("0 0.1 0.1", "a.txt:2: 2 coordinates; expected x and y of three corners or more, or a box's four"),
        ("0 0.1 0.1 0.2 1.1 0.2 0.1", "a.txt:2: coordinate 1.1; expected shares of width and height, 0…1"),
        ("0 0.1 0.1 0.2 nan 0.2 0.1", "a.txt:2: coordinate nan; expected shares"),
    ],
)
def test_lines_that_are_refused(yolo: Path, line: str, message: str) -> None:
    text(yolo.parent / "labels/train/day/a.txt", QUAY + line)
    with pytest.raises(DataError, match=message):
        read_yolo(yolo)


def test_a_corner_by_a_hair_outside_is_taken(yolo: Path) -> None:
    text(yolo.parent / "labels/train/day/a.txt", "\n1.0 -0.005 0 1.005 0 1.005 1 -0.005 1\n")
    assert (read_label(draw(yolo) / "labels/train/day/a.png") == 2).all()


@pytest.mark.parametrize(
    "beside", ["1 0 1.0 1 1.0 1 1.005", "1 0 -0.005 1 -0.005 1 -0.001", "1 1 0 1.005 0 1 1"]
)
def test_a_polygon_beside_the_image_covers_nothing(yolo: Path, beside: str) -> None:
    text(yolo.parent / "labels/train/day/a.txt", f"{QUAY}{beside}")
    assert np.bincount(read_label(draw(yolo) / "labels/train/day/a.png").ravel()).tolist() == [24, 8]


def test_whole_corners_written_as_shares(tmp_path: Path) -> None:
    """0.29 * 100 is less than 29: the last row and column are the polygon's nevertheless."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 100)).save(tmp_path / "images/a.jpg")
    text(tmp_path / "labels/a.txt", "0 0.1 0.1 0.29 0.1 0.29 0.29 0.1 0.29")
    label = read_label(
        draw(text(tmp_path / "data.yaml", "train: images\nnames: [quay]\n")) / "labels/train/a.png"
    )
    assert [(each.min(), each.max(), len(each)) for each in label.nonzero()] == [(10, 29, 400)] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: [a]\n", "data.yaml: names no images; expected train and val; add them"),
        ("train: images/train\n", "data.yaml: names: Field required; expected YOLO's data.yaml, with train"),
        ("train: images/train\nnames: []\n", "data.yaml: names: .* at least 1 item.*; expected YOLO's data"),
        (
            'train: "a\\0b"\nnames: [a]\n',
            "data.yaml: train.0: .*; expected YOLO's data.yaml, with train, val",
        ),
        ('path: "a\\0b"\ntrain: a\nnames: [a]\n', "data.yaml: path: .*; expected YOLO's data.yaml"),
        ("train: images/train\nnames: [1]\n", "data.yaml: names.0: .*; expected YOLO's data.yaml"),
        ("train: &a images/train\nnames: [a]\n", "data.yaml:1: anchors"),
        ("- 1\n", "data.yaml: the file: .*; expected YOLO's data.yaml"),
        ("path: no\n" + YAML[8:], "data.yaml: train: .*/no/images/train: not there; expected a folder of"),
        (
            YAML.replace("images/val", "images/no"),
            "data.yaml: val: .*/images/no: not there; expected a folder",
        ),
        ("train: labels\nnames: [a]\n", r"data.yaml: train: no images in .*/labels; expected \.png, \.jpg"),
        ("train: data.yaml\nnames: [a]\n", "train: none of 2 images has labels; expected such as .*; put"),
        ("train: [images/train, images/no]\nnames: [a, b]\n", "images/no: cannot be read .*a folder of ima"),
        (f"train: images/train\nnames: {[*map(str, range(255))]}\n", "data.yaml: categories: .* at most 254"),
        ("train: images/train/b.jpg\nnames: [a]\n", "b.jpg: cannot be read .*; expected a folder of images"),
    ],
)
def test_a_data_yaml_that_is_refused(yolo: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_yolo(text(yolo, content))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(yolo: Path) -> None:
    label = text(yolo.parent / "labels/train/day/a.txt", "0" * 10_000_001)
    with pytest.raises(DataError, match="a.txt: cannot be read .more than 10,000,000 bytes.; expected"):
        read_yolo(yolo)
    label.write_text(BOX)
    with pytest.raises(DataError, match="data.yaml: none of 1 annotations has a polygon .*; export segment"):
        read_yolo(yolo)
    (yolo.parent / "images/train/b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="b.jpg: is empty"):
        read_yolo(yolo)
