"""The pixels near label borders, where segmentation is hard and a mean over all pixels does not show it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE
from fornet_keras.metrics import mean_of_known


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


@dataclass
class BoundaryScore:
    """Precision, recall and F-score of the outlines, counted over any number of images.

    An outline pixel is right where the other outline of its class passes within `radius` pixels, in a square.
    Where the label is void, nothing is scored, and an outline of a class against void is none.

    Args:
        num_classes: number of classes.
        radius: pixels, at least 1.

    Reference: Csurka et al., What is a good evaluation measure for semantic segmentation? (BMVC 2013), with
    counts summed over the data set.
    """

    num_classes: int
    radius: int
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        # Of each class: predicted outline pixels, those that are right, true outline pixels, those found.
        self.counts = np.zeros((self.num_classes, 4), np.int64)

    def add(self, label: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count an image: uint8 train ids `(height, width)`, of the label with `IGNORE` for void."""
        # Void takes the prediction's place: there it can neither be right nor wrong.
        prediction = np.where(label == IGNORE, IGNORE, prediction).astype(np.uint8)
        true_outline, outline = border_band(label, 1), border_band(prediction, 1)
        square = np.ones((2 * self.radius + 1, 2 * self.radius + 1), np.uint8)
        for index in np.unique(np.concatenate([label[true_outline], prediction[outline]])):
            true, found = true_outline & (label == index), outline & (prediction == index)
            near_true, near_found = (cv2.dilate(x.astype(np.uint8), square) > 0 for x in (true, found))
            self.counts[index] += [int(x.sum()) for x in (found, found & near_true, true, true & near_found)]

    @property
    def f_score(self) -> NDArray[np.float64]:
        """Of each class, 0…1: twice precision times recall over their sum; NaN without an outline."""
        found, right, true, recalled = self.counts.T.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision, recall = right / found, recalled / true
            both = 2 * precision * recall / (precision + recall)
        f_score: NDArray[np.float64] = np.where(
            found + true == 0, np.nan, np.where((right == 0) | (recalled == 0), 0.0, both)
        )
        return f_score

    @property
    def mean(self) -> float:
        """Mean over the classes that have an outline, 0…1; NaN without any."""
        return mean_of_known(self.f_score)
