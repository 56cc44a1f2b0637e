"""The folder of a run: made for a new one, checked for one that goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from fornet_keras.atomic import locked, write_text
from fornet_keras.config import Config, config_from_mapping, dump_config, read_config
from fornet_keras.errors import ConfigError
from fornet_keras.model_description import CONFIG

RESULT = "result.json"
LOCK = ".lock"
FREE_KEYS = {
    "data.root",
    "data.cache",
    "data.exclude",  # the images are compared
    "training.devices",
    "training.workers",
    "training.checkpoint_minutes",
    "training.keep_checkpoints",
}
"""What may change when a run goes on: what is learnt is the same, from several devices up to rounding."""


def check_run_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that is in use.

    Args:
        folder: the run folder; need not exist.
        resume: whether a run in the folder goes on; without one, a new run begins.

    Raises:
        ConfigError: there is something in it, and not a run that goes on.
    """
    if is_empty(folder):
        return
    if not resume:
        raise ConfigError(
            f"{folder}: the run folder is not empty; choose another one with --output, or continue its run "
            "with --resume"
        )
    if not is_run(folder):
        raise ConfigError(f"{folder}: not empty, and no run in it to resume; choose another --output")


def require_same_settings(folder: Path, began_with: dict[str, Any], config: Config) -> None:
    """Refuse a configuration with which a run would not learn what it began to.

    Args:
        folder: the run folder.
        began_with: the sections of the configuration that a checkpoint of the run has: the folder's
            `config.yaml` may have been edited since.
        config: that with which it is to go on.

    Raises:
        ConfigError: what is not one of `FREE_KEYS` is another.
    """
    found, wanted = config_from_mapping(began_with, str(folder)).by_key(), config.by_key()
    changed = [
        key for key in wanted if wanted[key] != found[key] and not _may_change(key, found[key], wanted[key])
    ]
    if changed:
        listed = "; ".join(f"{key} was {found[key]} and is {wanted[key]} here" for key in changed)
        edited = _edited(folder / CONFIG, found, changed)
        given = [key for key in changed if key not in edited]
        fix = f"resume with --config {folder / CONFIG}"
        fix += f" and set back in it what was edited, {', '.join(edited)}" if edited else ""
        fix += f" and without another {', '.join(given)}" if given else ""
        longer = f", to train longer with model.weights={folder}" if "training.epochs" in changed else ""
        raise ConfigError(
            f"{folder}: its run began with another configuration: {listed}; {fix}, or begin a new run in "
            f"another --output{longer}"
        )


def _edited(file: Path, began_with: dict[str, Any], changed: Sequence[str]) -> Sequence[str]:
    """Those of the changed keys that are no longer what they were in the run's own `config.yaml`."""
    try:
        written = read_config(file).by_key()
    except ConfigError:  # damaged since
        return changed
    return [key for key in changed if written[key] != began_with[key]]


def _may_change(key: str, found: Any, wanted: Any) -> bool:
    if key == "loss.teacher":  # it may lie elsewhere: `TeacherState` knows it by its weights
        return bool(found and wanted)
    if key == "model.backbone" and found and wanted:  # a library's may too: each shape is compared
        (library, _, there), (same, _, here) = found.partition(":"), wanted.partition(":")
        return bool(library == same and os.path.isabs(there) and os.path.isabs(here))
    return key in FREE_KEYS


def is_run(folder: Path) -> bool:
    """Whether a run has begun in a folder, and not only a person's own `config.yaml` lies there."""
    return (folder / CONFIG).is_file() and (
        (folder / LOCK).exists() or any(folder.glob("checkpoints/step_*"))
    )


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


def result_at(folder: Path, step: int) -> dict[str, Any] | None:
    """The result of a run that had ended after this step; else None."""
    try:
        result: dict[str, Any] = json.loads((folder / RESULT).read_text("utf-8"))
        return result if result["steps"] == step else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged: the run makes it again
        return None
