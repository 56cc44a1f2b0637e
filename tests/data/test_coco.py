import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.coco import rasterize, require_drawable
from fornet_keras.data.coco_file import read_annotations
from fornet_keras.data.label_files import read_label
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError

HEIGHT, WIDTH = 4, 6
SQUARE = [[1, 1, 5, 1, 5, 3, 1, 3]]  # x, y of the corners
RUNS: dict[str, Any] = {"size": [HEIGHT, WIDTH], "counts": "9220003"}  # of pycocotools: rows 1…2, columns 2…4
CATEGORY = {"id": 7, "name": "quay"}


def coco(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    image = {"id": 3, "file_name": "day/a.jpg", "height": HEIGHT, "width": WIDTH}
    found = [{"id": n, "image_id": 3, "iscrowd": 0, **each} for n, each in enumerate(annotations)]
    categories = [{"id": 90, "name": "boat", "supercategory": "x"}, CATEGORY]
    return {"images": [image], "categories": categories, "annotations": found, "info": {}, **changes}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos/day").mkdir(parents=True)
    for name in ("a.jpg", "a.bmp", "A.png"):
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(tmp_path / "photos/day" / name)
    return tmp_path / "photos"


def draw(photos: Path, content: Any, split: str = "train") -> np.ndarray:
    file, output = photos.parent / "a.json", photos.parent / "out"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    found = read_annotations(file, photos)
    require_drawable(found, photos, output, split)
    rasterize(found, photos, output, split)
    return read_label(output / "labels" / split / "day/a.png")


@pytest.mark.parametrize("counts", [RUNS["counts"], [9, 2, 2, 2, 2, 2, 5]])
def test_runs_of_pixels(photos: Path, counts: object) -> None:
    label = draw(photos, coco({"category_id": 90, "segmentation": {**RUNS, "counts": counts}}))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:3, 2:5] = 2
    np.testing.assert_array_equal(label, expected)


def test_polygons_cover_the_pixels_whose_middle_is_inside(photos: Path) -> None:
    beyond = [-9, 3.4, 99, 3.4, 99, 99, -9, 99]
    label = draw(photos, coco({"category_id": 7, "segmentation": [*SQUARE, beyond]}))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:3, 1:5] = expected[3] = 1
    np.testing.assert_array_equal(label, expected)


def test_annotations_without_an_outline_are_left_out(photos: Path) -> None:
    line = [1, 1, 5, 1]
    found = [{"segmentation": SQUARE}, {}, *({"segmentation": each} for each in (None, [], [[]], [line]))]
    content = coco(*({"category_id": 7, **each} for each in found))
    assert draw(photos, content).sum() == 8
    assert read_annotations(photos.parent / "a.json", photos).undrawable() == [1, 2, 3, 4, 5]
    beside_line = coco({"category_id": 7, "segmentation": [line, *SQUARE, []]})
    assert draw(photos, beside_line, "val").sum() == 8


def test_small_annotations_are_above_large_ones(photos: Path) -> None:
    small = {"category_id": 90, "segmentation": [[2, 1, 4, 1, 4, 2, 2, 2]]}
    large = {"category_id": 7, "segmentation": SQUARE}
    for order in ((small, large), (large, small)):
        label = draw(photos, coco(*order), split=f"first_{order[0]['category_id']}")
        assert label[1].tolist() == [0, 1, 2, 2, 1, 0] and label[2].tolist() == [0, 1, 1, 1, 1, 0]


def test_of_annotations_as_large_the_later_is_above(photos: Path) -> None:
    for first, later in ((7, 90), (90, 7)):
        found = coco(*({"category_id": number, "segmentation": SQUARE} for number in (first, later)))
        assert draw(photos, found, split=f"then_{later}")[1, 1] == {7: 1, 90: 2}[later]


def test_the_output_is_a_data_folder_with_several_splits(photos: Path) -> None:
    content = coco({"category_id": 7, "segmentation": SQUARE})
    for split in ("train", "val"):
        draw(photos, content, split)
    dataset = open_dataset("folder", photos.parent / "out", "train+val")
    assert dataset.table.names == ("background", "quay", "boat")
    report = scan(dataset)
    assert report.pixels == (32, 16, 0) and not report.problems
    with pytest.raises(
        DataError, match="out/images/val, .*out/labels/val: there already; expected a new split; nam"
    ):
        draw(photos, content, "val")
    other = {**content, "categories": [content["categories"][1], {"id": 90, "name": "ship"}]}
    with pytest.raises(
        DataError,
        match="other classes, background, quay, boat; .* annotations', background, quay, ship; write",
    ):
        draw(photos, other, "test")


