"""Write a city of scenes to disk in Cityscapes' layout: all of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.atomic import new_folder, remove_unfinished, unfinished
from fornet_keras.data.synthetic.scene import Scene, render_scene
from fornet_keras.errors import DataError, os_reason

CITIES = {"train": "arcadia", "val": "belmont"}
"""The city of each split, as in Cityscapes: no place is seen in both."""

MAX_SCENES = 1_000_000
"""Seeds reserved for a split, so that no two cities or splits share a scene."""

MIN_SIDE = 64
"""Smallest height and width in pixels at which a street is recognisable."""

MAX_SIDE = 32_766
"""Largest height and width in pixels of a picture that OpenCV's `remap` makes."""


def write_city(
    root: Path,
    num_train: int,
    num_val: int,
    size: tuple[int, int] = (256, 512),
    seed: int = 0,
    on_scene: Callable[[], None] | None = None,
) -> Path:
    """Write a training and a validation split below `root`.

    The files appear under `root` only when all are written; until then they lie in hidden folders in it.

    Args:
        root: folder to create; it must not exist, or be empty but for what a killed process left of a city.
        num_train: number of training scenes, 1…1,000,000.
        num_val: number of validation scenes, 1…1,000,000; none of them is a training scene.
        size: height and width in pixels, each 64…32766.
        seed: 0 or more; another seed gives another city.
        on_scene: called after each scene is written, to show progress.

    Returns:
        `root`.

    Raises:
        DataError: an argument cannot be used, or the disk refuses the files.
    """
    root = Path(root)
    counts = {"train": num_train, "val": num_val}
    try:
        _check(root, counts, size, seed)
        remove_unfinished(root)
        # Not renamed as a whole: `root` may be the current folder, a link or a volume.
        with new_folder(root / "leftImg8bit") as images, new_folder(root / "gtFine") as labels:
            for split, count in counts.items():
                for kind in (images, labels):
                    (kind / split / CITIES[split]).mkdir(parents=True)
                for index in range(count):
                    scene = render_scene(_scene_seed(seed, split, index), size)
                    _write_scene(images, labels, split, index, scene)
                    if on_scene:
                        on_scene()
    except OSError as error:
        raise DataError(
            f"{root}: the city cannot be written ({os_reason(error)}); "
            "expected a folder that may be written to, with free space; choose another folder"
        ) from error
    return root


def _scene_seed(seed: int, split: str, index: int) -> int:
    """The seed of one scene; no two cities, splits or indices share one."""
    return (seed * len(CITIES) + list(CITIES).index(split)) * MAX_SCENES + index


def _check(root: Path, counts: dict[str, int], size: tuple[int, int], seed: int) -> None:
    """Refuse what cannot give a city, before anything is written."""
    if os.path.lexists(root) and (not root.is_dir() or {*root.iterdir()} - {*unfinished(root)}):
        raise DataError(
            f"{root}: exists already; expected a new or empty folder; choose another or remove it"
        )
    for split, count in counts.items():
        if not 1 <= count <= MAX_SCENES:
            raise DataError(
                f"num_{split} must be 1…{MAX_SCENES:,}; received {count}; "
                f"use {min(max(count, 1), MAX_SCENES)}"
            )
    if min(size) < MIN_SIDE or max(size) > MAX_SIDE:
        near = tuple(min(max(side, MIN_SIDE), MAX_SIDE) for side in size)
        raise DataError(f"height and width must be {MIN_SIDE}…{MAX_SIDE}; received {tuple(size)}; use {near}")
    if seed < 0:
        raise DataError(f"seed must be 0 or more; received {seed}; use {-seed}")


def _write_scene(images: Path, labels: Path, split: str, index: int, scene: Scene) -> None:
    """Write image, label ids and instance ids of one scene under the names that Cityscapes gives them."""
    stem = f"{CITIES[split]}_{index:06d}_000019"
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _write_png(images / split / CITIES[split] / f"{stem}_leftImg8bit.png", bgr)
    labels = labels / split / CITIES[split]
    _write_png(labels / f"{stem}_gtFine_labelIds.png", scene.label_ids)
    _write_png(labels / f"{stem}_gtFine_instanceIds.png", scene.instance_ids)


def _write_png(path: Path, pixels: NDArray[np.generic]) -> None:
    # OpenCV's default compression: any level that is asked for takes longer on images with sensor noise.
    _, encoded = cv2.imencode(".png", pixels)
    path.write_bytes(encoded.tobytes())
