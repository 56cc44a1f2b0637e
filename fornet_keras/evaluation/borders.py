"""The pixels near label borders, where segmentation is hard and a mean over all pixels does not show it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE


def border_band(label: NDArray[np.uint8], radius: int) -> NDArray[np.bool_]:
    """Whether another class lies within `radius` pixels, in a square around each pixel.

    Void is no class: a pixel beside it is in the band only where two classes are near.

    Args:
        label: uint8 train ids `(height, width)`, `IGNORE` for void.
        radius: pixels, at least 1.

    Returns:
        bool `(height, width)`; False in void.

    Reference: the trimap of Kohli et al. (IJCV 2009), with a square in the place of a disc.
    """
    void = label == IGNORE
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    # The border of the image adds no class: 0 never wins a maximum, 255 no minimum.
    highest = cv2.dilate(np.where(void, 0, label).astype(np.uint8), square, borderValue=0)
    lowest = cv2.erode(np.where(void, 255, label).astype(np.uint8), square, borderValue=255)
    band: NDArray[np.bool_] = (highest != lowest) & ~void
    return band
