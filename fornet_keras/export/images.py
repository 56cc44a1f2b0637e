"""The images that an export is calibrated with and proven on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE, Dataset, Sample
from fornet_keras.data.file_list import files_below
from fornet_keras.data.images import SUFFIXES, read_image
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import Window, letterboxed
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.errors import DataError, ExportError, one_line
from fornet_keras.export.reference import ProofImages

MOST_CALIBRATION = 64
FEWEST_CALIBRATION = 12
"""With fewer others, the images of the proof are calibrated on too."""
MAX_PROOF_IMAGES = 4
MOST_LABELLED = 16
MOST_LABEL_COLORS = 64
FLAT = 0.9
"""Share of the pixels that are as their neighbour."""
T = TypeVar("T")


def export_images(
    folder: Path | None, dataset: Dataset | None, size: tuple[int, int], calibrates: bool
) -> tuple[list[NDArray[np.uint8]], ProofImages]:
    """Images to calibrate with, none unless asked, and those of the proof; evenly picked, at a size.

    The proof is taken on a data set's labelled images, or else on the folder's, or else on made-up ones. It
    is not calibrated on those, unless too few others are in the folder; the proof then says so. It names a
    folder without where it lies: a manifest may be published.

    Raises:
        ExportError: the folder holds no image, or a label picture, or the size is too small for a made-up
            one.
        DataError: an image or label cannot be read, or all labels are void.
    """
    paths = files_below(folder, SUFFIXES) if folder else []
    if folder and not paths:
        raise ExportError(f"{folder}: no image in it; expected {', '.join(SUFFIXES)} files")
    if dataset:
        samples = _evenly_picked(dataset.samples, MOST_LABELLED)
        proof = labelled_images(dataset, samples, size)
        shown = [sample.image for sample in samples]
    elif folder:
        paths = _evenly_picked(paths, MAX_PROOF_IMAGES + MOST_CALIBRATION * calibrates)
        shown = _evenly_picked(paths, MAX_PROOF_IMAGES)
        proof = ProofImages(f"of {one_line(folder.resolve().name)}", *_at_size(folder, shown, size))
    else:
        return [], made_up_images(size)
    if not (folder and calibrates):
        return [], proof
    seen = {path.resolve() for path in shown}
    others = [path for path in paths if path.resolve() not in seen]
    if len(others) < min(len(paths), FEWEST_CALIBRATION):
        others, proof = paths, replace(proof, source=f"{proof.source}, which it was calibrated on")
    calibration, _ = _at_size(folder, _evenly_picked(others, MOST_CALIBRATION), size)
    return calibration, proof


def _at_size(
    folder: Path, paths: Sequence[Path], size: tuple[int, int]
) -> tuple[list[NDArray[np.uint8]], list[Window]]:
    """Images of a user's folder, letterboxed, and where in each the photograph is.

    Raises:
        ExportError: a label picture is among them.
    """
    fitted: list[NDArray[np.uint8]] = []
    windows: list[Window] = []
    labels: list[Path] = []
    photographs: list[Path] = []
    for path in paths:
        image = read_image(path)
        (labels if _is_label(path, image) else photographs).append(path)
        image, window = letterboxed(image, size)
        fitted.append(image)
        windows.append(window)
    if labels:
        unlike, fix = "a photograph", "give the folder of the images"
        if photographs:
            place = photographs[0].parent
            unlike = f"an image like {photographs[0]}"
            fix = "move the labels out of it" if place == labels[0].parent else f"give their folder, {place}"
        raise ExportError(
            f"{labels[0]}: is a label picture, by its few flat colours, and not {unlike}; expected images "
            f"alone in --calibration {folder}; {fix}; what is a photograph all the same passes as a JPEG"
        )
    return fitted, windows


def _is_label(path: Path, image: NDArray[np.uint8]) -> bool:
    """Labels are PNGs of some colours in flat areas; a frame of one colour is black."""
    if path.suffix.lower() != ".png":
        return False
    packed = image[::4].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    is_flat = (packed[:, 1:] == packed[:, :-1]).mean() > FLAT if packed.shape[1] > 1 else False
    return bool(is_flat) and 1 < len(np.unique(packed)) <= MOST_LABEL_COLORS


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
    whole = slice(0, size[0]), slice(0, size[1])
    return ProofImages("made-up street scenes", scenes, [whole] * len(scenes))


def labelled_images(dataset: Dataset, samples: Sequence[Sample], size: tuple[int, int]) -> ProofImages:
    """Samples of a data set at a size, with their labels: the proof then has the loss of mIoU.

    Raises:
        DataError: a file cannot be used, or all labels are void.
    """
    images, windows, labels = [], [], []
    for sample in samples:
        image, label = read_sample(sample, dataset.table)
        fitted, window = letterboxed(image, size)
        images.append(fitted)
        windows.append(window)
        labels.append(label)
    if all((label == IGNORE).all() for label in labels):
        raise DataError(
            f"{dataset.root}: the {len(labels)} labels of split '{dataset.split}' that the proof takes have "
            "no pixel of any class; expected some; take another --split, or leave --config out"
        )
    source = f"of {one_line(dataset.root.resolve().name)}, split {dataset.split}"
    return ProofImages(source, images, windows, labels)


def _evenly_picked(entries: Sequence[T], most: int) -> list[T]:
    """At most so many."""
    return [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, most).astype(int))]
