import keras
import numpy as np
import pytest

from fornet_keras.layers.conv_block import ConvBlock
from tests.check_layer import check_layer, random, run

pytestmark = pytest.mark.backend


def strided_convolution(image: np.ndarray, kernel: np.ndarray, strides: int) -> np.ndarray:
    """Of one image with a 3×3 kernel, output cell `i` over pixel `strides * i`, zeros outside the image."""
    height, width, _ = image.shape
    padded = np.pad(image, [[1, 1], [1, 1], [0, 0]])
    output = np.zeros((-(-height // strides), -(-width // strides), kernel.shape[-1]))
    for i, j in np.ndindex(output.shape[:2]):
        window = padded[i * strides : i * strides + 3, j * strides : j * strides + 3]
        output[i, j] = np.einsum("hwc,hwcf->f", window, kernel)
    return output


@pytest.mark.parametrize(("kernel_size", "strides", "activation"), [(3, 2, True), (1, 1, False)])
def test_layer(kernel_size: int, strides: int, activation: bool) -> None:
    check_layer(
        lambda: ConvBlock(4, kernel_size, strides, activation),
        lambda height, width: [random(2, height, width, 3)],
        sizes=[(6, 10), (9, 4)],
    )


def test_channels_first_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"is 'channels_first' .*; call keras.config.set_image_data_format"):
        ConvBlock(4)


def test_an_even_kernel_with_strides_is_refused() -> None:
    """It would give another size than the layer says."""
    with pytest.raises(ValueError, match="kernel_size must be odd where strides is above 1; received 2"):
        ConvBlock(4, kernel_size=2, strides=2)
    assert run(ConvBlock(4, kernel_size=2), [random(1, 6, 10, 3)])[0].shape == (1, 6, 10, 4)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(6, 10), (7, 5)])
def test_values(strides: int, size: tuple[int, int]) -> None:
    block = ConvBlock(4, strides=strides)
    image = random(1, *size, 3)
    block.build(image.shape)
    kernel, gamma, beta, mean = (random(*weight.shape, seed=1) for weight in block.weights[:4])
    variance = np.array([0.5, 1, 2, 4], "float32")
    block.convolution.set_weights([kernel])
    block.normalization.set_weights([gamma, beta, mean, variance])
    normalized = (strided_convolution(image[0], kernel, strides) - mean) / np.sqrt(variance + 1e-3)
    expected = np.maximum(gamma * normalized + beta, 0)
    (output,) = run(block, [image])
    np.testing.assert_allclose(output[0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (7, 11)])
def test_strides_keep_features_over_every_second_pixel(size: tuple[int, int]) -> None:
    """A kernel with only its middle set copies the pixels that the cells lie over."""
    block = ConvBlock(1, strides=2, activation=False)
    image = random(1, *size, 1)
    block.build(image.shape)
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = np.sqrt(1 + 1e-3)  # undoes the normalisation, whose variance is 1
    block.convolution.set_weights([kernel])
    (output,) = run(block, [image])
    np.testing.assert_allclose(output, image[:, ::2, ::2], rtol=1e-6)


def test_activation_is_optional() -> None:
    image = random(1, 4, 6, 3)
    block = ConvBlock(4)
    linear = ConvBlock(4, activation=False)
    for layer in (block, linear):
        layer.build(image.shape)
    linear.set_weights(block.get_weights())
    (positive,), (signed,) = run(block, [image]), run(linear, [image])
    assert signed.min() < 0
    np.testing.assert_array_equal(positive, np.maximum(signed, 0))


def test_training_normalizes_with_the_batch() -> None:
    block = ConvBlock(4, activation=False)
    image = random(3, 6, 10, 3)
    output = keras.ops.convert_to_numpy(block(image, training=True))
    np.testing.assert_allclose(output.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(output.std((0, 1, 2)), 1, atol=1e-2)
    # A fiftieth of each batch: the statistics are those of the last hundred.
    mean = keras.ops.convert_to_numpy(block.convolution(image)).mean((0, 1, 2))
    np.testing.assert_allclose(np.array(block.normalization.moving_mean), 0.02 * mean, rtol=1e-4, atol=1e-7)


def test_frozen_in_training_it_gives_what_it_gives_at_inference() -> None:
    """There Keras normalises; at inference the kernel does."""
    block = ConvBlock(4)
    image = random(2, 6, 10, 3)
    block.build(image.shape)
    gamma, beta, mean = (random(4, seed=seed) for seed in (1, 2, 3))
    block.normalization.set_weights([gamma, beta, mean, np.array([0.5, 1, 2, 4], "float32")])
    block.trainable = False
    frozen = keras.ops.convert_to_numpy(block(image, training=True))
    np.testing.assert_allclose(run(block, [image])[0], frozen, atol=1e-5)
