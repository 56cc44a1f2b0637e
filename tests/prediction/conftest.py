from pathlib import Path

import pytest
from PIL import Image

from fornet_keras.data.dataset import LabelTable
from fornet_keras.model import FoRNet
from fornet_keras.prediction.folder import FolderPrediction, Outcome
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import images, randomize, tiny_model
from tests.untraced import traced, untraced_once  # noqa: F401

SIZE = (70, 100)
SHARED = [".lock", "legend.png", "settings.json", "sources.json"]
TABLE = LabelTable(("water", "quay", "sky"), ((0, 0, 200), (90, 90, 90), (130, 180, 230)), {0: 0, 1: 1, 2: 2})


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


def run(predict: Predictor, path: Path, *kinds: str, overwrite: bool = False) -> list[Outcome]:
    output = path.parent.parent / "out"
    prediction = FolderPrediction(predict, TABLE, output, kinds or ("labels",), overwrite)
    return prediction(find_inputs([str(path)], output))
