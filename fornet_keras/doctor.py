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
from pathlib import Path
from typing import Any

import cv2

from fornet_keras.backend_choice import BACKENDS, NAMES, SHARED_GPU, choose_backend, is_installed, remedy
from fornet_keras.errors import FoRNetError
from fornet_keras.version import __version__, installed

REPORTED_PACKAGES = ("keras", *BACKENDS, "numpy", "tensorboard")

TIME_LIMIT = 120.0
"""Seconds: on a busy machine with a cold disk TensorFlow takes more than one minute."""

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
        "packages": {"fornet_keras": __version__, "opencv": cv2.__version__}
        | {name: installed(name) for name in REPORTED_PACKAGES},
        "backends": [asdict(health) for health in backends.values()],
        "default_backend": chosen,
        "default_reason": default["reason"],
        "note": unseen_gpu_note(chosen) if on_cpu else None,
        "works": any(health.works for health in backends.values()),
    }


def probe(backend: str, time_limit: float = TIME_LIMIT) -> Health:
    """Start a backend in a process of its own and let it compute a sum."""
    if not is_installed(backend):
        return Health(backend, works=False, problem=f"not installed; {remedy(backend)}")
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
