"""Values and gradients as NumPy arrays, the same way on every backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

ValueAndGradients = Callable[..., tuple[float, list[np.ndarray]]]


def gradients(loss: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Gradients of the scalar `loss(*arrays)`, one an array; zeros where nothing flows."""
    variables = [keras.Variable(array) for array in arrays]
    return value_and_gradients(lambda: loss(*(variable.value for variable in variables)), variables)()[1]


def value_and_gradients(loss: Callable[..., Any], variables: list[keras.Variable]) -> ValueAndGradients:
    """A function of `loss`'s arguments that gives its value and its gradients.

    Args:
        loss: gives a scalar from arrays and from the variables, which it reads by itself.
        variables: what the gradients are with respect to; a gradient is zero where nothing flows.
    """
    differentiate = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    differentiated = differentiate(loss, variables)

    def call(*arguments: np.ndarray) -> tuple[float, list[np.ndarray]]:
        value, found = differentiated(*arguments)
        pairs = zip(variables, found, strict=True)
        return float(keras.ops.convert_to_numpy(value)), [
            np.zeros(variable.shape, "float32") if x is None else keras.ops.convert_to_numpy(x)
            for variable, x in pairs
        ]

    return call


def _tensorflow(loss: Callable[..., Any], variables: list[keras.Variable]) -> Callable[..., Any]:
    import tensorflow as tf

    def differentiated(*arguments: np.ndarray) -> Any:
        with tf.GradientTape() as tape:
            value = loss(*arguments)
        return value, tape.gradient(value, [variable.value for variable in variables])

    return differentiated


def _jax(loss: Callable[..., Any], variables: list[keras.Variable]) -> Callable[..., Any]:
    import jax

    def stateless(values: list, *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss(*arguments)

    compiled = jax.jit(jax.value_and_grad(stateless))
    return lambda *arguments: compiled([variable.value for variable in variables], *arguments)


def _torch(loss: Callable[..., Any], variables: list[keras.Variable]) -> Callable[..., Any]:
    def differentiated(*arguments: np.ndarray) -> Any:
        tensors = [variable.value for variable in variables]
        for tensor in tensors:
            tensor.grad = None
        value = loss(*arguments)
        value.backward()
        return value, [tensor.grad for tensor in tensors]

    return differentiated
