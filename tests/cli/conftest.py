"""The command line in this process, and small things to try it on: 64x96 pixels, three classes."""

import shlex
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fornet_keras.cli.root import root
from tests.untraced import traced, untraced_once  # noqa: F401

Run = Callable[..., Result]

OR_FOLDER = "(--config folder for pictures that are not of streets)"

DATASET = """
name: harbour
classes:
  - {name: water, color: [0, 0, 200], value: 3}
  - {name: quay, color: [90, 90, 90], value: 7}
  - {name: sky, color: [130, 180, 230], value: 9}
ignore: [0]
"""

CONFIG = """
data: {format: folder, val_split: test}
augment: {crop: [64, 96]}
model: {preset: pico}
training: {epochs: 1, batch_size: 2, learning_rate: 1e-3, workers: 1}
"""


@pytest.fixture
def run() -> Run:
    """Run a command; only an exit ends it, whatever went wrong."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(root, [str(argument) for argument in arguments], prog_name="fornet")
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "harbour.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images to train on and two to test on: sky over quay over water, a void column."""
    root = tmp_path / "harbour"
    label = np.repeat([9, 7, 3], [20, 20, 24])[:, None].repeat(96, axis=1).astype(np.uint8)
    label[:, 0] = 0
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for name in ("a", "b"):
            noise = rng.integers(0, 60, (64, 96, 3))
            Image.fromarray((label[..., None] * 20 + noise).astype(np.uint8)).save(
                root / "images" / split / f"{name}.png"
            )
            Image.fromarray(label).save(root / "labels" / split / f"{name}.png")
    (root / "dataset.yaml").write_text(DATASET)
    return root


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of the three classes, with random weights."""
    # Here, not above: only tests that compute pay for Keras.
    from fornet_keras.data.dataset import LabelTable
    from fornet_keras.model_folder import save_model
    from tests.model.tiny import randomize, tiny_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    colors = ((0, 0, 200), (90, 90, 90), (130, 180, 230))
    save_model(randomize(tiny_model()), LabelTable(("water", "quay", "sky"), colors, {}), folder)
    return folder


def only_line(text: str) -> str:
    """What an error must be: one line."""
    (line,) = text.splitlines()
    return line


def parse(line: str) -> None:
    """Take a command apart, as it is shown after the program's name; click raises where it cannot be."""
    command, words = root, shlex.split(line)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_parser(click.Context(command)).parse_args(words)
