"""A network that learns what another predicts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest

from fornet_keras.config import Config
from fornet_keras.data.camvid import TABLE as CAMVID
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.training.build import compile_model
from fornet_keras.training.teacher import learn_from, load_teacher
from tests.model.tiny import NUM_CLASSES, images, numpy_outputs, randomize, tiny_model
from tests.training.test_resume import cut_off

pytestmark = pytest.mark.backend

MakeConfig = Callable[..., Config]
TABLE = LabelTable(("a", "b", "c"), ((0, 0, 0),) * NUM_CLASSES, {0: 0, 1: 1, 2: 2})


def probabilities(model: FoRNet, image: np.ndarray) -> np.ndarray:
    logits = numpy_outputs(model, image)["logits"]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def student(make_config: MakeConfig, teacher: FoRNet, **loss: Any) -> FoRNet:
    keras.utils.set_random_seed(0)
    model = tiny_model()
    config = make_config(loss=loss, training={"learning_rate": 1e-2, "epochs": 20})
    compile_model(model, config, [1] * NUM_CLASSES, steps_per_epoch=1)
    learn_from(model, teacher)
    return model


def test_predictions_come_nearer_to_ones_own_teacher(make_config: MakeConfig) -> None:
    """Much nearer than to a network that says what the labels do."""
    image = images(32, 48)
    labels = np.zeros((2, 32, 48), "uint8")
    own, other = (randomize(tiny_model(), seed) for seed in (2, 1))
    model = student(make_config, own, teacher_share=1.0)
    before = own.get_weights()
    names = {weight.path for weight in model.weights}

    def distances() -> np.ndarray:
        found = probabilities(model, image)
        return np.array([np.abs(found - probabilities(teacher, image)).mean() for teacher in (own, other)])

    at_first = distances()
    model.fit(image, labels, batch_size=2, epochs=20, verbose=0)
    nearer = distances() / at_first
    assert nearer[0] < 0.4 * min(nearer[1], 1)
    for weight, earlier in zip(own.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, earlier)
    assert {weight.path for weight in model.weights} == names, "the teacher is no part of the model"


def test_the_teacher_predicts_as_at_inference() -> None:
    """Neither random regions nor dropout, and the probabilities of what it gives."""
    teacher = Mock(return_value={"logits": np.log([[1.0, 3.0]])})
    model = SimpleNamespace(compute_loss=lambda x, y, y_pred: y_pred)
    learn_from(model, teacher)  # type: ignore[arg-type]
    found = model.compute_loss("images", "labels", {"logits": "own"})
    teacher.assert_called_once_with("images", training=False)
    assert teacher.trainable is False and found["logits"] == "own"
    soft_targets = keras.ops.convert_to_numpy(found["soft_targets"])
    np.testing.assert_allclose(soft_targets, [[0.25, 0.75]], rtol=1e-6)


def test_the_share_is_that_of_the_configuration(make_config: MakeConfig) -> None:
    teacher = randomize(tiny_model(), 1)
    assert student(make_config, teacher, teacher_share=0.25).loss.teacher_share == 0.25


def test_a_run_goes_on_with_the_same_teacher_alone(
    train: Callable[..., Any], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = []

    def also_noted(model: FoRNet, teacher: FoRNet) -> None:
        taught.append(teacher.get_weights())
        if len(taught) == 2:
            raise MemoryError
        learn_from(model, teacher)
        save_model(other, CAMVID, folder)  # while the run goes on

    other = randomize(tiny_model(num_classes=11), 1)
    monkeypatch.setattr("fornet_keras.training.build.learn_from", also_noted)
    folder = tmp_path / "large"
    save_model(randomize(tiny_model(num_classes=11)), CAMVID, folder)
    before = shutil.copytree(folder, tmp_path / "before")
    options = {"checkpoint_minutes": 0, "keep_checkpoints": 9}
    config = make_config(loss={"teacher": str(folder)}, training=options)
    train(config, tmp_path / "whole")
    cut_off(tmp_path / "whole", tmp_path / "run", 1)
    with pytest.raises(ConfigError, match="large: not the teacher that the run has learnt from"):
        train(config, tmp_path / "run", resume=True)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match="large: no such model; expected the teacher .*; put that one back"):
        train(config, tmp_path / "run", resume=True)
    moved = make_config(loss={"teacher": str(before)}, training=options)
    with pytest.raises(MemoryError):
        train(moved, tmp_path / "run", resume=True)
    large, _ = load_model(before)
    assert len(taught) == 2
    for known in taught:
        for weight, expected in zip(known, large.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    save_model(tiny_model(), TABLE, tmp_path / "large")
    assert load_teacher(tmp_path / "large", TABLE).num_classes == NUM_CLASSES
    others = LabelTable(("a", "c", "b"), TABLE.colors, TABLE.train_ids)
    with pytest.raises(
        ModelError, match="large: a teacher with the classes a, b, c; expected .* a, c, b; set"
    ):
        load_teacher(tmp_path / "large", others)
