"""Predictions in a data set's own label values, as its own scorer wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.errors import DataError
from fornet_keras.prediction.files import write_labels, write_picture


def label_values(table: LabelTable) -> NDArray[np.uint8]:
    """uint8 `(classes,)`: the value that each train id has in the data's label files."""
    values = np.zeros(table.num_classes, np.uint8)
    for value, train_id in table.train_ids.items():
        if train_id != IGNORE:
            values[train_id] = value
    return values


def save_label_values(
    folder: Path, dataset: Dataset, sample: Sample, label_ids: NDArray[np.uint8], palette: bool = True
) -> Path:
    """Write one prediction as a PNG of label values, at the image's place in the data.

    Args:
        folder: the folder of all predictions; the image's path below the data's root is kept.
        dataset: what the sample is from.
        sample: the sample that was predicted.
        label_ids: uint8 train ids `(height, width)`.
        palette: give it the class colours, for people; without, it is grey, as test servers want it.

    Returns:
        The file.

    Raises:
        DataError: the file is the image itself, or its label.
    """
    values = label_values(dataset.table)
    colors = np.zeros((256, 3), np.uint8)
    colors[values] = dataset.table.colors
    # A dataset.yaml may look outside its folder, as in ../images: predictions stay in theirs.
    place = [part for part in sample.image.relative_to(dataset.root).parts if part != ".."]
    path = folder.joinpath(*place).with_suffix(".png")
    if path.resolve() in [own.resolve() for own in (sample.image, sample.label) if own]:
        raise DataError(
            f"{path}: is the data's own file, which the prediction would overwrite; "
            "expected a folder other than the data's own; choose another one"
        )
    if palette:
        write_labels(path, values[label_ids], colors)
    else:
        write_picture(path, values[label_ids])
    return path