def test_splits_may_number_their_classes_otherwise(photos: Path) -> None:
    """And have some of them alone; a value that has become void stays."""
    content = coco({"category_id": 7, "segmentation": SQUARE})
    draw(photos, content)
    other = coco({"category_id": 1, "segmentation": SQUARE}, categories=[{"id": 1, "name": "boat"}])
    assert set(draw(photos, other, "val").ravel()) == {0, 2}
    description = photos.parent / "out/dataset.yaml"
    line = '  - {name: "quay", value: 1}\n'
    assert line in description.read_text()
    description.write_text(description.read_text().replace(line, "").replace("[255]", "[1, 255]"))
    assert set(draw(photos, other, "test").ravel()) == {0, 2}


def test_a_background_that_became_void_stays_so(photos: Path) -> None:
    content = coco({"category_id": 7, "segmentation": SQUARE})
    draw(photos, content)
    description = photos.parent / "out/dataset.yaml"
    line = '  - {name: "background", value: 0}\n'
    assert line in description.read_text()
    description.write_text(description.read_text().replace(line, "").replace("[255]", "[0, 255]"))
    draw(photos, content, "val")
    assert scan(open_dataset("folder", photos.parent / "out", "val")).pixels == (8, 0)


def test_another_layout_is_refused(photos: Path) -> None:
    draw(photos, coco({"category_id": 7, "segmentation": SQUARE}))
    description = photos.parent / "out/dataset.yaml"
    for line in ('images: "{split}/images"', 'label_name: "{stem}_mask.png"', 'lists: "{split}.txt"'):
        before = description.read_text()
        description.write_text(f"{before}{line}\n")
        with pytest.raises(
            DataError, match="dataset.yaml: another layout; expected images/SPLIT and labels/"
        ):
            draw(photos, coco(), "val")
        description.write_text(before)


def test_names_as_long_as_roboflows(photos: Path) -> None:
    name = f"day/{'a' * 150}.jpg"
    (photos / "day/a.jpg").rename(photos / name)
    with pytest.raises(DataError, match="day/a.png: no such file"):  # the label is named as the image
        draw(photos, coco(**image(file_name=name)))
    assert len(open_dataset("folder", photos.parent / "out", "train")) == 1


