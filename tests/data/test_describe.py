import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.describe import write_draft
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError

VALUES = "the values in 1 of 1 labels"


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8)).save(path)


def save_pair(image: Path, label: Path, pixels: Any) -> None:
    save(label, pixels)
    save(image, np.zeros((*np.shape(pixels)[:2], 3)))


def test_an_export_of_cvat(tmp_path: Path) -> None:
    label = [[(0, 0, 0), (128, 64, 128)], [(0, 0, 0), (0, 0, 0)]]
    save_pair(tmp_path / "JPEGImages/a.jpg", tmp_path / "SegmentationClass/a.png", label)
    names = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad surface:128,64,128::\n"
    (tmp_path / "labelmap.txt").write_text(names)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/default.txt").write_text("a\n")
    assert write_draft(tmp_path)[:2] == ("labelmap.txt", ["default"])
    dataset = open_dataset("folder", tmp_path, "default")
    assert dataset.table.names == ("background", "road surface")
    assert scan(dataset).pixels == (3, 1) and not scan(dataset).problems


@pytest.mark.parametrize("labels", ["SegmentationClass", "SegmentationClassPNG"])
def test_what_labelme2voc_makes(tmp_path: Path, labels: str) -> None:
    """Of several versions; 255 is what it ignores."""
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationClass/a.npy").touch()
    save_pair(tmp_path / "JPEGImages/a.jpg", tmp_path / labels / "a.png", [[0, 1], [255, 1]])
    save(tmp_path / "SegmentationClassVisualization/a.jpg", np.zeros((2, 2, 3)))
    source, splits, description, _ = write_draft(tmp_path)
    assert (source, splits, description.labels) == (f"{VALUES}, 255 taken for void", [], labels)
    assert description.table().train_ids == {0: 0, 1: 1, 255: IGNORE}


def test_an_export_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        save_pair(tmp_path / split / "a.jpg", tmp_path / split / "a_mask.png", [[0, 1], [2, 2]])
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, unlabeled\n1, car\n2, road\n")
    assert write_draft(tmp_path)[:2] == ("train/_classes.csv", ["train", "valid"])
    dataset = open_dataset("folder", tmp_path, "valid")
    assert dataset.table.names == ("unlabeled", "car", "road")
    assert scan(dataset).pixels == (1, 1, 2) and not scan(dataset).problems


def test_kaggles_camvid_and_only_splits_with_labels(tmp_path: Path) -> None:
    for split in ("train", "val"):
        label = [[(0, 0, 0), (128, 64, 128)]]
        save_pair(tmp_path / split / "a.png", tmp_path / f"{split}_labels/a_L.png", label)
    save(tmp_path / "test/a.png", np.zeros((1, 2, 3)))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\n")
    assert write_draft(tmp_path)[:2] == ("class_dict.csv", ["train", "val"])
    dataset = open_dataset("folder", tmp_path, "val")
    assert dataset.table.names == ("Void", "Road")
    assert scan(dataset).pixels == (1, 1) and not scan(dataset).problems


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/train", "masks/train"),
        ("train/images", "train/labels"),
        ("img_dir/train", "ann_dir/train"),
        ("train", "trainannot"),
    ],
)
def test_classes_from_values(tmp_path: Path, images: str, labels: str) -> None:
    save_pair(tmp_path / images / "a.png", tmp_path / labels / "a_mask.png", [[7, 0], [255, 0]])
    assert write_draft(tmp_path)[:2] == (f"{VALUES}, 255 taken for void", ["train"])
    dataset = open_dataset("folder", tmp_path, "train")
    assert (dataset.name, dataset.table.names) == (tmp_path.name, ("value_0", "value_7"))
    assert dataset.table.train_ids == {0: 0, 7: 1, 255: IGNORE}
    assert scan(dataset).pixels == (2, 1) and not scan(dataset).problems
    draft = (tmp_path / "dataset.yaml").read_text()
    assert f"# A draft, with the classes from {VALUES}, 255 taken for void. " in draft
    remark = "in 1 of 1 labels: a_mask.png"
    assert f"}}  # {remark}\nignore: [255]  # {remark}; if it is a class, move it up\n" in draft


def test_a_mask_of_0_and_255_has_two_classes(tmp_path: Path) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[0, 255]])
    write_draft(tmp_path)
    table = read_dataset_yaml(tmp_path).table()
    assert (table.names, table.train_ids) == (("background", "value_255"), {0: 0, 255: 1})


@pytest.mark.parametrize(
    "values", [[0, 1, 20, 255], [0, 254, 255], [0, 31, 32, 253, 254, 255], [*range(19), 254, 255]]
)
def test_values_near_one_end_are_classes(tmp_path: Path, values: list[int]) -> None:
    """VOC has 0…20 and 255; 254 may be a second kind of void."""
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [values])
    assert len(write_draft(tmp_path)[2].classes) == len(values) - 1


