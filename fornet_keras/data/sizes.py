"""An image at the size that a network learns at or takes, and labels brought to that of their image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def shrunk_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width with the shorter one brought down to `short_side` pixels; never larger than `size`."""
    if short_side is None or min(size) <= short_side:
        return size
    height, width = (round(length * short_side / min(size)) for length in size)
    return height, width


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


def brought_back(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Label ids or a picture of such an image at `size`, height and width, by the nearest pixel."""
    if values.shape[:2] == size:
        return values
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
