import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fornet_keras import pixel_losses
from fornet_keras.data.dataset import IGNORE
from fornet_keras.losses import FoRNetLoss, class_ids, region_error_share, selector_loss, subsample_labels
from fornet_keras.pixel_losses import Pixels
from tests.layers.gradients import gradients

pytestmark = pytest.mark.backend

WEIGHTS = [0.5, 2.0, 1.0, 3.0]


def labels(height: int = 6, width: int = 10, classes: int = 4) -> np.ndarray:
    values = [*range(classes), IGNORE]
    return np.random.default_rng(0).choice(values, (2, height, width)).astype("int32")


def logits(height: int = 6, width: int = 10, classes: int = 4) -> np.ndarray:
    return np.random.default_rng(1).normal(scale=2, size=(2, height, width, classes)).astype("float32")


def tensors(*arrays: Any) -> list:
    return [ops.convert_to_tensor(array) for array in arrays]


def number(x: Any) -> float:
    return float(ops.convert_to_numpy(x))


def cross_entropy(labels: Any, logits: Any, *options: Any, **more: Any) -> Any:
    return pixel_losses.cross_entropy(Pixels(labels, logits), *options, **more)


def dice_loss(labels: Any, logits: Any) -> Any:
    return pixel_losses.dice_loss(Pixels(labels, logits))


def one_by_one(labels: np.ndarray, logits: np.ndarray, smoothing: float) -> np.ndarray:
    """Cross-entropy of the pixels that are not ignored, one by one."""
    found = []
    for label, scores in zip(labels[labels != IGNORE], logits[labels != IGNORE], strict=True):
        log_probability = scores - np.log(np.exp(scores).sum())
        target = np.full(len(scores), smoothing / len(scores))
        target[label] += 1 - smoothing
        found.append(-(target * log_probability).sum())
    return np.array(found)


