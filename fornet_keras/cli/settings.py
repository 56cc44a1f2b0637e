"""The configuration of a command, and the data it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fornet_keras.cli.screen import ERRORS, counting
from fornet_keras.config import Config, read_config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.scan import look_through
from fornet_keras.data.sources import open_split


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
        dataset = open_split(config.data, split or config.data.val_split)
        return look_through(dataset, config, counting, ERRORS.print)[0]
    if data_folder or split:
        raise click.UsageError("--data and --split need --config, which says how the data is laid out")
    return None
