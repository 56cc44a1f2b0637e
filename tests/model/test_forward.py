from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.layers.resize import UpsampleToImage
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import named_weights
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import NUM_CLASSES, dtypes, images, numpy_outputs, randomize, tiny_model

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("size", "regions"), [((64, 96), (4, 6)), ((90, 117), (6, 8)), ((70, 65), (5, 5)), ((1, 1), (1, 1))]
)
def test_any_size(model: FoRNet, size: tuple[int, int], regions: tuple[int, int]) -> None:
    outputs = numpy_outputs(model, images(*size))
    assert {name: x.shape for name, x in outputs.items()} == {
        "logits": (2, *size, NUM_CLASSES),
        "coarse_logits": (2, 4 * regions[0], 4 * regions[1], NUM_CLASSES),
        "importance": (2, *regions),
        "kept": (2, *regions),
    }
    assert dtypes(outputs) == dtypes(model.output) == {"float32"}
    for name, x in outputs.items():
        assert np.isfinite(x).all(), name


def test_float_and_integer_images_are_the_same(model: FoRNet) -> None:
    normalize = model.get_layer("normalize")
    image = np.arange(256).reshape(1, 8, 32, 1).repeat(3, -1)
    whole, float_ = (keras.ops.convert_to_numpy(normalize(image.astype(x))) for x in ("uint8", "float32"))
    np.testing.assert_array_equal(whole, float_)
    np.testing.assert_allclose(whole, image / 63.75 - 2, atol=1e-6)  # 0…255 becomes -2…2


