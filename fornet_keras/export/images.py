"""The images that an export is calibrated with and proven on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Dataset
from fornet_keras.data.file_list import files_below
from fornet_keras.data.images import SUFFIXES, read_image
from fornet_keras.data.samples import fit_sample
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.errors import ExportError
from fornet_keras.export.proof import ProofImages

MOST_CALIBRATION = 64
MAX_PROOF_IMAGES = 4
MOST_LABELLED = 16


def calibration_images(folder: Path, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Images of a folder, evenly picked, at a size.

    Raises:
        ExportError: there is none.
        DataError: one cannot be read.
    """
    paths = files_below(folder, SUFFIXES)
    if not paths:
        raise ExportError(f"{folder}: no image in it; expected {', '.join(SUFFIXES)} files")
    picked = np.unique(np.linspace(0, len(paths) - 1, MOST_CALIBRATION).astype(int))
    return [cv2.resize(read_image(paths[i]), size[::-1], interpolation=cv2.INTER_AREA) for i in picked]


def proof_images(
    folder: Path | None, calibration: Sequence[NDArray[np.uint8]], size: tuple[int, int]
) -> ProofImages:
    """Some of the user's images where there are any, else made-up street scenes.

    Raises:
        ExportError: the size is too small for a scene.
    """
    if calibration:
        picked = np.unique(np.linspace(0, len(calibration) - 1, MAX_PROOF_IMAGES).astype(int))
        return ProofImages(f"of {folder}", [calibration[i] for i in picked])
    if min(size) < MIN_SIDE:
        raise ExportError(
            f"{size[0]}x{size[1]}: made-up street scenes need at least {MIN_SIDE} pixels a side; "
            "take more, or name images with --calibration"
        )
    scenes = [render_scene(seed, size).image for seed in range(MAX_PROOF_IMAGES)]
    return ProofImages("made-up street scenes", scenes)


def labelled_images(dataset: Dataset, size: tuple[int, int]) -> ProofImages:
    """Images of a data set with their labels, evenly picked, at a size: the proof then has the loss of mIoU.

    Raises:
        DataError: a file cannot be used.
    """
    picked = np.unique(np.linspace(0, len(dataset) - 1, MOST_LABELLED).astype(int))
    pairs = [fit_sample(dataset.samples[i], dataset.table, size) for i in picked]
    images, labels = zip(*pairs, strict=True)
    return ProofImages(f"of {dataset.root}, split {dataset.split}", images, labels)
