from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE
from fornet_keras.metrics import ConfusionMatrix, MeanIoU

pytestmark = pytest.mark.backend

#   labels     predictions        predicted  0  1  2
#   0 0 1 1    0 1 1 1            true    0  1  1  1
#   0 2 2 255  2 2 0 0                    1  0  2  0
#                                         2  1  0  1
LABELS = np.array([[0, 0, 1, 1], [0, 2, 2, IGNORE]])
PREDICTIONS = np.array([[0, 1, 1, 1], [2, 2, 0, 0]])
COUNTS = [[1, 1, 1], [0, 2, 0], [1, 0, 1]]
# Intersection over union: 1/(3+2−1), 2/(2+3−2), 1/(2+2−1).
IOU = [1 / 4, 2 / 3, 1 / 3]


def one_hot(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Logits whose highest is the prediction's."""
    return np.eye(num_classes, dtype="float32")[predictions]


def test_matrix_worked_by_hand() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(LABELS, PREDICTIONS)
    assert matrix.counts.tolist() == COUNTS
    np.testing.assert_allclose(matrix.iou, IOU)
    assert matrix.miou == pytest.approx((1 / 4 + 2 / 3 + 1 / 3) / 3)
    np.testing.assert_allclose(matrix.precision, [1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(matrix.recall, [1 / 3, 1, 1 / 2])
    # Twice the intersection over the sum of both: 2/(3+2), 4/(2+3), 2/(2+2).
    np.testing.assert_allclose(matrix.f1, [2 / 5, 4 / 5, 1 / 2])
    assert matrix.f1.dtype == np.float64
    assert matrix.pixel_accuracy == pytest.approx(4 / 7)


def test_matrix_adds_up() -> None:
    matrix = ConfusionMatrix(3)
    for labels, predictions in zip(LABELS, PREDICTIONS, strict=True):
        matrix.add(labels.astype("uint8"), predictions.astype("uint8"))
    assert matrix.counts.tolist() == COUNTS
    assert matrix.counts.dtype == np.int64


def test_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    matrix = ConfusionMatrix(4)
    matrix.add(LABELS, PREDICTIONS)
    np.testing.assert_allclose(matrix.iou, [*IOU, np.nan])
    for scores in (matrix.precision, matrix.recall, matrix.f1):
        assert np.isnan(scores).tolist() == [False, False, False, True]
    assert matrix.miou == pytest.approx(np.mean(IOU))


def test_class_that_is_only_predicted_counts_as_missed() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([0, 0]), np.array([0, 1]))
    np.testing.assert_allclose(matrix.iou, [0.5, 0, np.nan])
    np.testing.assert_allclose(matrix.precision, [1, 0, np.nan])
    np.testing.assert_allclose(matrix.recall, [0.5, np.nan, np.nan])
    np.testing.assert_allclose(matrix.f1, [2 / 3, 0, np.nan])
    assert matrix.miou == pytest.approx(0.25)


@pytest.mark.parametrize("labels", [np.full((2, 3), IGNORE), np.zeros((0, 3), int)])
def test_nothing_counted(labels: np.ndarray) -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(labels, np.zeros_like(labels))
    assert not matrix.counts.any()
    assert np.isnan(matrix.iou).all()
    assert np.isnan(matrix.miou)
    assert np.isnan(matrix.pixel_accuracy)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 3], [0, 0], "labels must be train ids 0…2; received 0…3"),
        ([0, -1], [0, 0], "labels must be train ids 0…2; received -1…0"),
        ([0, 1], [0, 7], "predictions must be train ids 0…2; received 0…7"),
        ([0, 1], [0, IGNORE], "predictions must be train ids 0…2; received 0…255"),
        ([0, 1], [0], r"labels \(2,\) and predictions \(1,\) must have one shape"),
    ],
)
def test_matrix_refuses_what_it_cannot_count(labels: list, predictions: list, message: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        matrix.add(np.array(labels), np.array(predictions))
    assert not matrix.counts.any()


def test_matrix_is_exact_beyond_32_bits() -> None:
    matrix = ConfusionMatrix(2)
    matrix.counts[:] = [[2**40, 0], [0, 2**31]]
    matrix.add(np.array([0, 1]), np.array([0, 0]))
    assert matrix.counts.tolist() == [[2**40 + 1, 0], [1, 2**31]]
    assert matrix.iou.tolist() == [(2**40 + 1) / (2**40 + 2), 2**31 / (2**31 + 1)]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_metric_worked_by_hand(dtype: str) -> None:
    metric = MeanIoU(3)
    for labels, predictions in zip(LABELS, PREDICTIONS, strict=True):
        metric.update_state(labels[None, None].astype(dtype), one_hot(predictions[None, None], 3))
    assert metric.confusion_matrix().tolist() == COUNTS
    assert float(metric.result()) == pytest.approx(np.mean(IOU))
    metric.reset_state()
    assert not metric.confusion_matrix().any()
    assert float(metric.result()) == 0


def test_metric_refuses_what_it_cannot_count() -> None:
    metric = MeanIoU(2)
    with pytest.raises(ValueError, match=r"MeanIoU\(2\) received logits of 3 classes"):
        metric.update_state(np.array([[[0, 1]]]), one_hot(np.array([[[2, 1]]]), 3))
    with pytest.raises(ValueError, match="MeanIoU cannot be weighted; give it in `metrics`"):
        metric.update_state(np.array([[[0, 1]]]), one_hot(np.array([[[0, 1]]]), 2), np.ones(1))
    logits = one_hot(np.array([[[0, 1]]]), 2)
    with pytest.raises(
        ValueError, match=r"labels must be class ids .* received shape \(1, 1, 2, 2\); of one-"
    ):
        metric.update_state(logits, logits)
    with pytest.raises(ValueError, match=r"labels must be of the images' size \(1, 2\); received \(1, 1\)"):
        metric.update_state(np.array([[[0]]]), logits)
    metric.update_state(np.array([[[0, 7]]]), one_hot(np.array([[[0, 0]]]), 2))
    metric.update_state(np.array([[[0, 1]]]), one_hot(np.array([[[0, 1]]]), 2))
    assert np.isnan(float(metric.result()))
    metric.reset_state()
    metric.update_state(np.array([[[0, IGNORE]]]), one_hot(np.array([[[0, 0]]]), 2))
    assert float(metric.result()) == 1


def test_metric_of_labels_that_are_no_whole_numbers_is_nan() -> None:
    metric = MeanIoU(2)
    metric.update_state(np.array([[[0, 0.5]]]), one_hot(np.array([[[0, 0]]]), 2))
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize("num_classes", [0, -2, 256, 5.0, "5"])
@pytest.mark.parametrize("counts", [MeanIoU, ConfusionMatrix])
def test_a_number_of_classes_that_leaves_no_label_to_ignore_is_refused(counts: Any, num_classes: Any) -> None:
    message = rf"num_classes must be a whole number of 1…255, as label 255 .*; received {num_classes!r}$"
    with pytest.raises(ValueError, match=message):
        counts(num_classes)


def test_metric_of_a_numpy_number_of_classes() -> None:
    metric = MeanIoU(np.uint8(19))
    metric.update_state(np.full((1, 1, 2), 18), one_hot(np.array([[[18, 17]]]), 19))
    assert metric.confusion_matrix()[18, 17:].tolist() == [1, 1]


def test_metric_and_matrix_agree() -> None:
    rng = np.random.default_rng(0)
    matrix, metric = ConfusionMatrix(5), MeanIoU(5)
    for _ in range(3):
        labels = rng.choice([0, 1, 2, 3, IGNORE], (2, 12, 20))  # class 4 is never true
        logits = rng.normal(size=(2, 12, 20, 5)).astype("float32")
        matrix.add(labels, logits.argmax(-1))
        metric.update_state(labels, logits)
    np.testing.assert_array_equal(metric.confusion_matrix(), matrix.counts)
    assert float(metric.result()) == pytest.approx(matrix.miou, rel=1e-6)


def test_metric_carries_into_the_high_word() -> None:
    """2²⁴ − 1 and one more are 2²⁴, which float32 still holds, and one more, which it does not."""
    metric = MeanIoU(2)
    metric.low.assign([[2**24 - 1, 5], [0, 2**24 - 1]])
    labels, predictions = np.array([[[0, 0, 1]]]), np.array([[[0, 0, 1]]])
    metric.update_state(labels, one_hot(predictions, 2))
    assert metric.confusion_matrix().tolist() == [[2**24 + 1, 5], [0, 2**24]]
    assert keras.ops.convert_to_numpy(metric.high).tolist() == [[1, 0], [0, 1]]
    assert keras.ops.convert_to_numpy(metric.low).tolist() == [[1, 5], [0, 0]]


def test_metric_is_exact_beyond_32_bits() -> None:
    metric = MeanIoU(2)
    metric.high.assign([[2**16, 0], [0, 2**7]])  # 2⁴⁰ and 2³¹ pixels
    metric.low.assign([[2**24 - 1, 0], [0, 0]])
    metric.update_state(np.array([[[0, 1]]]), one_hot(np.array([[[0, 0]]]), 2))
    assert metric.confusion_matrix().tolist() == [[2**40 + 2**24, 0], [1, 2**31]]
    assert float(metric.result()) == pytest.approx(1, abs=1e-6)


def test_metric_round_trip() -> None:
    metric = keras.metrics.deserialize(keras.metrics.serialize(MeanIoU(4, name="score")))
    assert (metric.num_classes, metric.name) == (4, "score")
