"""What a prediction costs on this machine, and what it scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.benchmark.candidates import Candidate
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.images import read_image
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import letterboxed, resize_nearest, shrunk_size, stretched
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.metrics import ConfusionMatrix

WARM_UP = 2
MAX_DRAWN = 1024
"""Pixels of the shorter side that a scene is drawn at: a larger one takes seconds."""
CPU = "CPU"
"""What a row without a GPU runs on."""
PAUSE = 0.1
"""Seconds before a candidate runs, in which the threads of the one before fall asleep."""


def measure(
    found: Sequence[Candidate], repeats: int, on_round: Callable[[], None], dataset: Dataset | None = None
) -> list[dict[str, Any]]:
    """Time all candidates in turn, so that what else the machine does falls on all of them alike.

    Args:
        found: what is timed.
        repeats: rounds.
        on_round: called after each round.
        dataset: whose middle image is predicted, at the size of each candidate; None takes a made-up scene.

    Returns:
        One row a candidate, ready for JSON; the figures are of one image a call, `ratio_to_first` is to the
        first candidate of the same size.
    """
    images = {size: benchmark_image(size, dataset) for size in {candidate.size for candidate in found}}
    milliseconds: list[list[float]] = [[] for _ in found]
    for number in range(WARM_UP + repeats):
        for candidate, times in zip(found, milliseconds, strict=True):
            # Threads of ONNX Runtime and PyTorch spin on, and took 18 ms of the next one's time. The run that
            # is not counted wakes this one's own.
            time.sleep(PAUSE)
            candidate.run(images[candidate.size])
            seconds = candidate.seconds(images[candidate.size])
            if number >= WARM_UP:
                times.append(1000 * seconds)
        on_round()
    first: dict[tuple[int, int], float] = {}  # of each size
    for candidate, times in zip(found, milliseconds, strict=True):
        first.setdefault(candidate.size, float(np.median(times)))
    return [_row(one, times, first[one.size]) for one, times in zip(found, milliseconds, strict=True)]


def _row(candidate: Candidate, milliseconds: Sequence[float], first: float) -> dict[str, Any]:
    median = float(np.median(milliseconds))
    return {
        "name": candidate.name,
        "runtime": candidate.runtime,
        "device": candidate.device or CPU,
        "precision": candidate.precision,
        "size": list(candidate.size),
        "top_k": candidate.top_k,
        "median_ms": median,
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "min_ms": float(np.min(milliseconds)),
        "ratio_to_first": median / first,
        "images_per_second": 1000 / median,
        "megabytes": candidate.megabytes,
        "label_agreement": candidate.label_agreement,
    }


def benchmark_image(size: tuple[int, int], dataset: Dataset | None) -> NDArray[np.uint8]:
    """A street scene that fills the size: how long labels take depends on how many borders they have."""
    if dataset is not None:
        return stretched(read_image(dataset.samples[len(dataset) // 2].image), size)
    height, width = size
    drawn = shrunk_size((max(height, MIN_SIDE), max(width, MIN_SIDE)), MAX_DRAWN)
    scene = render_scene(0, drawn).image
    return stretched(scene, size) if min(size) > MAX_DRAWN else scene[:height, :width]


def score(candidate: Candidate, dataset: Dataset) -> float | None:
    """MIoU on a labelled data set, each label at its own size, 0…1; None where the classes are others."""
    if candidate.classes != dataset.table.names:
        return None
    matrix = ConfusionMatrix(dataset.table.num_classes)
    for sample in dataset.samples:
        image, label = read_sample(sample, dataset.table)
        fitted, window = letterboxed(image, candidate.size)
        label_ids = candidate.run(fitted)[window].astype(np.uint8)
        matrix.add(label, resize_nearest(label_ids, label.shape))
    return matrix.miou
