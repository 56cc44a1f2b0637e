"""What a person sees of a run while it goes on."""

from __future__ import annotations

import time
from contextlib import suppress

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fornet_keras.config.training import TrainingConfig


class ProgressLine(keras.callbacks.Callback):
    """One live line while an epoch runs and is validated, and one lasting line after each.

    Args:
        console: where it is shown.
        training: how long the run is, and with which patience.
        steps_per_epoch: steps of each epoch.
    """

    def __init__(self, console: Console, training: TrainingConfig, steps_per_epoch: int) -> None:
        super().__init__()
        self.console = console
        self.training = training
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}  {task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            "", total=training.epochs * steps_per_epoch, epoch=self._epoch_name(0), status="starting …"
        )

    def begin(self, step: int) -> None:
        """Show the line, with so many steps done."""
        self._progress.start()
        self._progress.update(self._task, completed=step)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started = time.perf_counter()
        self._progress.update(self._task, epoch=self._epoch_name(epoch))

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        rate = (batch + 1) * self.training.batch_size / (time.perf_counter() - self._started)
        status = f"loss {logs['loss']:.3f} (coarse {logs['coarse_loss']:.3f})  {rate:.1f} images/s"
        self._progress.update(self._task, advance=1, status=status)

    def show(self, status: str) -> None:
        """Say in the live line what is done now."""
        self._progress.update(self._task, status=status)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        seconds = time.perf_counter() - self._started
        line = f"epoch {self._epoch_name(epoch)}  loss {logs['loss']:.4f}"
        if "val_miou" in logs:
            line += f"  val mIoU {logs['val_miou']:.4f} (best {logs['val_best_miou']:.4f})"
            line += f"  error coverage {logs['val_error_coverage']:.2f}"
        with suppress(OSError):  # the terminal is gone, and what was learnt is not saved yet
            self.console.print(f"{line}  {seconds:.1f} s", highlight=False)

    def close(self) -> None:
        """Take the live line away."""
        with suppress(OSError):
            self._progress.stop()

    def _epoch_name(self, epoch: int) -> str:
        return f"{epoch + 1}/{self.training.epochs}"
