"""Losses of each pixel's logits: cross-entropy and Dice. Both honour the ignore label."""

from keras import ops

from fornet_keras.data.dataset import IGNORE


def identity(x):
    """Itself: the sum over the devices of a batch that is all on one."""
    return x


class Pixels:
    """Labels and logits, and what all losses of pixels need of them, computed once.

    At the images' size this dominates the losses' time; `ops.softmax` and Keras' cross-entropy, slow on a CPU
    with few classes, would take longer still.

    Args:
        labels: int `(batch, height, width)`, train ids or `IGNORE`.
        logits: float `(batch, height, width, classes)`; computed in float32.

    Attributes:
        valid: float32 `(batch, height, width)`: 1 where the label is a class.
        label_ids: int `(batch, height, width)`: the labels, 0 where they are no class.
        target: float32 `(batch, height, width, classes)`: 1 at the label, 0 elsewhere.
        logits: float32, less the largest of each pixel.
        log_sum: float32 `(batch, height, width)`: the logarithm of the sum of the exponentials of these.
        probability: float32 `(batch, height, width, classes)`: the softmax; 0 where the label is no class.

    Raises:
        ValueError: more than 255 classes.
    """

    def __init__(self, labels, logits):
        self.num_classes = logits.shape[-1]
        if self.num_classes > IGNORE:
            raise ValueError(
                f"logits must be of at most {IGNORE} classes, as label {IGNORE} is ignored; received "
                f"{self.num_classes}"
            )
        known = ops.logical_and(labels >= 0, labels < self.num_classes)
        self.unknown = ops.any(ops.logical_not(ops.logical_or(known, labels == IGNORE)))
        self.valid = ops.cast(known, "float32")
        self.label_ids = ops.where(known, labels, 0)  # torch's one_hot refuses the ignore label
        counts = ops.expand_dims(self.valid, -1)
        self.target = ops.one_hot(self.label_ids, self.num_classes, dtype="float32") * counts
        logits = ops.cast(logits, "float32")
        self.logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        exponentials = ops.exp(self.logits)
        total = ops.sum(exponentials, axis=-1, keepdims=True)
        self.log_sum = ops.squeeze(ops.log(total), -1)
        self.probability = exponentials * (counts / total)  # one division a pixel, not one a class


def cross_entropy(
    pixels,
    class_weights=None,
    label_smoothing=0.0,
    ohem=None,
    sum_devices=identity,
    soft_targets=None,
    soft_share=0.0,
):
    """Weighted mean cross-entropy over the pixels that are not ignored.

    Args:
        pixels: the labels and logits as `Pixels`.
        class_weights: one weight a class, at least 0, or None for equal weights.
        label_smoothing: share of the target spread over all classes, 0…1.
        ohem: share in (0, 1) of the batch's pixels, of those that are not ignored nor of a class of weight 0
            the hardest ones, that count (online hard example mining, arXiv 1604.03540); None counts all.
        sum_devices: sums a tensor over the devices that the batch is spread over.
        soft_targets: a teacher's probabilities `(batch, height, width, classes)`, or None (knowledge
            distillation, arXiv 1503.02531).
        soft_share: share of them in the target, 0…1; the labels have the rest.

    Returns:
        float32 scalar; 0 where every pixel is ignored, NaN where a label is neither a class nor `IGNORE`:
        such a label would otherwise count for nothing without a word.

    Raises:
        ValueError: not one class weight a class.
    """
    num_classes = pixels.num_classes
    if class_weights is not None and len(class_weights) != num_classes:
        raise ValueError(
            f"class_weights must be one a class; received {len(class_weights)} for {num_classes} classes"
        )
    target = pixels.target
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / num_classes
    if soft_targets is not None:
        target = (1 - soft_share) * target + soft_share * soft_targets
    losses = pixels.log_sum - ops.sum(target * pixels.logits, axis=-1)
    # The weight of a pixel is that of its class, also where smoothing or a teacher spreads the target.
    weights = [1.0] * num_classes if class_weights is None else class_weights
    weights = ops.take(ops.convert_to_tensor(weights, dtype="float32"), pixels.label_ids) * pixels.valid
    if ohem is not None:
        weights = weights * _hardest(losses, weights > 0, ohem)
    total, weight = (sum_devices(ops.sum(x)) for x in (losses * weights, weights))
    loss = total / ops.where(weight > 0, weight, 1.0)
    return ops.where(pixels.unknown, float("nan"), loss)


def dice_loss(pixels, sum_devices=identity):
    """One minus the Dice coefficient (F1 score) of the probabilities, averaged over the classes of the batch.

    Every class that occurs counts the same, however few its pixels, and a pixel given to it wrongly costs as
    much as one of its own missed.

    Args:
        pixels: the labels and logits as `Pixels`.
        sum_devices: sums a tensor over the devices that the batch is spread over.

    Returns:
        float32 scalar, 0…1; 0 where every pixel is ignored.

    Reference: V-Net (arXiv 1606.04797).
    """
    target, probability = pixels.target, pixels.probability
    count, overlap, given = (
        sum_devices(ops.sum(x, axis=(0, 1, 2))) for x in (target, target * probability, probability)
    )
    dice = 2 * overlap / ops.maximum(count + given, 1e-6)
    occurs = ops.cast(count > 0, "float32")
    return ops.sum((1 - dice) * occurs) / ops.maximum(ops.sum(occurs), 1.0)


def _hardest(losses, counts, share):
    """1 where a loss is among the `share` highest of those in the batch that count, else 0."""
    ranked = ops.sort(ops.reshape(ops.where(counts, ops.stop_gradient(losses), float("-inf")), (-1,)))
    size, left_out = ops.size(ranked), ops.sum(ops.cast(ops.logical_not(counts), "int32"))
    # Not ops.quantile: torch's refuses more than 2²⁴ values, eight frames of Cityscapes.
    rank = ops.ceil((1 - share) * ops.cast(size - left_out - 1, "float32"))
    threshold = ops.take(ranked, ops.minimum(left_out + ops.cast(rank, "int32"), size - 1))
    return ops.cast(losses >= threshold, "float32")
