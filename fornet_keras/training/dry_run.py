"""A few steps of everything, and what the whole run will take: time, memory, disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
from rich.console import Console

from fornet_keras.config import Config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.images import image_size
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import predicted_sizes
from fornet_keras.model_folder import save_model
from fornet_keras.prediction.predictor import MAX_SIZES, Predictor
from fornet_keras.training.accelerator import announce_device, device_memory
from fornet_keras.training.build import make_model
from fornet_keras.training.checkpoint import capture, save_checkpoint
from fornet_keras.training.devices import ALONE, alone, on_devices, on_one_device, synchronize
from fornet_keras.training.fit_selector import fit_selector
from fornet_keras.training.open_data import at_learnt_side, open_data
from fornet_keras.training.schedule import require_all_steps, schedule_notes

TIMED_STEPS = 5
"""Training steps that are timed, after the first, in which the backend compiles."""


def dry_run(config: Config, console: Console) -> dict[str, Any]:
    """Read, train, validate and save a little, and leave nothing behind.

    Args:
        config: a `Config` whose `data.root` is set.
        console: where progress is shown.

    Returns:
        dict for `json.dump`: `device`, `seconds_per_step`, `images_per_second`,
        `seconds_per_validation_image`, `seconds` (estimate for the whole run), `steps`, `peak_memory_bytes`
        (of this process, or None), `device_memory_bytes` (peak of the GPU, or None), `checkpoint_bytes`.

    Raises:
        As `train`.
    """
    require_all_steps()
    training = config.training
    train_set, val_set, report, _ = open_data(config, console)
    if config.data.cache:
        console.print("note: timed without data.cache, which a run would write first", highlight=False)
    batches = TrainingBatches.of_run(train_set, config)
    for note in schedule_notes(config, training.epochs * batches.steps_per_epoch):
        console.print(note, highlight=False)
    with console.status("timing a few steps …"), on_devices(training.devices, training.batch_size, ALONE):
        device = announce_device(training.devices, console)
        learnt = at_learnt_side(config, report)
        return {"device": device} | _measure(learnt, batches, val_set, report.pixels, console)


def _measure(
    config: Config, batches: TrainingBatches, val_set: Dataset, pixels: Sequence[int], console: Console
) -> dict[str, Any]:
    training, steps = config.training, batches.steps_per_epoch
    clock = _Clock()
    model = make_model(config, batches, pixels, console)
    synchronize(model, ALONE)
    with data_errors(batches):
        source = fit_input(batches, training.workers)
        model.fit(source, steps_per_epoch=1 + TIMED_STEPS, callbacks=[clock], shuffle=False, verbose=0)

    example = val_set.samples[0], val_set.table
    with on_one_device():
        predictor = Predictor(alone(model))
        first, val_seconds = (_timed(lambda: predictor(read_sample(*example)[0])) for _ in range(2))
    with TemporaryDirectory() as folder:
        writing = _timed(lambda: save_model(model, val_set.table, Path(folder) / "model"))
        writing += _timed(lambda: save_checkpoint(capture(model, 1, {}), Path(folder), 1))
        checkpoint_bytes = sum(file.stat().st_size for file in Path(folder).glob("step_*/*"))

    seconds = clock.total(training.epochs * steps)
    passes = -(-training.epochs // training.validate_every)
    seconds += passes * writing
    if training.selector_epochs:
        clock_alone = _Clock()
        with on_one_device():
            fit_selector(alone(model), batches, config, [clock_alone])
        seconds += clock_alone.total(training.selector_epochs * steps)
    others = 3 if training.selector_epochs else 1  # before and after the Selector's epochs, and at the end
    seconds += (passes + others) * len(val_set) * val_seconds
    compiled = _compiled_sizes(val_set, config, passes, others)
    seconds += compiled * max(0.0, first - val_seconds)
    return {
        "steps": training.epochs * steps,
        "seconds_per_step": clock.seconds,
        "images_per_second": training.batch_size / clock.seconds,
        "seconds_per_validation_image": val_seconds,
        "seconds": seconds,
        "peak_memory_bytes": _peak_memory(),
        "device_memory_bytes": device_memory(),
        "checkpoint_bytes": checkpoint_bytes,
    }


def _compiled_sizes(val_set: Dataset, config: Config, passes: int, others: int) -> int:
    """How often a size is compiled: `passes` validations are of one network, `others` of one each."""
    if keras.backend.backend() == "torch":  # which compiles nothing: its first image alone takes longer
        return 1 + others
    with ThreadPoolExecutor(config.training.workers) as pool:
        sizes = list(pool.map(image_size, [sample.image for sample in val_set.samples]))
    return sum(
        len(kind) * (1 + others if len(kind) <= MAX_SIZES else passes + others)
        for kind in predicted_sizes(sizes, config.data.short_side)
    )


class _Clock(keras.callbacks.Callback):
    """Times the steps of a `fit`, the first with all that comes before it, and ends it after some."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.seconds = 0.0
        self._steps = 0
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        float(logs["loss"])  # waits for a GPU
        passed = time.perf_counter() - self._started
        if self._steps:
            self.seconds = (passed - self.first) / self._steps
        else:
            self.first = passed
        self.model.stop_training = self._steps == TIMED_STEPS
        self._steps += 1

    def total(self, steps: int) -> float:
        """Seconds that so many steps take."""
        return self.first + (steps - 1) * self.seconds


def _timed(action: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _peak_memory() -> int | None:
    """Of this process, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
