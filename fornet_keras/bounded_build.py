"""A network built to its last shape before any of its weights takes memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

PENDING = "uninitialized_variables"


class NetworkTooLarge(BaseException):
    """More is built than was allowed; no `Exception`, of which those who build networks catch many."""


class _Pending(list[Any]):
    """What Keras keeps its variables without a value in; it ends a build that makes too many."""

    def __init__(self, arrays: int, numbers: int) -> None:
        super().__init__()
        self.arrays = arrays
        self.numbers = numbers

    def append(self, variable: Any) -> None:
        super().append(variable)
        self.numbers -= math.prod(variable.shape)
        if self.numbers < 0 or len(self) > self.arrays:
            raise NetworkTooLarge


@contextmanager
def bounded_build(arrays: int, numbers: int) -> Iterator[None]:
    """What is built inside has shapes alone; its variables get their values at the end, if nothing is raised.

    Args:
        arrays: how many variables may be made, and
        numbers: how many numbers they may have together.

    Raises:
        NetworkTooLarge: more than that is described.
    """
    before = get_global_attribute(PENDING)
    set_global_attribute(PENDING, _Pending(arrays, numbers))
    try:
        # The one scope in which Keras makes variables without a value; the second gives them theirs.
        with keras.StatelessScope(initialize_variables=False):
            yield
        with keras.StatelessScope():
            pass
    finally:
        set_global_attribute(PENDING, before)
