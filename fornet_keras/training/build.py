"""The network of a run, with its loss, optimizer and schedule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0, imagenet_efficientnet_lite0
from fornet_keras.backbones.library import open_library_backbone
from fornet_keras.config import Config
from fornet_keras.config.model import ModelConfig
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.errors import ModelError
from fornet_keras.losses import FoRNetLoss
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import require_savable
from fornet_keras.training.accelerator import dtype_policy
from fornet_keras.training.backbone_rate import scale_rate
from fornet_keras.training.begin_with import begin_with, sized_as_weights
from fornet_keras.training.class_weights import class_weights
from fornet_keras.training.devices import sum_over_devices
from fornet_keras.training.schedule import WarmupPolynomialDecay
from fornet_keras.training.teacher import learn_from, load_teacher


def make_model(
    config: Config, batches: TrainingBatches, pixels: Sequence[int], console: Console, begins: bool = True
) -> FoRNet:
    """A compiled network in the configured precision.

    Args:
        config: the run's `Config`.
        batches: the run's `TrainingBatches`.
        pixels: of each class, in the training labels.
        console: is told which classes `model.weights` know.
        begins: False where a checkpoint has its weights: `model.weights` may be gone by then.
    """
    keras.utils.set_random_seed(config.training.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy(config.training.precision))
    try:
        table = batches.dataset.table
        model = build_model(config, table.num_classes, begins)
        if config.model.weights and begins:
            line = begin_with(model, table, config.model.weights, config.model.known_as)
            console.print(line, highlight=False)
        weights = class_weights(config.loss.class_weights, pixels, table)
        compile_model(model, config, weights, batches.steps_per_epoch)
        if config.loss.teacher:
            learn_from(model, load_teacher(Path(config.loss.teacher), table))
    finally:
        keras.config.set_dtype_policy(policy)
    return model


def build_model(config: Config, num_classes: int, begins: bool = True) -> FoRNet:
    """A `FoRNet` as the configuration's `model` section says, without the weights of another model.

    Args:
        config: a `Config`.
        num_classes: classes of the data.
        begins: False for a network whose weights are of no use or come later, as those of `model.weights` do:
            EfficientNet-Lite0's package need not be there. A library's preset must: it says what to build.

    Raises:
        ModelError: the backbone or the sizes of `model.weights` cannot be read, or the network is larger than
            can be saved.
    """
    options = sized_as_weights(config.model)
    sizes = ("context_filters", "branch_filters", "scales", "region_size", "top_k")
    arguments = _given(options, (*sizes, "dropout", "image_pool_dropout"))
    arguments["short_side"] = config.data.short_side
    own = _given(options, ("widths", "depths", "stem_filters", "stem_depth"))
    if options.backbone and own:
        raise ModelError(f"model.{next(iter(own))} sizes the preset's own backbone; leave model.backbone out")
    own_weights = begins and not options.weights
    arguments["backbone"] = _open_backbone(options.backbone, own_weights) if options.backbone else own
    model = FoRNet.from_preset(options.preset, num_classes, **arguments)
    require_savable(model)
    model.backbone.trainable = not options.freeze_backbone
    return model


def _given(options: ModelConfig, names: Iterable[str]) -> dict[str, Any]:
    """The settings that are not null."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _open_backbone(name: str, own_weights: bool) -> keras.Model:
    """A backbone with the weights that it was trained to elsewhere, where a network begins with them."""
    if name == "efficientnet_lite0":
        return imagenet_efficientnet_lite0() if own_weights else EfficientNetLite0(name="backbone")
    library, _, preset = name.partition(":")
    return open_library_backbone(library, os.path.expanduser(preset))


def compile_model(
    model: FoRNet, config: Config, weights: Sequence[float] | None, steps_per_epoch: int
) -> None:
    """Give a model its loss, optimizer and schedule.

    Args:
        model: a `FoRNet`.
        config: a `Config`.
        weights: of the classes, from `class_weights`.
        steps_per_epoch: steps of an epoch, for the schedule.
    """
    training, loss = config.training, config.loss
    # XLA takes twice the time of TensorFlow's own kernels on a CPU; JAX is nothing without it.
    compiled = keras.backend.backend() == "jax" if training.jit_compile is None else training.jit_compile
    model.compile(
        _make_optimizer(model, config, steps_per_epoch),
        loss=FoRNetLoss(
            class_weights=weights,
            coarse_weight=loss.coarse_weight,
            dice_weight=loss.dice_weight,
            selector_weight=loss.selector_weight,
            label_smoothing=loss.label_smoothing,
            ohem=loss.ohem,
            teacher_share=loss.teacher_share,
            sum_devices=sum_over_devices,
        ),
        jit_compile=compiled,
    )
    # Else TensorFlow traces the step twice: once to make the optimizer's variables, once to use them.
    model.optimizer.build(model.trainable_variables)


def _make_optimizer(model: FoRNet, config: Config, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    training = config.training
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
        # Keras averages after each step, also where the weights change after several only.
        "ema_momentum": (training.ema_momentum or 0.0) ** (1 / training.accumulate),
        "gradient_accumulation_steps": training.accumulate if training.accumulate > 1 else None,
    }
    if training.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=training.momentum, nesterov=True, **options)
    else:
        optimizer = keras.optimizers.AdamW(schedule, **options)
    # Decay pulls on kernels only: on biases and normalisation it does harm.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    frozen_steps = config.model.freeze_epochs * steps_per_epoch
    if training.backbone_lr_mult != 1 or frozen_steps:
        backbone = model.backbone.trainable_variables
        scale_rate(optimizer, backbone, training.backbone_lr_mult, frozen_steps)
    return optimizer
