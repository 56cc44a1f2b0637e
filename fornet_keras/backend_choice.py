"""Which backend a command computes with, decided without importing one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fornet_keras.errors import FoRNetError

NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
BACKENDS = tuple(NAMES)
"""The backends in the order in which a bare command looks for one."""

SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Environment of processes side by side on a GPU: else JAX takes most of its memory, and TensorFlow all."""


@dataclass(frozen=True)
class Choice:
    """A backend and who chose it."""

    backend: str
    reason: str


def is_installed(backend: str) -> bool:
    """Whether a backend can be found; nothing is imported."""
    return find_spec(backend) is not None


def choose_backend(asked: str | None = None) -> Choice:
    """The backend of a command: the one asked for, KERAS_BACKEND's, keras.json's, or the first installed.

    Keras writes a keras.json by itself, naming TensorFlow: it counts only where its backend is installed.

    Raises:
        FoRNetError: the backend is unknown or not installed, or none is.
    """
    named = asked or os.environ.get("KERAS_BACKEND")
    if named:
        reason = "--backend" if asked else "the environment variable KERAS_BACKEND"
        if named not in BACKENDS:
            raise FoRNetError(
                f"{reason}: backend '{named}' is unknown; expected one of {', '.join(BACKENDS)}"
            )
        if not is_installed(named):
            raise FoRNetError(f"backend '{named}' ({reason}) is not installed; {remedy(named)}")
        return Choice(named, reason)
    installed = [backend for backend in BACKENDS if is_installed(backend)]
    if not installed:
        raise FoRNetError(f"no backend is installed; expected one of {', '.join(BACKENDS)}; {remedy('jax')}")
    configured = _configured_backend()
    if configured in installed:
        return Choice(configured, str(_keras_json()))
    return Choice(installed[0], "the first one installed")


def remedy(backend: str) -> str:
    """What to do about a backend that is not installed."""
    package = "tensorflow" if backend == "tensorflow" else f'"fornet_keras[{backend}]"'
    others = [other for other in BACKENDS if other != backend and is_installed(other)]
    return f"pip install {package}" + "".join(f", or use --backend {other}" for other in others[:1])


def _keras_json() -> Path:
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))) / "keras.json"


def _configured_backend() -> str | None:
    try:
        return json.loads(_keras_json().read_bytes()).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
