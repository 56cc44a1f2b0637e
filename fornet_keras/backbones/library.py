"""Backbones of KerasHub and KerasCV behind the interface that `FoRNet` expects."""

from importlib import import_module

import keras

from fornet_keras.backbones.strides import PROBE, STRIDES, probe_size
from fornet_keras.errors import ModelError, reason

EXTRAS = {"keras_hub": "keras-hub", "keras_cv": "keras-cv"}


@keras.saving.register_keras_serializable("fornet_keras")
class LibraryBackbone(keras.Model):
    """Features at strides 4, 8, 16 and 32 from a backbone of KerasHub or KerasCV, its weights random.

    Args:
        library: `"keras_hub"` or `"keras_cv"`.
        class_name: name of a backbone in the library's `models`, such as `"ResNetBackbone"`.
        config: the backbone's constructor arguments: numbers, strings, None, and lists of these.
        scale: factor for each colour, or one for all, and
        offset: what is then added, to turn pixels of 0…255 into what the weights were trained with.

    Input shape: `(batch, height, width, 3)`, normalised as `FoRNet` does, height and width multiples of 32.

    Output: dict `{"stride_4", "stride_8", "stride_16", "stride_32"}` of the last features at each stride.

    Raises:
        ModelError: the library is missing, has no such backbone, or this one takes no image of any height
            and width or lacks a stride.
    """

    def __init__(self, library, class_name, config, scale, offset, name=None, trainable=True):
        network = _cut(_build(library, class_name, config), library)
        inputs = keras.Input((None, None, 3), name="normalized")
        pixels = keras.layers.Rescaling(63.75, offset=127.5, name="pixels")(inputs)
        x = keras.layers.Rescaling(scale, offset=offset, name="rescale")(pixels)
        super().__init__(inputs=inputs, outputs=network(x), name=name)
        self.trainable = trainable  # here, where its layers are known

        # === Config ===
        self.library = library
        self.class_name = class_name
        self.config = config
        self.scale = scale
        self.offset = offset

    def get_config(self):
        return {
            "name": self.name,
            "trainable": self.trainable,
            "library": self.library,
            "class_name": self.class_name,
            "config": self.config,
            "scale": self.scale,
            "offset": self.offset,
        }


def open_library_backbone(library, preset):
    """A `LibraryBackbone` with the weights of a preset.

    Args:
        library: `"keras_hub"` or `"keras_cv"`.
        preset: name of a preset, which the library downloads, or path of a local folder.

    Raises:
        ModelError: the library is missing, the preset cannot be read, or its backbone cannot be used.
    """
    models = import_library(library)
    try:
        source = _owner(models, library, preset).from_preset(preset)
        if library == "keras_hub":
            converter = import_module("keras_hub.layers").ImageConverter.from_preset(preset)
            scale, offset = converter.scale or 1.0, converter.offset or 0.0
        else:
            # KerasCV's scale to 0…1 themselves, or want it done.
            scale, offset = (1.0 if getattr(source, "include_rescaling", False) else 1 / 255), 0.0
    except FileNotFoundError as error:
        raise ModelError(
            f"backbone '{library}:{preset}': {reason(error)}; the folder must hold what save_to_preset "
            "writes, of the backbone and (KerasHub) of its image converter, which knows the normalisation"
        ) from None
    except Exception as error:  # whatever a download or a reader raises
        raise ModelError(
            f"backbone '{library}:{preset}' cannot be read: {reason(error)}; expected the name of a "
            "preset, which is downloaded, or a folder that save_to_preset wrote"
        ) from None
    config = {
        name: value
        for name, value in source.get_config().items()
        if name not in ("name", "trainable", "dtype", "input_tensor")
    }
    backbone = LibraryBackbone(library, type(source).__name__, config, scale, offset, name="backbone")
    backbone.set_weights(_cut(source, library).get_weights())
    return backbone


def import_library(library):
    """The `models` of KerasHub or KerasCV.

    Raises:
        ModelError: it, or a package that it needs, is not installed.
    """
    try:
        return import_module(f"{library}.models")
    except ImportError as error:
        raise ModelError(
            f"backbone '{library}:…' needs the package {EXTRAS[library]} ({error}): "
            f"pip install 'fornet_keras[{EXTRAS[library]}]'"
        ) from None


def _owner(models, library, preset):
    """The class that knows a preset: KerasCV's base class knows none by name."""
    if library == "keras_cv":
        for candidate in vars(models).values():
            if isinstance(candidate, type) and preset in getattr(candidate, "presets", ()):
                return candidate
    return models.Backbone


def _build(library, class_name, config):
    """A library's backbone with random weights."""
    models = import_library(library)
    wanted = getattr(models, class_name, None)
    # KerasCV has no such class: there a backbone that lacks them is refused once it is built.
    base = models.FeaturePyramidBackbone if library == "keras_hub" else models.Backbone
    if not (isinstance(wanted, type) and issubclass(wanted, base)):
        raise ModelError(
            f"{library}.models has no backbone '{class_name}' with features at several strides; take another "
            "one, or install another version of the library"
        )
    try:
        return wanted(**config)
    except Exception as error:  # from a stranger's plain values, whatever the library makes of them
        raise ModelError(f"{library}'s {class_name} cannot be built: {reason(error)}") from None


def _cut(network, library):
    """The last features at each of the four strides, by name, without the layers that some have behind."""
    if library == "keras_hub":
        pyramid = list(getattr(network, "pyramid_outputs", {}).values())
    else:
        pyramid = [network.get_layer(name).output for name in network.pyramid_level_inputs.values()]
    problem = "no features at several strides"
    found = {}
    try:
        shapes = keras.Model(network.inputs[0], pyramid).compute_output_shape(PROBE) if pyramid else []
        for feature, shape in zip(pyramid, shapes, strict=True):
            stride = PROBE[1] // shape[1]
            if shape[1:3] == probe_size(stride):
                found[stride] = feature
    except Exception as error:  # a network of one size refuses in many ways
        problem = reason(error)
    else:
        if pyramid:
            problem = f"its features have strides {sorted(found)}"
    if not {*STRIDES} <= {*found}:
        raise ModelError(
            f"{type(network).__name__} cannot be a backbone: {problem}; expected strides "
            f"{', '.join(map(str, STRIDES))} on images of any height and width"
        )
    features = {f"stride_{stride}": found[stride] for stride in STRIDES}
    return keras.Model(network.inputs[0], features, name="network")
