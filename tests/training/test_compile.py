"""What `compile_model` makes of a configuration: optimizer, loss and precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fornet_keras.config import Config

pytestmark = pytest.mark.backend

MakeConfig = Callable[..., Config]
PIXELS = [40, 30, 20, 10]


def small_model() -> Any:
    """A FoR-Net of four classes with every kind of layer and few channels."""
    from fornet_keras.backbones.residual import ResidualBackbone
    from fornet_keras.model import FoRNet

    backbone = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1), name="backbone")
    return FoRNet(4, backbone, context_filters=8, branch_filters=8, dilations=(1, 2))


def train_two_steps(config: Config) -> list[float]:
    import keras

    from fornet_keras.training.train import compile_model

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(config.training.precision)
    model = small_model()
    compile_model(model, config, PIXELS, steps_per_epoch=2)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 64, 96, 3), np.uint8)
    labels = random.integers(0, 4, (2, 64, 96), np.uint8)
    return [float(model.train_on_batch(images, labels, return_dict=True)["loss"]) for _ in range(2)]


@pytest.mark.parametrize(
    ("training", "loss"),
    [
        ({"optimizer": "adamw", "precision": "mixed_float16"}, {"class_weights": "none"}),
        (
            {"optimizer": "sgd", "precision": "mixed_bfloat16", "clip_norm": 1.0},
            {"class_weights": "median_frequency", "ohem": 0.25, "label_smoothing": 0.1},
        ),
    ],
    ids=["adamw_float16", "sgd_bfloat16_ohem"],
)
@pytest.mark.usefixtures("train")
def test_every_choice_learns(make_config: MakeConfig, training: dict[str, Any], loss: dict[str, Any]) -> None:
    losses = train_two_steps(make_config(training=training, loss=loss))
    assert np.isfinite(losses).all() and losses[0] > 0
    assert losses[1] != losses[0]


def trained_without_gradient(model: Any) -> dict[str, np.ndarray]:
    """By path: the trainable weights of two layers, that were 1, after a step whose gradients are 0."""
    import keras

    weights = [*model.get_layer("context").trainable_weights, *model.get_layer("coarse_logits").weights]
    for weight in weights:
        weight.assign(np.ones(weight.shape))
    model.optimizer.apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in weights}


@pytest.mark.parametrize(
    ("optimizer", "precision"), [("adamw", "float32"), ("sgd", "float32"), ("adamw", "mixed_float16")]
)
@pytest.mark.usefixtures("train")
def test_weight_decay_pulls_on_kernels_alone(
    make_config: MakeConfig, model: Any, optimizer: str, precision: str
) -> None:
    from fornet_keras.training.train import compile_model

    training = {"learning_rate": 0.5, "weight_decay": 0.1, "warmup_steps": 0}
    config = make_config(training={**training, "optimizer": optimizer, "precision": precision})
    compile_model(model, config, PIXELS, steps_per_epoch=2)
    found = trained_without_gradient(model)
    assert {path.rpartition("/")[2] for path in found} == {"kernel", "gamma", "beta", "bias"}
    for path, weight in found.items():
        left = 1 - 0.5 * 0.1 if path.endswith("kernel") else 1
        np.testing.assert_allclose(weight, left, rtol=1e-6, err_msg=path)


@pytest.fixture(scope="module")
def model(train: Any) -> Any:
    return small_model()


@pytest.mark.usefixtures("train")
def test_the_model_and_the_schedule_are_as_configured(make_config: MakeConfig, model: Any) -> None:
    import keras

    from fornet_keras.training.train import build_model, compile_model

    config = make_config(
        model={"top_k": 0.25, "region_size": 64},
        training={"epochs": 5, "learning_rate": 0.01, "warmup_steps": 1, "decay_power": 1.0},
        loss={"coarse_weight": 0.7, "selector_weight": 0.0, "class_weights": "inverse_log"},
    )
    built = build_model(config, num_classes=4)
    assert (built.num_classes, built.top_k, built.region_size) == (4, 0.25, 64)
    compile_model(model, config, PIXELS, steps_per_epoch=3)
    assert model.loss.coarse_weight == 0.7 and model.loss.selector_weight == 0
    assert model.loss.class_weights == sorted(model.loss.class_weights)
    schedule = model.optimizer._learning_rate
    assert (schedule.learning_rate, schedule.total_steps, schedule.power) == (0.01, 15, 1.0)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.005)
