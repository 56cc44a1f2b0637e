"""One training run, from a configuration to a folder with the models, the logs and the result."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from fornet_keras.config import Config, dump_config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.pipeline import TrainingBatches, fit_input
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import ConfigError, DataError
from fornet_keras.evaluation.evaluate import Scores, evaluate
from fornet_keras.losses import FoRNetLoss
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.callbacks import ProgressLine, RunLog, Validation
from fornet_keras.training.class_weights import class_weights
from fornet_keras.training.report import save_first_batches, save_report
from fornet_keras.training.schedule import WarmupPolynomialDecay

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fornet_keras"
"""Where the results of looking through a data set are kept, so that the next run starts at once."""


def train(config: Config, output: Path, console: Console | None = None) -> tuple[dict[str, Any], Scores]:
    """Train a `FoRNet` as a configuration says.

    Args:
        config: a `Config` whose `data.root` is set.
        output: path of the run folder; made new.
        console: where progress is shown; None shows none.

    Returns:
        The result that is also written to `result.json`, and the `Scores` of the best model.

    Raises:
        ConfigError: no data folder is given, or the run folder is in use.
        DataError: the data cannot be used.
    """
    console = console or Console(quiet=True)
    training = config.training
    started = time.perf_counter()
    train_set, val_set, pixels = _open_data(config, output, console)
    pictures = output / "pictures"
    pictures.mkdir(parents=True)
    (output / "config.yaml").write_text(dump_config(config), encoding="utf-8")

    keras.utils.set_random_seed(training.seed)
    keras.config.set_dtype_policy(training.precision)
    batches = TrainingBatches(train_set, config.augment, training.batch_size, training.seed)
    save_first_batches(pictures / "first_batches.png", batches)
    model = build_model(config, train_set.table.num_classes)
    compile_model(model, config, pixels, batches.steps_per_epoch)
    validation = Validation(val_set, output, training.validate_every)
    log = RunLog(output, validation, training.batch_size)
    model.fit(
        fit_input(batches, training.workers),
        epochs=training.epochs,
        steps_per_epoch=batches.steps_per_epoch,
        callbacks=[validation, log, ProgressLine(console, validation, training.batch_size)],
        shuffle=False,
        verbose=0,
    )
    keras.config.set_dtype_policy("float32")
    scores = evaluate(Predictor(load_model(output / "best")[0]), val_set)
    save_report(pictures, val_set.table, log.rows, scores, validation.pictures)
    result = {
        "backend": keras.backend.backend(),
        "epochs": training.epochs,
        "steps": training.epochs * batches.steps_per_epoch,
        "best_miou": validation.best_miou,
        "best_epoch": validation.best_epoch,
        "seconds": time.perf_counter() - started,
        "model": str(output / "best"),
        "parameters": model.count_params(),
        "val": scores.as_json(),
    }
    (output / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result, scores


def _open_data(config: Config, output: Path, console: Console) -> tuple[Dataset, Dataset, Sequence[int]]:
    """The two data sets, looked through, and the training labels' pixels by class."""
    data = config.data
    if data.root is None:
        raise ConfigError("no data folder; expected `--data DIR` or `data.root` in the configuration")
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output}: the run folder is not empty; choose another one with --output")
    train_set = open_dataset(data.format, Path(data.root), data.train_split, data.exclude)
    val_set = open_dataset(data.format, Path(data.root), data.val_split)
    pixels = [_look_through(dataset, config.training.workers, console) for dataset in (train_set, val_set)]
    return train_set, val_set, pixels[0]


def _look_through(dataset: Dataset, workers: int, console: Console) -> Sequence[int]:
    """Refuse a data set with problems; return its label pixels by class."""
    report = scan(dataset, workers, cache=CACHE)
    console.print(f"{dataset.name} {dataset.split}: {report.summary()}", highlight=False)
    report.raise_if_bad()
    if not any(report.pixels):
        raise DataError(
            f"{dataset.root}: no label of split '{dataset.split}' has a pixel of any class; expected some"
        )
    return report.pixels


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
    options = {"weight_decay": training.weight_decay, "global_clipnorm": training.clip_norm}
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
            selector_weight=loss.selector_weight,
            label_smoothing=loss.label_smoothing,
            ohem=loss.ohem,
        ),
        # XLA takes twice the time of TensorFlow's own kernels on a CPU; JAX is nothing without it.
        jit_compile=keras.backend.backend() == "jax",
    )
