"""A model in another backend than this process's."""

import os
from pathlib import Path

import numpy as np
import pytest

from fornet_keras.errors import ModelError
from tests.cli.conftest import model

__all__ = ["model"]


def backend_there() -> str:
    import keras

    return str(keras.backend.backend())


def test_it_is_another_backend_in_another_process(model: Path) -> None:
    from fornet_keras.benchmark.other_backend import OtherBackend

    there = OtherBackend("jax", model, None)
    assert there._pool.submit(backend_there).result() == "jax"
    assert there.device is None
    there._pool.submit(os._exit, 1)
    with pytest.raises(ModelError, match="its process came to an end; expected one more copy of the model"):
        there(np.zeros((64, 96, 3), np.uint8))
