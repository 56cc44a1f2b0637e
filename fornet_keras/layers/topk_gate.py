"""TopKGate: keeps the highest-scoring regions of each image."""

import math
from numbers import Real

import keras
from keras import ops

from fornet_keras.layers.regions import known_size


def num_kept(ratio, count):
    """Number of regions kept of `count`: the ratio rounded up, so that at least one stays."""
    return min(count, max(1, math.ceil(ratio * count - 1e-6)))


@keras.saving.register_keras_serializable("fornet_keras")
class TopKGate(keras.layers.Layer):
    """Keeps the share `ratio` of the regions of each image that score highest; ties go by position.

    The mask is 0 or 1 in value, and carries the gradient of `sigmoid(score)` (straight-through), so that what
    the branch gains or loses in a region reaches the Selector.

    In training `train_ratio` of the regions are kept: a share of the best that is drawn for each batch, from
    one to all of them, and random ones in place of the rest. Every region is learnt from that way, the hard
    ones most, so one set of weights serves every ratio; and training pays for no more than it keeps.

    Args:
        ratio: share of regions kept at inference, in (0, 1].
        train_ratio: share of regions kept in training, in (0, 1].
        seed: seed of the draws; int or None.

    Input shape: scores `(batch, rows, columns)`, any real numbers.

    Output shape: mask float32 `(batch, rows, columns)`, and int32 `(batch, kept)`, the numbers of the kept
        regions, best first; `kept = ceil(ratio * rows * columns)`, in training that of `train_ratio`.

    Raises:
        ValueError: a ratio outside (0, 1]; scores with another number of axes; in a graph, rows or columns
            that are unknown.

    Example:
        >>> mask, kept = TopKGate(ratio=0.5)(keras.ops.array([[[1.0, 3.0], [2.0, 0.0]]]))
        >>> keras.ops.convert_to_numpy(kept).tolist()
        [[1, 2]]

    Reference: the Top-K activation of FoR-Net (arXiv 2605.02764); straight-through estimator of Bengio et al.
        (arXiv 1308.3432).
    """

    def __init__(self, ratio=0.5, train_ratio=0.5, seed=None, **kwargs):
        for name, value in (("ratio", ratio), ("train_ratio", train_ratio)):
            if not (isinstance(value, Real) and 0 < float(value) <= 1):
                raise ValueError(f"{name} must be in (0, 1]; received {value!r}; use 1 to keep every region")
        # float32, or a mixed policy would round the scores before they are ranked.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.ratio = ratio
        self.train_ratio = train_ratio
        self.seed = seed
        # Keras would count them, and by the count no `state_dict` of PyTorch fit a second model.
        self.seed_generator = keras.random.SeedGenerator(seed, name=self.name)

    def call(self, scores, training=None):
        self.compute_output_shape(scores.shape)  # refuses another number of axes
        rows, columns = known_size(scores)
        count = rows * columns
        scores = ops.reshape(ops.cast(scores, "float32"), (-1, count))
        order = _descending(scores)
        kept = num_kept(self.train_ratio if training else self.ratio, count)
        if training:
            order = self._explore(order, kept)
        hard = ops.cast(_ascending(order) < kept, "float32")
        soft = ops.sigmoid(scores)
        # In brackets: exactly 0 in value, where `hard + soft - soft` would round to 0.99999994.
        mask = hard + (soft - ops.stop_gradient(soft))
        return ops.reshape(mask, (-1, rows, columns)), order[:, :kept]

    def _explore(self, order, kept):
        """Put random regions in the places of some of the best."""
        draw = keras.random.uniform(ops.shape(order), seed=self.seed_generator)
        best = keras.random.uniform((), 0.0, 1.0, seed=self.seed_generator) * kept
        rank = ops.cast(_ascending(order), "float32")
        # The best keep their order before all others, which a draw below 1 puts into any order.
        return _descending(ops.where(rank < best, 1.0 + ops.shape(order)[-1] - rank, draw))

    def compute_output_shape(self, input_shape, training=None):
        if len(input_shape) != 3:
            raise ValueError(
                f"scores must be (batch, rows, columns); received shape {tuple(input_shape)}; of those "
                "with a channel take keras.ops.squeeze(scores, -1)"
            )
        batch, rows, columns = input_shape
        known = isinstance(rows, int) and isinstance(columns, int)
        ratio = self.train_ratio if training else self.ratio
        return input_shape, (batch, num_kept(ratio, rows * columns) if known else None)

    def compute_output_spec(self, scores, training=None):
        mask, kept = self.compute_output_shape(scores.shape, training)
        return keras.KerasTensor(mask, "float32"), keras.KerasTensor(kept, "int32")

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "train_ratio": self.train_ratio,
            "seed": self.seed,
        }


def _ascending(values):
    """Positions of the values in ascending order. On a permutation: its inverse."""
    # Not ops.top_k: its order among equal values is the backend's own. argsort is stable on all of them.
    return ops.cast(ops.argsort(values, axis=-1), "int32")


def _descending(values):
    return _ascending(ops.negative(values))