def test_images_are_links_or_copies(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    draw(photos, coco(), "linked")
    monkeypatch.setattr(os, "link", refuse)
    draw(photos, coco(), "copied")
    source, images = photos / "day/a.jpg", photos.parent / "out/images"
    assert (images / "linked/day/a.jpg").samefile(source)
    assert not (images / "copied/day/a.jpg").samefile(source)
    assert (images / "copied/day/a.jpg").read_bytes() == source.read_bytes()


def test_void_is_declared_from_the_first_split_on(photos: Path) -> None:
    quay, void = {"id": 1, "name": "quay"}, {"id": 2, "name": "__ignore__"}
    square = {"category_id": 1, "segmentation": SQUARE}
    draw(photos, coco(square, categories=[quay]))
    content = coco({"category_id": 2, "segmentation": SQUARE}, categories=[quay, void])
    assert (draw(photos, content, "val") == 255).sum() == 8
    report = scan(open_dataset("folder", photos.parent / "out", "val"))
    assert report.pixels == (16, 0) and not report.problems
    description = photos.parent / "out/dataset.yaml"
    description.write_text(description.read_text().replace("\nignore: [255]", ""))
    with pytest.raises(DataError, match="dataset.yaml: value 255 is not void; .* as __ignore__; write it un"):
        draw(photos, content, "test")
    draw(photos, coco(square, categories=[quay, void]), "unused")


def test_polygons_are_drawn_in_their_own_box(photos: Path) -> None:
    """As in the whole image: the pixels whose middle has an odd number of edges to its left."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for number in range(50):
        polygon = np.round(rng.uniform(-2, 8, (5, 2)), number % 4)
        covered = np.zeros((HEIGHT, WIDTH), np.bool_)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if y0 != y1:
                crosses = (rows > min(y0, y1)) & (rows <= max(y0, y1))
                covered ^= crosses & (columns >= x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        annotation = {"category_id": 7, "segmentation": [polygon.ravel().tolist()]}
        np.testing.assert_array_equal(draw(photos, coco(annotation), f"split{number}"), covered)


def test_a_category_for_the_background_is_the_background(photos: Path) -> None:
    categories = [{"id": 1, "name": "background"}, {"id": 2, "name": "quay"}]
    content = coco({"category_id": 2, "segmentation": SQUARE}, categories=categories)
    assert draw(photos, content).max() == 1
    assert open_dataset("folder", photos.parent / "out", "train").table.names == ("background", "quay")


def image(**changes: Any) -> dict[str, Any]:
    return {"images": [{"id": 3, "file_name": "day/a.jpg", "height": HEIGHT, "width": WIDTH, **changes}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "a.json: the whole: Input should be .*; expected COCO's categories, images, and annotations"),
        ("{", "a.json: the whole: Invalid JSON"),
        (coco(images=[]), "a.json: images: List should have at least 1 item"),
        (
            coco(categories=[{"id": 1, "name": "background"}]),
            "categories: background alone; expected a class",
        ),
        (
            coco({"category_id": 7, "segmentation": SQUARE, "image_id": 4}),
            "annotation 0: its image 4 is none",
        ),
        (coco({"category_id": 7, "segmentation": {}}), "annotations.0.segmentation: .*; expected COCO's"),
        (
            coco({"category_id": 7}, {"category_id": 7, "segmentation": [[1, 1, 2, 2]]}),
            "none of 2 annotations has a polygon of three corners or a mask; expected some; export",
        ),
        (
            coco({"category_id": 7, "segmentation": {**RUNS, "counts": "\x01"}}),
            "annotations.0.segmentation: ",
        ),
        (
            coco({"category_id": 7, "segmentation": {**RUNS, "counts": "9"}}),
            "annotation 0: its runs do not fill",
        ),
        (
            coco({"category_id": 7, "segmentation": {**RUNS, "counts": []}}),
            "annotation 0: its runs do not fill",
        ),
        (
            coco({"category_id": 7, "segmentation": {**RUNS, "size": [6, 4]}}),
            "its runs do not fill its image",
        ),
        (coco({"category_id": 8, "segmentation": SQUARE}), "annotation 0: its category 8 is none; export"),
        (coco(**image(height=5)), "day/a.jpg: is 4×6; expected 5×6, as annotated; take the images"),
        (coco(**image(file_name="b.jpg")), "b.jpg: no such file"),
        (
            coco(**image(file_name="../a.json")),
            "image 3: .*a.json leads out of it; .*; correct its file_name",
        ),
        (coco(**image(file_name="day/../../photos/day/a.jpg")), r"/\.\./photos/day/a.jpg: leads out or is"),
        (
            coco(**image(file_name="day/.a.jpg")),
            "photos/day/.a.jpg: leads out or is hidden; expected a path below",
        ),
        (
            coco(images=image()["images"] * 2),
            "a.json: image id 3 occurs 2 times; expected once, .* export it",
        ),
        (coco(categories=[CATEGORY, CATEGORY]), "a.json: category id 7 occurs 2 times; expected once"),
        (
            coco(images=[*image()["images"], *image(id=4)["images"]]),
            "image 4: day/a.jpg is another image's file too; .*; put their annotations under one image id",
        ),
        (
            coco(images=[*image()["images"], *image(id=4, file_name="day/a.bmp")["images"]]),
            "a.bmp: is named like another image but for its ending; rename one",
        ),
        (
            coco(images=[*image()["images"], *image(id=4, file_name="day/A.png")["images"]]),
            "A.png: is named like another image but for its ending; rename one",
        ),
    ],
)
def test_what_is_refused(photos: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        draw(photos, content)
    assert "\n" not in str(caught.value)
    left = [path for path in (photos.parent / "out").rglob("*") if path.is_file() or path.name == "train"]
    assert not left


def test_a_split_that_is_no_name(photos: Path) -> None:
    with pytest.raises(DataError, match=r"split '\.\./x' is no name of a folder; expected one such as train"):
        draw(photos, coco(), "../x")
