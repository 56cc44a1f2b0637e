"""A tiny data set in CamVid's layout, and one finished run on it that many tests look at."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.config import Config, config_from_mapping
from tests.untraced import untraced

COLORS = np.random.default_rng(0).integers(0, 256, (12, 3)).astype(np.uint8)  # of the label values 0…11


def write_split(root: Path, split: str, count: int, height: int, width: int) -> None:
    """Blocks of random classes, void (11) among them, in images that show each class in its colour."""
    for folder in ("images", "labels"):
        (root / split / folder).mkdir(parents=True)
    random = np.random.default_rng(len(split))
    for index in range(count):
        blocks = random.integers(0, 12, (-(-height // 16), -(-width // 16))).astype(np.uint8)
        label = np.kron(blocks, np.ones((16, 16), np.uint8))[:height, :width]
        cv2.imwrite(str(root / split / "images" / f"{index}.png"), COLORS[label])
        cv2.imwrite(str(root / split / "labels" / f"{index}.png"), label)


def write_camvid(root: Path) -> Path:
    """Six frames to train on and two to validate on, of a size that is no multiple of a region."""
    write_split(root, "train", 6, 64, 96)
    write_split(root, "val", 2, 70, 90)
    return root


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set, which no test may change."""
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture
def own_camvid(tmp_path: Path) -> Path:
    """The data set once more, to be changed."""
    return write_camvid(tmp_path / "camvid")


@pytest.fixture(scope="session")
def make_config(camvid: Path) -> Callable[..., Config]:
    """Configure the smallest run: pico, one epoch of three steps; `sections` change it."""

    def make(**sections: dict[str, Any]) -> Config:
        content: dict[str, dict[str, Any]] = {
            "data": {"format": "camvid", "root": str(camvid)},
            "augment": {"crop": [64, 96]},
            "model": {"preset": "pico"},
            "training": {"epochs": 1, "batch_size": 2, "learning_rate": 3e-3, "warmup_steps": 1},
        }
        for section, changes in sections.items():
            content[section] = {**content.get(section, {}), **changes}
        return config_from_mapping(content, source="test")

    return make


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """`train`, untraced, what it remembers of a data set outside the user's home; without the charts."""
    from fornet_keras.training import conclude
    from fornet_keras.training import train as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conclude, "save_pictures", lambda *_: None)
        patch.setattr("fornet_keras.data.scan.CACHE", tmp_path_factory.mktemp("cache"))
        # The same for the processes that a test starts.
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache_home")))
        yield untraced()(module.train)


@pytest.fixture(scope="session")
def run(
    train: Any, make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A finished run of three epochs, the second and the last validated, as users have it: traced, charts."""
    import keras

    from fornet_keras.training import conclude
    from fornet_keras.training.report import save_pictures

    recorded: list[dict[str, float]] = []
    recorder = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: recorded.append({**logs}))
    config = make_config(training={"epochs": 3, "validate_every": 2}, model={"top_k": 0.25})
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conclude, "save_pictures", save_pictures)
        result, scores = train.__wrapped__(config, folder, callbacks=[recorder])
    return SimpleNamespace(config=config, folder=folder, result=result, scores=scores, recorded=recorded)
