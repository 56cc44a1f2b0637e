"""An image at the size that a network learns at or takes, and labels brought to that of their image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.errors import DataError

MAX_RUN_PIXELS = 2**24
"""Of an image that a network takes whole: a larger one would need gigabytes for its logits."""

PAD_COLOR = (127, 127, 127)
"""What lies outside the image: the value that the network's normalisation maps to zero."""

Window = tuple[slice, slice]
"""Rows and columns of a letterboxed image that hold the photograph."""


def require_runnable(size: tuple[int, int]) -> None:
    """Refuse a height and width at which no network can be run.

    Raises:
        DataError: they are too large.
    """
    if size[0] * size[1] > MAX_RUN_PIXELS:
        raise DataError(
            f"{size[0]}x{size[1]}: too large to be run; expected at most {MAX_RUN_PIXELS:,} pixels; "
            "give a smaller --size, such as 1024x2048"
        )


def shrunk_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width with the shorter one brought down to `short_side` pixels; never larger than `size`."""
    if short_side is None or min(size) <= short_side:
        return size
    height, width = (round(length * short_side / min(size)) for length in size)
    return height, width


def predicted_sizes(
    sizes: Iterable[tuple[int, int]], short_side: int | None
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The sizes at which a `Predictor` runs images that are taken as they are, and those brought down.

    Apart, as it compiles and keeps functions for each kind.
    """
    found = set(sizes)
    own = {size for size in found if shrunk_size(size, short_side) == size}
    return own, {shrunk_size(size, short_side) for size in found - own}


def shrunk(image: NDArray[Any], short_side: int | None) -> NDArray[Any]:
    """The image, RGB `(height, width, 3)`, at its `shrunk_size`; itself where that is its own."""
    return stretched(image, shrunk_size(image.shape[:2], short_side))


def stretched(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The image, RGB `(height, width, 3)`, at another height and width; itself where they are its own."""
    # OpenCV averages only where no side grows: first the sides that shrink, then those that grow.
    smaller = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    for step, how in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if step != image.shape[:2]:
            image = cv2.resize(image, step[::-1], interpolation=how)
    return image


def letterboxed(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], Window]:
    """The image, RGB `(height, width, 3)`, in the middle of another size, its proportions kept; and where.

    A network has learnt things in their proportions: stretched to others, they are found less often.
    """
    scale = min(whole / length for whole, length in zip(size, image.shape[:2], strict=True))
    # Halves up, as Math.round in JavaScript and Kotlin's roundToInt: deploy/ computes the same.
    rows, columns = (max(1, int(length * scale + 0.5)) for length in image.shape[:2])
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    window = slice(top, top + rows), slice(left, left + columns)
    fitted = np.full((*size, 3), PAD_COLOR, np.uint8)
    fitted[window] = stretched(image, (rows, columns))
    return fitted, window


def regions_in(window: Window, region_size: int) -> Window:
    """Rows and columns of a map of regions, each of so many pixels, in which the photograph is."""
    rows, columns = (slice(side.start // region_size, -(-side.stop // region_size)) for side in window)
    return rows, columns


def resize_nearest(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Label ids or a picture of such an image at `size`, height and width, by the nearest pixel."""
    if values.shape[:2] == size:
        return values
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
