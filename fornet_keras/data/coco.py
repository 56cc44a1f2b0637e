"""From annotations as COCO has them, polygons and runs of pixels, to label files and a `dataset.yaml`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fornet_keras.atomic import new_folder
from fornet_keras.data.coco_file import BACKGROUND, IGNORED, Annotation, Coco, Runs
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.describe import write_description
from fornet_keras.data.description import DATASET_YAML, FolderDescription, read_dataset_yaml
from fornet_keras.data.images import image_size
from fornet_keras.errors import DataError, listed

_HEAD = """\
# Value 0 is what no annotation covers: if no class, remove its line and write ignore: [0, 255] at the end.
"""

_LAYOUT = FolderDescription.model_validate({"name": "data", "classes": ["a", "b"]}).layout()
"""Where images and labels are written, as a `dataset.yaml` that says nothing of it has them."""


def require_drawable(coco: Coco, images: Path, output: Path, split: str) -> None:
    """Refuse what `rasterize` could not finish: of several splits each, before the first is drawn.

    Args:
        coco: from `read_annotations`, `read_labelme` or `read_yolo`, which see that its files may be read.
        images: the folder that its file names are relative to.
        output: the data folder; it may have other splits of the same classes.
        split: a name for these images, such as train.

    Raises:
        DataError: an annotation does not fit, an image is missing or of another size, or the split is there.
    """
    names, values = _classes(coco, output)
    of_image = {picture.id for picture in coco.images}
    drawn = [annotation for annotation in coco.annotations if annotation.segmentation is not None]
    for annotation in drawn:
        if annotation.category_id not in values or annotation.image_id not in of_image:
            lost = "category" if annotation.category_id not in values else "image"
            number = getattr(annotation, f"{lost}_id")
            raise DataError(f"annotation {annotation.id}: its {lost} {number} is none; export it again")
    void = any(values[annotation.category_id] == IGNORE for annotation in drawn)
    _check(output, split, names, void)
    image_of: dict[str, PurePath] = {}
    for picture in coco.images:
        name, source = picture.place(), images / picture.place()
        _check_image(name, source, picture.size(), images)
        label = str(name.with_suffix(".png")).casefold()  # some disks tell no capitals
        other = image_of.setdefault(label, name)
        if other is not name and other == name:
            raise DataError(
                f"image {picture.id}: {name} is another image's file too; expected one image a file; put "
                "their annotations under one image id"
            )
        if other != name:
            raise DataError(f"{source}: is named like another image but for its ending; rename one")


def rasterize(
    coco: Coco, images: Path, output: Path, split: str, on_image: Callable[[], None] = lambda: None
) -> list[str]:
    """Write a label for each annotated image, and make `output` a data folder of the format `folder`.

    Pixels take the class of the smallest annotation that covers them, and else `background`, value 0. The
    images become links to the same files, or copies where the disk is another. `Coco.undrawable` is left out.

    Args:
        coco: as the next three, what `require_drawable` has let pass.
        images: the folder that its file names are relative to.
        output: the data folder.
        split: a name for these images.
        on_image: called after each image, to show progress.

    Returns:
        The class names; the position is the label value.

    Raises:
        DataError: runs of pixels do not fill their image.
    """
    names, values = _classes(coco, output)
    of_image: dict[int, list[Annotation]] = {picture.id: [] for picture in coco.images}
    for annotation in coco.annotations:
        if annotation.segmentation is not None:
            of_image[annotation.image_id].append(annotation)
    with new_folder(output / "labels" / split) as labels, new_folder(output / "images" / split) as links:
        for picture in coco.images:
            name = picture.place()
            label = (labels / name).with_suffix(".png")
            label.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_draw(of_image[picture.id], picture.size(), values, coco.outline)).save(label)
            (links / name).parent.mkdir(parents=True, exist_ok=True)
            _link(images / name, links / name)
            on_image()
    if not (output / DATASET_YAML).exists():
        classes = [{"name": name, "value": value} for value, name in enumerate(names)]
        write_description(output, _HEAD, classes, {"ignore": [IGNORE]})
    return names


def _classes(coco: Coco, output: Path) -> tuple[list[str], dict[int, int]]:
    """The class names by value, and the value of each category's id.

    In the order of the ids, or in that of another split of the folder which has all of them.
    """
    categories = sorted(coco.categories, key=lambda category: category.id)
    found = dict.fromkeys([BACKGROUND, *(category.name for category in categories)])
    _, *names = (name for name in found if name != IGNORED)
    _, *drawn = drawn_classes(output) or [BACKGROUND]
    names = [BACKGROUND, *(drawn if {*names} <= {*drawn} else names)]
    value_of = {name: value for value, name in enumerate(names)} | {IGNORED: IGNORE}
    return names, {category.id: value_of[category.name] for category in categories}


def drawn_classes(output: Path) -> list[str]:
    """The class names of a data folder that other splits were drawn into, by value; none where it is new.

    A value that has become void since then has a name that no annotation has, so that the others stay.

    Raises:
        DataError: its `dataset.yaml` cannot be read.
    """
    if not (output / DATASET_YAML).exists():
        return []
    table = read_dataset_yaml(output).table()
    of_value = {value: table.names[index] for value, index in table.train_ids.items() if index != IGNORE}
    return [of_value.get(value, f"(value {value})") for value in range(max(of_value) + 1)]


def _check(output: Path, split: str, names: Sequence[str], void: bool) -> None:
    """Refuse what would not become a data folder of some classes, and perhaps of void."""
    if not re.fullmatch(r"[^.+/\\][^+/\\]*", split):
        raise DataError(f"split '{split}' is no name of a folder; expected one such as train")
    there = [folder for kind in ("images", "labels") if (folder := output / kind / split).exists()]
    if there:
        fix = "name another --output, or remove what was drawn"
        raise DataError(f"{listed(there)}: there already; expected a new split; {fix}")
    if len(names) < 2:
        raise DataError(f"categories: {', '.join(names)} alone; expected a class beside it; annotate one")
    if not (output / DATASET_YAML).exists():
        return
    description = read_dataset_yaml(output)
    if description.layout() != _LAYOUT or description.lists or description.label_colors:
        expected = "images/SPLIT and labels/SPLIT, of values and without lists"
        raise DataError(f"{output / DATASET_YAML}: another layout; expected {expected}; name a new folder")
    table = description.table()
    meant = [table.train_ids.get(value) for value in range(len(names))]
    for name, train_id in zip(names, meant, strict=True):
        if train_id is None or (train_id != IGNORE and table.names[train_id] != name):
            raise DataError(
                f"{output / DATASET_YAML}: has other classes, {listed(table.names)}; expected all of the "
                f"annotations', {listed(names)}; write those that it lacks as the last, or export all splits "
                "with the same"
            )
    if void and table.train_ids.get(IGNORE) != IGNORE:
        raise DataError(
            f"{output / DATASET_YAML}: value {IGNORE} is not void; expected it so, for what is drawn as "
            f"{IGNORED}; write it under ignore"
        )


def _check_image(name: PurePath, source: Path, expected: tuple[int, int], images: Path) -> None:
    if name.is_absolute() or any(part.startswith(".") for part in name.parts):
        raise DataError(f"{source}: leads out or is hidden; expected a path below {images}; correct it")
    size = image_size(source)
    if size != expected:
        raise DataError(
            f"{source}: is {size[0]}×{size[1]}; expected {expected[0]}×{expected[1]}, as annotated; take the "
            "images that were"
        )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _draw(
    found: Sequence[Annotation], size: tuple[int, int], values: dict[int, int], outline: bool
) -> NDArray[np.uint8]:
    """The label of an image, large annotations below small ones."""
    label = np.zeros(size, np.uint8)
    areas = [np.count_nonzero(_mask(annotation, size, outline)[1]) for annotation in found]
    for index in np.argsort(np.negative(areas), kind="stable"):
        box, mask = _mask(found[index], size, outline)
        label[box][mask] = values[found[index].category_id]
    return label


def _mask(
    annotation: Annotation, size: tuple[int, int], outline: bool
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Rows and columns, and of these the pixels that an annotation's polygons cover, or those of its runs."""
    runs = annotation.segmentation
    if not isinstance(runs, Runs):
        polygons = [np.reshape(polygon[: len(polygon) // 2 * 2], (-1, 2)) for polygon in runs or []]
        if outline:  # a whole number that was a share is a hair off
            polygons = [np.floor(polygon + 1e-3) for polygon in polygons]
        corners = np.concatenate(polygons)
        left, top = np.clip(np.floor(corners.min(axis=0)), 0, size[::-1]).astype(int)
        right, bottom = np.clip(np.floor(corners.max(axis=0) + 1), 0, size[::-1]).astype(int)
        covered = np.zeros((bottom - top, right - left), np.uint8)
        for polygon in polygons:
            if not outline:
                _cover(covered, polygon, top, left)
            elif covered.size:  # OpenCV takes no array without rows
                cv2.fillPoly(covered, [(polygon - (left, top)).astype(np.int32)], [1])
        return (slice(top, bottom), slice(left, right)), covered > 0
    counts = _counts(runs.counts) if isinstance(runs.counts, str) else runs.counts
    if runs.size != size or sum(counts) != size[0] * size[1] or min(counts) < 0:
        raise DataError(
            f"annotation {annotation.id}: its runs do not fill its image of {size[0]}×{size[1]}; "
            "export it again"
        )
    inside = np.arange(len(counts)) % 2 == 1
    return (slice(None), slice(None)), np.repeat(inside, counts).reshape(size[::-1]).T


def _cover(covered: NDArray[np.uint8], corners: NDArray[np.float64], top: int, left: int) -> None:
    """Set the pixels whose middle is in a polygon, of those from a row and a column on; even-odd.

    Args:
        covered: `(height, width)`.
        corners: x and y in the image, `(corners, 2)`.
        top: the image's row that is the first of `covered`.
        left: the column.
    """
    height, width = covered.shape

    def rows_between(low: float, high: float) -> tuple[int, int]:
        begin, end = np.clip(np.ceil([low - 0.5, high - 0.5]) - top, 0, height)
        return int(begin), int(end)

    first, end = rows_between(corners[:, 1].min(), corners[:, 1].max())
    crossed = np.zeros((end - first, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.arange(*rows_between(*sorted((y0, y1))))
        if len(rows):
            x = x0 + (top + rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows - first, np.clip(np.ceil(x - 0.5) - left, 0, width).astype(int)] ^= 1
    covered[first:end] |= np.bitwise_xor.accumulate(crossed, axis=1)[:, :-1]


def _counts(text: str) -> list[int]:
    """The lengths in a text: five bits a letter, the lowest first, as differences to the one but last."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
