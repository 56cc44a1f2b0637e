"""One writer a format. Each takes the deployment model's graph from TensorFlow, whatever trained it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import Format, Precision
from fornet_keras.artifacts.runtimes import (
    DEFAULT,
    ENCODED,
    LITERT_FILE,
    ONNX_FILE,
    OPENVINO_FILE,
    import_openvino,
    of_the_machine,
)
from fornet_keras.errors import ExportError, reason
from fornet_keras.export.deployment import deployment_model
from fornet_keras.export.openvino_graph import (
    forget_order_of_equals,
    keep_channels_last,
    normalize_as_it_lies,
)
from fornet_keras.export.quantize import Images, quantize_onnx, quantize_openvino
from fornet_keras.export.target import expected_packages
from fornet_keras.model import FoRNet

ONNX_OPSET = 18


@dataclass(frozen=True)
class ExportSpec:
    """What an export is to be.

    Args:
        format: a key of `target.PRECISIONS`.
        size: height and width of the images in pixels.
        precision: one of the format's.
        outputs: what the artifact gives, of `manifest.OUTPUTS`.
        calibration: images of that size, for int8.
        static: of ONNX: one image a call, and no shape that depends on what it shows. For accelerators that
            need such a graph; on a CPU it takes a tenth longer. LiteRT's always is.
    """

    format: Format
    size: tuple[int, int]
    precision: Precision = "float32"
    outputs: tuple[str, ...] = ("label_ids",)
    calibration: Images = ()
    static: bool = False

    @property
    def batch(self) -> int | None:
        """Images a call; None is any number."""
        return 1 if self.format == "litert" or self.static else None


def write(model: FoRNet, spec: ExportSpec, folder: Path) -> None:
    """Write a model's files into a folder.

    Raises:
        ExportError: the format's converter failed.
        OSError: the disk is full.
    """
    writers = {
        "saved_model": write_saved_model,
        "litert": write_litert,
        "onnx": write_onnx,
        "openvino": write_openvino,
    }
    try:
        writers[spec.format](model, spec, folder)
    except Exception as error:  # each converter has its own
        if of_the_machine(error):
            raise
        full = os.strerror(errno.ENOSPC)
        if full in str(error):  # TensorFlow's and the others' own kinds of error
            here = str(folder) in str(error)  # and not where temporary files are
            raise OSError(errno.ENOSPC, full, *[str(folder)] * here) from error
        raise ExportError(
            f"{spec.format} in {spec.precision}: the converter failed ({reason(error)}); "
            + expected_packages(spec.format)
        ) from error


def write_saved_model(model: FoRNet, spec: ExportSpec, folder: Path) -> None:
    """Write a TensorFlow SavedModel that takes any number of images of one size.

    Its signatures: `serving_default` takes `image`, uint8 `(batch, height, width, 3)`; `serving_encoded`
    takes `encoded`, strings `(batch)`, each a JPEG or PNG of that size, which no EXIF orientation turns.
    """
    import tensorflow as tf

    run, deployed = _function(model, spec)

    def decode(encoded: Any) -> Any:
        # PNG too, whatever its name says; of a JPEG the pixels that Pillow gives, and not others for speed.
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(image, (*spec.size, 3))

    @tf.function
    def run_encoded(encoded: Any) -> Any:
        return deployed(tf.map_fn(decode, encoded, fn_output_signature=tf.uint8), training=False)

    encoded = run_encoded.get_concrete_function(tf.TensorSpec((None,), tf.string, name="encoded"))
    _save(run, deployed, folder, {ENCODED: encoded})
    _write_warmup(folder, spec.size)


def write_litert(model: FoRNet, spec: ExportSpec, folder: Path) -> None:
    """Write `model.tflite` for one image a call, with LiteRT's built-in operations only."""
    import tensorflow as tf

    # Full int8 quantises a float input itself; `_with_full_range` sees to it that this changes no value.
    dtype = "float32" if spec.precision == "int8" else "uint8"
    run, deployed = _function(model, spec, dtype, static_shapes=True)
    with TemporaryDirectory() as saved_model:
        _save(run, deployed, Path(saved_model))
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
        if spec.precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if spec.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if spec.precision == "int8":
            converter.representative_dataset = lambda: _with_full_range(spec.calibration)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            converter.inference_input_type = tf.uint8
        (folder / LITERT_FILE).write_bytes(converter.convert())


