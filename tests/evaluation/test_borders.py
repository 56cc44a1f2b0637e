import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE
from fornet_keras.evaluation.borders import BoundaryScore, border_band


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


def f_by_hand(label: np.ndarray, prediction: np.ndarray, radius: int) -> np.ndarray:
    """Of each class the F-score of its outline pixels, each looked up by itself."""

    def outline(ids: np.ndarray, index: int) -> list[tuple[int, int]]:
        band = by_hand(ids, 1)
        return [tuple(at) for at in np.argwhere(band & (ids == index))]

    def share(points: list, others: list) -> float:
        near = [any(max(abs(a - c), abs(b - d)) <= radius for c, d in others) for a, b in points]
        return float(np.mean(near)) if points else 0.0

    prediction = np.where(label == IGNORE, IGNORE, prediction)
    scores = np.full(4, np.nan)
    for index in range(4):
        found, true = outline(prediction, index), outline(label, index)
        if found or true:
            precision, recall = share(found, true), share(true, found)
            scores[index] = 2 * precision * recall / (precision + recall) if precision * recall else 0
    return scores


@pytest.mark.parametrize("radius", [1, 2])
def test_boundary_f_score_by_hand(radius: int) -> None:
    random = np.random.default_rng(radius)
    label = np.kron(random.choice([0, 1, 2, IGNORE], (3, 4)), np.ones((7, 8))).astype(np.uint8)
    prediction = np.roll(np.where(label == IGNORE, 1, label), 2, axis=1).astype(np.uint8)
    score = BoundaryScore(4, radius)
    score.add(label, prediction)
    expected = f_by_hand(label, prediction, radius)
    np.testing.assert_allclose(score.f_score, expected)
    assert score.mean == pytest.approx(np.nanmean(expected)) and 0 < score.mean < 1
    assert np.isnan(score.f_score[3]), "a class without an outline"


def test_outlines_of_several_images_are_summed() -> None:
    label = np.kron(np.eye(2), np.ones((7, 8))).astype(np.uint8)
    pairs = [(label, np.roll(label, 2, axis=1)), (label.T, np.roll(label.T, 1, axis=0))]
    together, alone = BoundaryScore(2, 1), [BoundaryScore(2, 1), BoundaryScore(2, 1)]
    for score, pair in zip(alone, pairs, strict=True):
        together.add(*pair)
        score.add(*pair)
    np.testing.assert_array_equal(together.counts, alone[0].counts + alone[1].counts)
    assert all(score.counts.all() for score in alone)


def test_outlines_that_are_right_or_nowhere_near() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[5:15, 2:6] = 1
    right, wrong = BoundaryScore(2, 1), BoundaryScore(2, 1)
    right.add(label, label)
    wrong.add(label, np.roll(label, 10, axis=1))
    assert (right.mean, wrong.mean) == (1, 0)
    nothing = BoundaryScore(2, 1)
    nothing.add(np.full((9, 9), IGNORE, np.uint8), np.ones((9, 9), np.uint8))
    assert np.isnan(nothing.mean)
