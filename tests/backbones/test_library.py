"""Backbones of KerasHub and KerasCV: from a local folder to a saved model. Nothing is downloaded."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.backbones import library
from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.library import LibraryBackbone, open_library_backbone
from fornet_keras.config import Config, config_from_mapping
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.summary import summarize
from fornet_keras.training.begin_with import begin_with
from fornet_keras.training.build import build_model
from tests.model.tiny import images, numpy_outputs, randomize

pytestmark = pytest.mark.backend

TABLE = LabelTable(("a", "b", "c"), ((0, 0, 0),) * 3, {0: 0, 1: 1, 2: 2})


def config(**model: Any) -> Config:
    content = {
        "data": {"format": "camvid"},
        "augment": {"crop": [64, 96]},
        "model": {"preset": "pico", **model},
        "training": {"epochs": 1, "batch_size": 1},
    }
    return config_from_mapping(content, source="test")


def keras_hub() -> Any:
    return pytest.importorskip("keras_hub", reason="the optional package keras-hub is missing")


def keras_cv() -> Any:
    return pytest.importorskip("keras_cv", reason="keras-cv, or a package it needs, is missing")


def small_resnet() -> Any:
    arguments = ([64], [3], [64, 16, 16, 16], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block")
    return randomize(keras_hub().models.ResNetBackbone(*arguments))


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A backbone, and the folder of its preset."""
    source, folder = small_resnet(), str(tmp_path_factory.mktemp("presets") / "resnet")
    source.save_to_preset(folder)
    converter = keras_hub().layers.ResNetImageConverter(scale=[0.01, 0.02, 0.03], offset=[-1, -2, -3])
    converter.save_to_preset(folder)
    return source, folder


def pixels() -> np.ndarray:
    return images(64, 96).astype("float32")


