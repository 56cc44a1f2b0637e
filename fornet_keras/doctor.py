"""What is installed and what of it works: versions, backends and their devices."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fornet_keras.errors import FoRNetError
from fornet_keras.version import __version__, installed

NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
BACKENDS = tuple(NAMES)
"""The backends in the order in which a bare command looks for one."""

PACKAGES = ("keras", *BACKENDS, "numpy", "opencv", "tensorboard")

SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Environment of processes side by side on a GPU: else JAX takes most of its memory, and TensorFlow all."""

TIME_LIMIT = 120.0
"""Seconds: on a busy machine with a cold disk TensorFlow takes more than one minute."""

_DISTRIBUTIONS = {"opencv": ("opencv-python", "opencv-python-headless", "opencv-contrib-python")}

# Runs in a process of its own, whose environment names the backend. An import alone proves little: computes.
_PROBE = """
import json
import keras
backend = keras.backend.backend()
if backend == "tensorflow":
    import tensorflow
    devices = [
        device.name.removeprefix("/physical_device:") for device in tensorflow.config.list_physical_devices()
    ]
elif backend == "jax":
    import jax
    devices = [str(device) for device in jax.devices()]
else:
    import torch
    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices += ["mps"] * torch.backends.mps.is_available()
assert float(keras.ops.sum(keras.ops.ones((2, 3)))) == 6.0
print(json.dumps(devices))
"""


@dataclass(frozen=True)
class Choice:
    """A backend and who chose it."""

    backend: str
    reason: str


@dataclass(frozen=True)
class Health:
    """Whether a backend works: its devices, or what is wrong."""

    backend: str
    works: bool
    devices: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def computes_on_cpu(self) -> bool:
        """Whether it works, without a GPU or TPU."""
        return self.works and all("cpu" in device.lower() for device in self.devices)


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
            raise FoRNetError(f"backend '{named}' ({reason}) is not installed; {_remedy(named)}")
        return Choice(named, reason)
    installed = [backend for backend in BACKENDS if is_installed(backend)]
    if not installed:
        raise FoRNetError(f"no backend is installed; expected one of {', '.join(BACKENDS)}; {_remedy('jax')}")
    configured = _configured_backend()
    if configured in installed:
        return Choice(configured, str(_keras_json()))
    return Choice(installed[0], "the first one installed")


def _remedy(backend: str) -> str:
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


def examine(on_backend: Callable[[str], object] = lambda backend: None) -> dict[str, Any]:
    """Look at the whole installation.

    Args:
        on_backend: called with the name of each backend before it is started, which takes seconds.

    Returns:
        dict for `json.dump`: `python`, `packages` (name → version or None), `backends` (a `Health` each),
        `default_backend` and `default_reason` (of a command without `--backend`), `note` (where that leaves a
        GPU idle, or None), `works` (one backend does).
    """
    backends = {}
    for backend in BACKENDS:
        on_backend(backend)
        backends[backend] = probe(backend)
    try:
        default = asdict(choose_backend())
    except FoRNetError as error:
        default = {"backend": None, "reason": str(error)}
    chosen = default["backend"]
    on_cpu = chosen is not None and backends[chosen].computes_on_cpu
    return {
        "python": platform.python_version(),
        "packages": {"fornet_keras": __version__} | {name: _version(name) for name in PACKAGES},
        "backends": [asdict(health) for health in backends.values()],
        "default_backend": chosen,
        "default_reason": default["reason"],
        "note": unseen_gpu_note(chosen) if on_cpu else None,
        "works": any(health.works for health in backends.values()),
    }


def probe(backend: str, time_limit: float = TIME_LIMIT) -> Health:
    """Start a backend in a process of its own and let it compute a sum."""
    if not is_installed(backend):
        return Health(backend, works=False, problem=f"not installed; {_remedy(backend)}")
    environment = {**os.environ, **SHARED_GPU, "KERAS_BACKEND": backend}
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],  # no keras.py of the current folder
            env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=time_limit,
        )
    except subprocess.TimeoutExpired:
        return Health(backend, works=False, problem=f"did not start within {time_limit:g} s")
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"ended with code {run.returncode}"])[-1]
        return Health(backend, works=False, problem=last)
    return Health(backend, works=True, devices=tuple(json.loads(run.stdout.splitlines()[-1])))


def unseen_gpu_note(backend: str) -> str | None:
    """A line about a backend that finds no GPU, where this machine has one of NVIDIA's.

    `pip install tensorflow` is one for CPUs, and comes first where no backend is chosen.
    """
    if not _has_nvidia_gpu() or (backend == "torch" and "KERAS_TORCH_DEVICE" in os.environ):
        return None
    others = [other for other in reversed(BACKENDS) if other != backend and is_installed(other)]
    fix = f"--backend {' or '.join(others)} may" if others else "docs/install.md says what to install"
    return f"note: this machine has an NVIDIA GPU that {NAMES[backend]} does not see; {fix}"


def _has_nvidia_gpu() -> bool:
    """As its driver says, whatever the backends were built for; one that is hidden on purpose is none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/proc/driver/nvidia/gpus").glob("*")) or shutil.which("nvidia-smi") is not None


def _version(package: str) -> str | None:
    found = map(installed, _DISTRIBUTIONS.get(package, (package,)))
    return next(filter(None, found), None)
