"""Reading label files into arrays, and their values or colours into train ids.

Pillow hands out a palette label's indices, where OpenCV has its colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE, Color, LabelTable
from fornet_keras.data.images import opened
from fornet_keras.errors import DataError, listed

OTHER_SUFFIXES = (".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Endings of files that are no labels, as which some tools save them."""

_GREY_STEPS = {"L;2": 85, "L;4": 17}  # by which Pillow spreads grey of two and four bits over 0…255
_COLORS_APART = 8  # more undeclared colours are a photo, or smoothed edges


class WrongLabelError(DataError):
    """A label file is intact but does not hold one class value a pixel."""


def read_label(path: Path, colors: Mapping[Color, int] | None = None) -> NDArray[np.uint8]:
    """The values of a label file, as they are stored; of a palette file the indices, not the colours.

    A file of one, two or four bits a pixel holds values from 0 on; of red, green and blue that are alike in
    all pixels, one is the value.

    Args:
        path: a PNG.
        colors: RGB colour → value, where the file is a picture in the classes' colours.

    Returns:
        uint8 array `(height, width)`, 0…255.

    Raises:
        WrongLabelError: the file has channels that differ, a value above 255, a colour that is none of
            `colors`, or is no PNG.
        DataError: as `read_image`.
    """
    with opened(path) as image:
        if image.format != "PNG":
            raise WrongLabelError(
                f"{path}: is a {image.format} file, which may not keep class values; expected a PNG; "
                "export the labels again as PNG"
            )
        if colors:
            if image.mode.startswith("I"):  # which Pillow would cut off at white
                raise WrongLabelError(
                    f"{path}: holds one 16-bit channel; expected a picture in the classes' colours; export "
                    "the labels in colour, or take label_colors out of dataset.yaml for label values"
                )
            return _values_of(np.array(image.convert("RGBA")), colors, path)
        # As they are stored: of 16 bits Pillow keeps the upper ones.
        if image.tile and str(image.tile[0].args) in ("RGB", "RGBA", "LA"):
            pixels = np.array(image.convert("RGB"))
            if (pixels == pixels[..., :1]).all():  # values that a tool has written three times
                return np.ascontiguousarray(pixels[..., 0])
        if image.mode not in ("1", "L", "P", "I;16"):
            raise WrongLabelError(
                f"{path}: holds {image.mode} pixels; expected one 8-bit channel of class values; "
                "save a one-channel PNG, or for labels in colours take data.format: folder with label_colors"
            )
        # Of the file's pixels, where it has any; gone once they are decoded.
        step = _GREY_STEPS.get(str(image.tile[0].args)) if image.tile else None
        label = np.array(image)
        if step:
            label //= step
    if label.dtype != np.uint8 and label.max(initial=0) > 255:
        raise WrongLabelError(
            f"{path}: holds 16-bit values up to {label.max()}; expected class values of 0…255; "
            "use the class labels, not the instance or depth map"
        )
    return label.astype(np.uint8, copy=False)


def _values_of(picture: NDArray[np.uint8], colors: Mapping[Color, int], path: Path) -> NDArray[np.uint8]:
    """The value of each pixel's colour, of RGBA `(height, width, 4)` whose last channel says nothing."""
    values = np.zeros(1 << 24, np.uint8)
    unknown = np.ones(1 << 24, np.bool_)
    for (red, green, blue), value in colors.items():
        packed = red | green << 8 | blue << 16
        values[packed], unknown[packed] = value, False
    pixels = picture.view("<u4")[..., 0]
    pixels &= 0xFFFFFF
    if (amiss := unknown[pixels]).any():
        # The first alone, so that files which share it are counted together.
        found = np.unique(pixels[amiss])
        if len(found) > _COLORS_APART:
            raise WrongLabelError(
                f"{path}: more than {_COLORS_APART} colours of no class; expected those of dataset.yaml; "
                "export the labels without smoothed edges, or take label files and no photos"
            )
        color = [int(found[0]) >> shift & 255 for shift in (0, 8, 16)]
        raise WrongLabelError(
            f"{path}: colour {color} of no class; expected those of dataset.yaml; declare it as a class or "
            "under ignore_colors"
        )
    return values[pixels]


def read_instances(path: Path) -> NDArray[np.int64]:
    """The values of an instance map, such as Cityscapes' `instanceIds`: 8 or 16 bits, one channel.

    Returns:
        int64 array `(height, width)`.

    Raises:
        WrongLabelError: the file has several channels.
        DataError: as `read_image`.
    """
    with opened(path) as image:
        if image.mode not in ("L", "I", "I;16"):
            raise WrongLabelError(f"{path}: holds {image.mode} pixels; expected one channel of instance ids")
        return np.array(image).astype(np.int64)


def to_train_ids(
    label: NDArray[np.uint8], table: LabelTable, path: Path, holds_train_ids: bool = False
) -> NDArray[np.uint8]:
    """Replace the values of a label file by train ids.

    Args:
        label: uint8 array `(height, width)` of label-file values.
        table: the data set's classes.
        path: the label file, for the error.
        holds_train_ids: the values already are train ids; they are only checked.

    Returns:
        uint8 array `(height, width)` of 0…`num_classes - 1` and `IGNORE`.

    Raises:
        WrongLabelError: a value is not in the table.
    """
    lookup, undeclared = train_id_lookup(table, holds_train_ids)
    if cv2.LUT(label, undeclared).any():
        values = [int(value) for value in np.unique(label) if undeclared[value]]
        raise WrongLabelError(
            f"{path}: value{'s' if len(values) > 1 else ''} {listed(values, 8)} not in the label table; "
            f"expected {_ranges(np.flatnonzero(undeclared == 0))}; declare each as ignore or as a class"
        )
    return np.asarray(cv2.LUT(label, lookup), np.uint8)


def train_id_lookup(
    table: LabelTable, holds_train_ids: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two uint8 arrays over the values 0…255 of a label file: its train id, and 1 where it has none."""
    train_ids = {value: value for value in (*range(table.num_classes), IGNORE)}
    if not holds_train_ids:
        train_ids = dict(table.train_ids)
    lookup = np.full(256, IGNORE, np.uint8)
    undeclared = np.ones(256, np.uint8)
    for value, train_id in train_ids.items():
        lookup[value] = train_id
        undeclared[value] = 0
    return lookup, undeclared


def _ranges(values: NDArray[np.intp]) -> str:
    """`[0, 1, 2, 255]` as "0…2, 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]}…{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
