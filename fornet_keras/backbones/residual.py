"""The package's own small backbone, made to be trained from scratch on a CPU as well as on a GPU."""

import keras

from fornet_keras.backbones.strides import STRIDES
from fornet_keras.layers.conv_block import ConvBlock


@keras.saving.register_keras_serializable("fornet_keras")
class ResidualBackbone(keras.Model):
    """Features at strides 4, 8, 16 and 32 from a chain of plain residual blocks.

    Dense 3×3 convolutions rather than depthwise ones: on a CPU they take less time for what they add to the
    score, though they count more multiply-accumulates.

    Args:
        widths: channels at strides 4, 8, 16, 32, at least 1.
        depths: residual blocks at strides 4, 8, 16, 32; each from stride 8 on is at least 1.
        stem_filters: channels at stride 2; None is half of those at stride 4.
        stem_depth: convolutions at stride 2, at least 1.

    Input shape: `(batch, height, width, 3)`, -2…2, height and width multiples of 32.

    Output: dict `{"stride_4", "stride_8", "stride_16", "stride_32"}` of `(batch, height / stride,
        width / stride, width of the stage)`.

    Raises:
        ValueError: not four widths and depths, too few channels, no block at a stride from 8 on, or no
            convolution in the stem.

    Reference: basic blocks of He et al. (arXiv 1512.03385).
    """

    def __init__(
        self,
        widths=(32, 64, 128, 128),
        depths=(0, 2, 1, 1),
        stem_filters=None,
        stem_depth=1,
        name=None,
        trainable=True,
    ):
        if not len(widths) == len(depths) == len(STRIDES):
            raise ValueError(
                f"widths and depths must be of the strides {STRIDES}; "
                f"received {tuple(widths)} and {tuple(depths)}"
            )
        stem_filters = widths[0] // 2 if stem_filters is None else stem_filters
        if depths[0] < 0 or min(depths[1:]) < 1:
            raise ValueError(
                f"depths must be at least 0 at stride 4, and 1 from stride 8 on; received {tuple(depths)}"
            )
        if min(stem_filters, *widths) < 1:
            raise ValueError(
                f"channels must be at least 1; received stem_filters={stem_filters}, widths={tuple(widths)}"
            )
        if stem_depth < 1:
            raise ValueError(f"stem_depth must be at least 1; received {stem_depth}")
        # === Layers and functional model ===
        inputs = keras.Input((None, None, 3), name="normalized")
        x = ConvBlock(stem_filters, strides=2, name="stem_1")(inputs)
        for index in range(1, stem_depth):
            x = ConvBlock(stem_filters, name=f"stem_1_{index}")(x)
        x = ConvBlock(widths[0], strides=2, name="stem_2")(x)
        outputs = {}
        for stride, width, depth in zip(STRIDES, widths, depths, strict=True):
            for index in range(depth):
                first_of_stage = index == 0 and stride > STRIDES[0]
                x = _residual_block(x, width, 2 if first_of_stage else 1, f"stride_{stride}_block_{index}")
            outputs[f"stride_{stride}"] = x
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.trainable = trainable  # here, where its layers are known

        # === Config ===
        self.widths = tuple(widths)
        self.depths = tuple(depths)
        self.stem_filters = stem_filters
        self.stem_depth = stem_depth

    def get_config(self):
        return {
            "name": self.name,
            "trainable": self.trainable,
            "widths": self.widths,
            "depths": self.depths,
            "stem_filters": self.stem_filters,
            "stem_depth": self.stem_depth,
        }


def _residual_block(x, width, strides, name):
    """Two 3×3 convolutions and a shortcut; the shortcut is a 1×1 convolution where the shape changes."""
    shortcut = x
    if strides > 1:
        shortcut = keras.layers.AveragePooling2D(strides, name=f"{name}_pool")(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = ConvBlock(width, 1, activation=False, name=f"{name}_shortcut")(shortcut)
    x = ConvBlock(width, strides=strides, name=f"{name}_1")(x)
    x = ConvBlock(width, activation=False, name=f"{name}_2")(x)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)
