"""The network of a run, with its loss, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from fornet_keras.config import Config
from fornet_keras.losses import FoRNetLoss
from fornet_keras.model import FoRNet
from fornet_keras.training.class_weights import class_weights
from fornet_keras.training.schedule import WarmupPolynomialDecay


def build_model(config: Config, num_classes: int) -> FoRNet:
    """A `FoRNet` with random weights, as the configuration's `model` section says."""
    options = config.model
    return FoRNet.from_preset(
        options.preset, num_classes, region_size=options.region_size, top_k=options.top_k
    )


def compile_model(model: FoRNet, config: Config, pixel_counts: Sequence[int], steps_per_epoch: int) -> None:
    """Give a model its loss, optimizer and schedule.

    Args:
        model: a `FoRNet`.
        config: a `Config`.
        pixel_counts: int `(classes,)`, for the class weights.
        steps_per_epoch: steps of an epoch, for the schedule.
    """
    training, loss = config.training, config.loss
    schedule = WarmupPolynomialDecay(
        training.learning_rate,
        training.epochs * steps_per_epoch,
        training.warmup_steps,
        training.decay_power,
    )
    options = {
        "weight_decay": training.weight_decay,
        "global_clipnorm": training.clip_norm,
        "use_ema": training.ema_momentum is not None,
        "ema_momentum": training.ema_momentum or 0.0,
    }
    if training.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=training.momentum, nesterov=True, **options)
    else:
        optimizer = keras.optimizers.AdamW(schedule, **options)
    # Decay pulls on kernels only: on biases and normalisation it does harm.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if training.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer,
        loss=FoRNetLoss(
            class_weights=class_weights(loss.class_weights, pixel_counts),
            coarse_weight=loss.coarse_weight,
            dice_weight=loss.dice_weight,
            selector_weight=loss.selector_weight,
            label_smoothing=loss.label_smoothing,
            ohem=loss.ohem,
        ),
        # XLA takes twice the time of TensorFlow's own kernels on a CPU; JAX is nothing without it.
        jit_compile=keras.backend.backend() == "jax",
    )
    # Else TensorFlow traces the step twice: once to make the optimizer's variables, once to use them.
    model.optimizer.build(model.trainable_variables)