def write_onnx(model: FoRNet, spec: ExportSpec, folder: Path) -> None:
    """Write `model.onnx`, which takes any number of images, or one where it is to be static."""
    # Whatever its value: else each pass of the optimizer copies the graph, which takes longer than the pass.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    import tf2onnx

    run, deployed = _function(model, spec, static_shapes=spec.static)
    converted, _ = tf2onnx.convert.from_function(run, [_specification(deployed)], opset=ONNX_OPSET)
    if spec.batch is None:
        # Else each has a name of the converter's own, and another one with every export.
        for tensor in (*converted.graph.input, *converted.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_param = "images"
    path = folder / ONNX_FILE
    path.write_bytes(converted.SerializeToString())
    if spec.precision == "int8":
        quantize_onnx(path, spec.calibration)


def write_openvino(model: FoRNet, spec: ExportSpec, folder: Path) -> None:
    """Write `model.xml` and `model.bin`, which take any number of images."""
    openvino = import_openvino()
    run, deployed = _function(model, spec)
    converted = openvino.convert_model(run.get_concrete_function(_specification(deployed)))
    forget_order_of_equals(converted)
    normalize_as_it_lies(converted)
    keep_channels_last(converted)
    if spec.precision == "int8":
        converted = quantize_openvino(converted, spec.calibration)
    openvino.save_model(converted, folder / OPENVINO_FILE, compress_to_fp16=spec.precision == "float16")


def _function(
    model: FoRNet, spec: ExportSpec, dtype: str = "uint8", static_shapes: bool = False
) -> tuple[Any, keras.Model]:
    """The deployment model, as a TensorFlow function and as it is."""
    import tensorflow as tf

    deployed = deployment_model(model, spec.size, spec.outputs, spec.batch, dtype, static_shapes)
    return tf.function(lambda image: deployed(image, training=False)), deployed


def _specification(deployed: keras.Model) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(deployed.input.shape, deployed.input.dtype, name="image")


def _save(run: Any, deployed: keras.Model, folder: Path, more: dict[str, Any] | None = None) -> None:
    """Write a SavedModel."""
    import tensorflow as tf

    # Not `keras.export`: it also traces the model inside at unknown sizes, which a FoR-Net refuses.
    module = tf.Module()
    module.weights = [weight.value for weight in deployed.variables]
    signatures = {DEFAULT: run.get_concrete_function(_specification(deployed)), **(more or {})}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _write_warmup(saved_model: Path, size: tuple[int, int]) -> None:
    """Write requests that TensorFlow Serving sends itself when it loads a model: no user waits for the first.

    Nothing where tensorflow-serving-api is missing. Of black images, not of the user's: the file goes
    wherever the model goes.
    """
    if find_spec("tensorflow_serving") is None:
        return
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    encoded = tf.io.encode_png(tf.zeros((*size, 3), tf.uint8)).numpy()
    folder = saved_model / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for batch in (1, 2):
            # A value and a shape: in the file the pixels are not there one by one.
            images = tf.make_tensor_proto(0, tf.uint8, (batch, *size, 3))
            files = tf.make_tensor_proto([encoded] * batch)
            for signature, name, value in ((DEFAULT, "image", images), (ENCODED, "encoded", files)):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                request.inputs[name].CopyFrom(value)
                predict = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=predict).SerializeToString())


def _with_full_range(images: Images) -> Iterable[list[NDArray[np.float32]]]:
    """The calibration images, each with a black and a white pixel.

    The input is then quantised with a step of exactly 1 from 0: a raw image stays as it is.
    """
    for image in images:
        values = image.astype(np.float32)
        values[0, 0], values[0, 1] = 0, 255
        yield [values[None]]
