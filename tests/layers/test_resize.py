import keras
import numpy as np
import pytest

from fornet_keras.layers.resize import CropToRegions, PadToMultiple, UpsampleToImage
from tests.check_layer import check_layer, random, run

pytestmark = pytest.mark.backend


def bilinear(row: np.ndarray, scale: int) -> np.ndarray:
    """One row, enlarged: pixel centres are at half pixels, and the outermost value goes on outside."""
    centres = (np.arange(len(row) * scale) + 0.5) / scale - 0.5
    return np.interp(centres, np.arange(len(row)), row)


def test_pad_to_multiple() -> None:
    check_layer(lambda: PadToMultiple(4), lambda *size: [random(2, *size, 3)], sizes=[(5, 7), (8, 12)])


@pytest.mark.parametrize(("size", "padded"), [((5, 7), (8, 8)), ((1, 1), (4, 4)), ((8, 3), (8, 4))])
def test_padding_is_zero_at_the_bottom_and_right(size: tuple[int, int], padded: tuple[int, int]) -> None:
    image = random(1, *size, 3)
    (output,) = run(PadToMultiple(4), [image])
    expected = np.zeros((1, *padded, 3), "float32")
    expected[:, : size[0], : size[1]] = image
    np.testing.assert_array_equal(output, expected)


def test_multiples_are_not_padded() -> None:
    image = random(1, 8, 12, 3)
    np.testing.assert_array_equal(run(PadToMultiple(4), [image])[0], image)


def test_crop_to_regions() -> None:
    check_layer(
        lambda: CropToRegions(16, 4),
        lambda height, width: [random(2, height, width, 3), random(2, 4 * height - 30, 4 * width - 1, 3)],
        sizes=[(16, 24), (8, 16)],
    )


@pytest.mark.parametrize(
    ("image", "cropped"),
    [((33, 64), (12, 16)), ((48, 49), (12, 16)), ((49, 48), (16, 12)), ((64, 64), (16, 16))],
)
def test_regions_that_lie_in_the_padding_alone_are_cut_off(
    image: tuple[int, int], cropped: tuple[int, int]
) -> None:
    features = random(1, 16, 16, 2)
    (output,) = run(CropToRegions(16, 4), [features, random(1, *image, 3)])
    np.testing.assert_array_equal(output, features[:, : cropped[0], : cropped[1]])


def test_unknown_size_is_explained() -> None:
    with pytest.raises(
        ValueError,
        match=r"height .* received \(None, 8\); in tf.data .* tf.ensure_shape.* `fornet export --size`",
    ):
        PadToMultiple(4).call(keras.KerasTensor((1, None, 8, 3)))


def test_upsample_to_image() -> None:
    check_layer(
        lambda: UpsampleToImage(4),
        lambda height, width: [random(2, -(-height // 4), -(-width // 4), 3), random(2, height, width, 3)],
        sizes=[(5, 7), (8, 12)],
    )


@pytest.mark.parametrize("size", [(8, 12), (5, 9), (1, 1)])
def test_upsampling_is_bilinear_and_cut_to_the_image(size: tuple[int, int]) -> None:
    logits = random(1, 2, 3, 2)
    rows = np.apply_along_axis(bilinear, 2, logits, 4)
    expected = np.apply_along_axis(bilinear, 1, rows, 4)[:, : size[0], : size[1]]
    image = np.zeros((1, *size, 3), "uint8")
    (output,) = run(UpsampleToImage(4), [logits, image])
    np.testing.assert_allclose(output, expected, atol=1e-6)


def test_upsampled_logits_are_float32_whatever_the_policy() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    logits = keras.ops.cast(random(1, 2, 3, 2), "float16")
    output = UpsampleToImage(4)([logits, np.zeros((1, 8, 12, 3), "uint8")])
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
