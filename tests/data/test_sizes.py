import numpy as np

from fornet_keras.data.sizes import stretched


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
