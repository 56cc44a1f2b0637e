"""On PyTorch a `FoRNet` is a module as any: `state_dict` has its weights, `to` converts them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model
from tests.model.tiny import images, numpy_outputs, randomize, tiny_model

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch's modules"),
]

MADE = [
    lambda model, saved: load_model(saved)[0],
    lambda model, saved: load_model(saved)[0].with_top_k(0.2),
    lambda model, saved: model.with_top_k(0.2),
    lambda model, saved: copy.deepcopy(load_model(saved)[0]),
    lambda model, saved: FoRNet.from_config(model.get_config()),
]


@pytest.mark.parametrize("make", MADE)
def test_however_it_was_made_its_state_fits(
    model: FoRNet, saved: Path, tmp_path: Path, make: Callable[[FoRNet, Path], Any]
) -> None:
    """With the keys of a new network, with its own weights, and restored from a file."""
    import torch

    made = make(model, saved)
    state = made.state_dict()
    assert state.keys() == tiny_model().state_dict().keys()
    for weight in made.weights:
        part = state[f"_torch_params.{weight.path}"]
        np.testing.assert_array_equal(part, keras.ops.convert_to_numpy(weight))
    expected = numpy_outputs(made, images(64, 96))
    torch.save(state, tmp_path / "state.pt")
    randomize(made, seed=5)
    assert np.abs(numpy_outputs(made, images(64, 96))["logits"] - expected["logits"]).max() > 0.1
    for other in (made, tiny_model(top_k=made.top_k)):
        other.load_state_dict(torch.load(tmp_path / "state.pt"))
        for name, output in numpy_outputs(other, images(64, 96)).items():
            np.testing.assert_array_equal(output, expected[name])


def test_a_loaded_model_is_converted(saved: Path) -> None:
    loaded = load_model(saved)[0].double()
    assert {keras.backend.standardize_dtype(weight.value.dtype) for weight in loaded.weights} == {"float64"}


def test_the_seeds_of_dropout_fit_too() -> None:
    rates = {"dropout": 0.2, "image_pool_dropout": 0.3}
    first, second = (tiny_model(**rates) for _ in range(2))
    assert sum("seed" in name for name in first.state_dict()) == 4
    second.load_state_dict(first.state_dict())
    assert first.with_top_k(0.2).state_dict().keys() == first.state_dict().keys()
