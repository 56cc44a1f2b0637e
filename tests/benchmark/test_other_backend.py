"""A model in another backend than this process's."""

import os
from pathlib import Path
from unittest.mock import Mock

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


def test_its_device_is_the_one_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.benchmark import candidates, other_backend

    monkeypatch.setattr(other_backend, "_predictor", None)  # to be put back
    monkeypatch.setattr("fornet_keras.training.accelerator.find_accelerator", lambda: "NVIDIA H200")
    assert other_backend._open(model, None) == "NVIDIA H200"
    monkeypatch.setattr(candidates, "OtherBackend", Mock(return_value=Mock(device="TPU v5")))
    here, there = candidates.candidates([model], (64, 96), (), None, backends=["jax"])
    assert (here.device, there.device, there.runtime) == (None, "TPU v5", "keras jax")
