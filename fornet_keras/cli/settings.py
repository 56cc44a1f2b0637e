"""The configuration of a command, and the data it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fornet_keras.cli.screen import ERRORS, progress
from fornet_keras.config import Config, read_config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.scan import CACHE, scan, usable
from fornet_keras.data.scan_report import ScanReport
from fornet_keras.data.sources import open_split
from fornet_keras.errors import DataError


def read_settings(config_file: Path, data_folder: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration; `--data` wins over its `data.root`.

    Raises:
        ConfigError: the file cannot be used.
    """
    config = read_config(config_file, overrides)
    if data_folder is None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"root": str(data_folder)})})


def validation_data(config_file: Path | None, data_folder: Path | None, split: str | None) -> Dataset | None:
    """A split, or that which a configuration validates on, looked through; None without a configuration.

    Raises:
        click.UsageError: a folder or a split without the configuration that says how it is laid out.
        ConfigError, DataError: the configuration or the data cannot be used.
    """
    if config_file:
        config = read_settings(config_file, data_folder)
        return look_through_to_use(open_split(config.data, split or config.data.val_split), config)
    if data_folder or split:
        raise click.UsageError("--data and --split need --config, which says how the data is laid out")
    return None


def look_through(dataset: Dataset, workers: int, cache: Path | None = None) -> ScanReport:
    """Scan a data set behind a progress bar."""
    with progress() as bar:
        task = bar.add_task(f"looking through {dataset.split}", total=None)

        def show(done: int, total: int) -> None:  # of the bad samples of a kept report, or of all
            bar.update(task, completed=done, total=total)

        return scan(dataset, workers, show, cache, ERRORS.print)


def look_through_to_use(dataset: Dataset, config: Config, may_be_void: bool = False) -> Dataset:
    """Scan a data set, and refuse it or leave out what has a problem, as `data.on_error` says.

    Raises:
        DataError: there are problems and they may not be skipped, nothing is left, or it is all void.
    """
    report = look_through(dataset, config.training.workers, CACHE)
    kept = usable(dataset, report, config.data.on_error, ERRORS.print)
    if len(kept) < len(dataset):
        return look_through_to_use(kept, config, may_be_void)
    for note in report.image_notes():
        ERRORS.print(note)
    if not may_be_void and (problem := report.void_problem()):
        raise DataError(f"{dataset.root}: {problem}")
    return dataset
