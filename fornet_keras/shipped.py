"""What comes with the package, cloned or installed: models and configurations, found by their names."""

from __future__ import annotations

import os
from pathlib import Path

from fornet_keras.atomic import last_complete
from fornet_keras.errors import ConfigError, ModelError


def _with_the_package(name: str) -> Path:
    """A folder of the repository: beside the package in a clone, inside it where it has been installed."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else inside.parents[1] / name


SHIPPED = _with_the_package("saved_models")
"""The models, a folder each."""

CONFIGS = _with_the_package("configs")
"""The configurations, a YAML file each."""

OF_A_MODEL = ("config.yaml", "best", "model.json", "weights.safetensors", "manifest.json", "*/manifest.json")
"""What is in a run, from its beginning on, in a model, an exported one, or a folder of several such."""


EMPTY = "is empty; expected a path or a name; look whether a variable in its place is set"
"""Else it would be the working folder."""


def find_model(name: str | Path) -> Path:
    """The folder of a run, of a saved model, or of a shipped model of this name.

    Raises:
        ModelError: there is none.
    """
    if not os.fspath(name):
        raise ModelError(f"the name of a model {EMPTY}")
    folder = Path(os.path.expanduser(name))
    whole = last_complete(folder)
    shipped = sorted(entry.name for entry in SHIPPED.glob("[!._]*") if entry.is_dir())
    if str(name) in shipped:  # predictions by it, or a report on it, may lie in a folder of its name
        is_here = any(True for pattern in OF_A_MODEL for _ in whole.glob(pattern))
        return folder if is_here else SHIPPED / name
    if whole.is_dir():
        return folder
    require_whole_artifact(folder)
    finding = "is a file" if folder.exists() else "no such folder"
    names = (
        f"or one of {', '.join(shipped)}"
        if shipped
        else "(no model is shipped with this installation; a clone of the repository has saved_models/NAME)"
    )
    raise ModelError(f"{name}: {finding}; expected a run folder, a saved model's folder {names}")


def require_whole_artifact(path: Path) -> None:
    """Refuse a file of an exported model in the place of its folder.

    Raises:
        ModelError: it is one.
    """
    if path.is_file() and (path.parent / "manifest.json").is_file():
        raise ModelError(f"{path}: is a file of an exported model; expected its folder; give {path.parent}")


def find_config(name: str | Path) -> Path:
    """The path itself; where no file is there, the shipped one named `camvid` or `configs/camvid.yaml`.

    Raises:
        ConfigError: it is empty, or a mere name and neither a file's nor that of a shipped one.
    """
    if not os.fspath(name):
        raise ConfigError(f"the name of a configuration {EMPTY}")
    path = Path(os.path.expanduser(name))
    shipped = CONFIGS / f"{path.stem}.yaml"
    by_name = path.as_posix() in (path.stem, f"configs/{path.stem}.yaml") and shipped.is_file()
    if path.name == path.stem == str(path) and not (by_name or path.exists()):
        names = ", ".join(sorted(config.stem for config in CONFIGS.glob("*.yaml")))
        raise ConfigError(f"{name}: no such file; expected a YAML file, or one of {names}; check the name")
    return shipped if by_name and not path.is_file() else path


def shown(folder: Path) -> str:
    """What a person calls a model: a shipped one by its name, another by its folder."""
    return folder.name if folder.parent == SHIPPED else str(folder)
