import pytest

from fornet_keras.model import FoRNet
from tests.model.tiny import randomize, tiny_model


@pytest.fixture(scope="session")
def model() -> FoRNet:
    """A network with random weights, for tests that leave it as it is."""
    return randomize(tiny_model())
