"""Layers that let any image size through: pad to a multiple, and cut off again what that added."""

import keras
from keras import ops

from fornet_keras.layers.regions import known_size


@keras.saving.register_keras_serializable("fornet_keras")
class PadToMultiple(keras.layers.Layer):
    """Pads zeros at the bottom and right until height and width are multiples of `multiple`.

    Args:
        multiple: cells.

    Input shape: `(batch, height, width, channels)`, any height and width.

    Output shape: the same with height and width rounded up.

    Raises:
        ValueError: in a graph whose height or width is unknown.

    Example:
        >>> tuple(PadToMultiple(32)(keras.ops.ones((1, 90, 120, 3))).shape)
        (1, 96, 128, 3)
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs):
        rows, columns = (-n % self.multiple for n in known_size(inputs))
        if not rows and not columns:
            return inputs
        return ops.pad(inputs, [[0, 0], [0, rows], [0, columns], [0, 0]])

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        size = [None if n is None else n + -n % self.multiple for n in size]
        return (batch, *size, channels)

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("fornet_keras")
class CropToRegions(keras.layers.Layer):
    """Cuts off the regions that lie in the padding alone, so that none of them is ever kept.

    Args:
        region_size: edge of a region in pixels.
        stride: pixels of a cell; divides `region_size`.

    Input shape: features `(batch, height, width, channels)` and the image
        `(batch, rows, columns, channels)`, which gives only its size.

    Output shape: features of `ceil(rows / region_size) × ceil(columns / region_size)` regions.
    """

    def __init__(self, region_size, stride, **kwargs):
        super().__init__(**kwargs)
        self.region_size = region_size
        self.stride = stride

    def _cells(self, pixels):
        return None if pixels is None else -(-pixels // self.region_size) * self.region_size // self.stride

    def call(self, inputs):
        features, image = inputs
        height, width = (self._cells(pixels) for pixels in image.shape[1:3])
        return features if features.shape[1:3] == (height, width) else features[:, :height, :width]

    def compute_output_shape(self, input_shape):
        features, image = input_shape
        return (features[0], *map(self._cells, image[1:3]), features[-1])

    def get_config(self):
        return {**super().get_config(), "region_size": self.region_size, "stride": self.stride}


@keras.saving.register_keras_serializable("fornet_keras")
class UpsampleToImage(keras.layers.Layer):
    """Resizes logits bilinearly by a whole factor and cuts off what `PadToMultiple` added; gives float32.

    Args:
        scale: pixels of the image a cell of the logits, in each direction.

    Input shape: logits `(batch, height, width, classes)` and the image `(batch, rows, columns, channels)`,
        which gives only its size.

    Output shape: float32 `(batch, rows, columns, classes)`.
    """

    def __init__(self, scale, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scale = scale

    def call(self, inputs):
        logits, image = inputs
        height, width = (n * self.scale for n in logits.shape[1:3])
        rows, columns = image.shape[1:3]
        full = ops.image.resize(ops.cast(logits, "float32"), (height, width), interpolation="bilinear")
        return full if (rows, columns) == (height, width) else full[:, :rows, :columns]

    def compute_output_shape(self, input_shape):
        logits, image = input_shape
        return (*image[:-1], logits[-1])

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