def test_as_many_classes_as_are_common(tmp_path: Path) -> None:
    """ADE20K's 150."""
    values = [[*range(150), 255]]
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", values)
    assert len(write_draft(tmp_path)[2].classes) == 150


@pytest.mark.usefixtures("windows_line_ends")
def test_a_drafts_lines_end_as_they_do_elsewhere(tmp_path: Path) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[0, 1]])
    write_draft(tmp_path)
    assert b"\r" not in (tmp_path / "dataset.yaml").read_bytes()


def test_classes_from_colors(tmp_path: Path) -> None:
    label = [[(9, 0, 200), (1, 2, 3)]]
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", label)
    write_draft(tmp_path)
    assert read_dataset_yaml(tmp_path).table().label_colors == {(1, 2, 3): 0, (9, 0, 200): 1}
    note = scan(open_dataset("folder", tmp_path, "train")).names_note()
    assert note is not None and note.endswith("no class belongs under ignore_colors: [[0, 0, 0]]")


def test_values_that_are_written_three_times_are_no_colors(tmp_path: Path) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[(0, 0, 0), (1, 1, 1)]])
    save_pair(tmp_path / "images/train/b\n.png", tmp_path / "labels/train/b\n.png", [[2, 1]])
    assert write_draft(tmp_path)[0] == "the values in 2 of 2 labels"
    dataset = open_dataset("folder", tmp_path, "train")
    assert scan(dataset).pixels == (1, 2, 1) and not scan(dataset).problems
    draft = (tmp_path / "dataset.yaml").read_text()
    for value, where in enumerate(
        ("1 of 2 labels: a.png", "2 of 2 labels: a.png, …", r"1 of 2 labels: b\n.png")
    ):
        assert f'  - {{name: "value_{value}", value: {value}}}  # in {where}\n' in draft


@pytest.mark.parametrize(
    ("palette", "colors"),
    [
        pytest.param([0, 0, 0, 200, 60, 20, 9, 9, 9], [[0, 0, 0], [200, 60, 20], [9, 9, 9]], id="colors"),
        pytest.param([0, 0, 0, 1, 1, 1, 2, 2, 2], [None, None, None], id="the values"),
        pytest.param([5, 5, 5, 5, 5, 5, 9, 0, 0], [None, None, [9, 0, 0]], id="alike"),
    ],
)
def test_the_colors_of_a_palette(tmp_path: Path, palette: list[int], colors: list[Any]) -> None:
    """Which all labels share that have one; what two values share tells them not apart."""
    for name in ("a", "b", "c"):
        save_pair(tmp_path / f"images/train/{name}.png", tmp_path / f"labels/train/{name}.png", [[0, 1, 2]])
    for name in ("a", "b"):
        picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
        picture.putpalette(palette)
        picture.save(tmp_path / f"labels/train/{name}.png")
    write_draft(tmp_path)
    classes = read_dataset_yaml(tmp_path).classes
    assert [(entry.name, entry.color) for entry in classes] == [
        *zip(("value_0", "value_1", "value_2"), colors, strict=True)
    ]


def test_the_color_of_void_is_no_classes(tmp_path: Path) -> None:
    """Palettes are padded with black."""
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[0, 1, 2, 255]])
    picture = Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0, 0, 0] * 253)
    picture.save(tmp_path / "labels/train/a.png")
    write_draft(tmp_path)
    description = read_dataset_yaml(tmp_path)
    assert [entry.color for entry in description.classes] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert description.ignore == [255]


def test_palettes_that_differ_are_colors(tmp_path: Path) -> None:
    """A value is then another class in each file, of which the first may not have it."""
    for name, value, second in (("a", 0, []), ("b", 1, [200, 0, 0]), ("c", 1, [0, 200, 0])):
        save_pair(tmp_path / f"images/train/{name}.png", tmp_path / f"labels/train/{name}.png", [[0, 1]])
        picture = Image.fromarray(np.array([[0, value]], np.uint8), mode="P")
        picture.putpalette([0, 0, 0, *second])
        picture.save(tmp_path / f"labels/train/{name}.png")
    assert write_draft(tmp_path)[0] == "the colours in 3 of 3 labels"
    dataset = open_dataset("folder", tmp_path, "train")
    assert dataset.table.label_colors == {(0, 0, 0): 0, (0, 200, 0): 1, (200, 0, 0): 2}
    assert scan(dataset).pixels == (4, 1, 1) and not scan(dataset).problems


