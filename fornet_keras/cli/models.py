"""Which model a MODEL argument means."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import fornet_keras
from fornet_keras.config import DataConfig, read_config
from fornet_keras.data.dataset import Dataset, LabelTable
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.export.manifest import MANIFEST
from fornet_keras.model_description import DESCRIPTION

SHIPPED = Path(fornet_keras.__file__).parents[1] / "saved_models"
"""The models that come with a checkout, a folder each."""


def find_model(name: str) -> Path:
    """The folder of a run, of a saved model, or of a shipped model of this name.

    Raises:
        ModelError: there is none.
    """
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        _refuse_ratios(folder)
        return folder
    shipped = sorted(entry.name for entry in SHIPPED.glob("[!.]*") if entry.is_dir())
    if name in shipped:
        return SHIPPED / name
    finding = "is a file" if folder.exists() else "no such folder"
    names = f"or one of {', '.join(shipped)}" if shipped else "(no model is shipped with this installation)"
    raise ModelError(f"{name}: {finding}; expected a run folder, a saved model's folder {names}")


def _refuse_ratios(folder: Path) -> None:
    """Several exported models, one a ratio, are not one."""
    exported = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    if exported and not any((folder / name).exists() for name in (MANIFEST, DESCRIPTION)):
        raise ModelError(
            f"{folder}: holds several exported models ({', '.join(exported)}); expected one model; "
            f"take {folder / exported[0]} or another of them"
        )


def identity(folder: Path) -> str:
    """A model's name and the beginning of a SHA-256 that changes with its weights."""
    descriptions = (folder / MANIFEST, folder / DESCRIPTION, folder / "best" / DESCRIPTION)
    described = next(path for path in descriptions if path.is_file())
    return f"{folder.name} {hashlib.sha256(described.read_bytes()).hexdigest()[:16]}"


def require_classes(folder: Path, table: LabelTable, dataset: Dataset) -> None:
    """Refuse to score a model on data with other classes.

    Raises:
        ModelError: the names or their order differ.
    """
    ours, theirs = table.names, dataset.table.names
    if ours != theirs:
        raise ModelError(
            f"{folder}: the model's {len(ours)} classes ({', '.join(ours)}) are not the {len(theirs)} of "
            f"{dataset.name} ({', '.join(theirs)}); expected the same, in the same order; "
            "use the configuration of the data that the model was trained on"
        )


def has_learnt_from(folder: Path, data: DataConfig, split: str) -> bool:
    """Whether the configuration beside a model says that it was trained on a split of this data.

    Where there is none, or it cannot be read, nothing is known: False.
    """
    for place in (folder, folder.parent):  # a run, a shipped model; a run's `best`
        try:
            trained = read_config(place / "config.yaml").data
        except ConfigError:
            continue
        # A shipped model does not say where its data lay.
        elsewhere = trained.root is not None and Path(trained.root) != Path(data.root or "").absolute()
        return trained.format == data.format and not elsewhere and trained.trains_on(split)
    return False
