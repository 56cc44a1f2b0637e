"""The images that an export is calibrated with and proven on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Dataset
from fornet_keras.data.file_list import files_below
from fornet_keras.data.images import SUFFIXES, read_image
from fornet_keras.data.samples import fit_sample
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.errors import ExportError
from fornet_keras.export.proof import ProofImages
from fornet_keras.prediction.short_side import stretched

MOST_CALIBRATION = 64
MAX_PROOF_IMAGES = 4
MOST_LABELLED = 16
T = TypeVar("T")


def folder_images(
    folder: Path, size: tuple[int, int], calibrates: bool
) -> tuple[list[NDArray[np.uint8]], ProofImages]:
    """Images of a folder, evenly picked, at a size: to calibrate with, none unless asked, and for the proof.

    Those of the proof are held out of the calibration, where the folder has four times as many.

    Raises:
        ExportError: there is none.
        DataError: one cannot be read.
    """
    paths = files_below(folder, SUFFIXES)
    if not paths:
        raise ExportError(f"{folder}: no image in it; expected {', '.join(SUFFIXES)} files")
    most = MAX_PROOF_IMAGES + MOST_CALIBRATION * calibrates
    images = [stretched(read_image(path), size) for path in _some(paths, most)]
    shown = _some(range(len(images)), MAX_PROOF_IMAGES)
    proof = ProofImages(f"of {folder}", [images[i] for i in shown])
    if not calibrates:
        return [], proof
    if len(images) < 4 * MAX_PROOF_IMAGES:
        return images, replace(proof, source=f"{proof.source}, which it was calibrated on")
    return [image for i, image in enumerate(images) if i not in shown], proof


def made_up_images(size: tuple[int, int]) -> ProofImages:
    """Street scenes, where a user names no images.

    Raises:
        ExportError: the size is too small for a scene.
    """
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
    pairs = [fit_sample(sample, dataset.table, size) for sample in _some(dataset.samples, MOST_LABELLED)]
    images, labels = zip(*pairs, strict=True)
    return ProofImages(f"of {dataset.root}, split {dataset.split}", images, labels)


def _some(entries: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly picked."""
    return [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, most).astype(int))]
