"""COCO's annotations, as far as they are needed here; what other formats have is brought into their form."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from fornet_keras.bounded_text import first_finding, read_bounded
from fornet_keras.data.dataset import CLASS_NAME, IGNORE
from fornet_keras.data.file_list import require_inside, resolver
from fornet_keras.errors import DataError

BACKGROUND = "background"
"""The class of what no annotation covers, value 0."""

IGNORED = "__ignore__"
"""The category of what is neither trained on nor scored, so called by LabelMe: no class, but value 255."""

MAX_BYTES = 500_000_000
"""COCO's own files hold 450 MB."""

Side = Annotated[int, Field(ge=1, le=100_000)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
_Polygon = list[Coordinate]


class Category(BaseModel):
    """A class."""

    id: int
    name: Annotated[str, Field(pattern=CLASS_NAME)]


class Picture(BaseModel):
    """An image, by its path below the folder of all."""

    id: int
    file_name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,4096}$")]
    height: Side
    width: Side

    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def place(self) -> PurePath:
        """Its path without `..` on the way, but perhaps at the beginning."""
        return PurePath(os.path.normpath(self.file_name))


class Runs(BaseModel):
    """A mask: its height and width, and pixels outside and inside in turn, down the columns."""

    size: tuple[Side, Side]
    counts: list[Annotated[int, Field(ge=0)]] | Annotated[str, Field(pattern=r"^([P-o]{0,11}[0-O])*$")]


class Annotation(BaseModel):
    """An object in an image. Its id is a number, or with other formats its file and its place there."""

    id: Annotated[int | str, Field(union_mode="left_to_right")] = 0
    image_id: int
    category_id: int
    segmentation: list[_Polygon] | Runs | None = None

    @field_validator("segmentation")
    @classmethod
    def _or_none(cls, found: list[_Polygon] | Runs | None) -> list[_Polygon] | Runs | None:
        """Polygons of three corners or more, or runs; None of what has neither: a box, a sliver."""
        if isinstance(found, list):
            found = [polygon for polygon in found if len(polygon) >= 6]
        return found or None


class Coco(BaseModel):
    """The contents of a COCO file, or what another reader has found.

    With an `outline`, which COCO's file does not say, a polygon has all pixels that its outline touches, as
    Ultralytics and LabelMe draw it; without, those whose middle it covers, as COCO's own tools do.
    """

    categories: Annotated[list[Category], Field(min_length=1, max_length=IGNORE - 1)]
    images: Annotated[list[Picture], Field(min_length=1)]
    annotations: list[Annotation]
    outline: bool = False

    def undrawable(self) -> list[int | str]:
        """The ids of the annotations that have no polygon and no mask."""
        return [annotation.id for annotation in self.annotations if annotation.segmentation is None]


def read_coco(path: Path) -> Coco:
    """Read a file, whatever it names.

    Raises:
        DataError: it cannot be read or holds something else; one line.
    """
    try:
        return Coco.model_validate_json(read_bounded(path, MAX_BYTES, "COCO's JSON"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:3])) or "the whole"
        raise DataError(
            f"{path}: {where}: {first['msg']}; expected COCO's categories, images, and annotations with "
            "a segmentation; export it again"
        ) from error


def read_annotations(path: Path, images: Path) -> Coco:
    """Read and check a COCO file.

    Args:
        path: the JSON.
        images: the folder that its file names are relative to, and where they must be, links followed.

    Raises:
        DataError: it cannot be read, holds something else, names a file elsewhere, or no annotation can be
            drawn; one line.
    """
    coco = read_coco(path)
    for what, ids in (
        ("category", [category.id for category in coco.categories]),
        ("image", [picture.id for picture in coco.images]),
    ):
        number, times = Counter(ids).most_common(1)[0]
        if times > 1:
            raise DataError(
                f"{path}: {what} id {number} occurs {times} times; expected once, for annotations to name "
                "one; export it again"
            )
    resolve = resolver()
    for picture in coco.images:
        file = images / picture.place()
        require_inside(images, file, f"image {picture.id}", resolve, fix="correct its file_name")
    return _drawable(path, coco)


def as_coco(path: Path, content: dict[str, Any]) -> Coco:
    """What a reader of another format has found, held to what a COCO file may hold.

    Args:
        path: what was read, for an error message.
        content: `categories`, `images` and `annotations`, as in a COCO file.

    Raises:
        DataError: it has too many classes, an odd file name, or no annotation that can be drawn; one line.
    """
    try:
        return _drawable(path, Coco.model_validate({**content, "outline": True}))
    except ValidationError as error:
        raise DataError(f"{path}: {first_finding(error)}; correct it") from error


def _drawable(path: Path, coco: Coco) -> Coco:
    """`coco` itself, where some annotation can be drawn or there is none."""
    if coco.annotations and len(coco.undrawable()) == len(coco.annotations):
        raise DataError(
            f"{path}: none of {len(coco.annotations)} annotations has a polygon of three corners or a mask; "
            "expected some; export segmentations, not boxes alone"
        )
    return coco
