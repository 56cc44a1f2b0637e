"""What happens around `fit`: validation at label size, the run's logs, and its progress line."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.errors import TrainingError
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from fornet_keras.prediction.pictures import colorize, importance_map, overlay, side_by_side
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.ema import averaged_weights
from fornet_keras.training.tensorboard import EventLog

Logs = dict[str, float]
Array = NDArray[Any]

STEADIER = (
    "expected finite numbers; lower training.learning_rate, set training.clip_norm, or train in float32"
)


class Validation(keras.callbacks.Callback):
    """Scores the model on whole images, every label at its own size, and saves the best and the last one.

    Adds `val_miou`, `val_best_miou`, `val_pixel_accuracy` and `val_error_coverage` to the epoch's logs; must
    come before the callbacks that read them.

    Args:
        dataset: the `Dataset` to score on.
        folder: where the models are saved, as `folder/best` and `folder/last`.
        every: epochs from one validation to the next; the last epoch is always scored.
        on_image: called with (images done, images in all) after each, to show progress.
        num_pictures: samples, evenly spread over the data set, whose pictures are kept, in `pictures` of the
            last validation and in `best_pictures` of the best one.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        every: int,
        on_image: Callable[[int, int], None],
        num_pictures: int = 4,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.folder = folder
        self.every = every
        self.on_image = on_image
        self.best_miou = -1.0
        self.best_epoch = 0
        self.pictures: list[Array] = []
        self.best_pictures: list[Array] = []
        spread = np.linspace(0, len(dataset) - 1, num_pictures).astype(int)
        self._pictured = {dataset.samples[index] for index in spread}

    def set_model(self, model: FoRNet) -> None:
        super().set_model(model)
        self._predictor = Predictor(model)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        last = epoch + 1 == self.params["epochs"]
        if (epoch + 1) % self.every and not last:
            return
        self.pictures, self._done = [], 0
        # The loss of the last step was computed before its update.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise TrainingError(f"a weight is not a finite number after epoch {epoch + 1}; {STEADIER}")
        with averaged_weights(self.model):
            scores = evaluate(self._predictor, self.dataset, on_image=self._after_image)
            save_model(self.model, self.dataset.table, self.folder / "last")
            if scores.matrix.miou > self.best_miou:
                self.best_miou, self.best_epoch = scores.matrix.miou, epoch + 1
                self.best_pictures = self.pictures
                save_model(self.model, self.dataset.table, self.folder / "best")
        logs["val_miou"] = scores.matrix.miou
        logs["val_best_miou"] = self.best_miou
        logs["val_pixel_accuracy"] = scores.matrix.pixel_accuracy
        logs["val_error_coverage"] = scores.error_coverage

    def _after_image(
        self, sample: Sample, image: Array, label: Array, prediction: Mapping[str, Array]
    ) -> None:
        self._done += 1
        self.on_image(self._done, len(self.dataset))
        if sample in self._pictured:
            table = self.dataset.table
            regions = importance_map(
                image, prediction["importance"], prediction["kept"], self.model.region_size
            )
            final = overlay(image, prediction["label_ids"], table)
            self.pictures.append(side_by_side([[colorize(label, table), final, regions]]))


class RunLog(keras.callbacks.Callback):
    """Writes each epoch's numbers to `log.csv` and TensorBoard, and the validation's pictures to TensorBoard.

    The learning rate is that of the epoch's first step.

    Args:
        folder: the run folder.
        validation: the run's `Validation`.
        batch_size: images a step.
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

    def __init__(self, folder: Path, validation: Validation, batch_size: int) -> None:
        super().__init__()
        self.validation = validation
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = []
        self._events = EventLog(folder / "tensorboard")
        self._file = (folder / "log.csv").open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, self.COLUMNS, restval="", extrasaction="ignore")
        self._csv.writeheader()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        images = self.params["steps"] * self.batch_size
        row = {
            **logs,
            "epoch": epoch + 1,
            "learning_rate": self._learning_rate,
            "images_per_second": images / (self._trained - self._started),
            "seconds": time.perf_counter() - self._started,
        }
        self.rows.append(row)
        self._csv.writerow({key: _short(value) for key, value in row.items()})
        self._file.flush()
        for name in self.COLUMNS[1:]:
            if name in row:
                self._events.scalar(name, row[name], epoch + 1)
        if "val_miou" in logs:
            for index, picture in enumerate(self.validation.pictures):
                self._events.picture(f"val/{index}", picture, epoch + 1)
        self._events.flush()

    def close(self) -> None:
        """End both files."""
        self._events.close()
        self._file.close()


def _short(value: float) -> str | int:
    return f"{value:.6g}" if isinstance(value, float) else value


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run at the first loss that is not a number, before a model is overwritten with it."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if not np.isfinite(logs["loss"]):
            where = f"epoch {self._epoch + 1}, step {batch + 1}"
            raise TrainingError(f"the loss became {logs['loss']} in {where}; {STEADIER}")


class ProgressLine(keras.callbacks.Callback):
    """One live line while an epoch runs and is validated, and one lasting line after each.

    Args:
        console: where it is shown.
        batch_size: images a step.
    """

    def __init__(self, console: Console, batch_size: int) -> None:
        super().__init__()
        self.console = console
        self.batch_size = batch_size
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

    def on_train_begin(self, logs: Logs | None = None) -> None:
        total = self.params["epochs"] * self.params["steps"]
        self._task = self._progress.add_task("", total=total, epoch=self._epoch_name(0), status="starting …")
        self._progress.start()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = time.perf_counter()
        self._progress.update(self._task, epoch=self._epoch_name(epoch))

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        rate = (batch + 1) * self.batch_size / (time.perf_counter() - self._started)
        status = f"loss {logs['loss']:.3f} (coarse {logs['coarse_loss']:.3f})  {rate:.1f} images/s"
        self._progress.update(self._task, advance=1, status=status)

    def on_val_image(self, done: int, total: int) -> None:
        """Show how far the validation is."""
        self._progress.update(self._task, status=f"validating {done}/{total}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        seconds = time.perf_counter() - self._started
        line = f"epoch {self._epoch_name(epoch)}  loss {logs['loss']:.4f}"
        if "val_miou" in logs:
            line += f"  val mIoU {logs['val_miou']:.4f} (best {logs['val_best_miou']:.4f})"
            line += f"  error coverage {logs['val_error_coverage']:.2f}"
        self.console.print(f"{line}  {seconds:.1f} s", highlight=False)

    def close(self) -> None:
        """Take the live line away."""
        self._progress.stop()

    def _epoch_name(self, epoch: int) -> str:
        return f"{epoch + 1}/{self.params['epochs']}"
