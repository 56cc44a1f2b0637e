"""Predictions in a data set's own label values, as its own scorer wants them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Dataset, LabelTable, Sample
from fornet_keras.errors import DataError
from fornet_keras.prediction.files import write_labels, write_picture


def label_values(table: LabelTable) -> NDArray[np.uint8]:
    """uint8 `(classes,)`: the value of each train id in the data's label files, of several the first."""
    values: dict[int, int] = {}
    for value, train_id in table.train_ids.items():
        values.setdefault(train_id, value)
    return np.array([values.get(train_id, 0) for train_id in range(table.num_classes)], np.uint8)


def save_label_values(
    folder: Path, dataset: Dataset, sample: Sample, label_ids: NDArray[np.uint8], palette: bool = True
) -> Path:
    """Write one prediction as a PNG of label values, at the image's place in the data.

    Args:
        folder: the folder of all predictions, for which `require_own_places` holds; the image's path below
            the data's root is kept.
        dataset: what the sample is from.
        sample: the sample that was predicted.
        label_ids: uint8 train ids `(height, width)`.
        palette: give it the class colours, for people; without, it is grey, as test servers want it.

    Returns:
        The file.
    """
    values = label_values(dataset.table)
    colors = np.zeros((256, 3), np.uint8)
    colors[values] = dataset.table.colors
    path = folder / _place(dataset, sample)
    if palette:
        write_labels(path, values[label_ids], colors)
    else:
        write_picture(path, values[label_ids])
    return path


def require_own_places(folder: Path, dataset: Dataset) -> None:
    """Whether the predictions of a data set can lie in a folder.

    Raises:
        DataError: the folder is the data's, a prediction would overwrite a file, or two have one name.
    """
    if folder.resolve() == dataset.root.resolve():
        raise DataError(f"{folder}: is the data's own folder; expected another one for the predictions")
    images: dict[Path, Path] = {}
    for sample in dataset.samples:
        path = folder / _place(dataset, sample)
        if os.path.lexists(path):  # an earlier prediction, or a photograph in a copy of the data
            raise DataError(
                f"{path}: is there already; expected a folder without it; choose another, or move it away"
            )
        other = images.setdefault(path, sample.image)
        if other != sample.image:
            raise DataError(
                f"{sample.image}: its prediction would have the file of that of {other}; "
                "expected names that differ by more than their ending; rename one of them"
            )


def _place(dataset: Dataset, sample: Sample) -> Path:
    """Where a prediction lies below the folder of all."""
    # A dataset.yaml may look outside its folder, as in ../images: predictions stay in theirs.
    parts = [part for part in sample.image.relative_to(dataset.root).parts if part != ".."]
    return Path(*parts).with_suffix(".png")