def test_colors_in_channels_and_in_a_palette(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save_pair(
            tmp_path / f"images/{name}.png", tmp_path / f"labels/{name}.png", [[(0, 0, 0), (200, 60, 20)]]
        )
    for name in ("a", "b"):
        label = Image.open(tmp_path / f"labels/{name}.png").quantize(2)
        label.save(tmp_path / f"labels/{name}.png")
    source, _, description, _ = write_draft(tmp_path)
    kinds = "1 with channels (c.png) and 2 with a palette (a.png, …)"
    assert source == f"the colours in 3 of 3 labels, {kinds}"
    assert description.table().label_colors == {(0, 0, 0): 0, (200, 60, 20): 1}


def test_a_picture_that_is_all_grey_is_one_too(tmp_path: Path) -> None:
    """Tools that save space write it with one channel."""
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[0, 0]])
    label = [[(9, 0, 200), (0, 0, 0)]]
    save_pair(tmp_path / "images/train/b.png", tmp_path / "labels/train/b.png", label)
    write_draft(tmp_path)
    assert read_dataset_yaml(tmp_path).table().label_colors == {(0, 0, 0): 0, (9, 0, 200): 1}


def test_a_description_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("mine")
    with pytest.raises(DataError, match="dataset.yaml: exists already; .* a draft, or keep it: `--val`"):
        write_draft(tmp_path)
    assert (tmp_path / "dataset.yaml").read_text() == "mine"


def test_a_folder_of_labels_that_may_not_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "labels/train"
    save_pair(tmp_path / "images/train/a.png", locked / "a.png", [[0, 1]])
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if path.parent == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    is_dir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: Path(path).parent != locked and is_dir(path))
    message = r"labels/train: cannot be listed \(Permission denied\); expected a readable folder; change its"
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path)
    (tmp_path / "dataset.yaml").write_text("name: x\nclasses: [a, b]")
    with pytest.raises(DataError, match=message):
        open_dataset("folder", tmp_path, "train")


def photo(root: Path) -> None:
    label = np.arange(201 * 3).reshape(1, 201, 3) % 256
    save_pair(root / "images/train/a.png", root / "labels/train/a.png", label)


def many_values(root: Path) -> None:
    save_pair(root / "images/train/a.png", root / "labels/train/a.png", np.arange(201)[None])


def smoothed(root: Path) -> None:
    save_pair(root / "images/train/a.png", root / "labels/train/a.png", np.linspace(0, 255, 78)[None])


def blurred(root: Path) -> None:
    """A mask of two classes that was a JPEG, whose noise is around 0 and 255."""
    save_pair(root / "images/train/a.png", root / "labels/train/a.png", [[0, 1, 17], [240, 254, 255]])


def one_class(root: Path) -> None:
    save_pair(root / "images/train/a.png", root / "labels/train/a.png", [[5]])


def apart(root: Path) -> None:
    save_pair(root / "images/a.png", root / "scores/a.png", [[0, 1]])


def other_names(root: Path) -> None:
    save_pair(root / "images/a.png", root / "labels/a_seg.png", [[0, 1]])


def labels_below(root: Path) -> None:
    save_pair(root / "images/a.png", root / "labels/fine/cut/a.png", [[0, 1]])


def other_suffix(root: Path) -> None:
    save_pair(root / "train/images/a.png", root / "train/masks/a.tif", [[0, 1]])


def mixed(root: Path) -> None:
    one_class(root)
    save_pair(root / "images/train/b.png", root / "labels/train/b.png", [[(200, 0, 0)]])


def sixteen_bits(root: Path) -> None:
    one_class(root)
    Image.fromarray(np.array([[0, 2000]], np.uint16)).save(root / "labels/train/a.png")


def jpeg(root: Path) -> None:
    one_class(root)
    Image.new("RGB", (1, 1)).save(root / "labels/train/a.png", format="JPEG")


def no_colors(root: Path) -> None:
    one_class(root)
    (root / "class_dict.csv").write_text("name,r,g,b\nroad,1,2,x\n")


def no_map(root: Path) -> None:
    one_class(root)
    (root / "labelmap.txt").write_text("road;1,2,3\n")


def no_text(root: Path) -> None:
    one_class(root)
    (root / "labelmap.txt").write_bytes(b"\xff")


def no_table(root: Path) -> None:
    save_pair(root / "train/a.jpg", root / "train/a_mask.png", [[0, 1]])
    (root / "train/_classes.csv").write_text("Pixel Value, Class\nroad\n")


def two_tables(root: Path) -> None:
    """Values of other classes in each split."""
    for split, first, second in (("train", "car", "road"), ("valid", "road", "car")):
        save_pair(root / split / "a.jpg", root / split / "a_mask.png", [[0, 1]])
        (root / split / "_classes.csv").write_text(f"Pixel Value, Class\n0, {first}\n1, {second}\n")


def of_yolo(root: Path) -> None:
    (root / "a.yaml").write_text("on: push\n")
    (root / "street.yml").write_text("train: images/train\nnames: [quay]\n")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text("0 0 0 1 1 0 1\n")
    save(root / "images/train/a.png", np.zeros((8, 8, 3)))


