"""TensorFlow without its graphs: to trace a step takes it as long as ten operation by operation."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def untraced() -> Iterator[None]:
    """Functions of TensorFlow compute operation by operation; the other backends as ever."""
    import keras

    if keras.backend.backend() != "tensorflow" or "FORNET_KILLS" in os.environ:  # bits are of real processes
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* this option does not apply to tf.data functions")
            yield
    finally:
        tf.config.run_functions_eagerly(before)


@pytest.fixture(autouse=True)
def untraced_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """In a room whose conftest imports it: the tests without `backend`. Keras is not imported for this."""
    as_users_have_it = request.node.get_closest_marker("backend") or "traced" in request.fixturenames
    if as_users_have_it or "keras" not in sys.modules:
        yield
    else:
        with untraced():  # a test that reads tf.data needs it once more: pytest sets its own filters
            yield


@pytest.fixture
def traced() -> None:
    """For a test of many images of one size, or of the memory that they take."""


@contextmanager
def untraced_reference() -> Iterator[None]:
    """What an artifact is compared with is computed untraced; what is exported is traced."""
    from fornet_keras.export.reference import Reference

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reference, "_outputs", untraced()(Reference._outputs))
        yield
