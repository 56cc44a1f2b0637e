"""Confusion matrices that count exactly, and the scores that follow from them."""

import keras
import numpy as np
from keras import ops

from fornet_keras.data.dataset import IGNORE
from fornet_keras.losses import class_ids


def mean_of_known(scores):
    """Mean of the scores, a float array, that are not NaN; NaN where all are."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def _valid_num_classes(num_classes):
    """The number of classes as a Python int, whose square is more than a NumPy uint8 holds.

    Raises:
        ValueError: it is none, or more than there are labels beside `IGNORE`.
    """
    if not (isinstance(num_classes, int | np.integer) and 1 <= num_classes <= IGNORE):
        raise ValueError(
            f"num_classes must be a whole number of 1…{IGNORE}, as label {IGNORE} is ignored; received "
            f"{num_classes!r}"
        )
    return int(num_classes)


class ConfusionMatrix:
    """Pixels by true class (row) and predicted class (column), counted on the host in int64.

    Args:
        num_classes: number of classes, 1…255.

    Raises:
        ValueError: another number of classes.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]]))
        >>> matrix.iou.tolist()
        [0.5, 0.5]
    """

    def __init__(self, num_classes):
        self.num_classes = _valid_num_classes(num_classes)
        self.counts = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)

    def add(self, labels, predictions):
        """Count the pixels of `labels` and `predictions`, two integer arrays of one shape, of train ids.

        Pixels labelled `IGNORE` are left out.

        Raises:
            ValueError: the shapes differ, or a value is neither a class nor, in `labels`, `IGNORE`.
        """
        if labels.shape != predictions.shape:
            raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} must have one shape")
        valid = labels != IGNORE
        labels, predictions = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
        for name, values in (("labels", labels), ("predictions", predictions)):
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise ValueError(
                    f"{name} must be train ids 0…{self.num_classes - 1}; "
                    f"received {values.min()}…{values.max()}"
                )
        flat = np.bincount(labels * self.num_classes + predictions, minlength=self.num_classes**2)
        self.counts += flat.reshape(self.num_classes, self.num_classes)

    @property
    def iou(self):
        """float64 `(classes,)`, 0…1: intersection over union; NaN for a class that does not occur."""
        return self._found_of(self.counts.sum(axis=0) + self.counts.sum(axis=1) - np.diag(self.counts))

    @property
    def precision(self):
        """float64 `(classes,)`, 0…1: share of what is predicted as a class that is of it; NaN without any."""
        return self._found_of(self.counts.sum(axis=0))

    @property
    def recall(self):
        """float64 `(classes,)`, 0…1: share of a class's pixels that are found; NaN where it has none."""
        return self._found_of(self.counts.sum(axis=1))

    @property
    def f1(self):
        """float64 `(classes,)`, 0…1: harmonic mean of both, or Dice; NaN for a class that does not occur."""
        return 2 * self.iou / (1 + self.iou)

    def _found_of(self, pixels):
        hits = np.diag(self.counts)
        return np.divide(hits, pixels, out=np.full(self.num_classes, np.nan), where=pixels > 0)

    @property
    def miou(self):
        """Mean IoU over the classes that occur, 0…1; NaN where nothing was counted."""
        return mean_of_known(self.iou)

    @property
    def pixel_accuracy(self):
        """Share of the pixels that are right, 0…1; NaN where nothing was counted."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


@keras.saving.register_keras_serializable("fornet_keras")
class MeanIoU(keras.metrics.Metric):
    """Mean IoU for `compile(metrics=[…])`, exact on every backend however many pixels are counted.

    `keras.metrics.MeanIoU` overflows after 2³¹ pixels of a class (JAX, torch) or stops counting at 2²⁴
    (float32). Here each count is two int32 words of 24 bits, so nothing is lost below 2⁵⁴ pixels.

    Args:
        num_classes: number of classes, 1…255.

    Called with labels int `(batch, height, width)` or `(batch, height, width, 1)`, where `IGNORE` is left
    out, and logits `(batch, height, width, classes)`; at most 2³¹ pixels of a class in one batch. The
    result is NaN where a label was neither a class nor `IGNORE`. It is 0 where nothing was counted
    (`ConfusionMatrix` gives NaN), because NaN breaks callbacks that compare epochs.

    Raises:
        ValueError: the number of classes is another, or not that of the logits; labels are one-hot or of
            another size; samples are weighted.
    """

    WORD = 1 << 24
    _direction = "up"  # where callbacks of Keras look which way is better

    def __init__(self, num_classes, name="miou", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = _valid_num_classes(num_classes)
        shape = (self.num_classes, self.num_classes)
        self.low = self.add_weight(shape=shape, dtype="int32", initializer="zeros", name="low")
        self.high = self.add_weight(shape=shape, dtype="int32", initializer="zeros", name="high")
        self.unknown = self.add_weight(shape=(), dtype="int32", initializer="zeros", name="unknown")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("MeanIoU cannot be weighted; give it in `metrics`, not in `weighted_metrics`")
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(f"MeanIoU({self.num_classes}) received logits of {y_pred.shape[-1]} classes")
        labels = ops.reshape(class_ids(y_true, y_pred), (-1,))
        predictions = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1,))
        known = ops.logical_and(labels >= 0, labels < self.num_classes)
        wrong = ops.logical_and(ops.logical_not(known), labels != IGNORE)
        self.unknown.assign(ops.maximum(self.unknown, ops.max(ops.cast(wrong, "int32"))))
        # Pixels that are no class go to a cell of their own, which is cut off.
        cell = ops.where(known, labels * self.num_classes + predictions, self.num_classes**2)
        ones = ops.ones_like(cell, dtype="int32")
        counts = ops.segment_sum(ones, cell, num_segments=self.num_classes**2 + 1)[:-1]
        low = self.low + ops.reshape(counts, self.low.shape)
        self.high.assign(self.high + low // self.WORD)
        self.low.assign(low % self.WORD)

    def result(self):
        counts = ops.cast(self.high, "float32") * float(self.WORD) + ops.cast(self.low, "float32")
        hits = ops.diagonal(counts)
        union = ops.sum(counts, axis=0) + ops.sum(counts, axis=1) - hits
        iou = ops.where(union > 0, hits / ops.maximum(union, 1.0), 0.0)
        mean = ops.sum(iou) / ops.maximum(ops.sum(ops.cast(union > 0, "float32")), 1.0)
        return ops.where(self.unknown > 0, float("nan"), mean)

    def confusion_matrix(self):
        """The counts as int64 NumPy `(classes, classes)`, true class by row."""
        high, low = (ops.convert_to_numpy(word).astype(np.int64) for word in (self.high, self.low))
        return high * self.WORD + low

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
