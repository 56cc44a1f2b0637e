"""The folder of a run and the configuration in it: made for a new one, checked for one that goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from fornet_keras.atomic import locked, write_text
from fornet_keras.config import Config, TrainingConfig, dump_config, read_config
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.model_description import CONFIG
from fornet_keras.shipped import find_model
from fornet_keras.training.accelerator import dtype_policy

RESULT = "result.json"
LOCK = ".lock"
FREE_KEYS = {
    "data.root",
    "data.cache",
    "training.devices",
    "training.workers",
    "training.checkpoint_minutes",
    "training.keep_checkpoints",
}
"""What may change when a run goes on: what is learnt is the same, from several devices up to rounding."""


def check_run_folder(folder: Path, config: Config, resume: bool) -> None:
    """Refuse a folder that another run is in.

    Args:
        folder: the run folder; need not exist.
        config: configuration of the run.
        resume: whether a run in the folder goes on; without one, a new run begins.

    Raises:
        ConfigError: the folder is in use, or its run has another configuration.
    """
    if is_empty(folder):
        return
    if not resume:
        raise ConfigError(
            f"{folder}: the run folder is not empty; choose another one with --output, or continue its run "
            "with --resume"
        )
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no {CONFIG} in it, so no run to resume; choose another --output")
    found, wanted = with_precision(read_config(folder / CONFIG), folder, False).by_key(), config.by_key()
    changed = [
        key for key in wanted if wanted[key] != found[key] and not _may_change(key, found[key], wanted[key])
    ]
    if changed:
        listed = "; ".join(f"{key} is {found[key]} there and {wanted[key]} here" for key in changed)
        raise ConfigError(
            f"{folder}: its run has another configuration: {listed}; resume with --config {folder / CONFIG}, "
            "or choose another --output"
        )


def _may_change(key: str, found: object, wanted: object) -> bool:
    # A teacher may lie elsewhere: `TeacherState` knows it by its weights.
    return key in FREE_KEYS or bool(key == "loss.teacher" and found and wanted)


def with_precision(config: Config, folder: Path, resume: bool) -> Config:
    """The same configuration with the number format that `auto` means, so that what is recorded is what ran.

    Args:
        config: configuration of the run.
        folder: the run folder; need not exist.
        resume: whether a run in the folder goes on, on whatever machine, in the number format that it has.
    """
    precision = config.training.precision
    if precision == "auto" and resume and (folder / CONFIG).is_file():
        precision = read_config(folder / CONFIG).training.precision
    training = config.training.model_copy(update={"precision": dtype_policy(precision)})
    return config.model_copy(update={"training": training})


def with_absolute_paths(config: Config) -> Config:
    """The same configuration, in which no path begins here or with `~`.

    Raises:
        ConfigError: a path is not UTF-8, and `config.yaml` could not have it.
    """
    data = {"root": _absolute(config.data.root), "cache": _absolute(config.data.cache)}
    model = {"weights": _model(config.model.weights), "backbone": _backbone(config.model.backbone)}
    loss = {"teacher": _model(config.loss.teacher)}
    for path in (*data.values(), *model.values(), *loss.values()):
        _require_text(path or "")
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=data),
            "model": config.model.model_copy(update=model),
            "loss": config.loss.model_copy(update=loss),
        }
    )


def _require_text(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path}: its name is not UTF-8, and the run could not be resumed from its config.yaml; "
            "rename the folder, or name a link to it"
        ) from None


def _absolute(path: str | None) -> str | None:
    return path and os.path.abspath(os.path.expanduser(path))


def _backbone(name: str | None) -> str | None:
    """A library's preset as it is; one in a folder by its whole path."""
    library, colon, preset = (name or "").partition(":")
    folder = _absolute(preset) if colon else None
    return f"{library}:{folder}" if folder and os.path.isdir(folder) else name


def _model(name: str | None) -> str | None:
    """The folder of a model, whether it is there or not: a run that goes on needs no `model.weights`."""
    try:
        return name and _absolute(str(find_model(name)))
    except ModelError:
        return _absolute(name)


def is_empty(folder: Path) -> bool:
    """Whether no run has left anything in a folder, which may be missing."""
    return not folder.exists() or all(path.name == LOCK for path in folder.iterdir())


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """In the block, no other process' run writes into a folder.

    One that it makes and leaves empty is removed.

    Args:
        folder: the run folder; made where it is missing.

    Raises:
        ConfigError: another run is in it.
    """
    is_new = not folder.exists()
    try:
        with locked(folder / LOCK, blocking=False):
            try:
                yield
            finally:
                if is_new and is_empty(folder):
                    clear(folder)
    except Timeout:
        raise ConfigError(
            f"{folder}: another run is writing into it; expected one at a time; wait until it has ended, or "
            "choose another --output"
        ) from None


def clear(folder: Path) -> None:
    """Remove a folder, or, where it is a link or may not go, all that is in it."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):  # Windows keeps a lock that is held
                    entry.unlink()
        folder.rmdir()


def write_config(folder: Path, config: Config) -> None:
    """Write the run's own configuration."""
    write_text(folder / CONFIG, dump_config(config))


def result_at(folder: Path, step: int, training: TrainingConfig) -> dict[str, Any] | None:
    """The result of a run that had ended after this step and as many epochs of its Selector; else None."""
    if not (folder / RESULT).exists():
        return None
    result: dict[str, Any] = json.loads((folder / RESULT).read_text("utf-8"))
    as_asked = (result["steps"], result["selector_epochs"]) == (step, training.selector_epochs)
    return result if as_asked else None
