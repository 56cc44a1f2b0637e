"""A network small enough for a test, with weights that do something in every part."""

from typing import Any

import keras
import numpy as np

from fornet_keras.model import FoRNet

NUM_CLASSES = 3


def tiny_model(top_k: float = 0.5, num_classes: int = NUM_CLASSES, **arguments: Any) -> FoRNet:
    return FoRNet.from_preset("pico", num_classes, top_k=top_k, **arguments)


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random weights everywhere: as built, the branch corrects nothing and the Selector knows nothing."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
        if weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        weight.assign(value.astype("float32"))
    return model


def images(height: int, width: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (batch, height, width, 3), "uint8")


def numpy_outputs(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    # On JAX as one program: to compile each operation by itself takes three times as long.
    call = model.predict_on_batch if keras.backend.backend() == "jax" else model
    return {name: keras.ops.convert_to_numpy(x) for name, x in call(image).items()}


def dtypes(outputs: dict[str, Any]) -> set[str]:
    return {keras.backend.standardize_dtype(x.dtype) for x in outputs.values()}