@pytest.mark.parametrize("class_weights", [None, WEIGHTS, np.array(WEIGHTS)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(class_weights: Any, smoothing: float) -> None:
    each = one_by_one(labels(), logits(), smoothing)
    weights = np.ones(4) if class_weights is None else np.array(class_weights)
    found = cross_entropy(labels(), logits(), class_weights, smoothing)
    expected = np.average(each, weights=weights[labels()[labels() != IGNORE]])
    assert number(found) == pytest.approx(expected, rel=1e-5)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_the_scale_of_the_class_weights_changes_nothing() -> None:
    """As those of 1 / pixels are, of all of a large data set."""
    weights = np.array(WEIGHTS)
    assert number(cross_entropy(labels(), logits(), weights * 1e-12)) == pytest.approx(
        number(cross_entropy(labels(), logits(), weights)), rel=1e-5
    )


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_cross_entropy_with_a_teacher(share: float) -> None:
    soft_targets = np.exp(np.random.default_rng(2).normal(size=(2, 6, 10, 4)))
    soft_targets = (soft_targets / soft_targets.sum(-1, keepdims=True)).astype("float32")
    log_probability = logits() - np.log(np.exp(logits()).sum(-1, keepdims=True))
    known = labels() != IGNORE
    soft = -(soft_targets * log_probability).sum(-1)[known]
    each = (1 - share) * one_by_one(labels(), logits(), 0) + share * soft
    found = cross_entropy(
        labels(), logits(), WEIGHTS, soft_targets=ops.convert_to_tensor(soft_targets), soft_share=share
    )
    assert number(found) == pytest.approx(
        np.average(each, weights=np.array(WEIGHTS)[labels()[known]]), rel=1e-5
    )


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    assert number(cross_entropy(labels(), 0 * logits())) == pytest.approx(np.log(4))


def test_a_certain_and_right_prediction_costs_nothing() -> None:
    sure = 100 * np.eye(4, dtype="float32")[np.where(labels() == IGNORE, 0, labels())]
    assert number(cross_entropy(labels(), sure)) == 0


def test_ignored_pixels_change_nothing() -> None:
    changed = np.where((labels() == IGNORE)[..., None], 50 - logits(), logits())
    assert number(cross_entropy(labels(), changed)) == number(cross_entropy(labels(), logits()))
    (gradient,) = gradients(lambda x: cross_entropy(labels(), x), logits())
    assert not gradient[labels() == IGNORE].any()
    assert gradient[labels() != IGNORE].all()


@pytest.mark.parametrize("ohem", [None, 0.3])
def test_all_ignored_costs_exactly_nothing(ohem: float | None) -> None:
    void = np.full_like(labels(), IGNORE)
    assert number(cross_entropy(void, logits(), WEIGHTS, 0.1, ohem)) == 0
    (gradient,) = gradients(lambda x: cross_entropy(void, x, WEIGHTS, 0.1, ohem), logits())
    assert not gradient.any()


def test_dice_by_hand() -> None:
    """One pixel of class 0 at 0.8, three of class 1 at 0.6: 2·0.8 / (1 + 2) and 2·1.8 / (3 + 2)."""
    truth = np.array([[[0, 1, 1, 1, IGNORE]]], "int32")
    first = np.array([0.8, 0.4, 0.4, 0.4, 0.9])
    scores = np.log(np.stack([first, 1 - first], axis=-1))[None, None].astype("float32")
    loss = dice_loss(truth, scores)
    assert number(loss) == pytest.approx(1 - (1.6 / 3 + 3.6 / 5) / 2, rel=1e-5)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


def test_dice_counts_only_the_classes_that_occur() -> None:
    truth = np.zeros((1, 2, 2), "int32")
    certain = np.zeros((1, 2, 2, 4), "float32")
    certain[..., 0] = 100
    assert number(dice_loss(truth, certain)) == pytest.approx(0, abs=1e-6)
    assert number(dice_loss(truth, 0 * certain)) == pytest.approx(1 - 2 * 1 / (4 + 1))
    assert number(dice_loss(np.full_like(truth, IGNORE), certain)) == 0
    (gradient,) = gradients(lambda x: dice_loss(np.full_like(truth, IGNORE), x), certain)
    assert not gradient.any()


@pytest.mark.parametrize("dice_weight", [0.0, 0.5])
def test_the_loss_adds_dice_at_both_resolutions(dice_weight: float) -> None:
    arrays = {
        "logits": logits(64, 64),
        "coarse_logits": logits(16, 16),
        "importance": np.zeros((2, 2, 2), "float32"),
    }
    outputs = {name: ops.convert_to_tensor(array) for name, array in arrays.items()}
    truth = labels(64, 64)
    parts = FoRNetLoss(coarse_weight=0.4, dice_weight=dice_weight).parts(*tensors(truth), outputs)
    sampled = subsample_labels(*tensors(truth), 16, 16)
    fine = cross_entropy(truth, outputs["logits"]) + dice_weight * dice_loss(truth, outputs["logits"])
    coarse = [loss(sampled, outputs["coarse_logits"]) for loss in (cross_entropy, dice_loss)]
    assert number(parts["logits_loss"]) == pytest.approx(number(fine))
    assert number(parts["coarse_loss"]) == pytest.approx(0.4 * number(coarse[0] + dice_weight * coarse[1]))


def test_half_precision_logits_are_summed_in_float32() -> None:
    """12,000 pixels that cost 10 each add up to more than float16 can hold."""
    wrong = np.zeros((1, 100, 120, 2), "float16")
    wrong[..., 1] = 10
    loss = cross_entropy(np.zeros((1, 100, 120), "int32"), ops.convert_to_tensor(wrong))
    assert number(loss) == pytest.approx(10, rel=1e-3)


def test_ohem_counts_the_hardest() -> None:
    # With logits (0, x) and label 0 a pixel costs log(1 + exp(x)); the hardest two of five are x = 4 and 3.
    x = np.array([1, 4, 0, 3, 2], "float32")
    scores = np.stack([0 * x, x], axis=-1)[None, None]
    loss = cross_entropy(np.zeros((1, 1, 5), "int32"), scores, ohem=0.4)
    assert number(loss) == pytest.approx(np.log1p(np.exp([4, 3])).mean(), rel=1e-5)


def test_ohem_never_takes_an_ignored_pixel() -> None:
    x = np.array([1, 9, 0, 3, 2], "float32")
    scores = np.stack([0 * x, x], axis=-1)[None, None]
    loss = cross_entropy(np.array([[[0, IGNORE, 0, 0, 0]]]), scores, ohem=0.4)
    assert number(loss) == pytest.approx(np.log1p(np.exp([3, 2])).mean(), rel=1e-5)


@pytest.mark.parametrize("void", [IGNORE, 1])
def test_ohem_takes_its_share_of_the_pixels_that_count(void: int) -> None:
    """Half of the four, whether the six others are ignored or of a class that weighs nothing."""
    x = np.array([1, 9, 0, 3, 2, 9, 9, 9, 9, 9], "float32")
    scores = np.stack([0 * x, x], axis=-1)[None, None]
    scores[..., 1] *= 1 - 2 * (np.arange(10) > 4) * (void == 1)  # of class 1 those are the hardest
    truth = np.array([[[0, void, 0, 0, 0, *[void] * 5]]], "int32")
    found = cross_entropy(truth, scores, [1.0, 0.0], ohem=0.5)
    assert number(found) == pytest.approx(np.log1p(np.exp([3, 2])).mean(), rel=1e-5)
    (gradient,) = gradients(lambda x: cross_entropy(truth, x, [1.0, 0.0], ohem=0.5), scores)
    assert gradient.any(-1)[0, 0].tolist() == [False] * 3 + [True] * 2 + [False] * 5


def test_region_error_share_worked_by_hand() -> None:
    # Two regions of 2×2 beside one another, and two below that are ignored or right (I is IGNORE):
    #   labels  0 0 | 1 1   predicted  0 1 | 0 0   wrong  . x | x x   share 1/4, 3/4 (I counts as right)
    #           1 1 | 1 I              1 1 | 0 0          . . | x .
    #           I I | 0 0              1 0 | 0 0          . . | . .         0 (void), 0
    #           I I | 0 1              1 0 | 0 1          . . | . .
    label = np.array([[[0, 0, 1, 1], [1, 1, 1, 255], [255, 255, 0, 0], [255, 255, 0, 1]]], "int32")
    predicted = np.array([[[0, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]])
    share, valid = region_error_share(label, np.eye(2, dtype="float32")[predicted], 2, 2)
    assert ops.convert_to_numpy(share).tolist() == [[[0.25, 0.75], [0, 0]]]
    assert ops.convert_to_numpy(valid).tolist() == [[[1, 1], [0, 1]]]


def test_region_error_share_of_a_rectangular_map() -> None:
    label, scores = labels(6, 10), logits(6, 10)
    share, valid = region_error_share(label, scores, 3, 5)
    wrong = (scores.argmax(-1) != label) & (label != IGNORE)
    for row, column in np.ndindex(3, 5):
        region = np.s_[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(share[:, row, column], wrong[region].mean((1, 2)))
        np.testing.assert_array_equal(valid[:, row, column], (label[region] != IGNORE).any((1, 2)))


def test_selector_loss_is_lowest_where_the_sigmoid_is_the_share() -> None:
    share = np.array([[[0.1, 0.5, 0.9]]], "float32")
    best = np.log(share / (1 - share))

    def loss(importance: Any) -> Any:
        return selector_loss(*tensors(share, np.ones_like(share), importance))

    assert np.abs(gradients(loss, best)[0]).max() < 1e-6
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).mean()
    assert number(loss(best)) == pytest.approx(entropy, rel=1e-5)
    for step in (-0.5, 0.5):
        assert number(loss(best + np.float32(step))) > entropy
    # Far off, the gradient is the difference between the sigmoid, 0 or 1, and the share.
    np.testing.assert_allclose(gradients(loss, 0 * best + 50)[0], (1 - share) / 3, rtol=1e-5)
    np.testing.assert_allclose(gradients(loss, 0 * best - 50)[0], -share / 3, rtol=1e-5)


def test_selector_loss_is_the_mean_over_valid_regions() -> None:
    share = np.array([[[0.5, 1.0], [0.0, 0.0]]], "float32")
    importance = np.zeros((1, 2, 2), "float32")
    two = np.array([[[1, 0], [0, 1]]], "float32")
    assert number(selector_loss(*tensors(share, two, importance))) == pytest.approx(np.log(2))
    assert number(selector_loss(*tensors(share, 0 * two, importance + 9))) == 0


def test_subsampled_labels_lie_in_the_middle_of_their_cells() -> None:
    """A label that says where it is: `100 * row + column`."""
    places = np.add.outer(100 * np.arange(8), np.arange(12))[None]
    sampled = ops.convert_to_numpy(subsample_labels(places, 2, 3))
    assert sampled.tolist() == [[[202, 206, 210], [602, 606, 610]]]


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (6, 7), (8, 12)])
def test_cells_beyond_the_image_are_ignored(size: tuple[int, int]) -> None:
    sampled = ops.convert_to_numpy(subsample_labels(np.ones((2, *size), "int32"), 8, 8))
    # The middle of cell i is pixel 4 i + 2.
    expected = np.full((2, 8, 8), IGNORE)
    expected[:, : (size[0] + 1) // 4, : (size[1] + 1) // 4] = 1
    np.testing.assert_array_equal(sampled, expected)


def outputs() -> dict[str, Any]:
    """Of a network on images of 30×62 pixels: regions of 32, so 8×16 cells of stride 4."""
    importance = np.random.default_rng(2).normal(size=(2, 1, 2)).astype("float32")
    arrays = {"logits": logits(30, 62), "coarse_logits": logits(8, 16), "importance": importance}
    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_fornet_loss_is_the_sum_of_its_parts(dtype: str) -> None:
    loss = FoRNetLoss(WEIGHTS, coarse_weight=0.3, selector_weight=0.7, label_smoothing=0.1)
    label = labels(30, 62).astype(dtype)
    sampled = np.full((2, 8, 16), IGNORE, "int32")
    sampled[:, :7, :15] = labels(30, 62)[:, 2::4, 2::4]
    share, valid = region_error_share(sampled, outputs()["coarse_logits"], 1, 2)
    expected = {
        "logits_loss": cross_entropy(labels(30, 62), outputs()["logits"], WEIGHTS, 0.1),
        "coarse_loss": 0.3 * cross_entropy(sampled, outputs()["coarse_logits"], WEIGHTS, 0.1),
        "selector_loss": 0.7 * selector_loss(share, valid, outputs()["importance"]),
    }
    parts = loss.parts(label, outputs())
    assert {name: number(part) for name, part in parts.items()} == pytest.approx(
        {name: number(part) for name, part in expected.items()}
    )
    assert number(loss(label, outputs())) == pytest.approx(sum(number(part) for part in expected.values()))
    assert number(loss(label[..., None], outputs())) == number(loss(label, outputs()))


def test_devices_that_add_up_their_sums_have_the_loss_of_the_whole_batch() -> None:
    """Of two, for which the other's image is void: what they sum is noted, and then given back added up."""
    noted: list[Any] = []

    def note(x: Any) -> Any:
        noted.append(x)
        return x

    def parts(label: np.ndarray, sum_devices: Callable[[Any], Any] | None = None) -> dict[str, float]:
        loss = FoRNetLoss(WEIGHTS, dice_weight=0.5, sum_devices=sum_devices)
        return {name: number(part) for name, part in loss.parts(label, outputs()).items()}

    first, second = (labels(30, 62) for _ in range(2))
    first[1] = second[0] = IGNORE
    alone, _ = parts(first, note), parts(second, note)
    added_up = map(ops.add, noted[: len(noted) // 2], noted[len(noted) // 2 :])
    found, whole = parts(first, lambda _: next(added_up)), parts(labels(30, 62))
    assert found == pytest.approx(whole, rel=1e-5)
    for name, part in alone.items():
        assert part != pytest.approx(whole[name], rel=1e-3), name


def test_hard_pixels_and_a_teacher_count_in_the_logits_alone() -> None:
    """The coarse path learns every label."""
    soft = ops.softmax(2 * outputs()["logits"])
    loss = FoRNetLoss(WEIGHTS, coarse_weight=1, ohem=0.3, teacher_share=0.2)
    (truth,) = tensors(labels(30, 62))
    parts = loss.parts(truth, {**outputs(), "soft_targets": soft})
    fine = cross_entropy(truth, outputs()["logits"], WEIGHTS, ohem=0.3, soft_targets=soft, soft_share=0.2)
    coarse = cross_entropy(subsample_labels(truth, 8, 16), outputs()["coarse_logits"], WEIGHTS)
    assert number(parts["logits_loss"]) == pytest.approx(number(fine))
    assert number(parts["coarse_loss"]) == pytest.approx(number(coarse))


def test_fornet_loss_round_trip() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, sum, 0.6, "other"]
    loss = FoRNetLoss(np.array(WEIGHTS), *values)
    twin = keras.losses.deserialize(keras.losses.serialize(loss))
    arguments = dict(zip(inspect.signature(FoRNetLoss).parameters, [WEIGHTS, *values], strict=True))
    del arguments["sum_devices"]  # the machine's
    assert twin.get_config() == loss.get_config() == arguments


def test_one_hot_labels_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"received shape \(2, 30, 62, 4\); of one-hot labels take the argmax"
    ):
        FoRNetLoss()(*tensors(np.zeros((2, 30, 62, 4), "int32")), outputs())


@pytest.mark.parametrize("size", [(15, 31), (60, 124)])
def test_labels_of_another_size_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=rf"labels must be of the images' size \(30, 62\); received \({size[0]}, {size[1]}\)"
    ):
        FoRNetLoss()(*tensors(labels(*size)), outputs())


@pytest.mark.parametrize(("missing", "found"), [(None, "None"), ({"logits": labels()}, "a dict of logits")])
def test_missing_labels_are_refused(missing: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"must be class ids \(batch, height, width\); received {found}$"):
        FoRNetLoss()(missing, outputs())


@pytest.mark.parametrize("stride", [2, 8])
def test_coarse_logits_at_another_stride_are_refused(stride: int) -> None:
    """They would be compared with the labels of other places."""
    arrays = {
        "logits": logits(64, 96),
        "coarse_logits": logits(64 // stride, 96 // stride),
        "importance": np.zeros((2, 4, 6), "float32"),
    }
    outputs = {name: ops.convert_to_tensor(array) for name, array in arrays.items()}
    cells = rf"\({64 // stride}, {96 // stride}\)"
    message = rf"must be at stride 4, .*; received {cells} cells for images of \(64, 96\) pixels and \(4, 6\)"
    with pytest.raises(ValueError, match=message):
        FoRNetLoss()(*tensors(labels(64, 96)), outputs)


def test_outputs_are_looked_at_in_a_graph_too() -> None:
    class Loss(keras.layers.Layer):
        def call(self, labels: Any, outputs: Any) -> Any:
            return FoRNetLoss()(labels, outputs)

    def loss(stride: int) -> Any:
        cells = (64 // stride, 96 // stride)
        shapes = {"logits": (64, 96, 4), "coarse_logits": (*cells, 4), "importance": (4, 6)}
        outputs = {name: keras.KerasTensor((None, *shape)) for name, shape in shapes.items()}
        return Loss()(keras.KerasTensor((None, 64, 96), "int32"), outputs)

    assert loss(4).shape == ()
    with pytest.raises(ValueError, match="coarse_logits must be at stride 4"):
        loss(8)


@pytest.mark.parametrize("size", [(1, 1), (15, 16), (17, 33), (30, 62)])
@pytest.mark.parametrize("cells", [4, 12])
def test_coarse_logits_of_whole_regions_fit_images_of_any_size(size: tuple[int, int], cells: int) -> None:
    rows, columns = (-(-n // (4 * cells)) for n in size)
    arrays = {
        "logits": logits(*size),
        "coarse_logits": logits(rows * cells, columns * cells),
        "importance": np.zeros((2, rows, columns), "float32"),
    }
    outputs = {name: ops.convert_to_tensor(array) for name, array in arrays.items()}
    assert np.isfinite(number(FoRNetLoss()(*tensors(labels(*size)), outputs)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"importance": np.zeros((2, 3, 4))}, r"whole regions; received \(8, 16\) cells .* and \(3, 4\) reg"),
        ({"coarse_logits": np.zeros((2, 8, 32, 4))}, "upsample or crop them"),
        ({"coarse_logits": np.zeros((2, 8, 16, 3))}, "must be of the logits' 4 classes; received 3"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FoRNetLoss()(*tensors(labels(30, 62)), {**outputs(), **changed})


def test_other_outputs_are_refused() -> None:
    """What `compile(loss=FoRNetLoss())` gives it in a network of one output, or of too few."""
    message = "must be a dict of logits, coarse_logits, importance; received {}; .* override compute_loss"
    with pytest.raises(ValueError, match=message.format("no dict")):
        FoRNetLoss()(labels(), logits())
    with pytest.raises(ValueError, match=message.format(r"\['logits'\]")):
        FoRNetLoss()(labels(), {"logits": logits()})


def test_the_ignore_label_is_no_class() -> None:
    with pytest.raises(ValueError, match="at most 255 classes, as label 255 is ignored; received 256"):
        Pixels(*tensors(labels(), logits(classes=256)))
    assert number(ops.sum(Pixels(*tensors(np.array([[[254, IGNORE]]]), logits(1, 2, 255)[:1])).valid)) == 1


def test_class_weights_must_be_one_a_class() -> None:
    with pytest.raises(ValueError, match="class_weights must be one a class; received 3 for 4 classes"):
        cross_entropy(*tensors(labels(), logits()), class_weights=[1, 2, 3])


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"class_weights": [1.0, -2.0]}, r"class_weights must be finite and at least 0; received \[1.0, -"),
        ({"class_weights": [1, np.inf]}, r"class_weights must be finite and .* 0; received \[1.0, inf\]"),
        ({"coarse_weight": np.inf}, "coarse_weight must be finite and at least 0; received inf"),
        (
            {"class_weights": {0: 1.0, 1: 5.0}},
            r"class_weights must be a list, one weight a .*; received \{0: 1",
        ),
        ({"class_weights": "12"}, "class_weights must be a list, one weight a class .*; received '12'"),
        ({"class_weights": 2.0}, "class_weights must be a list, one weight a class .*; received 2.0"),
        ({"class_weights": [1, "x"]}, r"class_weights must be a list, one weight a .*; received \[1, 'x'\]"),
        ({"coarse_weight": -1}, "coarse_weight must be finite and at least 0; received -1"),
        ({"dice_weight": float("nan")}, "dice_weight must be finite and at least 0; received nan"),
        ({"selector_weight": -0.1}, "selector_weight must be finite and at least 0; received -0.1"),
        ({"label_smoothing": 10}, "label_smoothing must be a share in 0…1; received 10"),
        ({"teacher_share": -1}, "teacher_share must be a share in 0…1; received -1"),
        ({"ohem": 25}, r"ohem must be a share in \(0, 1\), or None to count all; received 25"),
        ({"ohem": "0.5"}, r"ohem must be a share in \(0, 1\), or None to count all; received '0.5'"),
        ({"coarse_weight": None}, "coarse_weight must be finite and at least 0; received None"),
        ({"ohem": 1}, r"ohem must be a share in \(0, 1\), or None to count all; received 1"),
        ({"ohem": 0}, r"ohem must be a share in \(0, 1\), or None to count all; received 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(argument: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        FoRNetLoss(**argument)


def test_weighted_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="samples cannot be weighted; weight classes with FoRNetLoss"):
        FoRNetLoss()(*tensors(labels(30, 62)), outputs(), sample_weight=np.ones(2))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its graphs alone may not know a shape")
@pytest.mark.parametrize("shape", [None, (None, None, None), (None, None, None, 1), (None, 6, None)])
def test_labels_without_a_size_are_explained(shape: Any) -> None:
    import tensorflow as tf

    graph = tf.function(
        lambda label: class_ids(label, logits()), input_signature=[tf.TensorSpec(shape, "uint8")]
    )
    with pytest.raises(
        ValueError, match=r"must be known; received .*; .* by tf.ensure_shape\(label, \(H, W\)"
    ):
        graph.get_concrete_function()


@pytest.mark.parametrize("label", [3, 33, -1])
def test_a_label_that_is_no_class_makes_the_loss_nan(label: int) -> None:
    """It would count for nothing otherwise, and training on label ids would look perfect."""
    labels = np.full((1, 4, 6), label, "int32")
    labels[0, 0, 0] = 1
    loss = cross_entropy(keras.ops.convert_to_tensor(labels), keras.ops.zeros((1, 4, 6, 3)))
    assert np.isnan(keras.ops.convert_to_numpy(loss))


@pytest.mark.parametrize("label", [1 / 255, 0.5, 3.7, np.nan])
def test_a_label_that_is_no_whole_number_makes_the_loss_nan(label: float) -> None:
    """Cut to 0, those of a mask that was scaled to 0…1 would all be the first class."""
    truth = labels(30, 62).astype("float32")
    truth[0, 0, 0] = label
    assert np.isnan(number(FoRNetLoss()(*tensors(truth), outputs())))
