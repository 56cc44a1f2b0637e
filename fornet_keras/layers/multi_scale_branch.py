"""MultiScaleBranch: convolutions of several receptive fields, on the kept regions only."""

import keras
import numpy as np
from keras import ops

from fornet_keras.layers.conv_block import fold, require_channels_last
from fornet_keras.layers.regions import (
    add_painted,
    gather_patches,
    gather_tiles,
    known_size,
    pad_halo,
    paint_regions,
    require_regions,
    scatter_regions,
)
from fornet_keras.layers.winograd import TILES, convolve_tiles

HALO = 1
"""Cells around a region that its 3×3 convolutions see, at each scale in cells of that scale."""
DENSE_ABOVE = 0.85
"""Share of the regions above which computing all of them takes less time than gathering."""


def runs_dense(kept, count):
    """Whether the dense form is taken where `kept` of `count` regions are kept."""
    return kept > DENSE_ABOVE * count


class Dense(keras.layers.Dense):
    """Keras' own, but left in floats by `quantize`, which takes no subclass: the branch reads its kernels.

    Keras names the weights in its files by the class, hence the same name.
    """


@keras.saving.register_keras_serializable("fornet_keras")
class MultiScaleBranch(keras.layers.Layer):
    """Parallel 3×3 convolutions at several scales, fused by 1×1 convolutions; zero in dropped regions.

    At scale `s` a cell is the mean of `s × s` cells of the features, and the convolution has `filters / s`
    channels: what sees further sees less finely. Only the first layer looks beyond a cell, so a region needs
    a halo of one cell a scale and no cell is ever computed twice. Two forms give the same numbers at
    inference: *gathered* computes the kept regions alone, *dense* computes the whole map and multiplies by
    the mask, which is quicker where most regions are kept. In training batch normalisation takes its means
    over what is computed. Gathered in float32, tiles of 4×4 and 2×2 cells are convolved with Winograd's
    transforms.

    Args:
        filters: channels at scale 1, and of the fusion.
        output_filters: channels of the output.
        scales: one scale a parallel convolution; each divides `filters` and the edge of a region in cells.

    Input shape: features `(batch, rows * cells, columns * cells, channels)`, mask `(batch, rows, columns)`
        and kept region numbers int32 `(batch, kept)`, as `TopKGate` gives them.

    Output shape: `(batch, rows * cells, columns * cells, output_filters)`, float32 in mixed precision too.

    Raises:
        ValueError: a scale that is no whole number or does not divide `filters` or the edge of a region, one
            twice, or none; features of another size than the regions, or unknown in a graph; Keras is set to
            `channels_first`.

    Reference: the multi-scale branches of FoR-Net (arXiv 2605.02764); gathered tiles after SBNet
        (arXiv 1801.02108).
    """

    def __init__(self, filters, output_filters, scales=(1, 2, 4), trainable=True, **kwargs):
        require_channels_last()
        whole = isinstance(scales, tuple | list) and all(isinstance(x, int | np.integer) for x in scales)
        if not whole or any(scale < 1 for scale in scales):
            raise ValueError(f"scales must be a tuple of whole numbers above 0; received {scales!r}")
        if any(filters % scale for scale in scales):
            raise ValueError(f"scales must divide filters = {filters}; received {tuple(scales)}")
        if not scales or len(set(scales)) < len(scales):
            raise ValueError(f"scales must be different ones, at least one; received {tuple(scales)}")
        super().__init__(**kwargs)
        self.filters = filters
        self.output_filters = output_filters
        self.scales = tuple(scales)
        self.winograd = True  # False in int8 exports: eight bits are too few for it
        convolution = {"use_bias": False, "kernel_initializer": "he_normal", "dtype": self.dtype_policy}
        self.looks = [
            keras.layers.Conv2D(filters // scale, 3, name=f"look_{scale}", **convolution)
            for scale in self.scales
        ]
        self.look_norms = [self._normalization(f"look_norm_{scale}") for scale in self.scales]
        # One 1×1 convolution over all scales, in parts: each runs on the few cells of its scale. As a Dense,
        # which takes XLA half the time of a Conv2D.
        self.fuses = [Dense(filters, name=f"fuse_{scale}", **convolution) for scale in self.scales]
        self.fuse_norm = self._normalization("fuse_norm")
        # Zero at first: training starts from the coarse prediction and learns what to correct.
        self.project = Dense(output_filters, kernel_initializer="zeros", dtype="float32", name="project")
        self.trainable = trainable  # here, where its layers are known

    def _normalization(self, name):
        return keras.layers.BatchNormalization(
            momentum=0.98, epsilon=1e-3, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape):
        batch, _, _, channels = input_shape[0]
        outer = (batch, None, None)  # the halo that is added makes even the smallest map large enough
        for scale, look, norm, fuse in self._paths():
            look.build((*outer, channels))
            norm.build((*outer, self.filters // scale))
            fuse.build((*outer, self.filters // scale))
        self.fuse_norm.build((*outer, self.filters))
        self.project.build((*outer, self.filters))
        super().build(input_shape)

    def _paths(self):
        return zip(self.scales, self.looks, self.look_norms, self.fuses, strict=True)

    def call(self, inputs, training=None):
        features, mask, indices = inputs
        rows, columns = known_size(mask)
        cells = self._region_cells(known_size(features), (rows, columns))
        dense = runs_dense(indices.shape[1], rows * columns)
        refined = self._refine(features, None if dense else indices, cells, training)
        if dense:
            mask = ops.cast(paint_regions(mask, cells), refined.dtype)
            return refined * ops.expand_dims(mask, -1)
        if training:
            # 1 in value: only for its gradient, which tells the gate what the region is worth.
            kept = ops.take_along_axis(ops.reshape(mask, (-1, rows * columns)), indices, axis=1)
            refined = refined * ops.cast(ops.reshape(kept, (-1, 1)), refined.dtype)
        return scatter_regions(refined, indices, rows, columns)

    def _region_cells(self, size, regions):
        """Edge of a region in cells, where the map and its regions fit together."""
        cells = size[0] // regions[0]
        require_regions(size, regions, cells)
        if any(cells % scale for scale in self.scales):
            raise ValueError(f"scales must divide the regions' edge of {cells} cells; received {self.scales}")
        return cells

    def _refine(self, features, indices, cells, training):
        """The refinement of the numbered regions as tiles, or of the whole map where `indices` is None."""
        axis = 1 if indices is None else 0
        total = None
        for scale, look, norm, fuse in self._paths():
            x = features if scale == 1 else ops.average_pool(features, scale, scale)
            x = pad_halo(x, HALO)
            if training:
                x = norm(self._look(x, look.kernel, indices, cells // scale), training=True)
                x = fuse(ops.relu(x))
            else:
                kernel, offset = fold(look.kernel, norm, self.compute_dtype)
                x = ops.relu(self._look(x, kernel, indices, cells // scale) + offset)
                kernel, shift = fold(fuse.kernel, self.fuse_norm, self.compute_dtype)
                x = ops.matmul(x, kernel)
            total = paint_regions(x, scale, axis) if total is None else add_painted(total, x, scale, axis)
        total = self.fuse_norm(total, training=True) if training else total + shift
        return self.project(ops.relu(total))

    def _look(self, padded, kernel, indices, cells):
        """A convolution of the whole map, or of regions: `(cells, cells, batch * kept, filters)`."""
        if indices is None:
            return ops.conv(padded, kernel)
        if self.winograd and self.compute_dtype == "float32" and cells in TILES:
            return convolve_tiles(gather_tiles(padded, indices, cells, HALO), kernel)
        # On a CPU this is no slower than to convolve small tiles, and with XLA twice as fast.
        patches = gather_patches(padded, indices, cells, HALO)
        return ops.matmul(patches, ops.reshape(kernel, (-1, kernel.shape[-1])))

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.output_filters)

    def compute_output_spec(self, inputs, training=None):
        shape = self.compute_output_shape([x.shape for x in inputs])
        size, regions = (x.shape[1:3] for x in inputs[:2])
        if None not in (*size, *regions):
            self._region_cells(size, regions)
        return keras.KerasTensor(shape, "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_filters": self.output_filters,
            "scales": self.scales,
        }
