from pathlib import Path

import pytest
from PIL import Image

from fornet_keras.model import FoRNet
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import images, randomize, tiny_model

SIZE = (70, 100)


@pytest.fixture(scope="session")
def model() -> FoRNet:
    return randomize(tiny_model())


@pytest.fixture(scope="session")
def predict(model: FoRNet) -> Predictor:
    return Predictor(model)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    Image.fromarray(images(*SIZE)[0]).save(path)
    return path
