"""Gradients as NumPy arrays, the same way on every backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def gradients(loss: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Gradients of the scalar `loss(*arrays)`, one an array; zeros where nothing flows."""
    variables = [keras.Variable(array) for array in arrays]
    return variable_gradients(lambda: loss(*(variable.value for variable in variables)), variables)


def variable_gradients(loss: Callable[[], Any], variables: list[keras.Variable]) -> list[np.ndarray]:
    """Gradients of the scalar `loss()` with respect to variables that it reads; zeros where nothing flows."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                value = loss()
            found = tape.gradient(value, [variable.value for variable in variables])
        case "jax":
            import jax

            def stateless(values: list) -> Any:
                with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                    return loss()

            found = jax.jit(jax.grad(stateless))([variable.value for variable in variables])
        case "torch":
            tensors = [variable.value for variable in variables]
            for tensor in tensors:
                tensor.grad = None
            loss().backward()
            found = [tensor.grad for tensor in tensors]
    return [
        np.zeros(variable.shape, "float32") if gradient is None else keras.ops.convert_to_numpy(gradient)
        for variable, gradient in zip(variables, found, strict=True)
    ]