def test_features_of_a_keras_hub_preset(preset: tuple[Any, str]) -> None:
    source, folder = preset
    backbone = open_library_backbone("keras_hub", folder)
    ours = numpy_outputs(backbone, pixels() / 63.75 - 2)
    normalised = pixels() * np.float32([0.01, 0.02, 0.03]) + np.float32([-1, -2, -3])
    theirs = numpy_outputs(keras.Model(source.inputs[0], dict(source.pyramid_outputs)), normalised)
    for stride, level in ((4, "P2"), (8, "P3"), (16, "P4"), (32, "P5")):
        assert ours[f"stride_{stride}"].shape[1:3] == (64 // stride, 96 // stride)
        np.testing.assert_allclose(ours[f"stride_{stride}"], theirs[level], rtol=1e-4, atol=1e-3)


def dense_net(models: Any) -> Any:
    return models.DenseNetBackbone([1, 1, 1, 1], growth_rate=4)


def pre_activation_resnet(models: Any) -> Any:
    arguments = ([64], [3], [64, 8, 8, 8], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block")
    return models.ResNetBackbone(*arguments, use_pre_activation=True)


@pytest.mark.parametrize("make", [dense_net, pre_activation_resnet])
def test_layers_after_the_last_features_are_left_out(make: Callable[[Any], Any], tmp_path: Path) -> None:
    source = randomize(make(keras_hub().models))
    source.save_to_preset(str(tmp_path))
    keras_hub().layers.ResNetImageConverter(scale=1.0).save_to_preset(str(tmp_path))
    backbone = open_library_backbone("keras_hub", str(tmp_path))
    assert 0 < len(backbone.weights) < len(source.weights)
    ours = numpy_outputs(backbone, pixels() / 63.75 - 2)
    theirs = numpy_outputs(keras.Model(source.inputs[0], dict(source.pyramid_outputs)), pixels())
    for stride, level in ((4, "P2"), (8, "P3"), (16, "P4"), (32, "P5")):
        np.testing.assert_allclose(ours[f"stride_{stride}"], theirs[level], rtol=1e-4, atol=1e-3)


def test_features_of_a_keras_cv_folder(tmp_path: Path) -> None:
    models = keras_cv().models
    source = models.ResNetBackbone(
        stackwise_filters=[64, 8, 8, 8],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        block_type="basic_block",
    )
    randomize(source)
    from keras_cv.src.utils.preset_utils import save_to_preset

    save_to_preset(source, str(tmp_path / "resnet"))
    backbone = open_library_backbone("keras_cv", str(tmp_path / "resnet"))
    ours = numpy_outputs(backbone, pixels() / 63.75 - 2)
    levels = {n: source.get_layer(name).output for n, name in source.pyramid_level_inputs.items()}
    theirs = numpy_outputs(keras.Model(source.inputs[0], levels), pixels())
    for stride, level in ((4, "P2"), (8, "P3"), (16, "P4"), (32, "P5")):
        np.testing.assert_allclose(ours[f"stride_{stride}"], theirs[level], rtol=1e-4, atol=1e-3)


def test_configured_saved_and_loaded(preset: tuple[Any, str], tmp_path: Path) -> None:
    name = f"keras_hub:{preset[1]}"
    model = build_model(config(backbone=name), 3)
    np.testing.assert_array_equal(model.backbone.get_weights()[0], preset[0].get_weights()[0])
    save_model(model, TABLE, tmp_path / "model")
    loaded, _ = load_model(tmp_path / "model", top_k=0.25)
    assert isinstance(loaded.backbone, LibraryBackbone)
    image = images(50, 90)
    ours, theirs = numpy_outputs(model.with_top_k(0.25), image), numpy_outputs(loaded, image)
    assert ours["logits"].shape == (2, 50, 90, 3)
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)
    again = build_model(config(backbone=name), 3)
    begin_with(again, TABLE, tmp_path / "model")
    np.testing.assert_array_equal(again.backbone.get_weights()[-1], model.backbone.get_weights()[-1])
    with pytest.raises(
        ModelError, match="has a backbone of keras_hub; expected its preset, or the folder of"
    ):
        build_model(config(preset=None, weights=str(tmp_path / "model")), 3)


def test_efficientnet_saved_and_loaded(tmp_path: Path) -> None:
    model = FoRNet(3, EfficientNetLite0(name="backbone"), context_filters=8, branch_filters=8)
    save_model(model, TABLE, tmp_path / "model")
    assert json.loads((tmp_path / "model/model.json").read_text())["architecture"]["backbone"] == (
        "efficientnet_lite0"
    )
    loaded, _ = load_model(tmp_path / "model")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_backbone_cannot_be_saved(tmp_path: Path) -> None:
    efficientnet = EfficientNetLite0()
    model = FoRNet(3, keras.Model(efficientnet.input, efficientnet.output), 8, 8)
    with pytest.raises(ModelError, match="a Functional cannot be saved in a model folder; use a backbone of"):
        save_model(model, TABLE, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_macs_of_efficientnet_lite0() -> None:
    """Published: 407 M, with the classifier, the head and the four blocks that ours lacks."""
    model = FoRNet(3, EfficientNetLite0(name="backbone"), context_filters=8, branch_filters=8)
    macs = summarize(model, (224, 224))["by_part"]["backbone"]["macs"]
    assert macs == pytest.approx(265.2e6, rel=0.01)
    blocks = 3 * 1152 * (192 + 25 + 192) + 1152 * (192 + 9 + 320)
    assert macs + 7 * 7 * (blocks + 320 * 1280) + 1280 * 1000 == pytest.approx(407e6, rel=0.06)


def test_layers_inside_layers_are_counted() -> None:
    keras_cv()
    arguments = {
        "stackwise_channels": [8, 8, 8, 8],
        "stackwise_depth": [1, 1, 1, 1],
        "include_rescaling": True,
    }
    backbone = LibraryBackbone("keras_cv", "CSPDarkNetBackbone", arguments, 1.0, 0.0, name="backbone")
    small, large = (
        summarize(FoRNet(3, backbone, 8, 8), size)["by_part"]["backbone"]["macs"]
        for size in ((64, 96), (128, 192))
    )
    kernels = [weight for weight in backbone.trainable_weights if weight.name == "kernel"]
    # Every kernel is used at stride 2 at most and at stride 32 at least.
    weights = sum(np.prod(kernel.shape) for kernel in kernels)
    assert 2 * 3 * weights < small < 32 * 48 * weights
    assert large == 4 * small


@pytest.mark.parametrize("name", ["keras_hub", "keras_cv"])
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(f"No module named '{module}'")

    monkeypatch.setattr(library, "import_module", missing)
    extra = name.replace("_", "-")
    with pytest.raises(ModelError, match=rf"needs the package {extra} .*install 'fornet_keras\[{extra}\]'"):
        open_library_backbone(name, "resnet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder / "not_there", "cannot be read: Unknown preset"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "image_converter.json").unlink(), "image converter, which knows the"),
        (lambda folder: (folder / "model.weights.h5").write_bytes(b"no"), "cannot be read: "),
    ],
)
def test_a_folder_that_is_no_preset(spoil: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "preset"
    small_resnet().save_to_preset(str(folder))
    keras_hub().layers.ResNetImageConverter(scale=1.0).save_to_preset(str(folder))
    spoilt = spoil(folder)
    folder = spoilt if isinstance(spoilt, Path) else folder
    with pytest.raises(ModelError, match=message):
        open_library_backbone("keras_hub", str(folder))


def test_a_backbone_for_square_images_is_refused() -> None:
    keras_hub()
    arguments = {
        "layerwise_depths": [1, 1, 1, 1],
        "num_layers": 4,
        "layerwise_num_heads": [1, 1, 1, 1],
        "layerwise_sr_ratios": [8, 4, 2, 1],
        "hidden_dims": [8, 8, 8, 8],
        "layerwise_patch_sizes": [7, 3, 3, 3],
        "layerwise_strides": [4, 2, 2, 2],
        "max_drop_path_rate": 0.0,
        "image_shape": [64, 64, 3],
    }
    with pytest.raises(ModelError, match="MiTBackbone cannot be a backbone: .*; expected strides 4, 8, 16"):
        LibraryBackbone("keras_hub", "MiTBackbone", arguments, 1.0, 0.0)


def test_a_backbone_whose_values_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    models = SimpleNamespace(
        FeaturePyramidBackbone=keras.Model, Backbone=type("Backbone", (keras.Model,), {})
    )
    monkeypatch.setattr(library, "import_library", lambda name: models)
    with pytest.raises(ModelError, match="keras_hub's Backbone cannot be built: .*'width'"):
        LibraryBackbone("keras_hub", "Backbone", {"width": 3}, 1.0, 0.0)


@pytest.mark.parametrize("name", ["NoBackbone", "ImageClassifier", "__loader__"])
def test_only_backbones_are_built(name: str) -> None:
    keras_hub()
    with pytest.raises(ModelError, match="keras_hub.models has no backbone"):
        LibraryBackbone("keras_hub", name, {}, 1.0, 0.0)
