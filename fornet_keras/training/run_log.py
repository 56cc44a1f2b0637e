"""The numbers of a run, epoch by epoch: a table that a person can open, and TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

from fornet_keras.atomic import write_text
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sizes import shrunk
from fornet_keras.training.tensorboard import EventLog
from fornet_keras.training.validation import Validation

PICTURE_SIDE = 256
"""Pixels of the shorter side of TensorBoard's pictures: at full size a run's could be gigabytes."""


class RunLog(keras.callbacks.Callback):
    """Writes each epoch's numbers to `log.csv` and TensorBoard.

    TensorBoard also gets each class's IoU and the validation's pictures. The learning rate is that of the
    epoch's first step; `data_wait` is the share of the training time, 0…1, in which the step's batch was not
    there yet. Of an epoch that was broken off, it and `images_per_second` are of the rest alone.

    Args:
        folder: the run folder.
        validation: the run's `Validation`.
        batches: the run's `TrainingBatches`.
    """

    COLUMNS = (
        "epoch",
        "learning_rate",
        "loss",
        "logits_loss",
        "coarse_loss",
        "selector_loss",
        "val_miou",
        "val_pixel_accuracy",
        "val_error_coverage",
        "images_per_second",
        "data_wait",
        "seconds",
    )

    def __init__(self, folder: Path, validation: Validation, batches: TrainingBatches) -> None:
        super().__init__()
        self.validation = validation
        self.batches = batches
        self.rows: list[dict[str, float]] = []
        self._learning_rate = 0.0
        self._seconds_before = 0.0
        self._started = time.perf_counter()
        self._path = folder / "log.csv"
        self._events = EventLog(folder / "tensorboard")

    @property
    def state(self) -> dict[str, Any]:
        """What a run that goes on must still know."""
        return {"rows": self.rows, "learning_rate": self._learning_rate, "seconds": self._seconds}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
        self._learning_rate = state["learning_rate"]
        self._seconds_before = state["seconds"]

    def rewind(self, epochs: int) -> None:
        """Bring both files to where the run stands, after so many whole epochs: what comes then comes again.

        That is what an interrupted run logged after its checkpoint, and an epoch that a callback broke off.
        """
        self.rows = self.rows[:epochs]
        self._write()
        self._events.forget_from(epochs + 1)

    @property
    def _seconds(self) -> float:
        """Time that the epoch has taken, that before it was broken off included."""
        return self._seconds_before + time.perf_counter() - self._started

    def note_settings(self, values: Mapping[str, Any]) -> None:
        """Tell TensorBoard what the run was told."""
        self._events.settings(values)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        steps = self.batches.steps_per_epoch
        if self.params["steps"] == steps:  # else the epoch was begun before an interruption
            self._learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self._seconds_before = 0.0
        self._ahead = _reads_ahead()
        self._position = (epoch + 1) * steps - self.params["steps"]
        self._started = self._trained = time.perf_counter()
        self._waited = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        # A batch is asked for when the step before has ended, and where Keras reads ahead the next one.
        ready = self.batches.ready.pop(self._position + batch + self._ahead, 0.0)
        self._waited += max(0.0, ready - self._trained)
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        images = self.params["steps"] * self.batches.batch_size
        seconds = self._trained - self._started
        row = {
            **{name: float(value) for name, value in logs.items()},
            "epoch": epoch + 1,
            "learning_rate": self._learning_rate,
            "images_per_second": images / seconds,
            "data_wait": self._waited / seconds,
            "seconds": self._seconds,
        }
        self.rows.append(row)
        self._write()
        for name in self.COLUMNS[1:]:
            if name in row:
                self._events.scalar(name, row[name], epoch + 1)
        if "val_miou" in logs:
            for name, iou in self.validation.class_iou.items():
                if not math.isnan(iou):
                    self._events.scalar(f"iou/{name}", iou, epoch + 1)
            for index, picture in enumerate(self.validation.pictures):
                self._events.picture(f"val/{index}", shrunk(picture, PICTURE_SIDE), epoch + 1)
        self._events.flush()

    def _write(self) -> None:
        text = io.StringIO(newline="")
        rows = csv.DictWriter(text, self.COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows({key: _short(value) for key, value in row.items()} for row in self.rows)
        with suppress(PermissionError):  # open in Excel, on Windows; the next epoch writes every row again
            write_text(self._path, text.getvalue())

    def close(self) -> None:
        """End both files; what could not be written has been said with its epoch."""
        with suppress(OSError):
            self._events.close()
        if self.rows:
            with suppress(OSError):
                self._write()  # once more, where the last epoch's could not be


def _reads_ahead() -> bool:
    """Whether Keras asks for a batch before it hands out the one before: JAX, on one GPU or TPU."""
    if keras.backend.backend() != "jax" or keras.distribution.distribution():
        return False
    import jax

    return bool(jax.default_backend() != "cpu")


def _short(value: float) -> str | int:
    return f"{value:.6g}" if isinstance(value, float) else value
