"""The memory that a prediction takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import keras

from fornet_keras.benchmark.candidates import Candidate
from fornet_keras.benchmark.measure import WARM_UP, benchmark_image


def peak_megabytes(candidate: Candidate) -> float | None:
    """The memory that loading a candidate and predicting adds to a process that has Keras, 10⁶ bytes.

    None where it cannot be made once more, where there was not enough, and on Windows, which does not tell.
    """
    if candidate.make is None or os.name == "nt":
        return None
    # A process of its own, and not a fork: the peak of this one cannot be set back.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_added_memory, candidate.make, candidate.size).result()
        except BrokenProcessPool:
            return None


def _added_memory(make: Callable[[], Candidate], size: tuple[int, int]) -> float:
    keras.config.set_image_data_format("channels_last")  # as `start_backend` does in the first process
    image = benchmark_image(size, None)
    with suppress(OSError):  # Linux alone has it; the most that imports and the image have taken is forgotten
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    candidate = make()
    for _ in range(WARM_UP):
        candidate.run(image)
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """What this process holds (`VmRSS`), or the most that it has held (`VmHWM`), 10⁶ bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage also counts what the parent had held
        return int(re.findall(rf"{field}:\s+(\d+) kB", status.read_text())[0]) * 1024 / 1e6
    import resource

    # macOS counts bytes, and tells the most alone: what rendering has let go is then missing.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
