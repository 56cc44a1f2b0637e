import keras
import numpy as np
import pytest

from fornet_keras.layers.winograd import TILES, convolve_tiles

pytestmark = pytest.mark.backend


@pytest.mark.parametrize("edge", TILES)
def test_tiles_are_convolved(edge: int) -> None:
    random = np.random.default_rng(0)
    tiles = random.normal(size=(edge + 2, edge + 2, 5, 3)).astype("float32")
    kernel = random.normal(size=(3, 3, 3, 7)).astype("float32")
    expected = sum(tiles[i : i + edge, j : j + edge] @ kernel[i, j] for i in range(3) for j in range(3))
    found = keras.ops.convert_to_numpy(convolve_tiles(keras.ops.array(tiles), keras.ops.array(kernel)))
    assert found.shape == (edge, edge, 5, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
