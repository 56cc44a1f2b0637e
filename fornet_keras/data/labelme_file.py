"""The files of LabelMe: one JSON beside each photograph, with the shapes that were drawn on it."""

from __future__ import annotations

import math
import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from fornet_keras.bounded_text import first_finding, read_bounded
from fornet_keras.data.coco_file import BACKGROUND, IGNORED, Coco, Coordinate, Side, as_coco
from fornet_keras.data.dataset import CLASS_NAME, IGNORE
from fornet_keras.data.description import DATASET_YAML
from fornet_keras.data.file_list import files_below, require_inside, resolver
from fornet_keras.data.images import decode_image
from fornet_keras.errors import DataError, listed

MAX_BYTES = 100_000_000
"""Of one file, which may hold its photograph too."""

_BACKGROUND = "_background_"
"""What LabelMe calls it."""

_CORNERS = 360
"""Of a circle: one of 4,000 pixels across is then off by a tenth of a pixel at most."""


class Shape(BaseModel):
    """What was drawn."""

    label: Annotated[str, Field(pattern=CLASS_NAME)]
    points: Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1)]
    shape_type: str | None = None
    mask: str | None = None


class Drawn(BaseModel):
    """The contents of a file, under LabelMe's own names."""

    shapes: list[Shape]
    imagePath: str
    imageHeight: Side
    imageWidth: Side


def read_drawn(path: Path) -> Drawn:
    """Read and check one of LabelMe's files.

    Raises:
        DataError: it cannot be read or holds something else; one line.
    """
    text = read_bounded(path, MAX_BYTES, "LabelMe's JSON")
    try:
        return Drawn.model_validate_json(text)
    except ValidationError as error:
        fix = "move it out of this folder, or name it itself if it is COCO's"
        raise DataError(f"{path}: {first_finding(error)}; expected LabelMe's JSON; {fix}") from error


def read_labelme(folder: Path, classes: Sequence[str] = ()) -> Coco:
    """Read the files of LabelMe in a folder and below it.

    Polygons, rectangles, circles and masks are taken, points and lines left out. `_background_` is the
    background, `__ignore__` is ignored.

    Args:
        folder: it. The photographs must be in it too, links followed; those without a file do not count.
        classes: those that the labels may name, by value, the first being the background; where there are
            none, the labels that are found, sorted.

    Raises:
        DataError: there are no files, one cannot be used, or a label is none of `classes`; one line.
    """
    files = files_below(folder, [".json"])
    if not files:
        raise DataError(
            f"{folder}: no *.json; expected LabelMe's, one a photograph; name COCO's file, or YOLO's "
            "data.yaml, itself"
        )
    resolve = resolver()
    found: dict[str, Path] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, path in enumerate(files):
        drawn = read_drawn(path)
        image = Path(os.path.normpath(path.parent / drawn.imagePath.replace("\\", "/")))  # as Windows has it
        require_inside(folder, image, str(path), resolve, fix="name the folder that holds both")
        if not image.is_file():
            named = f"imagePath {drawn.imagePath!r}"
            raise DataError(f"{path}: {named} is no file; expected its photograph; correct it")
        name = os.path.relpath(image, folder)
        if name in found:
            raise DataError(f"{path}: is of {name}, as {found[name]} is; expected one file each; remove one")
        found[name] = path
        height, width = drawn.imageHeight, drawn.imageWidth
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for index, shape in enumerate(drawn.shapes):
            where = f"{path}: shapes.{index}"
            outline = _outline(shape, height, width, where)
            annotations.append(
                {"id": where, "image_id": number, "segmentation": outline, "name": shape.label}
            )
    values = _values(annotations, classes)
    for annotation in annotations:
        annotation["category_id"] = values.get(annotation["name"], 0)
    categories = [{"id": value, "name": name} for name, value in values.items() if name != _BACKGROUND]
    return as_coco(folder, {"categories": categories, "images": images, "annotations": annotations})


def _values(annotations: Sequence[dict[str, Any]], classes: Sequence[str]) -> dict[str, int]:
    """The value of each label."""
    special = {BACKGROUND: 0, _BACKGROUND: 0, IGNORED: IGNORE}
    where = {each["name"]: each["id"] for each in annotations if each["segmentation"]}
    new = sorted(where.keys() - special.keys() - {*classes})
    if classes and new:
        raise DataError(
            f"{where[new[0]]}: label '{new[0]}'; expected a class of {DATASET_YAML}: "
            f"{listed(classes, 10)}; correct it, or add it there as the last class"
        )
    return {name: value for value, name in enumerate(classes[1:] or new, 1)} | special


def _outline(shape: Shape, height: int, width: int, where: str) -> Any:
    """A shape as COCO's `segmentation`; None of what covers nothing."""
    xs, ys = zip(*shape.points, strict=True)
    match shape.shape_type or "polygon":
        case "polygon" | "oriented_rectangle":
            return [[side for point in shape.points for side in point]]
        case "rectangle":  # two corners, or with other programs four
            return [[min(xs), min(ys), max(xs), min(ys), max(xs), max(ys), min(xs), max(ys)]]
        case "circle" if len(xs) == 2:  # the middle, and a point on it
            radius = math.dist(*shape.points)
            angles = np.arange(_CORNERS) * 2 * np.pi / _CORNERS
            corners = np.stack([xs[0] + radius * np.cos(angles), ys[0] + radius * np.sin(angles)], axis=1)
            return [corners.ravel().tolist()]
        case "mask" if shape.mask is not None:
            return _runs(shape.mask, (round(min(ys)), round(min(xs))), (height, width), where)
    return None


def _runs(text: str, corner: tuple[int, int], size: tuple[int, int], where: str) -> dict[str, Any]:
    """A PNG of the pixels from a row and a column on, as COCO's runs down the columns of the image."""
    try:
        mask = decode_image(b64decode(text, validate=True), f"{where}.mask")[..., 0] > 0
    except ValueError as error:
        raise DataError(f"{where}.mask: {error}; expected a PNG in base64; save it again") from error
    (top, left), (height, width) = corner, size
    if top < 0 or left < 0 or top + mask.shape[0] > height or left + mask.shape[1] > width:
        rows, columns = mask.shape
        found = f"{rows}×{columns} from row {top}, column {left} on"
        raise DataError(f"{where}.mask: {found}; expected it in {height}×{width}; draw it again")
    edges = np.diff(np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8))
    columns, rows = np.nonzero(edges)
    places = (left + columns) * height + top + rows
    counts = np.diff([0, *places, height * width])
    return {"size": size, "counts": counts.tolist()}
