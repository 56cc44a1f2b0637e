"""The three backends compute the same network: one set of weights, one set of images, one set of logits.

Runs once, whatever backend the tests run on: each other backend needs a process of its own.
"""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pytest

from fornet_keras import FoRNet, FoRNetLoss, load_model, save_model
from fornet_keras.data.dataset import IGNORE, LabelTable
from tests.model.tiny import images, numpy_outputs, randomize

BACKENDS = ("tensorflow", "jax", "torch")
SIZE = (203, 317)
RATIOS = (0.25, 1)
NUM_CLASSES = 5

# In the process of another backend than this one's.
SCRIPT = """
import sys
from pathlib import Path
from fornet_keras.cli.backend import start_backend
start_backend(None)
from tests.test_across_backends import write_outputs
write_outputs(Path(sys.argv[1]))
"""


def write_outputs(folder: Path) -> None:
    """Write every output, and the loss, of the saved model at each ratio, for the images of a folder."""
    found = {}
    data = np.load(folder / "data.npz")
    loss_of = FoRNetLoss(class_weights=[1, 2, 3, 4, 5], label_smoothing=0.1)
    if keras.backend.backend() == "jax":
        # One program, as in training: operation by operation it takes six times as long.
        import jax

        loss_of = jax.jit(loss_of)
    for ratio in RATIOS:
        model, _ = load_model(folder / "model", top_k=ratio)
        outputs = numpy_outputs(model, data["images"])
        tensors = {name: keras.ops.convert_to_tensor(x) for name, x in outputs.items()}
        outputs["loss"] = keras.ops.convert_to_numpy(loss_of(data["labels"], tensors))
        found |= {f"{ratio} {name}": x for name, x in outputs.items()}
    np.savez(folder / "found" / keras.backend.backend(), **found)


def random_labels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).choice([*range(NUM_CLASSES), IGNORE], (1, height, width)).astype("uint8")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Backend → ratio and name of an output → values."""
    folder = tmp_path_factory.mktemp("across_backends")
    table = LabelTable(tuple("abcde"), ((0, 0, 0),) * NUM_CLASSES, {i: i for i in range(NUM_CLASSES)})
    save_model(randomize(FoRNet.from_preset("nano", NUM_CLASSES)), table, folder / "model")
    np.savez(folder / "data", images=images(*SIZE, batch=1), labels=random_labels(*SIZE))
    (folder / "found").mkdir()
    # One thread: torch's spin while they wait, which takes minutes when the cores are busy.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    for quick in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS"):  # as it is used, fusions and all
        environment.pop(quick)
    write_outputs(folder)
    for backend in {*BACKENDS} - {keras.backend.backend()}:
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder],
            env={**environment, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, f"{backend}:\n{run.stderr}"
    return {backend: dict(np.load(folder / "found" / f"{backend}.npz")) for backend in BACKENDS}


@pytest.mark.parametrize("pair", list(combinations(BACKENDS, 2)), ids="-".join)
@pytest.mark.parametrize("ratio", RATIOS)
def test_backends_agree(found: dict[str, dict[str, np.ndarray]], ratio: float, pair: tuple[str, str]) -> None:
    ours, theirs = (
        {name: found[backend][f"{ratio} {name}"] for name in ("logits", "coarse_logits", "importance")}
        for backend in pair
    )
    assert ours["logits"].shape == (1, *SIZE, NUM_CLASSES)
    assert np.abs(ours["logits"]).max() > 1
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-4, err_msg=name)
    kept = [found[backend][f"{ratio} kept"] for backend in pair]
    np.testing.assert_array_equal(*kept)
    losses = [float(found[backend][f"{ratio} loss"]) for backend in pair]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_ratio_matters(found: dict[str, dict[str, np.ndarray]]) -> None:
    """Otherwise the comparison above would say nothing about the choice of regions."""
    for outputs in found.values():
        assert np.abs(outputs["0.25 logits"] - outputs["1 logits"]).max() > 0.1
        assert outputs["0.25 kept"].sum() == 65  # of 13 × 20 regions
