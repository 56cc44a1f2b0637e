from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fornet_keras.layers.selector import Selector
from tests.check_layer import check_layer, random, run
from tests.layers.gradients import gradients, value_and_gradients

pytestmark = pytest.mark.backend


def inputs(height: int = 8, width: int = 12, batch: int = 2) -> list[np.ndarray]:
    return [random(batch, height, width, 6), random(batch, height, width, 3, scale=2, seed=1)]


def trained(selector: Selector) -> Selector:
    """The layer with weights that are not zero."""
    selector.build([x.shape for x in inputs()])
    selector.set_weights([random(*weight.shape, scale=0.3, seed=2) for weight in selector.weights])
    return selector


def mean_entropy(logits: np.ndarray, cells: int) -> np.ndarray:
    """Of the softmax, averaged over each region, as a share of the highest there is."""
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    entropy = -(probability * np.log(probability)).sum(-1) / np.log(logits.shape[-1])
    batch, height, width = entropy.shape
    return entropy.reshape(batch, height // cells, cells, width // cells, cells).mean((2, 4))


def test_layer() -> None:
    check_layer(lambda: Selector(region_cells=2, filters=5), inputs, sizes=[(8, 12), (16, 4)])


@pytest.mark.parametrize("cells", [2, 4])
def test_untrained_it_scores_by_entropy(cells: int) -> None:
    features, logits = inputs()
    (score,) = run(Selector(cells, filters=5), [features, logits])
    assert score.shape == (2, 8 // cells, 12 // cells)
    np.testing.assert_allclose(score, np.log(mean_entropy(logits, cells) + 1e-4), rtol=1e-4)


def test_certain_and_clueless_regions() -> None:
    """Left region: one class is certain, entropy 0. Right: all classes equal, entropy 1."""
    features, logits = random(1, 4, 8, 6), np.zeros((1, 4, 8, 3), "float32")
    logits[:, :, :4, 0] = 1000
    (score,) = run(Selector(4, filters=5), [features, logits])
    np.testing.assert_allclose(score, [[[np.log(1e-4), np.log(1 + 1e-4)]]], atol=1e-3)


def convolved(x: np.ndarray, layer: keras.layers.Conv2D) -> np.ndarray:
    """A 3×3 convolution of one map, zeros outside it."""
    kernel, bias = layer.get_weights()
    height, width, _ = x.shape
    padded = np.pad(x, [[1, 1], [1, 1], [0, 0]])
    taps = (padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    return sum(taps) + bias


@pytest.mark.parametrize("cells", [2, 4])
def test_values(cells: int) -> None:
    selector = trained(Selector(cells, filters=5))
    features, logits = inputs(batch=1)
    probability = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    entropy = mean_entropy(logits, 1)[0, ..., None]
    kernel, bias = selector.reduce.get_weights()
    x = np.concatenate([features[0], probability, entropy], axis=-1) @ kernel[0, 0] + bias
    x = np.maximum(convolved(np.maximum(x, 0), selector.look), 0)
    regions = x.reshape(8 // cells, cells, 12 // cells, cells, -1)
    log_entropy = np.log(mean_entropy(logits, cells)[0, ..., None] + 1e-4)
    pooled = np.concatenate([regions.mean((1, 3)), regions.max((1, 3)), log_entropy], axis=-1)
    expected = log_entropy + convolved(pooled, selector.correct)
    (score,) = run(selector, [features, logits])
    np.testing.assert_allclose(score[0], expected[..., 0], rtol=1e-4, atol=1e-4)


def test_a_map_of_no_whole_regions_is_refused() -> None:
    """Where the network is built, if its size is known there, and where it runs."""
    message = r"received 10x12 cells for 2x3 regions of 4x4 cells; pad the images to whole regions, for ex"
    with pytest.raises(ValueError, match=message):
        Selector(4)([keras.KerasTensor(x.shape) for x in inputs(10)])
    selector = trained(Selector(4, filters=5))
    with pytest.raises(ValueError, match=message):
        selector(inputs(10))


def test_features_and_logits_of_two_sizes_are_refused() -> None:
    arrays = [inputs(16, 24)[0], inputs(8, 12)[1]]
    message = r"must be of one height and width; received \(16, 24\) and \(8, 12\); resize the smaller"
    with pytest.raises(ValueError, match=message):
        Selector(4)([keras.KerasTensor(x.shape) for x in arrays])
    with pytest.raises(ValueError, match=message):
        trained(Selector(4, filters=5))(arrays)
    Selector(4)([keras.KerasTensor((2, None, 24, 6)), keras.KerasTensor((2, 16, None, 3))])


@pytest.mark.parametrize("cells", [0, -4, 2.5, "4"])
def test_regions_of_no_whole_number_of_cells_are_refused(cells: Any) -> None:
    message = f"region_cells must be a whole number of 1 or more; received {cells!r}$"
    with pytest.raises(ValueError, match=message):
        Selector(cells)


def test_one_class_is_refused() -> None:
    """Its entropy is 0 of at most 0."""
    features, logits = inputs()
    with pytest.raises(ValueError, match="logits must be of 2 classes or more; received 1; give a binary"):
        Selector()([features, logits[..., :1]])


def test_channels_first_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="expected 'channels_last'"):
        Selector()


def test_nothing_flows_back_into_the_inputs() -> None:
    selector = trained(Selector(4, filters=5))
    weighting = random(2, 2, 3, seed=3)

    def loss(*arrays: Any) -> Any:
        return ops.sum(ops.multiply(selector(list(arrays)), weighting))

    for gradient in gradients(loss, *inputs()):
        assert not gradient.any()
    _, found = value_and_gradients(loss, selector.trainable_variables)(*inputs())
    for gradient in found:
        assert gradient.any()


def test_a_single_image_is_learnt_from() -> None:
    """Half of what the same image twice teaches."""
    selector = trained(Selector(4, filters=5))
    differentiate = value_and_gradients(
        lambda *arrays: ops.sum(selector(list(arrays), training=True) ** 2), selector.trainable_variables
    )
    once = inputs(batch=1)
    value, found = differentiate(*once)
    doubled, expected = differentiate(*(np.repeat(x, 2, axis=0) for x in once))
    assert 2 * value == pytest.approx(doubled, rel=1e-5)
    for gradient, twice in zip(found, expected, strict=True):
        np.testing.assert_allclose(2 * gradient, twice, rtol=1e-4, atol=1e-4)


def test_score_is_float32_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    half = [ops.cast(x, "float16") for x in inputs()]
    score = Selector(4, filters=5)(half)
    assert keras.backend.standardize_dtype(score.dtype) == "float32"


def test_the_entropy_is_that_of_the_logits_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    features, logits = inputs()
    selector = Selector(4, filters=5)
    score = ops.convert_to_numpy(selector([ops.cast(features, "bfloat16"), logits]))
    np.testing.assert_allclose(score, np.log(mean_entropy(logits, 4) + 1e-4), rtol=1e-4)
    assert {selector.reduce.compute_dtype, selector.look.compute_dtype} == {"bfloat16"}
