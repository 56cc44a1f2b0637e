"""The learning rate over a run: a linear warm-up, then a polynomial decay to zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from fornet_keras.config import Config
from fornet_keras.errors import ConfigError

FIRST_SHARE = 0.05
"""Of a moving average, that of the weights that a run begins with: with more, it is far behind at the end."""


def require_all_steps() -> None:
    """Refuse Keras' own limits, with which a `fit` ends before a run has done its steps.

    Raises:
        ConfigError: one is set.
    """
    limits = {
        "KERAS_MAX_EPOCHS": keras.config.max_epochs(),
        "KERAS_MAX_STEPS_PER_EPOCH": keras.config.max_steps_per_epoch(),
    }
    for variable, limit in limits.items():
        if limit:
            raise ConfigError(
                f"{variable} is {limit}, and a run counts on all steps of training.epochs; expected no limit "
                "of Keras' own; unset it, and set fewer training.epochs for a short run"
            )


def schedule_notes(config: Config, total_steps: int) -> Iterator[str]:
    """A line about each setting that is meant for a longer run, or for one that begins with weights."""
    model, training = config.model, config.training
    frozen, momentum = model.freeze_epochs, training.ema_momentum
    changes = total_steps / training.accumulate
    if changes < 1:
        yield (
            f"note: the weights change after training.accumulate={training.accumulate} steps, and the run "
            f"has {total_steps}: they never change; set fewer"
        )
    elif momentum and momentum**changes > FIRST_SHARE:
        fitting = math.floor(1000 * FIRST_SHARE ** (1 / changes)) / 1000
        yield (
            f"note: the model that is saved is an average of the weights, {100 * momentum**changes:.0f}% of "
            f"it those of the first step: training.ema_momentum={momentum} is meant for more than the run's "
            f"{total_steps} steps; set training.ema_momentum={fitting} or null, or more training.epochs"
        )
    if frozen >= training.epochs:
        yield (
            f"note: the backbone's weights stay for model.freeze_epochs={frozen} epochs, and the run has "
            f"{training.epochs}: they never change; set fewer"
        )
    validations = -(-training.epochs // training.validate_every)
    if training.patience and training.patience >= validations:
        yield (
            f"note: training.patience={training.patience} validations, and the run has {validations}: it "
            "never ends early; set fewer, or a smaller training.validate_every"
        )
    if (frozen or model.freeze_backbone) and not (model.weights or model.backbone):
        key = "freeze_backbone" if model.freeze_backbone else "freeze_epochs"
        yield f"note: model.{key} keeps random weights; set model.weights or model.backbone, or leave it out"
    if model.known_as and not model.weights:
        yield "note: model.known_as is of model.weights, and there are none; set them, or leave it out"


@keras.saving.register_keras_serializable("fornet_keras")
class WarmupPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises over `warmup_steps`, then falls as `(1 - progress) ** power` to 0 at `total_steps`.

    Args:
        learning_rate: highest rate.
        total_steps: steps of the run.
        warmup_steps: steps of the rise; at most a tenth of `total_steps` are used.
        power: 1 is a straight line.

    Reference: the "poly" policy of segmentation (Chen et al., arXiv 1606.00915).
    """

    def __init__(
        self, learning_rate: float, total_steps: int, warmup_steps: int = 0, power: float = 0.9
    ) -> None:
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.power = power

    def __call__(self, step: Any) -> Any:
        warmup = min(self.warmup_steps, self.total_steps // 10)
        step = ops.cast(step, "float32")
        # The first step already learns: a rate of exactly 0 would waste it.
        rise = ops.minimum(1.0, (step + 1.0) / float(warmup + 1))
        progress = ops.clip((step - warmup) / float(self.total_steps - warmup), 0.0, 1.0)
        return self.learning_rate * rise * ops.power(1.0 - progress, self.power)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
        }
