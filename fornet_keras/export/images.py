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
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import letterboxed
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.errors import ExportError
from fornet_keras.export.proof import ProofImages

MOST_CALIBRATION = 64
FEWEST_CALIBRATION = 12
"""With fewer others, the images of the proof are calibrated on too."""
MAX_PROOF_IMAGES = 4
MOST_LABELLED = 16
T = TypeVar("T")


def export_images(
    folder: Path | None, dataset: Dataset | None, size: tuple[int, int], calibrates: bool
) -> tuple[list[NDArray[np.uint8]], ProofImages]:
    """Images to calibrate with, none unless asked, and those of the proof; evenly picked, at a size.

    The proof is taken on a data set's labelled images, or else on the folder's, or else on made-up ones. It
    is not calibrated on those, unless too few others are in the folder; the proof then says so. It names a
    folder without where it lies: a manifest may be published.

    Raises:
        ExportError: the folder holds no image, or the size is too small for a made-up one.
        DataError: an image or label cannot be read.
    """
    paths = files_below(folder, SUFFIXES) if folder else []
    if folder and not paths:
        raise ExportError(f"{folder}: no image in it; expected {', '.join(SUFFIXES)} files")
    if dataset:
        proof = labelled_images(dataset, size)
        shown = [sample.image for sample in _evenly_picked(dataset.samples, MOST_LABELLED)]
    elif folder:
        paths = _evenly_picked(paths, MAX_PROOF_IMAGES + MOST_CALIBRATION * calibrates)
        shown = _evenly_picked(paths, MAX_PROOF_IMAGES)
        proof = ProofImages(f"of {folder.resolve().name}", _at_size(shown, size))
    else:
        return [], made_up_images(size)
    if not calibrates:
        return [], proof
    seen = {path.resolve() for path in shown}
    others = [path for path in paths if path.resolve() not in seen]
    if len(others) < min(len(paths), FEWEST_CALIBRATION):
        others, proof = paths, replace(proof, source=f"{proof.source}, which it was calibrated on")
    return _at_size(_evenly_picked(others, MOST_CALIBRATION), size), proof


def _at_size(paths: Sequence[Path], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    return [letterboxed(read_image(path), size)[0] for path in paths]


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
    """Images of a data set, evenly picked, at a size, with their labels: the proof then has the loss of mIoU.

    Raises:
        DataError: a file cannot be used.
    """
    images, labels = [], []
    for sample in _evenly_picked(dataset.samples, MOST_LABELLED):
        image, label = read_sample(sample, dataset.table)
        fitted, window = letterboxed(image, size)
        images.append(fitted)
        labels.append((label, window))
    return ProofImages(f"of {dataset.root.resolve().name}, split {dataset.split}", images, labels)


def _evenly_picked(entries: Sequence[T], most: int) -> list[T]:
    """At most so many."""
    return [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, most).astype(int))]
