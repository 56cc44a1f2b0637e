"""The GPU or TPU that this process computes on, which each backend is asked about in words of its own."""

from __future__ import annotations

from typing import Any

import keras
from rich.console import Console

from fornet_keras.artifacts.runtimes import usable_cores
from fornet_keras.backend_choice import NAMES
from fornet_keras.doctor import unseen_gpu_note


def announce_device(count: int, console: Console) -> str:
    """Say what a run computes on, and that a GPU stays idle where one does.

    Args:
        count: devices, over all processes; JAX, within `on_devices`, knows it itself.
        console: is told.

    Returns:
        For example "NVIDIA H200", "4 x NVIDIA H200" or "2 CPU cores".
    """
    backend = keras.backend.backend()
    accelerator = find_accelerator()
    device = _device_name(accelerator, count)
    console.print(f"{NAMES[backend]} on {device}", highlight=False)
    if not accelerator and (note := unseen_gpu_note(backend)):
        console.print(note, highlight=False)
    return device


def _device_name(accelerator: str | None, count: int) -> str:
    if distribution := keras.distribution.distribution():
        count = distribution.device_mesh.devices.size
    if accelerator:
        return f"{count} x {accelerator}" if count > 1 else accelerator
    cores = usable_cores()
    return "1 CPU core" if cores == 1 else f"{cores} CPU cores"


def find_accelerator() -> str | None:
    """The name of the first GPU or TPU; None without one."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        device = _torch_device()
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        return {"cpu": None, "mps": "Apple GPU"}.get(device.type, device.type)
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    return tensorflow_gpu()


def _torch_device() -> Any:
    """What Keras computes on, which need not be PyTorch's first GPU: `KERAS_TORCH_DEVICE=cpu`."""
    return keras.ops.zeros(0).device


def tensorflow_gpu() -> str | None:
    """The name of the first GPU that TensorFlow may use, whatever Keras' backend is; None without one."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else None


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy that a configuration's `precision` means here.

    Args:
        precision: `float32`, `mixed_bfloat16`, `mixed_float16`, or `auto`: `mixed_bfloat16` on an
            accelerator that computes in bfloat16, else `float32`.
    """
    if precision != "auto":
        return precision
    return "mixed_bfloat16" if _accelerator_has_bfloat16() else "float32"


def _accelerator_has_bfloat16() -> bool:
    """Whether the backend computes on a TPU, or on a GPU of NVIDIA's Ampere generation or later.

    A CPU does not count: where it has bfloat16, few of the backends' kernels use it.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        device = _torch_device()
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        capability = getattr(device, "compute_capability", "0")
        return device.platform == "tpu" or (device.platform == "gpu" and float(capability) >= 8)
    import tensorflow as tf

    if tf.config.list_logical_devices("TPU"):
        return True
    gpus = tf.config.get_visible_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("compute_capability", (0, 0)) >= (8, 0)


def device_memory() -> int | None:
    """Peak of the first GPU's memory, in bytes; None without one."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        device = _torch_device()
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    if backend == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None