def of_labelme(root: Path) -> None:
    save(root / "train/a.png", np.zeros((8, 8, 3)))
    content = {"shapes": [], "imagePath": "a.png", "imageHeight": 8, "imageWidth": 8}
    (root / "train/a.json").write_text(json.dumps(content))


def of_coco(root: Path) -> None:
    """Captions, which have no categories, come first."""
    save(root / "train2017/a.png", np.zeros((8, 8, 3)))
    (root / "annotations").mkdir()
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
    content: dict[str, object] = {"images": [image], "annotations": []}
    (root / "annotations/captions.json").write_text(json.dumps(content))
    content |= {"categories": [{"id": 1, "name": "quay"}]}
    (root / "annotations/instances.json").write_text(json.dumps(content))


def with_others(root: Path) -> None:
    """YAML and JSON of something else."""
    save(root / "train/a.png", np.zeros((8, 8, 3)))
    (root / "compose.yaml").write_text("services: {}\n")
    (root / "package.json").write_text("{}")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (of_yolo, "street.yml: annotations of YOLO; .*: `data rasterize .*street.yml --output DIR`"),
        (of_labelme, "train/a.json: annotations of LabelMe; .*: `data rasterize [^ ]*train --output DIR`"),
        (
            of_coco,
            "instances.json: annotations of COCO; .* rasterize .*instances.json --images IMAGES --outp",
        ),
        (
            with_others,
            "no images with labels found, but compose.yaml, package.json, train; expected images/SPL",
        ),
        (photo, "a.png: with it more than 64 values or colours; expected class labels, no smoothed edges;"),
        (smoothed, "a.png: with it more than 64 values .* if they are, or save a mask of two classes as"),
        (
            blurred,
            r"labels/train: values 0…17 and 240…255, as of a mask .* has blurred; .*; save it as \(mask >= "
            r"128\) \* 255, or write dataset.yaml by hand",
        ),
        (many_values, "a.png: with it more than 200 values"),
        (
            one_class,
            "1 classes, from the values in 1 of 1 labels; expected two or more; write dataset.yaml by hand",
        ),
        (
            apart,
            r"no images with labels found, but images, scores; .*, images and labels \(or masks\), .*; "
            "write dataset.yaml by hand, with images, labels and label_name",
        ),
        (
            other_names,
            "labels: has no a.png or .*_L.png or a_train_id.png, but a_seg.png; expected the label of .*"
            "images/a.png; export labels as PNGs so named, or write dataset.yaml by hand, with images,",
        ),
        (labels_below, "labels: has no a.png or .* or a_train_id.png, but fine/cut/a.png; expected the"),
        (
            other_suffix,
            "train/masks: has no a.png or .* or a_train_id.png, but a.tif; expected the label of",
        ),
        (mixed, "a.png: holds values, and b.png colours; expected one of them in all labels; export the"),
        (sixteen_bits, "a.png: holds 16-bit values up to 2000; .* not the instance or depth map"),
        (jpeg, "a.png: is a JPEG file, which may not keep class values"),
        (no_map, "labelmap.txt: expected name:R,G,B:: a line; correct or remove it"),
        (no_text, "labelmap.txt: cannot be read .*; expected a short text, or no such file; save"),
        (no_colors, "class_dict.csv: expected name,r,g,b a line; correct or remove it"),
        (
            two_tables,
            "valid/_classes.csv: other classes than in .*train/_classes.csv; .*; export them together",
        ),
        (no_table, "_classes.csv: expected a value and a name a line; correct or remove it"),
    ],
)
def test_what_cannot_be_described(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path)
    assert not (tmp_path / "dataset.yaml").exists()


@pytest.mark.parametrize("one", ["images", "masks"])
def test_a_folder_of_the_images_or_the_labels_alone(tmp_path: Path, one: str) -> None:
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a_mask.png", [[0, 1]])
    message = f"{one}: no images with labels found; expected the folder that images and masks are in; did you"
    with pytest.raises(DataError, match=rf"{message} mean {tmp_path}\?"):
        write_draft(tmp_path / one)


@pytest.mark.parametrize(
    ("labelmap", "message"),
    [
        ("background:0,0,0::\nroad:0,0,0::\n", "labelmap.txt: color .0, 0, 0. is declared twice"),
        ("road:1,2::\ncar:0,0,0::\n", "labelmap.txt: List should have at least 3 items"),
    ],
)
def test_a_draft_that_would_not_be_read_is_not_written(tmp_path: Path, labelmap: str, message: str) -> None:
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
    (tmp_path / "labelmap.txt").write_text(labelmap)
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path)
    assert not (tmp_path / "dataset.yaml").exists()
