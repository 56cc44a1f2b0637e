"""Pictures for people: classes as colours, overlays, importance, legends. All arrays are RGB uint8."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.data.sizes import resize_nearest, shrunk

Picture = NDArray[np.uint8]

VOID_COLOR = (0, 0, 0)
OPACITY = 0.55
"""Of the class colours over a photograph."""
ROW_HEIGHT = 24
"""Pixels of a class in the legend."""
FONT_SIZE = 15


def palette(table: LabelTable) -> Picture:
    """uint8 `(256, 3)`: the colour of each train id; void is black."""
    colors = np.full((256, 3), VOID_COLOR, dtype=np.uint8)
    colors[: table.num_classes] = table.colors
    return colors


def colorize(label_ids: NDArray[np.uint8], table: LabelTable) -> Picture:
    """Class colours, `(height, width, 3)`, of train ids `(height, width)`."""
    return palette(table)[label_ids]


def overlay(image: Picture, label_ids: NDArray[np.uint8], table: LabelTable) -> Picture:
    """The photograph under its class colours; void stays as it is.

    Args:
        image: uint8 `(height, width, 3)`.
        label_ids: uint8 train ids `(height, width)`.
        table: the `LabelTable`.

    Raises:
        ValueError: the label ids are of another height and width than the image.
    """
    if label_ids.shape != image.shape[:2]:
        raise ValueError(
            f"label_ids must have the image's height and width {image.shape[:2]}; received "
            f"{label_ids.shape}: give the image that was predicted"
        )
    mixed = cv2.addWeighted(image, 1 - OPACITY, colorize(label_ids, table), OPACITY, 0)
    return np.where((label_ids == IGNORE)[..., None], image, mixed)


def importance_map(
    image: Picture,
    importance: NDArray[np.floating],
    kept: NDArray[np.bool_],
    region_size: int,
    short_side: int | None = None,
) -> Picture:
    """The photograph under a heat map of importance, with the kept regions framed.

    Args:
        image: uint8 `(height, width, 3)`.
        importance: float `(rows, columns)`, 0…1; the map is scaled to its own maximum.
        kept: bool `(rows, columns)`.
        region_size: edge of a region in pixels.
        short_side: pixels to which the shorter side of a larger image was brought down when it was predicted:
            a model's or a predictor's own; None or 0 where it was not.

    Raises:
        ValueError: such an image has other regions.
    """
    seen = shrunk(image, short_side or None)
    height, width = seen.shape[:2]
    regions = -(-height // region_size), -(-width // region_size)
    if importance.shape != regions:
        raise ValueError(
            f"importance must be of the {regions} regions of {region_size} pixels in {height}x{width}; "
            f"received {importance.shape}; give the image that was predicted, and its model's short_side"
        )
    scaled = importance / max(float(importance.max()), 1e-6)
    heat = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    heat = heat.repeat(region_size, 0).repeat(region_size, 1)[:height, :width]
    picture = cv2.addWeighted(seen, 0.55, np.ascontiguousarray(heat), 0.45, 0)
    for row, column in np.argwhere(kept):
        corner = (int(column) * region_size, int(row) * region_size)
        opposite = (corner[0] + region_size - 1, corner[1] + region_size - 1)
        cv2.rectangle(picture, corner, opposite, (255, 255, 255), 1)
    return resize_nearest(picture, image.shape[:2])


COMPARED = ("label", "prediction", "importance, kept regions")
"""The columns of `compared`."""


def compared(
    image: Picture, label: Picture, label_ids: Picture, table: LabelTable, hard: Picture | None
) -> Picture:
    """Side by side: the photograph under its label, under the prediction, and, if known, its importance.

    Args:
        image: uint8 `(height, width, 3)`.
        label: uint8 train ids `(height, width)`.
        label_ids: uint8 train ids `(height, width)` that were predicted.
        table: the `LabelTable`.
        hard: its `importance_map`, or None.
    """
    pictures = [overlay(image, ids, table) for ids in (label, label_ids)]
    return side_by_side([pictures if hard is None else [*pictures, hard]])


def legend(table: LabelTable) -> Picture:
    """The class names beside their colours, in Latin, Greek, Cyrillic and the alphabets near them.

    Chinese, Japanese, Korean, Thai and Indian letters show as boxes.
    """
    font = _font()
    width = 50 + round(max(font.getlength(name) for name in table.names))
    picture = Image.new("RGB", (width, table.num_classes * ROW_HEIGHT + 8), "white")
    draw = ImageDraw.Draw(picture)
    for index, (name, color) in enumerate(zip(table.names, table.colors, strict=True)):
        top = 6 + index * ROW_HEIGHT
        draw.rectangle((8, top, 26, top + ROW_HEIGHT - 8), fill=tuple(color))
        draw.text((34, top + ROW_HEIGHT / 2 - 4), name, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def with_legend(picture: Picture, table: LabelTable) -> Picture:
    """A picture with the `legend` of its colours at its right."""
    columns = (picture, legend(table))
    height = max(map(len, columns))
    below = [((0, height - len(column)), (0, 0), (0, 0)) for column in columns]
    return np.hstack([np.pad(*pair, constant_values=255) for pair in zip(columns, below, strict=True)])


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Matplotlib's DejaVu Sans, or Pillow's font, which knows ASCII, where Matplotlib comes without it."""
    spec = find_spec("matplotlib")  # to import it takes longer than to draw
    for folder in (spec and spec.submodule_search_locations) or ():
        try:
            return ImageFont.truetype(Path(folder, "mpl-data/fonts/ttf/DejaVuSans.ttf"), FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(FONT_SIZE)


def headed(picture: Picture, names: Sequence[str]) -> Picture:
    """A picture of columns of one width, with a name above each."""
    height, width = picture.shape[:2]
    sheet = Image.new("RGB", (width, height + ROW_HEIGHT), "white")
    sheet.paste(Image.fromarray(picture), (0, ROW_HEIGHT))
    draw, font = ImageDraw.Draw(sheet), _font()
    for index, name in enumerate(names):
        middle = (width * (index + 0.5) / len(names), ROW_HEIGHT / 2)
        draw.text(middle, name, fill="black", font=font, anchor="mm")
    return np.asarray(sheet)


def side_by_side(rows: Sequence[Sequence[Picture]], gap: int = 4) -> Picture:
    """Rows of pictures as one, each scaled to the first one's size.

    Args:
        rows: list of lists of uint8 `(height, width, 3)`.
        gap: white pixels between pictures.
    """
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = row * (height + gap), column * (width + gap)
            if picture.shape[:2] != (height, width):
                picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
            sheet[top : top + height, left : left + width] = picture
    return sheet
