"""A run's configuration that means the same wherever it is read, which is all that `--resume` needs."""

from __future__ import annotations

import os

from fornet_keras.config import Config
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.shipped import find_model


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
