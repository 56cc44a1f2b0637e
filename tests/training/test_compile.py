"""What `compile_model` makes of a configuration: optimizer, schedule, loss and precision."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fornet_keras.config import Config, LossConfig
from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.training.class_weights import class_weights

# `train` for how it sets up the backend.
pytestmark = [pytest.mark.backend, pytest.mark.usefixtures("train")]

MakeConfig = Callable[..., Config]
PIXELS = [40, 30, 20, 10]
TABLE = LabelTable(("a", "b", "c", "d"), ((0, 0, 0),) * 4, {})


def small_model() -> Any:
    """A FoR-Net of four classes with every kind of layer and few channels."""
    from fornet_keras.backbones.residual import ResidualBackbone
    from fornet_keras.model import FoRNet

    backbone = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1), name="backbone")
    return FoRNet(4, backbone, context_filters=8, branch_filters=8, scales=(1, 2))


def compiled(config: Config) -> Any:
    import keras

    from fornet_keras.training.build import compile_model

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(config.training.precision)
    model = small_model()
    compile_model(model, config, class_weights(config.loss.class_weights, PIXELS, TABLE), steps_per_epoch=3)
    # To trace a step takes TensorFlow ten times as long; `test_build` does, with a loss scale.
    model.run_eagerly = keras.backend.backend() == "tensorflow" and not model.jit_compile
    return model


def step(model: Any, labels: np.ndarray) -> float:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    return float(model.train_on_batch(images, labels, return_dict=True)["loss"])


def weights(model: Any) -> dict[str, np.ndarray]:
    import keras

    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights}


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
def test_every_choice_learns_decays_kernels_alone_and_lends_its_average(
    make_config: MakeConfig, training: dict[str, Any], loss: dict[str, Any]
) -> None:
    from fornet_keras.training.validation import averaged_weights

    decay = {"learning_rate": 0.1, "weight_decay": 0.2, "epochs": 4, "warmup_steps": 1, "ema_momentum": 0.75}
    model = compiled(make_config(training={**training, **decay}, loss=loss))
    for weight in model.trainable_weights:
        if weight.name in ("beta", "bias"):  # 0 at first, and then decay does not show
            weight.assign(np.full(weight.shape, 0.5, np.float32))

    # A batch that is all void: no gradient, so that decay alone moves the weights.
    before = weights(model)
    assert step(model, np.full((2, 64, 96), IGNORE, np.uint8)) == 0
    for path, weight in weights(model).items():
        left = 1 - 0.05 * 0.2 if path.endswith("/kernel") else 1  # half the rate in the first step
        np.testing.assert_allclose(weight, left * before[path], rtol=1e-5, err_msg=path)
    assert {path.rpartition("/")[2] for path in before} == {"kernel", "gamma", "beta", "bias"}

    labels = np.random.default_rng(1).integers(0, 4, (2, 64, 96), np.uint8)
    after, losses = [weights(model)], []
    for _ in range(2):
        losses.append(step(model, labels))
        after.append(weights(model))
    assert np.isfinite(losses).all() and losses[0] > 0 and losses[1] != losses[0]

    # m² · w₁ + m (1 - m) · w₂ + (1 - m) · w₃ in the block, w₃ before and after it.
    with averaged_weights(model):
        lent = weights(model)
    for path, weight in weights(model).items():
        np.testing.assert_array_equal(weight, after[2][path])
        first, second, third = (step[path] for step in after)
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        np.testing.assert_allclose(lent[path], expected, rtol=1e-5, atol=1e-7, err_msg=path)
    assert any((lent[path] != after[2][path]).any() for path in lent)


def test_mixed_precision_trains_as_float32_does(make_config: MakeConfig) -> None:
    """The same falling curve of losses, each of which is float32 whatever the layers compute in."""
    import keras

    labels = np.kron(np.array([[0, 1, 2], [3, 2, 1]], np.uint8), np.ones((32, 32), np.uint8))
    labels, curves = np.stack([labels, labels]), {}
    precisions = ["mixed_bfloat16", "mixed_float16"]
    if keras.backend.backend() == "jax":  # to compile a step takes it ten seconds; float16 learns above
        precisions = precisions[:1]
    for precision in ("float32", *precisions):
        training = {"precision": precision, "learning_rate": 0.02, "epochs": 9, "warmup_steps": 0}
        model = compiled(make_config(training=training))
        curves[precision] = [step(model, labels) for _ in range(3)]
        assert {x.dtype for x in model.output.values()} == {"float32"}
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert model.compute_dtype == precision.removeprefix("mixed_")
    exact = np.array(curves["float32"])
    assert exact[-1] < 0.8 * exact[0]
    for precision in precisions:
        np.testing.assert_allclose(curves[precision], exact, rtol=0.15, err_msg=precision)


# torch.compile's own.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor:UserWarning"
)
def test_a_compiled_step_learns_what_a_plain_one_does(make_config: MakeConfig) -> None:
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow" and "FORNET_KILLS" not in os.environ:
        pytest.skip(f"torch.compile and JAX without jit take minutes: `make test-faults BACKEND={backend}`")
    labels = np.random.default_rng(1).integers(0, 4, (2, 64, 96), np.uint8)
    losses = []
    for choice in (True, False):
        model = compiled(make_config(training={"jit_compile": choice, "learning_rate": 1e-3}))
        losses.append([step(model, labels) for _ in range(3)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_loss_and_schedule_are_as_configured(make_config: MakeConfig) -> None:
    import keras

    loss = {"ohem": 0.1, "label_smoothing": 0.2, "teacher_share": 0.3}
    loss |= {"coarse_weight": 0.7, "dice_weight": 0.5, "selector_weight": 0.6}
    assert {*LossConfig.model_fields} == {*loss, "class_weights", "teacher"}
    model = compiled(
        make_config(
            training={"epochs": 5, "learning_rate": 0.01, "warmup_steps": 1, "decay_power": 1.0},
            loss={**loss, "class_weights": "inverse_sqrt"},
        )
    )
    of_classes = class_weights("inverse_sqrt", PIXELS, TABLE)
    assert model.loss.get_config() == {**loss, "class_weights": of_classes, "name": "fornet_loss"}
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.005)
    model.optimizer.iterations.assign(8)  # 7 of the 14 steps after the warm-up
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.005)
    model.optimizer.iterations.assign(15)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 0


def test_without_a_moving_average_the_model_stays_as_it_is(make_config: MakeConfig) -> None:
    from fornet_keras.training.validation import averaged_weights

    model = compiled(make_config())
    before = weights(model)
    with averaged_weights(model):
        for path, weight in weights(model).items():
            np.testing.assert_array_equal(weight, before[path])
