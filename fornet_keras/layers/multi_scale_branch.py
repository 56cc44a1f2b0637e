"""MultiScaleBranch: convolutions of several receptive fields, on the kept regions only."""

import keras
from keras import ops

from fornet_keras.layers.regions import gather_regions, pad_halo, paint_regions, scatter_regions

DENSE_ABOVE = 0.6
"""Share of the regions above which computing all of them takes less time than gathering."""


def runs_dense(kept, count):
    """Whether the dense form is taken where `kept` of `count` regions are kept."""
    return kept > DENSE_ABOVE * count


@keras.saving.register_keras_serializable("fornet_keras")
class MultiScaleBranch(keras.layers.Layer):
    """Parallel dilated 3×3 convolutions, fused by 1×1 convolutions, whose output is zero in dropped regions.

    Only the first layer looks beyond a cell, so a region needs a halo of `max(dilations)` cells and no cell
    is ever computed twice. Two forms give the same numbers: *gathered* computes the kept regions alone,
    *dense* computes the whole map and multiplies by the mask, which is quicker where most regions are kept.
    Both run `_refine`: the dense form is the gathered one with a single region as large as the map.

    Args:
        filters: channels of each parallel convolution; their fusion has twice as many.
        output_filters: channels of the output.
        dilations: one dilation a parallel convolution, in cells.

    Input shape: features `(batch, rows * cells, columns * cells, channels)`, mask `(batch, rows, columns)`
        and kept region numbers int32 `(batch, kept)`, as `TopKGate` gives them.

    Output shape: `(batch, rows * cells, columns * cells, output_filters)`.

    Reference: the multi-scale branches of FoR-Net (arXiv 2605.02764); gathered tiles after SBNet
        (arXiv 1801.02108).
    """

    def __init__(self, filters, output_filters, dilations=(1, 2, 4), **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.output_filters = output_filters
        self.dilations = tuple(dilations)
        self.halo = max(self.dilations)
        convolution = {"use_bias": False, "kernel_initializer": "he_normal", "dtype": self.dtype_policy}
        self.scales = [
            keras.layers.Conv2D(filters, 3, dilation_rate=d, name=f"scale_{d}", **convolution)
            for d in self.dilations
        ]
        self.scale_norm = self._normalization("scale_norm")
        self.fuse = keras.layers.Conv2D(2 * filters, 1, name="fuse", **convolution)
        self.fuse_norm = self._normalization("fuse_norm")
        # Zero at first: training starts from the coarse prediction and learns what to correct.
        self.project = keras.layers.Conv2D(
            output_filters, 1, kernel_initializer="zeros", dtype=self.dtype_policy, name="project"
        )

    def _normalization(self, name):
        return keras.layers.BatchNormalization(
            momentum=0.98, epsilon=1e-3, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape):
        batch, _, _, channels = input_shape[0]
        outer = (batch, None, None)  # the halo that is added makes even the smallest map large enough
        for scale in self.scales:
            scale.build((*outer, channels))
        stacked = self.filters * len(self.dilations)
        self.scale_norm.build((*outer, stacked))
        self.fuse.build((*outer, stacked))
        self.fuse_norm.build((*outer, 2 * self.filters))
        self.project.build((*outer, 2 * self.filters))
        super().build(input_shape)

    def call(self, inputs, training=None):
        features, mask, indices = inputs
        _, rows, columns = mask.shape
        cells = features.shape[1] // rows
        padded = pad_halo(features, self.halo)
        if runs_dense(indices.shape[1], rows * columns):
            refined = self._refine(padded, training)
            mask = ops.cast(paint_regions(mask, cells), refined.dtype)
            return refined * ops.expand_dims(mask, -1)
        tiles = self._refine(gather_regions(padded, indices, cells, self.halo), training)
        if training:
            # 1 in value: only for its gradient, which tells the gate what the region is worth.
            kept = ops.take_along_axis(ops.reshape(mask, (-1, rows * columns)), indices, axis=1)
            tiles = tiles * ops.cast(ops.reshape(kept, (-1, 1, 1, 1)), tiles.dtype)
        return scatter_regions(tiles, indices, rows, columns)

    def _refine(self, padded, training):
        """Map a tile or map that is padded by the halo to its refinement, without the halo."""
        scales = [
            scale(_crop(padded, self.halo - dilation))
            for scale, dilation in zip(self.scales, self.dilations, strict=True)
        ]
        x = ops.relu(self.scale_norm(ops.concatenate(scales, axis=-1), training=training))
        x = ops.relu(self.fuse_norm(self.fuse(x), training=training))
        return self.project(x)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.output_filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_filters": self.output_filters,
            "dilations": self.dilations,
        }


def _crop(x, border):
    return x[:, border:-border, border:-border] if border else x
