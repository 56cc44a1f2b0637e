import re
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fornet_keras.layers.topk_gate import TopKGate, num_kept
from tests.check_layer import check_layer, random, run
from tests.layers.gradients import gradients

pytestmark = pytest.mark.backend


def test_layer() -> None:
    check_layer(lambda: TopKGate(0.4, 0.7, seed=3), lambda *size: [random(2, *size)], sizes=[(2, 5), (6, 3)])


@pytest.mark.parametrize(
    ("ratio", "count", "kept"),
    [
        (0.5, 4, 2),
        (0.5, 5, 3),
        (0.07, 100, 7),  # 0.07 * 100 is 7.000000000000001
        (1 / 3, 3, 1),
        (1e-9, 1000, 1),
        (0.999, 10, 10),
        (1, 7, 7),
        (1, 1, 1),
    ],
)
def test_ratio_is_rounded_up_to_a_count(ratio: float, count: int, kept: int) -> None:
    assert num_kept(ratio, count) == kept
    mask, indices = run(TopKGate(ratio), [random(2, 1, count)])
    assert indices.shape == (2, kept)
    assert mask.sum((1, 2)).tolist() == [kept, kept]


def test_each_image_keeps_its_own_best() -> None:
    # Regions are numbered 0 1 2 / 3 4 5; two of six are kept, best first.
    scores = np.array([[[0.1, 0.9, 0.2], [-5.0, 0.3, 0.8]], [[7.0, -1.0, -2.0], [-3.0, 8.0, 0.0]]], "float32")
    mask, indices = run(TopKGate(1 / 3), [scores])
    assert indices.tolist() == [[1, 5], [4, 0]]
    assert mask.tolist() == [[[0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]]


def test_ties_go_by_position() -> None:
    # 3 stands at 1, 2 and 5; 2 at 0 and 4. Four of six: the threes, then the first two.
    scores = np.array([[[2, 3, 3], [0, 2, 3]]], "float32")
    mask, indices = run(TopKGate(0.6), [scores])
    assert indices.tolist() == [[1, 2, 5, 0]]
    assert mask.tolist() == [[[1, 1, 1], [0, 0, 1]]]


def test_all_equal_keeps_the_first() -> None:
    mask, indices = run(TopKGate(0.25), [np.zeros((1, 20, 30), "float32")])
    assert indices.tolist() == [list(range(150))]
    assert mask.reshape(-1).tolist() == [1] * 150 + [0] * 450


@pytest.mark.parametrize("ratio", [0.3, 1])
def test_mask_is_exactly_0_or_1_where_the_indices_say(ratio: float) -> None:
    mask, indices = run(TopKGate(ratio), [5 * random(2, 20, 30)])
    expected = np.zeros((2, 600), "float32")
    np.put_along_axis(expected, indices, 1, axis=1)
    np.testing.assert_array_equal(mask.reshape(2, 600), expected)


def test_gradient_of_the_sigmoid_reaches_every_score() -> None:
    scores, weighting = random(2, 3, 4), random(2, 3, 4)
    gate = TopKGate(0.25)
    (gradient,) = gradients(lambda x: ops.sum(ops.multiply(gate(x)[0], weighting)), scores)
    sigmoid = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(gradient, weighting * sigmoid * (1 - sigmoid), atol=1e-6)


def test_training_keeps_its_own_share_of_which_some_are_the_best() -> None:
    gate = TopKGate(0.1, train_ratio=0.5, seed=7)
    scores = random(2, 10, 10)
    ranking = np.argsort(-scores.reshape(2, 100), axis=-1)
    best = []
    for _ in range(12):
        mask, indices = (ops.convert_to_numpy(x) for x in gate(scores, training=True))
        expected = np.zeros((2, 100), "float32")
        np.put_along_axis(expected, indices, 1, axis=1)
        np.testing.assert_array_equal(mask.reshape(2, 100), expected)
        assert mask.sum((1, 2)).tolist() == [50, 50]
        # How many of the best stand first, in their order: the rest is random.
        best.append([int(np.argmin(row == ranks[:50])) for row, ranks in zip(indices, ranking, strict=True)])
    assert all(abs(first - second) <= 2 for first, second in best), "one share for the batch, but for luck"
    assert len({first for first, _ in best}) > 6
    assert min(best)[0] < 20 and max(best)[0] > 30


def test_training_reaches_every_region() -> None:
    """Also the worst: what the branch never sees it cannot correct at a ratio of 1."""
    gate = TopKGate(train_ratio=0.25, seed=0)
    scores = random(1, 4, 4)
    kept = sum(ops.convert_to_numpy(gate(scores, training=True)[0]) for _ in range(200))
    assert kept.min() >= 1
    assert kept.reshape(-1)[scores.argmax()] > kept.reshape(-1)[scores.argmin()]


def test_training_keeps_all_where_it_should() -> None:
    mask, indices = TopKGate(0.25, train_ratio=1.0, seed=0)(random(1, 3, 3), training=True)
    assert ops.convert_to_numpy(mask).tolist() == np.ones((1, 3, 3)).tolist()
    assert sorted(ops.convert_to_numpy(indices)[0].tolist()) == list(range(9))


def test_what_is_kept_in_training_is_known_beforehand() -> None:
    _, kept = TopKGate(0.1, train_ratio=0.9)(keras.KerasTensor((2, 4, 6)), training=True)
    assert kept.shape == (2, 22)


def test_an_unknown_size_is_explained() -> None:
    with pytest.raises(ValueError, match=r"must be known where the network runs; received \(None, None\)"):
        TopKGate().call(keras.KerasTensor((1, None, None)))


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 1), (2, 2, 3, 2)])
def test_scores_with_another_number_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    """A channel would be taken for more images of the batch."""
    message = rf"scores must be \(batch, rows, columns\); received shape {re.escape(str(shape))}; of those"
    for scores in (random(*shape), keras.KerasTensor(shape)):
        with pytest.raises(ValueError, match=message):
            TopKGate()(scores)


@pytest.mark.parametrize("value", [0, -0.5, 1.01, 25, float("nan"), "0.5", None])
@pytest.mark.parametrize("name", ["ratio", "train_ratio"])
def test_share_outside_its_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be in \(0, 1\]; received {value!r};"):
        TopKGate(**{name: value})


def test_a_mixed_policy_does_not_round_the_scores() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    scores = keras.ops.reshape(1 + keras.ops.arange(8, dtype="float32") * 1e-4, (1, 2, 4))
    _, kept = TopKGate(0.5)(scores)
    assert keras.ops.convert_to_numpy(kept).tolist() == [[7, 6, 5, 4]]
