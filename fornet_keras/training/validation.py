"""Validation of the averaged weights at label size, which also saves the best and the last model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.atomic import last_complete
from fornet_keras.config import TrainingConfig
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.data.fingerprint import images_of
from fornet_keras.data.sizes import resize_nearest, shrunk
from fornet_keras.errors import ConfigError, TrainingError
from fornet_keras.evaluation.evaluate import Scores, evaluate
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.prediction.pictures import compared
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.prediction.protocol import Prediction
from fornet_keras.training.checkpoint import STEADIER
from fornet_keras.training.devices import alone, on_one_device

Array = NDArray[Any]

PICTURES = 4
"""Samples, evenly spread over the data set, that a picture shows as they are predicted."""


class Validation(keras.callbacks.Callback):
    """Scores the model on whole images, every label at its own size, and saves the best and the last one.

    Adds `val_miou`, `val_best_miou`, `val_pixel_accuracy` and `val_error_coverage` to the epoch's logs, and
    keeps the IoU of each class in `class_iou`; must come before the callbacks that read them.

    Args:
        dataset: the `Dataset` to score on.
        folder: where the models are saved, as `folder/best` and `folder/last`.
        training: how often it validates (after the last epoch always), and with which patience.
        on_image: called with (images done, images in all) after each, to show progress.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        training: TrainingConfig,
        on_image: Callable[[int, int], None],
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.folder = folder
        self.training = training
        self.on_image = on_image
        self.best_miou = -1.0
        self.best_epoch = 0
        self.since_best = 0
        self.pictures: list[Array] = []
        self.class_iou: dict[str, float] = {}
        self._images = images_of(dataset)  # once: each checkpoint asks
        self._predictor: Predictor | None = None
        self._scored: keras.Model | None = None
        spread = np.linspace(0, len(dataset) - 1, PICTURES).astype(int)
        self._pictured = [*dict.fromkeys(dataset.samples[index] for index in spread)]

    @property
    def state(self) -> dict[str, Any]:
        """What a run that goes on must still know."""
        return {
            "best_miou": self.best_miou,
            "best_epoch": self.best_epoch,
            "since_best": self.since_best,
            "data": self._images,
        }

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        ours = self._images
        theirs = state["data"]
        if theirs != ours:
            raise ConfigError(
                f"{self.dataset.root}: the run was validated on {theirs['images']} images of split "
                f"'{self.dataset.split}', and here are {ours['images']}, not all of them the same; expected "
                "those, so that scores compare; put them back, or begin a new run with another --output and "
                "model.weights"
            )
        self.best_miou = state["best_miou"]
        self.best_epoch = state["best_epoch"]
        self.since_best = state["since_best"]
        best = self.folder / "best"
        if self.best_epoch and not last_complete(best).is_dir():
            raise ConfigError(
                f"{best}: no such folder; expected the run's best model, of epoch {self.best_epoch}; put it "
                "back, or begin a new run with another --output"
            )

    @property
    def out_of_patience(self) -> bool:
        """Whether the score has not risen for so long that training stops."""
        patience = self.training.patience
        return patience is not None and self.since_best >= patience

    @on_one_device()
    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if (epoch + 1) % self.training.validate_every and epoch + 1 < self.training.epochs:
            return
        # The loss of the last step was computed before its update.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise TrainingError(f"a weight is not a finite number after epoch {epoch + 1}; {STEADIER}")
        with averaged_weights(self.model):
            scores = self.score(self._up_to_date_predictor())
            save_model(self.model, self.dataset.table, self.folder / "last")
            self.since_best += 1
            if scores.matrix.miou > self.best_miou:
                self.best_miou, self.best_epoch, self.since_best = scores.matrix.miou, epoch + 1, 0
                save_model(self.model, self.dataset.table, self.folder / "best")
        self.class_iou = dict(zip(scores.class_names, map(float, scores.matrix.iou), strict=True))
        logs["val_miou"] = scores.matrix.miou
        logs["val_best_miou"] = self.best_miou
        logs["val_pixel_accuracy"] = scores.matrix.pixel_accuracy
        logs["val_error_coverage"] = scores.error_coverage
        if self.out_of_patience:
            self.model.stop_training = True

    def _up_to_date_predictor(self) -> Predictor:
        """Predicts on one device what the model, however many it is spread over, has learnt."""
        if self._predictor is None or self._scored is None:
            self._scored = alone(self.model)
            self._predictor = Predictor(self._scored)
        elif self._scored is not self.model:
            self._scored.set_weights(self.model.get_weights())
        return self._predictor

    def score_best(self) -> Scores:
        """Score the best model as it was saved, and keep its pictures."""
        return self.score(Predictor(load_model(self.folder / "best")[0]))

    def score(self, predictor: Predictor) -> Scores:
        """Score a model, and keep its pictures."""
        pictures: dict[Sample, Array] = {}
        done = 0

        def after_image(sample: Sample, image: Array, label: Array, prediction: Prediction) -> None:
            nonlocal done
            done += 1
            self.on_image(done, len(self.dataset))
            if sample in self._pictured:
                seen = shrunk(image, predictor.short_side)
                label, ids = (resize_nearest(x, seen.shape[:2]) for x in (label, prediction["label_ids"]))
                hard = predictor.importance_map(seen, prediction)
                pictures[sample] = compared(seen, label, ids, self.dataset.table, hard)

        scores = evaluate(predictor, self.dataset, on_image=after_image)
        self.pictures = [pictures[sample] for sample in self._pictured]
        return scores


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the optimizer's moving average into the model, and the trained weights back at the end.

    Batch normalisation's statistics are averages already and stay as they are. They are the trained weights':
    while the learning rate is high they fit the average badly, and its scores are low. A model whose
    optimizer keeps no average stays as it is altogether.

    Args:
        model: compiled and built.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    # Not keras.callbacks.SwapEMAWeights: on TensorFlow it adds and subtracts, and the last bit changes.
    weights = model.trainable_variables
    # Copies: JAX would take an average itself for the weight, and give its memory away when it predicts.
    trained, averages = (
        [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        for variables in (weights, optimizer._model_variables_moving_average)
    )
    for weight, average in zip(weights, averages, strict=True):
        weight.assign(average)
    try:
        yield
    finally:
        for weight, value in zip(weights, trained, strict=True):
            weight.assign(value)
