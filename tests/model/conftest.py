import shutil
from pathlib import Path

import numpy as np
import pytest

from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from tests.model.folders import TABLE
from tests.model.tiny import images, numpy_outputs, randomize, tiny_model


@pytest.fixture(scope="session")
def model() -> FoRNet:
    """A network with random weights, for tests that leave it as it is."""
    return randomize(tiny_model())


@pytest.fixture(scope="session")
def dense(model: FoRNet) -> dict[str, np.ndarray]:
    """What `model` gives for `images(64, 96)` with every region corrected: the dense form of the branch."""
    return numpy_outputs(model.with_top_k(1), images(64, 96))


@pytest.fixture(scope="module")
def saved(model: FoRNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "saved"
    save_model(model, TABLE, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model, to be spoilt."""
    return shutil.copytree(saved, tmp_path / "model")
