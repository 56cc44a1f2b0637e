"""The memory that a program which predicts takes, measured in one that does nothing else.

Neither Keras nor what imports it stands at the top: an exported model is used without.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.prediction.protocol import Prediction

RUNS = 2
"""The first may compile, or set memory aside."""

Make = Callable[[], Callable[[NDArray[np.uint8]], Prediction]]
"""Opens a predictor, in another process too."""


def peak_megabytes(make: Make | None, image: NDArray[np.uint8]) -> float | None:
    """The most memory that a process holds which opens a predictor and predicts an image, 10⁶ bytes.

    What it imports for that, Python itself included, counts. None where there is nothing to make, where there
    was not enough, and on Windows, which does not tell.
    """
    if make is None or os.name == "nt":
        return None
    # A process of its own, and not a fork, which would begin with all that this one holds.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_peak, make, image).result()
        except BrokenProcessPool:
            return None


def _peak(make: Make, image: NDArray[np.uint8]) -> float:
    predict = make()
    for _ in range(RUNS):
        predict(image)
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage also counts what the parent had held
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