def test_weights_go_on_meaning_what_they_meant(model: FoRNet) -> None:
    """What they gave once, written down: a saved model, of another version, is still the same."""
    outputs = numpy_outputs(model, images(64, 96))
    for name, means, deviations in (
        ("logits", [0.83733, -0.59009, -1.81492], [1.29066, 3.49671, 1.59043]),
        ("coarse_logits", [1.37902, -3.60528, -2.51270], [0.66669, 0.75369, 1.36347]),
    ):
        np.testing.assert_allclose(outputs[name].mean((0, 1, 2)), means, rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(outputs[name].std((0, 1, 2)), deviations, rtol=1e-3, err_msg=name)
    first_row = [-0.31509, 0.14853, 0.40174, 0.48618, 0.27951, -0.05616]
    np.testing.assert_allclose(outputs["importance"][0, 0], first_row, atol=1e-3)


def test_the_most_important_half_is_kept(model: FoRNet) -> None:
    outputs = numpy_outputs(model, images(64, 96))
    for importance, kept in zip(outputs["importance"], outputs["kept"], strict=True):
        np.testing.assert_array_equal(kept, importance >= np.sort(importance.ravel())[-12])


def inside(kept: np.ndarray) -> np.ndarray:
    """Pixels of the kept regions whose logits no other region touches: upsampling blends over two cells."""
    pixels = np.kron(kept, np.ones((1, 16, 16)))
    for _ in range(4):
        padded = np.pad(pixels, [[0, 0], [1, 1], [1, 1]], mode="edge")
        neighbours = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
        pixels = np.minimum.reduce([pixels, *neighbours])
    return pixels > 0


def test_only_kept_regions_are_corrected(model: FoRNet, dense: dict[str, np.ndarray]) -> None:
    """Kept ones as if all were kept; the others show the coarse prediction."""
    image = images(64, 96)
    some = numpy_outputs(model, image)
    coarse = keras.ops.convert_to_numpy(UpsampleToImage(4)([some["coarse_logits"], image]))
    kept, dropped = inside(some["kept"]), inside(1 - some["kept"])
    assert kept.any()
    assert dropped.any()
    assert dense["kept"].all()
    np.testing.assert_allclose(some["logits"][kept], dense["logits"][kept], atol=1e-5)
    np.testing.assert_allclose(some["logits"][dropped], coarse[dropped], atol=1e-6)
    assert np.abs(some["logits"][kept] - coarse[kept]).max() > 0.1
    np.testing.assert_allclose(some["importance"], dense["importance"], atol=1e-5)


def test_with_top_k_copies_the_weights(model: FoRNet) -> None:
    with pytest.raises(AttributeError, match=r"top_k is fixed; model.with_top_k\(0.2\) gives"):
        model.top_k = 0.2
    other = model.with_top_k(0.2)
    assert (model.top_k, other.top_k) == (0.5, 0.2)
    assert other.get_layer("gate").train_ratio == 0.5, "one set of weights serves every ratio"
    assert other.get_config() == {**model.get_config(), "top_k": 0.2}
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        assert ours is not theirs
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("top_k", [0, 1.5])
def test_with_top_k_refuses_a_share_out_of_range(model: FoRNet, top_k: float) -> None:
    with pytest.raises(ValueError, match=rf"must be in \(0, 1\]; received {top_k}"):
        model.with_top_k(top_k)


def test_a_keras_file_gives_the_model_back(model: FoRNet, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, FoRNet)
    assert loaded.get_config() == model.get_config()
    ours, theirs = numpy_outputs(model, images(64, 96)), numpy_outputs(loaded, images(64, 96))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_the_size_at_which_it_has_learnt_stays(tmp_path: Path) -> None:
    model = tiny_model(short_side=48)
    model.save(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras")):
        assert other.short_side == 48
    for wrong in (0, 65536, 48.0):
        with pytest.raises(ValueError, match=f"short_side must be a whole number .* received {wrong}"):
            tiny_model(short_side=wrong)


def test_numpys_numbers_become_pythons() -> None:
    sizes = {"num_classes": 3, "context_filters": 8, "branch_filters": 8, "region_size": 16, "short_side": 48}
    model = tiny_model(scales=(np.int64(2),), **{name: np.uint8(size) for name, size in sizes.items()})
    assert {name: getattr(model, name) for name in sizes} == sizes
    assert {type(value) for value in (*model.scales, *(getattr(model, name) for name in sizes))} == {int}


def test_a_frozen_backbone_is_still_frozen(model: FoRNet, tmp_path: Path) -> None:
    model.backbone.trainable = False
    trained = len(model.trainable_weights)
    model.save(tmp_path / "model.keras")
    others = (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras"))
    model.backbone.trainable = True
    assert not any(other.backbone.trainable for other in others)
    assert {len(other.trainable_weights) for other in others} == {trained}


def test_a_frozen_model_is_still_frozen(tmp_path: Path) -> None:
    model = tiny_model()
    model.trainable = False
    model.save(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras")):
        assert not other.trainable
        assert not any(layer.trainable for layer in other.layers)


def test_single_layers_are_still_frozen_and_the_optimizer_goes_on(tmp_path: Path) -> None:
    model = tiny_model()
    frozen = [model.get_layer("branch").project, *model.backbone.layers[:5]]
    for layer in frozen:
        layer.trainable = False
    trained = [weight.path for weight in model.trainable_weights]
    assert len(trained) < len(tiny_model().trainable_weights) - 2
    model.compile("adam")
    model.optimizer.build(model.trainable_weights)
    model.optimizer.variables[-1].assign(model.optimizer.variables[-1] + 7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), loaded):
        assert [weight.path for weight in other.trainable_weights] == trained
    for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_frozen_backbone_may_have_the_names_of_other_layers(tmp_path: Path) -> None:
    image = x = keras.Input((None, None, 3))
    features = {}
    for name, strides in (("context", 4), ("branch", 2), ("detail", 2), ("selector", 2)):
        x = keras.layers.Conv2D(4, 3, strides=strides, padding="same", name=name)(x)
        features[f"stride_{4 * 2 ** len(features)}"] = x
    model = tiny_model(backbone=keras.Model(image, features, name="backbone"))
    model.backbone.trainable = False
    model.save(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras")):
        assert [w.shape for w in other.trainable_weights] == [w.shape for w in model.trainable_weights]
        assert not other.backbone.trainable_weights


def test_a_backbone_that_has_adapted_to_images_still_has() -> None:
    normalize = keras.layers.Normalization()
    normalize.adapt(images(64, 96) / np.float32(63.75) - 2)
    image = keras.Input((None, None, 3))
    features = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1))(normalize(image))
    model = randomize(tiny_model(top_k=1, backbone=keras.Model(image, features)))
    normalize.finalize_state()
    ours, theirs = (numpy_outputs(x, images(64, 96)) for x in (model, model.with_top_k(1)))
    np.testing.assert_array_equal(ours["logits"], theirs["logits"])


@pytest.mark.parametrize("backbone", [ResidualBackbone, EfficientNetLite0])
def test_a_backbone_made_frozen_does_not_learn(backbone: Callable[..., keras.Model]) -> None:
    model = FoRNet.from_preset("pico", 3, backbone=backbone(trainable=False))
    learning = {weight.path for weight in model.trainable_weights}
    assert learning and not learning & {weight.path for weight in model.backbone.weights}


@pytest.mark.parametrize("backbone", ["lite", keras.layers.Conv2D(8, 3, name="lite")])
@pytest.mark.parametrize("build", [FoRNet, lambda *given, **more: FoRNet.from_preset("pico", *given, **more)])
def test_a_backbone_that_is_no_model_is_refused(build: Callable[..., Any], backbone: Any) -> None:
    with pytest.raises(
        ValueError, match=r"must be a model, such as imagenet_efficientnet_lite0\(\).*lite.*$"
    ):
        build(3, backbone=backbone)


def test_kerass_own_export_of_no_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exported for images of one size; use `fornet export --size`, or"):
        tiny_model().export(tmp_path / "exported")


def test_kerass_own_quantization_is_refused() -> None:
    with pytest.raises(
        ValueError, match="cannot be quantized in Keras; use `fornet export --precision int8`"
    ):
        tiny_model().quantize("int8")


@pytest.mark.parametrize(
    "build",
    [
        lambda **misspelt: FoRNet(3, **misspelt),
        lambda **misspelt: FoRNet.from_preset("pico", 3, **misspelt),
        ResidualBackbone,
        EfficientNetLite0,
    ],
)
def test_a_misspelt_argument_is_refused(build: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'droput'"):
        build(droput=0.3)


def of_one_stride(features: dict[str, Any]) -> Any:
    return {"stride_4": features["stride_4"]}


@pytest.mark.parametrize(
    ("outputs", "found"),
    [(of_one_stride, r"\['stride_4'\]"), (lambda features: list(features.values()), "a list")],
)
def test_a_backbone_without_the_strides_is_refused(outputs: Callable[[Any], Any], found: str) -> None:
    whole = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1))
    with pytest.raises(
        ValueError, match=f"must give a dict of stride_4, stride_8, stride_16, stride_32; received {found}"
    ):
        FoRNet(3, keras.Model(whole.input, outputs(whole.output)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_float32(dense: dict[str, np.ndarray], policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    mixed = randomize(tiny_model(top_k=1))
    outputs = numpy_outputs(mixed, images(64, 96))
    assert dtypes(outputs) == dtypes(mixed.output) == {"float32"}
    heads = mixed.get_layer("coarse_logits"), mixed.get_layer("branch").project
    assert {layer.compute_dtype for layer in heads} == {"float32"}
    # Steps of bfloat16 are 0.8 %, and errors add up over a dozen layers.
    assert 0 < np.abs(outputs["logits"] - dense["logits"]).mean() < 0.02 * dense["logits"].std()


def test_a_copy_has_the_precision_of_the_original(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny_model()
    keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras")):
        assert other.get_layer("context").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_a_copy_has_the_precision_of_the_backbone_too(tmp_path: Path) -> None:
    backbone = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1))
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny_model(backbone=backbone)
    keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "model.keras")
    for other in (model.with_top_k(0.2), keras.saving.load_model(tmp_path / "model.keras")):
        found = other.backbone.get_layer("stem_1"), other.get_layer("context")
        assert [layer.compute_dtype for layer in found] == ["float32", "bfloat16"]
    assert keras.config.dtype_policy().name == "float32"


def test_a_copy_of_lora_is_refused() -> None:
    model = tiny_model()
    model.get_layer("coarse_logits").enable_lora(2)
    with pytest.raises(ValueError, match="weight list of length"):
        model.with_top_k(0.2)


def test_values_up_to_1_are_suspect(model: FoRNet) -> None:
    dark = images(64, 96) / 255.0
    with pytest.warns(UserWarning, match="float values up to 1 only, nearly black; expected 0…255"):
        model.predict_image(dark[0])
    with pytest.warns(UserWarning, match="nearly black"):
        Predictor(model)(dark[0])
    with pytest.warns(UserWarning, match="nearly black"), pytest.raises(ValueError, match="compile"):
        model.fit(dark)


def test_dropout_is_of_training_alone(model: FoRNet) -> None:
    other = tiny_model(dropout=0.3, image_pool_dropout=0.3)
    theirs = named_weights(model)
    for name, weight in named_weights(other).items():
        weight.assign(np.array(theirs[name]))  # JAX frees what two models share
    known, found = (numpy_outputs(x, images(64, 96)) for x in (model, other))
    for name in known:
        np.testing.assert_array_equal(known[name], found[name])


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it compiles each operation by itself")
@pytest.mark.parametrize("option", ["dropout", "image_pool_dropout"])
def test_dropout_changes_what_is_learnt_from(option: str) -> None:
    image = images(64, 96)
    for rate, changes in ((0.0, False), (0.5, True)):
        dropping = randomize(tiny_model(**{option: rate}))
        seen = [keras.ops.convert_to_numpy(dropping(image, training=True)["coarse_logits"]) for _ in range(4)]
        assert any(not np.array_equal(seen[0], other) for other in seen[1:]) == changes


@pytest.mark.parametrize(
    ("option", "name", "together"),
    [("dropout", "context_drop", [1, 2]), ("image_pool_dropout", "image_pool_drop", [1, 2, 3])],
)
def test_whole_channels_or_whole_images_are_dropped(option: str, name: str, together: list[int]) -> None:
    drop = tiny_model(**{option: 0.5}).get_layer(name)
    seen = keras.ops.convert_to_numpy(drop(np.ones((32, 4, 6, 8), "float32"), training=True))
    assert {*np.unique(seen)} == {0, 2}
    assert [axis for axis in range(4) if not np.ptp(seen, axis).any()] == together
