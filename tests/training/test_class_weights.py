import math

import pytest

from fornet_keras.config.training import ClassWeights
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ConfigError
from fornet_keras.training.class_weights import class_weights


def weights_by(method: ClassWeights | dict[str, float], pixels: list[int]) -> list[float] | None:
    """Of the classes a, b and so on."""
    names = tuple("abcd"[: len(pixels)])
    return class_weights(method, pixels, LabelTable(names, ((0, 0, 0),) * len(names), {}))


def test_none_is_no_weights() -> None:
    assert weights_by("none", [3, 1]) is None


def test_inverse_log_by_hand() -> None:
    """Shares 3/4 and 1/4: 1 / ln 1.85 and 1 / ln 1.35, divided by their mean; an absent class has 1."""
    common, rare = 1 / math.log(1.85), 1 / math.log(1.35)
    mean = (common + rare) / 2
    assert weights_by("inverse_log", [3, 0, 1]) == pytest.approx([common / mean, 1, rare / mean])


def test_inverse_sqrt_by_hand() -> None:
    """Shares 0.8 and 0.2: 1 / √0.8 and 1 / √0.2 stand as 1 to 2; divided by their mean."""
    assert weights_by("inverse_sqrt", [4, 0, 1]) == pytest.approx([2 / 3, 1, 4 / 3])


def test_median_frequency_by_hand() -> None:
    """Shares .5, .3, .2 with median .3: 3/5, 1 and 3/2, whose mean is 31/30; an absent class has 1."""
    assert weights_by("median_frequency", [5, 3, 0, 2]) == pytest.approx([18 / 31, 30 / 31, 1, 45 / 31])


def test_median_frequency_is_capped() -> None:
    """Ratios 1, 1 and 1000, of which 10 is left: the mean is 4."""
    assert weights_by("median_frequency", [1000, 1000, 1]) == pytest.approx([0.25, 0.25, 2.5])


@pytest.mark.parametrize("method", ["inverse_log", "inverse_sqrt", "median_frequency"])
def test_a_rarer_class_weighs_more_and_the_mean_is_one(method: str) -> None:
    weights = weights_by(method, [10**9, 10**6, 2 * 10**6])  # type: ignore[arg-type]
    assert weights is not None
    assert weights[0] < weights[2] < weights[1]
    assert sum(weights) == pytest.approx(3)


def test_one_class_alone_weighs_one() -> None:
    assert weights_by("inverse_log", [0, 7]) == pytest.approx([1, 1])


def test_named_classes_have_their_weight_and_the_others_one() -> None:
    assert weights_by({"c": 3, "a": 0.5}, [5, 0, 7]) == [0.5, 1, 3]
    with pytest.raises(
        ConfigError, match=r"^loss\.class_weights: 'x' is no class of the data; expected one of a, b"
    ):
        weights_by({"x": 3}, [5, 0])
