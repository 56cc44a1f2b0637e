"""One step of everything, and what the whole run will take: time, memory, disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
from rich.console import Console

from fornet_keras.config import Config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.data.samples import read_sample
from fornet_keras.model_folder import save_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.checkpoint import capture, save_checkpoint
from fornet_keras.training.devices import ALONE, NAMES, alone, device_name, on_devices, synchronize
from fornet_keras.training.fit_selector import fit_selector
from fornet_keras.training.open_data import open_data
from fornet_keras.training.schedule import schedule_notes
from fornet_keras.training.train import make_model

TIMED_STEPS = 5
"""Training steps that are timed, after the one in which the backend compiles."""


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
    training = config.training
    train_set, val_set, pixels = open_data(config, console)
    if config.data.cache:
        console.print("note: timed without data.cache, which a run would write first", highlight=False)
    batches = TrainingBatches.of_run(train_set, config)
    for note in schedule_notes(config, training.epochs * batches.steps_per_epoch):
        console.print(note, highlight=False)
    with console.status("timing a few steps …"), on_devices(training.devices, training.batch_size, ALONE):
        device = device_name(training.devices)
        console.print(f"{NAMES[keras.backend.backend()]} on {device}", highlight=False)
        return {"device": device} | _measure(config, batches, val_set, pixels, console)


def _measure(
    config: Config, batches: TrainingBatches, val_set: Dataset, pixels: Sequence[int], console: Console
) -> dict[str, Any]:
    training = config.training
    model = make_model(config, batches, pixels, console)
    synchronize(model, ALONE)
    source = fit_input(batches, training.workers)
    with data_errors(batches):
        _fit(model, source, 1)
        started = time.perf_counter()
        _fit(model, source, TIMED_STEPS)
    step_seconds = (time.perf_counter() - started) / TIMED_STEPS

    predictor = Predictor(alone(model))
    example = val_set.samples[0], val_set.table
    for _ in range(2):  # JAX, with several devices, compiles twice
        predictor(read_sample(*example)[0])
    started = time.perf_counter()
    predictor(read_sample(*example)[0])
    val_seconds = time.perf_counter() - started
    with TemporaryDirectory() as folder:
        saved = save_checkpoint(capture(model, 1, {}), Path(folder) / "checkpoints", 1)
        checkpoint_bytes = sum(file.stat().st_size for file in saved.iterdir())
        save_model(model, val_set.table, Path(folder) / "model")

    total_steps = training.epochs * batches.steps_per_epoch
    seconds = total_steps * step_seconds
    if training.selector_epochs:
        clock = _Clock()
        fit_selector(alone(model), batches, config, [clock])
        seconds += training.selector_epochs * batches.steps_per_epoch * clock.seconds
    validations = -(-training.epochs // training.validate_every) + 1  # the best model's, at the end
    return {
        "steps": total_steps,
        "seconds_per_step": step_seconds,
        "images_per_second": training.batch_size / step_seconds,
        "seconds_per_validation_image": val_seconds,
        "seconds": seconds + validations * len(val_set) * val_seconds,
        "peak_memory_bytes": _peak_memory(),
        "device_memory_bytes": _device_memory(),
        "checkpoint_bytes": checkpoint_bytes,
    }


class _Clock(keras.callbacks.Callback):
    """Times the steps of a `fit` after the first, and ends it."""

    seconds = 0.0
    _steps = -1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._steps += 1
        if self._steps == 0:
            self._started = time.perf_counter()
            return
        self.seconds = (time.perf_counter() - self._started) / self._steps
        self.model.stop_training = self._steps == TIMED_STEPS


def _fit(model: keras.Model, source: Any, steps: int) -> None:
    model.fit(source, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)


def _peak_memory() -> int | None:
    """Of this process, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _device_memory() -> int | None:
    """Peak of the first GPU's memory, in bytes; None without one."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None
