"""A training run's whole state at one step, on disk: exact, checked, and never half-written.

A checkpoint is a folder of two files: `state.safetensors`, the arrays and, as JSON beside them, what the
callbacks remember; and `SHA256SUMS`, by which `sha256sum --check` and `newest` find any flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load, save

from fornet_keras.atomic import new_folder, remove_unfinished
from fornet_keras.errors import TrainingError, os_reason

if TYPE_CHECKING:  # to read and write arrays takes none
    import keras

STATE = "state.safetensors"
SUMS = "SHA256SUMS"
FOLDER_NAME = re.compile(r"step_(\d{9})")


@dataclass(frozen=True)
class Checkpoint:
    """All that decides how a run goes on.

    Args:
        step: optimizer steps done since the run began.
        arrays: one array a variable of the model, its optimizer and its metrics.
        state: what else the run remembers, as JSON.
    """

    step: int
    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any]


def capture(model: keras.Model, step: int, state: dict[str, Any]) -> Checkpoint:
    """Copy a model's weights, seeds, optimizer and metrics.

    Args:
        model: compiled, its optimizer built.
        step: optimizer steps done.
        state: what else the run remembers; must fit into JSON.
    """
    import keras

    arrays = {name: np.array(keras.ops.convert_to_numpy(x)) for name, x in _variables(model)}
    return Checkpoint(step, arrays, state)


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Give a model the weights, seeds, optimizer state and metrics of a checkpoint.

    Raises:
        TrainingError: the checkpoint is of another network or optimizer.
    """
    variables = dict(_variables(model))
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    found = {name: array.shape for name, array in checkpoint.arrays.items()}
    if expected != found:
        name = min(dict(expected.items() ^ found.items()))
        raise TrainingError(
            f"the checkpoint of step {checkpoint.step}: '{name}' is {found.get(name)} but the run's network "
            f"and optimizer have {expected.get(name)}; continue with the version that wrote it"
        )
    for name, variable in variables.items():
        variable.assign(checkpoint.arrays[name])


def _variables(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    for group, variables in groups.items():
        for number, variable in enumerate(variables):
            # Numbered: names need not be unique.
            yield f"{group}/{number}/{variable.name}", variable


def save_checkpoint(checkpoint: Checkpoint, folder: Path, keep: int) -> Path:
    """Write a checkpoint beside the earlier ones, of which the newest `keep - 1` stay.

    Args:
        checkpoint: what is written.
        folder: of all checkpoints of the run.
        keep: checkpoints that stay, at least 1.

    Returns:
        The checkpoint's own folder.

    Raises:
        TrainingError: a value is not finite, or the disk took not all of it; the earlier ones are as they
            were.
    """
    for name, array in checkpoint.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            from fornet_keras.training.finite import STEADIER  # needs Keras

            group, _, variable = name.split("/", 2)
            raise TrainingError(
                f"'{variable}' of the {group} is not finite after step {checkpoint.step}; {STEADIER}; "
                "nothing is saved, and the earlier checkpoints stay"
            )
    path = folder / f"step_{checkpoint.step:09d}"
    metadata = {"step": str(checkpoint.step), "state": json.dumps(checkpoint.state)}
    # In C order: safetensors writes memory as it lies.
    content = save({name: np.asarray(x, order="C") for name, x in checkpoint.arrays.items()}, metadata)
    try:
        remove_unfinished(folder)
        if path.exists():
            shutil.rmtree(path)  # it was damaged: the run would have continued from it
        with new_folder(path) as writing:
            (writing / STATE).write_bytes(content)
            (writing / SUMS).write_bytes(_sums(content))
    except OSError as error:
        left = _folders(folder)
        kept = f"the one of step {_step(left[0])} is as it was" if left else "there is no earlier one"
        raise TrainingError(
            f"{path}: the checkpoint could not be written ({os_reason(error)}); {kept}; "
            "make room and continue with --resume"
        ) from None
    # Checkpoints of later steps are damaged ones that the run fell back from.
    later = [old for old in _folders(folder) if _step(old) > checkpoint.step]
    for old in (*later, *_folders(folder)[len(later) + keep :]):
        shutil.rmtree(old, ignore_errors=True)
    return path


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole.

    Args:
        folder: of all checkpoints of the run; may be missing.

    Returns:
        The checkpoint, or None where there is none; and one line for each newer one that was rejected.
    """
    rejected: list[str] = []
    for path in _folders(folder):
        try:
            return _read(path), rejected
        except (OSError, ValueError) as error:
            rejected.append(f"{path}: {error}")
    return None, rejected


def _read(path: Path) -> Checkpoint:
    """Read one checkpoint; ValueError or OSError where a single bit of it is not as it was written."""
    content = (path / STATE).read_bytes()
    if (path / SUMS).read_bytes() != _sums(content):
        raise ValueError(f"{STATE} is not what {SUMS} says: damaged or cut short")
    with safe_open(path / STATE, "numpy") as file:
        metadata = file.metadata()
    return Checkpoint(int(metadata["step"]), load(content), json.loads(metadata["state"]))


def _sums(content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {STATE}\n".encode()


def _folders(folder: Path) -> list[Path]:
    """Those of all checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if FOLDER_NAME.fullmatch(path.name)), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))
