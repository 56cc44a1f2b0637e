"""The end of a run whose loss is no number any more."""

from __future__ import annotations

import keras
import numpy as np

from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.errors import TrainingError
from fornet_keras.training.checkpoint import STEADIER


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run at the first loss that is not a number, before anything is saved.

    Must come before the callbacks that save.

    Args:
        batches: the `TrainingBatches` of the run: its error names the images of the batch.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch
        # The first epoch of a run that goes on may be cut short at its beginning.
        self._first_step = self.batches.steps_per_epoch - self.params["steps"]

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if np.isfinite(logs["loss"]):
            return
        step = self._first_step + batch
        samples = self.batches.dataset.samples
        images = ", ".join(samples[index].image.name for index in self.batches.indices(self._epoch, step))
        whose = " in this process" if self.batches.part[1] > 1 else ""
        raise TrainingError(
            f"the loss became {logs['loss']} in epoch {self._epoch + 1}, step {step + 1}; {STEADIER}; "
            f"the images of that step{whose}: {images}"
        )
