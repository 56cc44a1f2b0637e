import re
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.backbones.residual import ResidualBackbone
from tests.model.tiny import numpy_outputs

pytestmark = pytest.mark.backend

WIDTHS, DEPTHS = (8, 8, 8, 12), (0, 2, 1, 1)


@pytest.fixture(scope="module")
def backbone() -> ResidualBackbone:
    return ResidualBackbone(WIDTHS, DEPTHS)


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")


@pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 64)])
def test_strides_and_widths(backbone: ResidualBackbone, height: int, width: int) -> None:
    features = numpy_outputs(backbone, image(height, width))
    assert {name: x.shape for name, x in features.items()} == {
        f"stride_{stride}": (2, height // stride, width // stride, channels)
        for stride, channels in zip((4, 8, 16, 32), WIDTHS, strict=True)
    }


def test_round_trip(backbone: ResidualBackbone) -> None:
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(backbone))
    assert isinstance(twin, ResidualBackbone)
    assert twin.get_config() == backbone.get_config()
    twin.set_weights(backbone.get_weights())
    ours, theirs = numpy_outputs(backbone, image(64, 96)), numpy_outputs(twin, image(64, 96))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_block_adds_to_its_input(backbone: ResidualBackbone) -> None:
    """Block 1 of stride 8 keeps the shape: where its second convolution is silent, features go through."""
    inputs = image(64, 96)
    end = backbone.get_layer("stride_8_block_1_2").normalization
    before, after = (backbone.get_layer(f"stride_8_block_{index}_relu").output for index in (0, 1))
    probe = keras.Model(backbone.input, {"before": before, "after": after})
    features = numpy_outputs(probe, inputs)
    assert np.abs(features["after"] - features["before"]).max() > 0.1
    gamma = end.get_weights()[0]
    end.gamma.assign(0 * gamma)
    silent = numpy_outputs(probe, inputs)
    end.gamma.assign(gamma)
    np.testing.assert_array_equal(silent["after"], features["before"])


def test_a_longer_stem_computes_at_stride_2() -> None:
    longer = ResidualBackbone(WIDTHS, DEPTHS, stem_filters=12, stem_depth=3)
    names = [layer.name for layer in longer.layers]
    assert names[1:5] == ["stem_1", "stem_1_1", "stem_1_2", "stem_2"]
    stem = keras.Model(longer.input, longer.get_layer("stem_1_2").output)
    assert stem(image(64, 96)).shape == (2, 32, 48, 12)
    twin = ResidualBackbone.from_config(longer.get_config())
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in longer.weights]


@pytest.mark.parametrize("sizes", [{"widths": (1, 8, 8, 8)}, {"widths": (8, 8, 0, 8)}, {"stem_filters": 0}])
def test_too_few_channels_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="channels must be at least 1; received stem_filters="):
        ResidualBackbone(**sizes)


@pytest.mark.parametrize("widths", [(), (8, 8, 8)])
def test_widths_of_other_strides_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be of the strides \(4, 8, 16, 32\); received \("):
        ResidualBackbone(widths)


def test_a_stem_without_a_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match="stem_depth must be at least 1; received 0"):
        ResidualBackbone(stem_depth=0)


def test_a_stage_without_a_block_is_refused() -> None:
    for depths in ((0, 2, 0, 1), (-1, 2, 1, 1)):
        said = f"depths must be at least 0 at stride 4, and 1 from stride 8 on; received {depths}"
        with pytest.raises(ValueError, match=re.escape(said)):
            ResidualBackbone(depths=depths)
