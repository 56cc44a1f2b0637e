import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE
from fornet_keras.evaluation.borders import border_band


def by_hand(label: np.ndarray, radius: int) -> np.ndarray:
    band = np.zeros(label.shape, bool)
    for row, column in np.ndindex(*label.shape):
        rows = slice(max(0, row - radius), row + radius + 1)
        columns = slice(max(0, column - radius), column + radius + 1)
        near = set(label[rows, columns].flat) - {IGNORE}
        band[row, column] = label[row, column] != IGNORE and len(near) > 1
    return band


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_band_by_hand(radius: int) -> None:
    random = np.random.default_rng(radius)
    blocks = random.choice([0, 1, 7, IGNORE], (4, 5))
    label = np.kron(blocks, np.ones((6, 7))).astype(np.uint8)
    band = border_band(label, radius)
    np.testing.assert_array_equal(band, by_hand(label, radius))
    assert band.any() and not band.all()


def test_one_class_has_no_border_not_even_beside_void() -> None:
    label = np.full((9, 9), 3, np.uint8)
    label[:, 4:] = IGNORE
    assert not border_band(label, 2).any()
