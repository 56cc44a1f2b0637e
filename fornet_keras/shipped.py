"""Which model a name means: a folder, or one of those that come with the repository."""

from __future__ import annotations

import os
from pathlib import Path

from fornet_keras.atomic import last_complete
from fornet_keras.errors import ModelError

SHIPPED = Path(__file__).parents[1] / "saved_models"
"""The models that come with a checkout, a folder each."""


def find_model(name: str | Path) -> Path:
    """The folder of a run, of a saved model, or of a shipped model of this name.

    Raises:
        ModelError: there is none.
    """
    folder = Path(os.path.expanduser(name))
    if last_complete(folder).is_dir():
        return folder
    shipped = sorted(entry.name for entry in SHIPPED.glob("[!.]*") if entry.is_dir())
    if str(name) in shipped:
        return SHIPPED / name
    finding = "is a file" if folder.exists() else "no such folder"
    names = (
        f"or one of {', '.join(shipped)}"
        if shipped
        else "(no model is shipped with this installation; a clone of the repository has saved_models/NAME)"
    )
    raise ModelError(f"{name}: {finding}; expected a run folder, a saved model's folder {names}")


def shown(folder: Path) -> str:
    """What a person calls a model: a shipped one by its name, another by its folder."""
    return folder.name if folder.parent == SHIPPED else str(folder)
