import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.coco import drawn_classes, rasterize, require_drawable
from fornet_keras.data.label_files import read_label
from fornet_keras.data.labelme_file import read_labelme
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError

HEIGHT, WIDTH = 4, 8
CORNERS = [[1, 1], [4, 1], [4, 2], [1, 2]]  # x, y: rows 1…2, columns 1…4


def shape(label: str = "quay", shape_type: str | None = "polygon", **changes: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": shape_type, "points": CORNERS, "flags": {}, "mask": None, **changes}


def drawn(path: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    """A file of LabelMe and, where it is not there, the photograph beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo = path.with_suffix(".jpg")
    if not photo.exists():
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(photo)
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": photo.name, "imageData": None, **size}
    path.write_text(json.dumps(content | changes))
    return path


def draw(folder: Path, split: str = "train") -> Path:
    output = folder.parent / "out"
    found = read_labelme(folder, drawn_classes(output))
    require_drawable(found, folder, output, split)
    rasterize(found, folder, output, split)
    return output


def label_of(tmp_path: Path, *shapes: dict[str, Any]) -> Any:
    drawn(tmp_path / "photos/day/a.json", *shapes)
    return read_label(draw(tmp_path / "photos") / "labels/train/day/a.png")


def square(value: int = 1) -> Any:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:3, 1:5] = value
    return expected


def png(mask: Any) -> str:
    file = BytesIO()
    Image.fromarray(np.array(mask, np.uint8)).save(file, "PNG")
    return b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shape_type": None},
        {"shape_type": "oriented_rectangle"},
        {"shape_type": "rectangle", "points": [[4.9, 1.9], [1, 2.1]]},
        {"shape_type": "rectangle"},
    ],
)
def test_shapes_cover_all_pixels_that_they_touch(tmp_path: Path, changes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(label_of(tmp_path, shape(**changes)), square())


def test_a_circle(tmp_path: Path) -> None:
    """Around a pixel's corner: those about it, then four rows and columns without and with the corners."""
    for radius, count in ((0.5, 4), (1.3, 12), (1.5, 16)):
        label = label_of(tmp_path, shape(shape_type="circle", points=[[4, 2], [4, 2 - radius]]))
        assert np.count_nonzero(label == 1) == count
        if count == 4:
            assert (label[1:3, 3:5] == 1).all()
        for path in (tmp_path / "out").rglob("train"):
            path.rename(path.with_name(f"{radius}"))


def test_a_mask_lies_in_its_box(tmp_path: Path) -> None:
    mask = [[1, 0, 1], [0, 1, 1], [0, 0, 1]]
    box = {"points": [[5, 1], [7, 3]], "mask": png(mask)}
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:4, 5:8] = mask  # down to the corner of the image
    np.testing.assert_array_equal(label_of(tmp_path, shape(shape_type="mask", **box)), expected)


def test_points_and_lines_are_left_out(tmp_path: Path) -> None:
    others = [shape("dot", kind) for kind in ("point", "line", "linestrip", "circle", "mask")]
    np.testing.assert_array_equal(label_of(tmp_path, *others, shape()), square())
    path = tmp_path / "photos/day/a.json"
    assert read_labelme(tmp_path / "photos").undrawable() == [f"{path}: shapes.{n}" for n in range(5)]
    names = open_dataset("folder", tmp_path / "out", "train").table.names
    assert names == ("background", "quay"), "what is nowhere drawn is no class"


def test_labels_are_classes_by_name_but_labelmes_own_two(tmp_path: Path) -> None:
    small, beside = {"points": [[2, 1]] * 3}, {"points": [[3, 1]] * 3}
    label = label_of(
        tmp_path, shape("_background_", **small), shape(), shape("__ignore__", **beside), shape("boat")
    )
    assert label[1].tolist() == [0, 1, 0, 255, 1, 0, 0, 0], "the first of two alike is below"
    dataset = open_dataset("folder", tmp_path / "out", "train")
    assert dataset.table.names == ("background", "boat", "quay")
    report = scan(dataset)
    assert not report.problems and report.pixels == (25, 6, 0)


def test_a_second_split_has_the_classes_of_the_first(tmp_path: Path) -> None:
    for name, labels in (("train", ["boat", "quay"]), ("val", ["quay"]), ("test", ["quay", "tram"])):
        drawn(tmp_path / name / "a.json", *map(shape, labels))
        if name != "test":
            draw(tmp_path / name, name)
    output = tmp_path / "out"
    np.testing.assert_array_equal(read_label(output / "labels/val/a.png"), square(2))
    message = "a.json: shapes.1: label 'tram'; expected a class of dataset.yaml: background, boat, quay; cor"
    with pytest.raises(DataError, match=message):
        draw(tmp_path / "test", "test")
    description = output / "dataset.yaml"
    description.write_text(description.read_text().replace("\nignore:", "\n  - tram\nignore:"))
    draw(tmp_path / "test", "test")
    assert scan(open_dataset("folder", output, "test")).pixels == (24, 0, 0, 8)


def test_a_class_that_became_void_moves_no_other(tmp_path: Path) -> None:
    drawn(tmp_path / "train/a.json", shape("boat"), shape("quay"), shape("tram"))
    drawn(tmp_path / "val/a.json", shape("quay"))
    description = draw(tmp_path / "train") / "dataset.yaml"
    assert "remove its line and write ignore: [0, 255] at the end" in description.read_text()
    lines = [line for line in description.read_text().splitlines() if 'background"' not in line]
    text = "\n".join(line for line in lines if "boat" not in line)
    description.write_text(text.replace("ignore: [255]", "ignore: [0, 1, 255]"))
    assert open_dataset("folder", tmp_path / "out", "train").table.names == ("quay", "tram")
    output = draw(tmp_path / "val", "val")
    np.testing.assert_array_equal(read_label(output / "labels/val/a.png"), square(2))
    assert scan(open_dataset("folder", output, "val")).pixels == (8, 0)
    drawn(tmp_path / "test/a.json", shape("boat"))
    with pytest.raises(
        DataError, match=r"label 'boat'; expected a class of dataset.yaml: \(value 0\), \(val"
    ):
        draw(tmp_path / "test", "test")


def test_photographs_of_another_folder_below_and_of_windows(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    drawn(photos / "images/a.json", shape()).rename(photos / "a.json")
    drawn(photos / "json/a.json", shape(), imagePath="..\\images\\a.jpg")
    (photos / "a.json").unlink()
    assert (draw(photos) / "images/train/images/a.jpg").samefile(photos / "images/a.jpg")
    message = "a.json: .*images/a.jpg leads out of it; expected a file in .*; name the folder that holds both"
    with pytest.raises(DataError, match=message):
        read_labelme(photos / "json")


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        (
            [{"label": "a"}],
            {},
            "a.json: shapes.0.points: Field required; expected LabelMe's JSON; move it out",
        ),
        ([shape(points=[])], {}, "shapes.0.points: List should have at least 1 item"),
        ([shape(points=[[1, 2, 3]])], {}, "shapes.0.points.0: Tuple should have at most 2 items"),
        ([shape(label="\x1b")], {}, "shapes.0.label: "),
        ([], {"imageHeight": None}, "a.json: imageHeight: Input should be a valid integer"),
        ([], {}, "categories: background alone; expected a class beside it; annotate one"),
        ([shape(shape_type="point")], {}, "none of 1 annotations has a polygon .* or a mask; expected some"),
        ([shape()], {"imageHeight": 5}, "a.jpg: is 4×8; expected 5×8, as annotated"),
        (
            [shape()],
            {"imagePath": "b.jpg"},
            "a.json: imagePath 'b.jpg' is no file; expected its photograph; correct it",
        ),
        ([shape()], {"imagePath": "\x01.jpg"}, r"a.json: imagePath '\\x01.jpg' is no file"),
        ([shape()], {"imagePath": "a\0.jpg"}, "a.json: .* cannot be followed; expected a file in"),
        (
            [shape(shape_type="mask", mask="#")],
            {},
            r"a.json: shapes.0.mask: .*; expected a PNG in base64; save it again",
        ),
        ([shape(shape_type="mask", mask="aaaa")], {}, "a.json: shapes.0.mask: is not an image"),
        (
            [shape(shape_type="mask", mask=png(np.ones((4, 2))))],
            {},
            "shapes.0.mask: 4×2 from row 1, column 1 on; expected it in 4×8; draw it again",
        ),
        (
            [shape(shape_type="mask", mask=png([[1]]), points=[[-1, 1], [-1, 1]])],
            {},
            "shapes.0.mask: 1×1 from row 1, column -1 on; expected it in 4×8",
        ),
    ],
)
def test_what_is_refused(
    tmp_path: Path, shapes: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    drawn(tmp_path / "photos/a.json", *shapes, **changes)
    with pytest.raises(DataError, match=message) as caught:
        draw(tmp_path / "photos")
    assert "\n" not in str(caught.value)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with pytest.raises(
        DataError, match=r"photos: no \*.json; expected LabelMe's, one a photograph; name COC"
    ):
        read_labelme(photos)
    drawn(photos / "a.json", shape())
    drawn(photos / "b.json", shape(), imagePath="./a.jpg")
    with pytest.raises(
        DataError, match="b.json: is of a.jpg, as .*a.json is; expected one file each; remove"
    ):
        read_labelme(photos)
    (photos / "b.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="b.json: cannot be read .*; expected LabelMe's JSON; save it as"):
        read_labelme(photos)
