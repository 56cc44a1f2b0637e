"""The JSON of COCO's annotations, as far as it is needed here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, field_validator

from fornet_keras.bounded_text import TooLargeError, read_text
from fornet_keras.data.dataset import CLASS_NAME, IGNORE
from fornet_keras.errors import DataError, os_reason

MAX_BYTES = 500_000_000
"""COCO's own files hold 450 MB."""

_Side = Annotated[int, Field(ge=1, le=100_000)]
_Polygon = list[Annotated[float, Field(ge=-1e6, le=1e6)]]


class Category(BaseModel):
    """A class."""

    id: int
    name: Annotated[str, Field(pattern=CLASS_NAME)]


class Picture(BaseModel):
    """An image, by its path below the folder of all."""

    id: int
    file_name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,4096}$")]
    height: _Side
    width: _Side

    def size(self) -> tuple[int, int]:
        return self.height, self.width


class Runs(BaseModel):
    """A mask: its height and width, and pixels outside and inside in turn, down the columns."""

    size: tuple[_Side, _Side]
    counts: list[Annotated[int, Field(ge=0)]] | Annotated[str, Field(pattern=r"^([P-o]{0,11}[0-O])*$")]


class Annotation(BaseModel):
    """An object in an image."""

    id: int = 0
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
    """The contents of a COCO file."""

    categories: Annotated[list[Category], Field(min_length=1, max_length=IGNORE - 1)]
    images: Annotated[list[Picture], Field(min_length=1)]
    annotations: list[Annotation]

    def undrawable(self) -> list[int]:
        """The ids of the annotations that have no polygon and no mask."""
        return [annotation.id for annotation in self.annotations if annotation.segmentation is None]


def read_annotations(path: Path) -> Coco:
    """Read and check a COCO file.

    Raises:
        DataError: it cannot be read, holds something else, or no annotation can be drawn; one line.
    """
    try:
        coco = Coco.model_validate_json(read_text(path, MAX_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:3])) or "the whole"
        raise DataError(
            f"{path}: {where}: {first['msg']}; expected COCO's categories, images, and annotations with "
            "a segmentation; export it again"
        ) from error
    except (OSError, UnicodeDecodeError, TooLargeError) as error:
        raise DataError(
            f"{path}: cannot be read ({os_reason(error)}); expected COCO's JSON; check the path"
        ) from error
    if coco.annotations and len(coco.undrawable()) == len(coco.annotations):
        raise DataError(
            f"{path}: none of {len(coco.annotations)} annotations has a polygon of three corners or a mask; "
            "expected some; export segmentations, not boxes alone"
        )
    return coco
