"""Selector: one importance score a region, from what the coarse path sees and how sure it is."""

import math

import keras
import numpy as np
from keras import ops

from fornet_keras.layers.conv_block import require_channels_last
from fornet_keras.layers.regions import require_regions


@keras.saving.register_keras_serializable("fornet_keras")
class Selector(keras.layers.Layer):
    """Scores each region by how much of it the coarse prediction is expected to get wrong.

    The score is the log of the region's mean entropy plus a learned correction that starts at zero: an
    untrained Selector ranks by entropy. `FoRNetLoss` moves it towards the errors, and makes `sigmoid(score)`
    the expected share of wrong pixels; by the gradient of `TopKGate` alone it came to cover fewer errors than
    random regions do. Nothing flows back into the features.

    Args:
        region_cells: edge of a region in cells of the input map, 1 or more.
        filters: channels of the convolutions.

    Input shape: features `(batch, height, width, channels)` and coarse logits
        `(batch, height, width, classes)`, of 2 classes or more; height and width are multiples of
        `region_cells`.

    Output shape: float32 `(batch, height / region_cells, width / region_cells)`.

    Raises:
        ValueError: another height or width, one of the features and another of the logits, logits of one
            class, `region_cells` below 1 or no whole number, or Keras is set to `channels_first`.

    Reference: the region-wise importance map of FoR-Net (arXiv 2605.02764); supervised by our own choice.
    """

    def __init__(self, region_cells=4, filters=32, trainable=True, **kwargs):
        require_channels_last()
        if not (isinstance(region_cells, int | np.integer) and region_cells >= 1):
            raise ValueError(f"region_cells must be a whole number of 1 or more; received {region_cells!r}")
        # Not cast on the way in: a mixed policy would round the logits before the entropy is taken.
        super().__init__(autocast=False, **kwargs)
        self.region_cells = region_cells
        self.filters = filters
        options = {"padding": "same", "activation": "relu", "dtype": self.dtype_policy}
        self.reduce = keras.layers.Conv2D(filters, 1, name="reduce", **options)
        self.look = keras.layers.Conv2D(filters, 3, name="look", **options)
        # float32: a ranking must not depend on how coarse float16 is.
        self.correct = keras.layers.Conv2D(
            1, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="correct"
        )
        self.trainable = trainable  # here, where its layers are known

    def build(self, input_shape):
        features, logits = input_shape
        if logits[-1] < 2:
            raise ValueError(
                f"logits must be of 2 classes or more; received {logits[-1]}; give a binary map as two "
                "logits, keras.ops.concatenate([0 * logit, logit], axis=-1)"
            )
        outer = tuple(features[:-1])
        self.reduce.build((*outer, features[-1] + logits[-1] + 1))
        self.look.build((*outer, self.filters))
        self.correct.build((*outer, 2 * self.filters + 1))
        super().build(input_shape)

    def call(self, inputs, training=None):
        self.compute_output_shape([x.shape for x in inputs])  # refuses maps that do not fit
        features, logits = (ops.stop_gradient(x) for x in inputs)
        probability = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        entropy = _entropy(probability)
        doubt = ops.concatenate([probability, entropy], axis=-1)
        x = self.look(self._reduce(*(ops.cast(part, self.compute_dtype) for part in (features, doubt))))
        x = ops.cast(x, "float32")

        size = self.region_cells
        mean_entropy = ops.average_pool(entropy, size, size)
        log_entropy = ops.log(mean_entropy + 1e-4)
        pooled = [ops.average_pool(x, size, size), ops.max_pool(x, size, size), log_entropy]
        correction = self._correct(ops.concatenate(pooled, axis=-1), training)
        return ops.squeeze(log_entropy + correction, axis=-1)

    def _correct(self, regions, training):
        """`correct`; a single map gets an empty one beside it, as PyTorch 2.13 cannot train on one alone."""
        if not training or regions.shape[0] != 1:
            return self.correct(regions)
        return self.correct(ops.pad(regions, [[0, 1], [0, 0], [0, 0], [0, 0]]))[:1]

    def _reduce(self, features, doubt):
        """`reduce` of both side by side, in parts: joining them took OpenVINO longer than the convolution."""
        channels = features.shape[-1]
        kernel, bias = (ops.cast(x, self.compute_dtype) for x in (self.reduce.kernel, self.reduce.bias))
        x = ops.conv(features, kernel[:, :, :channels]) + ops.conv(doubt, kernel[:, :, channels:])
        return ops.relu(x + bias)

    def compute_output_shape(self, input_shape):
        batch, *size, _ = input_shape[0]
        _, *other, _ = input_shape[1]
        if any(None not in pair and pair[0] != pair[1] for pair in zip(size, other, strict=True)):
            raise ValueError(
                f"features and logits must be of one height and width; received {tuple(size)} and "
                f"{tuple(other)}; resize the smaller one, for example by keras.layers.UpSampling2D"
            )
        regions = [None if n is None else n // self.region_cells for n in size]
        require_regions(size, regions, self.region_cells)
        return (batch, *regions)

    def compute_output_spec(self, inputs, training=None):
        shape = self.compute_output_shape([x.shape for x in inputs])
        return keras.KerasTensor(shape, "float32")

    def get_config(self):
        return {**super().get_config(), "region_cells": self.region_cells, "filters": self.filters}


def _entropy(probability):
    """Entropy as a share of its maximum (0…1), with a channel axis kept."""
    # Not log_softmax: OpenVINO 2026.4 computes it wrongly where a pooling follows.
    entropy = -ops.sum(probability * ops.log(probability + 1e-9), axis=-1, keepdims=True)
    return entropy / math.log(probability.shape[-1])
