import keras
import numpy as np
import pytest

from fornet_keras.layers.regions import (
    add_painted,
    gather_patches,
    gather_tiles,
    pad_halo,
    paint_regions,
    scatter_regions,
)

pytestmark = pytest.mark.backend

# Two maps of 2×3 regions of 4×4 cells, which keep different regions in different orders:
#   0 1 2
#   3 4 5
ROWS, COLUMNS, CELLS = 2, 3, 4
KEPT = np.array([[5, 0, 1], [3, 2, 4]], "int32")


def features(channels: int = 2) -> np.ndarray:
    shape = (len(KEPT), ROWS * CELLS, COLUMNS * CELLS, channels)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def gather_reference(maps: np.ndarray, kept: np.ndarray, halo: int) -> np.ndarray:
    padded = np.pad(maps, [[0, 0], [halo, halo], [halo, halo], [0, 0]])
    edge = 2 * halo + 1
    tiles = []
    for image, numbers in zip(padded, kept, strict=True):
        for number in numbers:
            top, left = (number // COLUMNS) * CELLS, (number % COLUMNS) * CELLS
            cells = [(top + i, left + j) for i in range(CELLS) for j in range(CELLS)]
            seen = [image[i : i + edge, j : j + edge].ravel() for i, j in cells]
            tiles.append(np.reshape(seen, (CELLS, CELLS, -1)))
    return np.stack(tiles, axis=2)


def to_numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("halo", [0, 1, 2])
def test_gather_takes_what_each_cell_of_a_region_sees(halo: int) -> None:
    maps = features()
    patches = gather_patches(pad_halo(maps, halo), keras.ops.array(KEPT), CELLS, halo)
    np.testing.assert_array_equal(to_numpy(patches), gather_reference(maps, KEPT, halo))


@pytest.mark.parametrize("halo", [0, 1, 2])
def test_tiles_are_regions_with_their_halo(halo: int) -> None:
    maps = features()
    tiles = to_numpy(gather_tiles(pad_halo(maps, halo), keras.ops.array(KEPT), CELLS, halo))
    padded = np.pad(maps, [[0, 0], [halo, halo], [halo, halo], [0, 0]])
    for number, region in enumerate(KEPT.ravel()):
        top, left = (region // COLUMNS) * CELLS, (region % COLUMNS) * CELLS
        seen = padded[number // KEPT.shape[1], top : top + CELLS + 2 * halo, left : left + CELLS + 2 * halo]
        np.testing.assert_array_equal(tiles[:, :, number], seen)


def test_scatter_is_the_inverse_of_gather() -> None:
    maps = features()
    every = np.array([[4, 0, 2, 5, 1, 3], [0, 1, 2, 3, 4, 5]], "int32")
    tiles = gather_patches(keras.ops.array(maps), keras.ops.array(every), CELLS, 0)
    back = scatter_regions(tiles, keras.ops.array(every), ROWS, COLUMNS)
    np.testing.assert_array_equal(to_numpy(back), maps)


def test_scatter_leaves_other_regions_zero() -> None:
    maps = features()
    tiles = gather_patches(keras.ops.array(maps), keras.ops.array(KEPT), CELLS, 0)
    back = to_numpy(scatter_regions(tiles, keras.ops.array(KEPT), ROWS, COLUMNS))
    # Kept by the first image: 0, 1, 5; by the second: 2, 3, 4.
    mask = np.array([[[1, 1, 0], [0, 0, 1]], [[0, 0, 1], [1, 1, 0]]])
    np.testing.assert_array_equal(back, maps * np.kron(mask, np.ones((1, CELLS, CELLS)))[..., None])


def test_paint_spreads_a_value_over_its_region() -> None:
    painted = to_numpy(paint_regions(keras.ops.array([[[1.0, 2.0, 3.0]]]), 2))
    assert painted.tolist() == [[[1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3]]]


@pytest.mark.parametrize("axis", [0, 1])
def test_add_painted_is_the_sum_with_what_is_painted(axis: int) -> None:
    values = np.random.default_rng(1).normal(size=(4, 8, 12, 3)).astype("float32")
    shape = (2, 4, 12, 3) if axis == 0 else (4, 4, 6, 3)
    painted = np.random.default_rng(2).normal(size=shape).astype("float32")
    found = to_numpy(add_painted(values, painted, 2, axis))
    np.testing.assert_array_equal(found, values + to_numpy(paint_regions(painted, 2, axis)))
