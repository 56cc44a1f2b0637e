"""Reading one sample: an image with its label, checked against each other, as it is or at another size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import LabelTable, Sample
from fornet_keras.data.images import read_image
from fornet_keras.data.label_files import read_label, to_train_ids
from fornet_keras.errors import DataError


def read_sample(sample: Sample, table: LabelTable) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one pair: uint8 RGB `(height, width, 3)` and uint8 train ids `(height, width)`.

    Raises:
        DataError: a file cannot be used, the sizes differ, or a label value is unknown.
    """
    if sample.label is None:
        raise DataError(f"{sample.image}: no label; expected one to train or score on; add its label file")
    image, label = read_image(sample.image), read_label(sample.label, table.label_colors)
    if image.shape[:2] != label.shape:
        sizes = ["x".join(map(str, array.shape[:2])) for array in (label, image)]
        raise DataError(
            f"{sample.label}: the label is {sizes[0]} and its image {sample.image.name} {sizes[1]} pixels "
            "(height x width); expected one size; resize the label with nearest neighbours"
        )
    return image, to_train_ids(label, table, sample.label, holds_train_ids=sample.label_holds_train_ids)


def fit_sample(
    sample: Sample, table: LabelTable, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image and its train ids at a size.

    Raises:
        DataError: a file cannot be used.
    """
    image, label = read_sample(sample, table)
    fitting = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return fitting, cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
