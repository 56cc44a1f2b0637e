"""A network that learns what another predicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.config import Config
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from fornet_keras.training.build import compile_model
from fornet_keras.training.teacher import learn_from, load_teacher
from tests.model.tiny import NUM_CLASSES, images, numpy_outputs, randomize, tiny_model

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
    """Two pupils with the same beginning, images and labels, of two teachers."""
    image = images(32, 48)
    labels = np.zeros((2, 32, 48), "uint8")
    teachers = [randomize(tiny_model(), seed) for seed in (1, 2)]
    said = [probabilities(teacher, image) for teacher in teachers]
    for own, teacher in enumerate(teachers):
        model = student(make_config, teacher, teacher_share=1.0)
        before = [weight.numpy() if hasattr(weight, "numpy") else weight for weight in teacher.get_weights()]
        names = {weight.path for weight in model.weights}
        model.fit(image, labels, batch_size=2, epochs=20, verbose=0)
        found = probabilities(model, image)
        distances = [np.abs(found - probability).mean() for probability in said]
        assert distances[own] < 0.7 * distances[1 - own]
        for weight, earlier in zip(teacher.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, earlier)
        assert {weight.path for weight in model.weights} == names, "the teacher is no part of the model"


def test_the_share_is_that_of_the_configuration(make_config: MakeConfig) -> None:
    teacher = randomize(tiny_model(), 1)
    assert student(make_config, teacher, teacher_share=0.25).loss.teacher_share == 0.25


def test_other_classes_are_refused(tmp_path: Path) -> None:
    save_model(tiny_model(), TABLE, tmp_path / "large")
    assert load_teacher(tmp_path / "large", TABLE).num_classes == NUM_CLASSES
    others = LabelTable(("a", "c", "b"), TABLE.colors, TABLE.train_ids)
    with pytest.raises(
        ModelError, match="large: a teacher with the classes a, b, c; expected .* a, c, b; set"
    ):
        load_teacher(tmp_path / "large", others)
