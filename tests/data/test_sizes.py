import numpy as np
import pytest

from fornet_keras.data.sizes import PAD_COLOR, letterboxed, stretched


def test_sides_that_shrink_are_averaged_and_those_that_grow_are_smooth() -> None:
    """OpenCV alone takes every second or third row of a portrait for a landscape's network."""
    image = np.zeros((1280, 720, 3), np.uint8)
    image[::2] = 240  # stripes finer than the result can show
    image[:, 360:] //= 2
    found = stretched(image, (512, 1024)).astype(int)
    assert found.shape == (512, 1024, 3)
    assert np.abs(found[:, :500] - 120).max() <= 120 / 2.5 and np.abs(found[:, 524:] - 60).max() <= 60 / 2.5
    ramp = stretched(np.arange(0, 240, 60, np.uint8).repeat(3).reshape(1, 4, 3), (1, 16))[0, :, 0]
    assert (np.diff(ramp[2:-2].astype(int)) == 15).all()
    whole = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    blocks = whole.reshape(48, 2, 80, 2, 3).mean((1, 3))
    assert np.abs(stretched(whole, (48, 80)) - blocks).max() <= 1
    assert stretched(whole, (96, 160)) is whole


@pytest.mark.parametrize(
    ("image_size", "window"),
    [
        ((60, 60), (0, 16, 64, 64)),
        ((73, 219), (16, 0, 32, 96)),
        ((131, 192), (0, 1, 64, 94)),
        ((75, 192), (13, 0, 38, 96)),  # 37.5 rows
        ((1, 9000), (31, 0, 1, 96)),
        ((128, 192), (0, 0, 64, 96)),
        ((64, 96), (0, 0, 64, 96)),
    ],
)
def test_a_letterboxed_image_keeps_its_proportions(
    image_size: tuple[int, int], window: tuple[int, int, int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*image_size, 3), np.uint8)
    fitted, found = letterboxed(image, (64, 96))
    top, left, rows, columns = window
    assert found == (slice(top, top + rows), slice(left, left + columns))
    np.testing.assert_array_equal(fitted[found], stretched(image, (rows, columns)))
    around = np.ones((64, 96), bool)
    around[found] = False
    assert fitted.shape == (64, 96, 3) and (fitted[around] == PAD_COLOR).all()
