"""One training run, from a configuration to a folder with the models, the logs and the result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress

from fornet_keras.config import Config, dump_config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.data.scan import CACHE, scan
from fornet_keras.data.sources import open_split
from fornet_keras.errors import ConfigError, DataError
from fornet_keras.evaluation.evaluate import Scores, evaluate
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.build import build_model, compile_model
from fornet_keras.training.callbacks import ProgressLine, RunLog, StopOnNaN, Validation
from fornet_keras.training.report import save_first_batches, save_report


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
        TrainingError: the loss became NaN or infinite.
    """
    console = console or Console(quiet=True)
    training = config.training
    started = time.perf_counter()
    train_set, val_set, pixels = _open_data(config, output, console)
    pictures = output / "pictures"
    pictures.mkdir(parents=True)
    # An absolute folder: the run's own configuration then works from anywhere.
    located = config.data.model_copy(update={"root": str(train_set.root.absolute())})
    (output / "config.yaml").write_text(
        dump_config(config.model_copy(update={"data": located})), encoding="utf-8"
    )

    batches = TrainingBatches(train_set, config.augment, training.batch_size, training.seed)
    line = ProgressLine(console, training.batch_size)
    validation = Validation(val_set, output, training.validate_every, line.on_val_image)
    log = RunLog(output, validation, training.batch_size)
    try:
        save_first_batches(pictures / "first_batches.png", batches)
        model = _fit(config, batches, pixels, [StopOnNaN(), validation, log, line])
    except BaseException:
        if not log.rows:
            # Nothing was learnt: the corrected command may use the same folder.
            shutil.rmtree(output, ignore_errors=True)
        raise
    finally:
        line.close()
        log.close()
    scores = evaluate(Predictor(load_model(output / "best")[0]), val_set)
    save_report(pictures, val_set.table, log.rows, scores, validation.best_pictures)
    result = {
        "backend": keras.backend.backend(),
        "epochs": training.epochs,
        "steps": training.epochs * batches.steps_per_epoch,
        "best_miou": scores.matrix.miou,
        "best_epoch": validation.best_epoch,
        "seconds": time.perf_counter() - started,
        "model": str(output / "best"),
        "parameters": model.count_params(),
        "val": scores.as_json(),
    }
    (output / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result, scores


def _fit(
    config: Config,
    batches: TrainingBatches,
    pixels: Sequence[int],
    callbacks: Sequence[keras.callbacks.Callback],
) -> FoRNet:
    """A network, built and trained in the configured precision."""
    keras.utils.set_random_seed(config.training.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.training.precision)
    try:
        model = build_model(config, batches.dataset.table.num_classes)
        compile_model(model, config, pixels, batches.steps_per_epoch)
        with data_errors(batches):
            model.fit(
                fit_input(batches, config.training.workers),
                epochs=config.training.epochs,
                steps_per_epoch=batches.steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
    finally:
        keras.config.set_dtype_policy(policy)
    return model


def _open_data(config: Config, output: Path, console: Console) -> tuple[Dataset, Dataset, Sequence[int]]:
    """The two data sets, looked through, and the training labels' pixels by class."""
    data = config.data
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output}: the run folder is not empty; choose another one with --output")
    train_set = open_split(data, data.train_split, data.exclude)
    val_set = open_split(data, data.val_split)
    pixels = [_look_through(dataset, config.training.workers, console) for dataset in (train_set, val_set)]
    return train_set, val_set, pixels[0]


def _look_through(dataset: Dataset, workers: int, console: Console) -> Sequence[int]:
    """Refuse a data set with problems; return its label pixels by class."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"looking through {dataset.split}", total=len(dataset))
        report = scan(dataset, workers, lambda done, _: progress.update(task, completed=done), cache=CACHE)
    console.print(f"{dataset.name} {dataset.split}: {report.summary()}", highlight=False)
    report.raise_if_bad()
    if not any(report.pixels):
        raise DataError(
            f"{dataset.root}: no label of split '{dataset.split}' has a pixel of any class; expected some"
        )
    return report.pixels
