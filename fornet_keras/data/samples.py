"""Reading one sample: an image with its label, checked against each other, as it is or at another size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import LabelTable, Sample
from fornet_keras.data.images import read_image
from fornet_keras.data.label_files import read_label, to_train_ids
from fornet_keras.data.sizes import resize_nearest, shrunk
from fornet_keras.errors import DataError


def read_sample(
    sample: Sample, table: LabelTable, short_side: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one pair: uint8 RGB `(height, width, 3)` and uint8 train ids `(height, width)`.

    Args:
        sample: an image and its label file.
        table: meaning of the label file's values.
        short_side: pixels to which the shorter side of a larger pair is brought down; None keeps its own.

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
    label = to_train_ids(label, table, sample.label, holds_train_ids=sample.label_holds_train_ids)
    image = shrunk(image, short_side)
    return image, resize_nearest(label, image.shape[:2])
