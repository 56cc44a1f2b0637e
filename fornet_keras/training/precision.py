"""The number format that a configuration's `precision` means on this machine."""

from __future__ import annotations

import keras


def dtype_policy(precision: str) -> str:
    """A Keras dtype policy.

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

        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        capability = getattr(device, "compute_capability", "0")
        return device.platform == "tpu" or (device.platform == "gpu" and float(capability) >= 8)
    import tensorflow as tf

    if tf.config.list_logical_devices("TPU"):
        return True
    gpus = tf.config.list_physical_devices("GPU")
    return bool(gpus) and _capability(tf.config.experimental.get_device_details(gpus[0])) >= (8, 0)


def _capability(details: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return details.get("compute_capability", (0, 0))
