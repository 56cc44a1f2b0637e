import numpy as np
import pytest

from fornet_keras.model import FoRNet
from tests.model.tiny import images, numpy_outputs, randomize, tiny_model


@pytest.fixture(scope="session")
def model() -> FoRNet:
    """A network with random weights, for tests that leave it as it is."""
    return randomize(tiny_model())


@pytest.fixture(scope="session")
def dense(model: FoRNet) -> dict[str, np.ndarray]:
    """What `model` gives for `images(64, 96)` with every region corrected: the dense form of the branch."""
    return numpy_outputs(model.with_top_k(1), images(64, 96))
