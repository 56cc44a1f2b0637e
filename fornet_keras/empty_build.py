"""Build a network whose weights will be loaded: no random values, and no memory until shapes are checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
from numpy.typing import NDArray

PENDING = "uninitialized_variables"
AS_NUMPY_ZEROS = (keras.initializers.VarianceScaling, keras.initializers.Zeros)


class NetworkTooLarge(BaseException):
    """More variables or numbers than allowed; a BaseException, because backbone builders catch Exception."""


class _Pending(list[Any]):
    """What Keras keeps its variables without a value in; it ends a build that makes too many."""

    def __init__(self, arrays: float, numbers: float) -> None:
        super().__init__()
        self.arrays = arrays
        self.numbers = numbers

    def append(self, variable: Any) -> None:
        super().append(variable)
        self.numbers -= math.prod(variable.shape)
        if self.numbers < 0 or len(self) > self.arrays:
            raise NetworkTooLarge


def _zeros(shape: tuple[int, ...], dtype: Any = None) -> NDArray[Any]:
    """A Python function: on several devices Keras reads its signature, which older NumPys' zeros lacks."""
    return np.zeros(shape, dtype)


def empty_build(build: Callable[[], Any], arrays: float = math.inf, numbers: float = math.inf) -> Any:
    """What `build` makes has shapes alone; its variables get values at the end, if nothing is raised.

    Weights that are drawn at random elsewhere are zeros, and NumPy's: JAX compiles drawing, and even zeros,
    for each shape, which takes longer than all else before a first prediction.

    Args:
        build: makes a model or layer, and builds it.
        arrays: how many variables may be made, and
        numbers: how many numbers they may have together.

    Returns:
        What it makes.

    Raises:
        NetworkTooLarge: more than that is described.
    """
    before = get_global_attribute(PENDING)
    pending = _Pending(arrays, numbers)
    set_global_attribute(PENDING, pending)
    try:
        # The one scope in which Keras makes variables without a value; the second gives them theirs.
        with keras.StatelessScope(initialize_variables=False):
            built = build()
        for variable in pending:
            if isinstance(variable._initializer, AS_NUMPY_ZEROS):
                variable._initializer = _zeros
        with keras.StatelessScope():
            pass
    finally:
        set_global_attribute(PENDING, before)
    for layer in built._flatten_layers():
        layer._post_build()  # skipped in the scope; by it PyTorch knows the values, in state_dict() and to()
    return built
