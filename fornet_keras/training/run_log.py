"""The numbers of a run, epoch by epoch: a table that a person can open, and TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import keras

from fornet_keras.atomic import write_text
from fornet_keras.training.tensorboard import EventLog
from fornet_keras.training.validation import Validation


class RunLog(keras.callbacks.Callback):
    """Writes each epoch's numbers to `log.csv` and TensorBoard.

    TensorBoard also gets each class's IoU and the validation's pictures. The learning rate is that of the
    epoch's first step.

    Args:
        folder: the run folder.
        validation: the run's `Validation`.
        batch_size: images a step.
        steps_per_epoch: steps of a whole epoch.
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
        "seconds",
    )

    def __init__(self, folder: Path, validation: Validation, batch_size: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.validation = validation
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.rows: list[dict[str, float]] = []
        self._learning_rate = 0.0
        self._path = folder / "log.csv"
        self._events = EventLog(folder / "tensorboard")

    @property
    def memory(self) -> dict[str, Any]:
        """What a run that goes on must still know."""
        return {"rows": self.rows, "learning_rate": self._learning_rate}

    @memory.setter
    def memory(self, memory: dict[str, Any]) -> None:
        self.rows = memory["rows"]
        self._learning_rate = memory["learning_rate"]
        self._write()
        self._events.forget_from(len(self.rows) + 1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.params["steps"] == self.steps_per_epoch:  # else the epoch was begun before an interruption
            self._learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        images = self.params["steps"] * self.batch_size
        row = {
            **{name: float(value) for name, value in logs.items()},
            "epoch": epoch + 1,
            "learning_rate": self._learning_rate,
            "images_per_second": images / (self._trained - self._started),
            "seconds": time.perf_counter() - self._started,
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
                self._events.picture(f"val/{index}", picture, epoch + 1)
        self._events.flush()

    def _write(self) -> None:
        text = io.StringIO(newline="")
        rows = csv.DictWriter(text, self.COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows({key: _short(value) for key, value in row.items()} for row in self.rows)
        write_text(self._path, text.getvalue())

    def close(self) -> None:
        """End TensorBoard's file."""
        self._events.close()


def _short(value: float) -> str | int:
    return f"{value:.6g}" if isinstance(value, float) else value
