"""Losses of the outputs that learn: logits, coarse logits, importance. All honour the ignore label."""

import math
from numbers import Real

import keras
from keras import ops

from fornet_keras.data.dataset import IGNORE
from fornet_keras.pixel_losses import Pixels, cross_entropy, dice_loss, identity

STRIDE = 4
"""Pixels across a cell of the coarse logits."""
NAME_IT = "in tf.data name it by tf.ensure_shape(label, (H, W))"


def region_error_share(labels, coarse_logits, rows, columns):
    """Share of each region's pixels that the coarse path gets wrong; ignored pixels count as right.

    Args:
        labels: int `(batch, height, width)`, train ids or `IGNORE`, at the size of the coarse logits.
        coarse_logits: `(batch, height, width, classes)`.
        rows: number of region rows.
        columns: number of region columns.

    Returns:
        Two float32 `(batch, rows, columns)` without gradient: the share, 0…1, and 1 for a region with at
        least one pixel that is not ignored, else 0.
    """
    predicted = ops.cast(ops.argmax(coarse_logits, axis=-1), labels.dtype)
    valid = ops.not_equal(labels, IGNORE)
    wrong = ops.logical_and(ops.not_equal(predicted, labels), valid)
    _, height, width = labels.shape
    split = (-1, rows, height // rows, columns, width // columns)
    wrong, valid = (ops.reshape(ops.cast(x, "float32"), split) for x in (wrong, valid))
    return ops.stop_gradient(ops.mean(wrong, axis=(2, 4))), ops.max(valid, axis=(2, 4))


def selector_loss(error_share, valid, importance, sum_devices=identity):
    """Binary cross-entropy that makes `sigmoid(importance)` the expected share of wrong pixels.

    Its minimum ranks the regions by the number of errors in them, which is what error coverage asks for.

    Args:
        error_share: float32 `(batch, rows, columns)`, 0…1, from `region_error_share`.
        valid: float32 `(batch, rows, columns)`, 0 or 1, from `region_error_share`.
        importance: float32 `(batch, rows, columns)`, any real numbers.
        sum_devices: sums a tensor over the devices that the batch is spread over.

    Returns:
        float32 scalar, the mean over the valid regions; 0 where there is none.
    """
    losses = ops.softplus(importance) - error_share * importance
    total, count = (sum_devices(ops.sum(x)) for x in (losses * valid, valid))
    return total / ops.maximum(count, 1.0)


def class_ids(labels, logits):
    """The labels as int32 `(batch, height, width)`, with or without a last axis of 1; -1 where none is whole.

    Raises:
        ValueError: there are none, or they are one-hot, of an unknown size, or of another than the logits.
    """
    if labels is None or isinstance(labels, dict):
        found = "None" if labels is None else f"a dict of {', '.join(map(str, labels))}"
        raise ValueError(f"labels must be class ids (batch, height, width); received {found}")
    whole = ops.cast(labels, "int32")
    # -1 is no class. Cut to a whole number, each label that was divided by 255 would be 0.
    labels = ops.where(ops.equal(whole, labels), whole, -1)
    if getattr(labels.shape, "rank", 3) is None:  # TensorFlow may not even know the number of axes
        raise ValueError(f"labels' shape must be known; received none; {NAME_IT}")
    if len(labels.shape) == 4:
        if labels.shape[-1] not in (1, None):
            raise ValueError(
                "labels must be class ids (batch, height, width); "
                f"received shape {tuple(labels.shape)}; of one-hot labels take the argmax"
            )
        labels = ops.squeeze(labels, -1)
    size, expected = tuple(labels.shape[1:]), tuple(logits.shape[1:3])
    if None in size and size != expected:
        raise ValueError(f"labels' height and width must be known; received {size}; {NAME_IT}")
    if size != expected:
        raise ValueError(f"labels must be of the images' size {expected}; received {size}")
    return labels


def subsample_labels(labels, height, width):
    """The label in the middle of each cell of the logits, padded with `IGNORE` to `(height, width)` cells."""
    labels = labels[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    _, rows, columns = labels.shape
    return ops.pad(labels, [[0, 0], [0, height - rows], [0, width - columns]], constant_values=IGNORE)


@keras.saving.register_keras_serializable("fornet_keras")
class FoRNetLoss(keras.losses.Loss):
    """Cross-entropy and Dice loss of the logits, plus those of the coarse logits, plus the Selector's loss.

    Args:
        class_weights: list of one finite weight a class, at least 0, or None for equal weights.
        coarse_weight: weight of the coarse path's cross-entropy and Dice loss.
        dice_weight: weight of the Dice loss, beside a cross-entropy of weight 1.
        selector_weight: weight of the Selector's loss.
        label_smoothing: share of the target spread over all classes, 0…1.
        ohem: share in (0, 1) of the hardest pixels that count in the logits' term; None counts all.
        sum_devices: sums a tensor over the devices that a batch is spread over, such as
            `training.devices.sum_over_devices`; without it each device's loss is that of its own part. For
            batches on one device it need not be given; it belongs to the machine, and is no part of the
            configuration.
        teacher_share: share of a teacher's probabilities in the target of the logits, 0…1, where the outputs
            have them.

    Called with labels int `(batch, height, width)`, or `(batch, height, width, 1)`, and the outputs of
    `FoRNet`, among which `soft_targets` may be a teacher's probabilities, of the logits' shape; returns a
    float32 scalar. A subclass overrides `parts`, and keeps the three entries of it: a `FoRNet` learns the sum
    of all that it returns.

    Raises:
        ValueError: an argument outside its range, or not one class weight a class; one-hot labels, or labels
            of another size than the logits; samples that are weighted; outputs that lack one of the three, or
            whose coarse logits are of other classes, not at stride 4, or not padded to whole regions; logits
            of more than 255 classes.
    """

    def __init__(
        self,
        class_weights=None,
        coarse_weight=0.4,
        dice_weight=0.0,
        selector_weight=0.2,
        label_smoothing=0.0,
        ohem=None,
        sum_devices=None,
        teacher_share=0.5,
        name="fornet_loss",
    ):
        super().__init__(name=name, dtype="float32")
        self.class_weights = None if class_weights is None else _as_numbers(class_weights)
        self.coarse_weight = coarse_weight
        self.dice_weight = dice_weight
        self.selector_weight = selector_weight
        self.label_smoothing = label_smoothing
        self.ohem = ohem
        self.sum_devices = sum_devices or identity
        self.teacher_share = teacher_share
        self._require_valid()

    def _require_valid(self):
        for name, expected, holds in (
            ("class_weights", "finite and at least 0", all(map(_in_range, self.class_weights or ()))),
            ("coarse_weight", "finite and at least 0", _in_range(self.coarse_weight)),
            ("dice_weight", "finite and at least 0", _in_range(self.dice_weight)),
            ("selector_weight", "finite and at least 0", _in_range(self.selector_weight)),
            ("label_smoothing", "a share in 0…1", _in_range(self.label_smoothing, 1)),
            ("teacher_share", "a share in 0…1", _in_range(self.teacher_share, 1)),
            (
                "ohem",
                "a share in (0, 1), or None to count all",
                self.ohem is None or (_in_range(self.ohem, 1) and self.ohem not in (0, 1)),
            ),
        ):
            if not holds:
                raise ValueError(f"{name} must be {expected}; received {getattr(self, name)!r}")

    def parts(self, labels, outputs, sample_weight=None):
        """The weighted terms, as a dict of float32 scalars: `logits_loss`, `coarse_loss`, `selector_loss`."""
        if sample_weight is not None:
            raise ValueError("samples cannot be weighted; weight classes with FoRNetLoss(class_weights=…)")
        logits, coarse, importance = _fitting_outputs(outputs)
        labels = class_ids(labels, logits)
        sampled = subsample_labels(labels, *coarse.shape[1:3])
        errors, valid = region_error_share(sampled, coarse, *importance.shape[1:])
        soft_targets = outputs.get("soft_targets")
        return {
            "logits_loss": self._pixel_loss(labels, logits, self.ohem, soft_targets),
            "coarse_loss": self.coarse_weight * self._pixel_loss(sampled, coarse),
            "selector_loss": self.selector_weight
            * selector_loss(errors, valid, importance, self.sum_devices),
        }

    def _pixel_loss(self, labels, logits, ohem=None, soft_targets=None):
        pixels = Pixels(labels, logits)
        options = (self.class_weights, self.label_smoothing, ohem, self.sum_devices)
        loss = cross_entropy(pixels, *options, soft_targets, self.teacher_share)
        if self.dice_weight:
            loss += self.dice_weight * dice_loss(pixels, self.sum_devices)
        return loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        return sum(self.parts(y_true, y_pred, sample_weight).values())

    def get_config(self):
        weights = ("class_weights", "coarse_weight", "dice_weight", "selector_weight")
        names = ("name", *weights, "label_smoothing", "ohem", "teacher_share")
        return {name: getattr(self, name) for name in names}


def _fitting_outputs(outputs):
    """The logits, coarse logits and importance, where the regions of all three are the same places."""
    names = ("logits", "coarse_logits", "importance")
    if not isinstance(outputs, dict) or not {*names} <= {*outputs}:
        found = list(outputs) if isinstance(outputs, dict) else "no dict"
        raise ValueError(
            f"outputs must be a dict of {', '.join(names)}; received {found}; in a network of your own "
            "override compute_loss, as docs/python.md shows"
        )
    logits, coarse, importance = (outputs[name] for name in names)
    if coarse.shape[-1] != logits.shape[-1]:
        raise ValueError(
            f"coarse_logits must be of the logits' {logits.shape[-1]} classes; received {coarse.shape[-1]}"
        )
    images, maps, regions = (tuple(x.shape[1:3]) for x in (logits, coarse, importance))
    for pixels, cells, count in zip(images, maps, regions, strict=True):
        is_known = all(isinstance(n, int) for n in (pixels, cells, count))
        # At another stride labels of other places would be learnt without a word.
        if is_known and (cells % count or not 0 <= cells - math.ceil(pixels / STRIDE) < cells // count):
            raise ValueError(
                f"coarse_logits must be at stride {STRIDE}, padded to whole regions; received {maps} cells "
                f"for images of {images} pixels and {regions} regions; upsample or crop them"
            )
    return logits, coarse, importance


def _as_numbers(class_weights):
    try:
        if isinstance(class_weights, str | dict):
            raise TypeError
        return [float(weight) for weight in class_weights]
    except (TypeError, ValueError):
        raise ValueError(
            f"class_weights must be a list, one weight a class in their order; received {class_weights!r}"
        ) from None


def _in_range(value, highest=math.inf):
    return isinstance(value, Real) and math.isfinite(value) and 0 <= float(value) <= highest
