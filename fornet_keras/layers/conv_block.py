"""Convolution, batch normalisation and activation: the brick of every part of the network."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("fornet_keras")
class ConvBlock(keras.layers.Layer):
    """Convolution without bias → batch normalisation → ReLU (optional).

    Args:
        filters: number of output channels.
        kernel_size: edge of the square kernel, in cells; odd where `strides` is above 1.
        strides: step of the kernel, in cells.
        activation: whether a ReLU follows.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Example:
        >>> features = ConvBlock(8, strides=2)(keras.ops.ones((1, 6, 10, 3)))
        >>> tuple(features.shape)
        (1, 3, 5, 8)

    Raises:
        ValueError: an even kernel where `strides` is above 1, or Keras is set to `channels_first`.
    """

    def __init__(self, filters, kernel_size=3, strides=1, activation=True, trainable=True, **kwargs):
        require_channels_last()
        if strides > 1 and kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd where strides is above 1; received {kernel_size}")
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.activation = activation
        # Keras' "same" with a stride of 2 puts cell `i` over pixel `2i` of an odd input but over `2i + 1` of
        # an even one; with symmetric padding it is `2i` in both.
        self.convolution = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.normalization = keras.layers.BatchNormalization(
            momentum=0.98, epsilon=1e-3, dtype=self.dtype_policy, name="normalization"
        )
        self.trainable = trainable  # here, where its layers are known

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.normalization.build((*input_shape[:-1], self.filters))
        super().build(input_shape)

    def call(self, inputs, training=None):
        x = inputs
        if self.strides > 1:
            pad = self.kernel_size // 2
            x = ops.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        if training:
            x = self.normalization(self.convolution(x), training=True)
        else:
            kernel, offset = fold(self.convolution.kernel, self.normalization, self.compute_dtype)
            x = ops.conv(x, kernel, self.strides, self.convolution.padding) + offset
        return ops.relu(x) if self.activation else x

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (None if n is None else -(-n // self.strides) for n in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": self.activation,
        }


def require_channels_last():
    """Refuse Keras' other order of axes, which a `keras.json` may ask for: no part here knows it."""
    found = keras.config.image_data_format()
    if found != "channels_last":
        raise ValueError(
            f"image_data_format is '{found}' in Keras' configuration; expected 'channels_last'; call "
            "keras.config.set_image_data_format('channels_last') before a network is built"
        )


def fold(kernel, normalization, dtype):
    """A kernel that scales as a batch normalisation after it does at inference, and what is then to be added.

    TensorFlow would go over the features twice more, a tenth of the time of `s` with all regions on a CPU;
    XLA and the other runtimes fold by themselves.
    """
    scale = normalization.gamma * ops.rsqrt(normalization.moving_variance + normalization.epsilon)
    offset = normalization.beta - normalization.moving_mean * scale
    return ops.cast(ops.multiply(kernel, scale), dtype), ops.cast(offset, dtype)
