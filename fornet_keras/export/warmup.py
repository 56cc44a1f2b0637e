"""Requests that TensorFlow Serving sends itself when it loads a model: no user waits for the first one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fornet_keras.artifacts.runtimes import ENCODED


def write_warmup(saved_model: Path, size: tuple[int, int]) -> None:
    """Write `assets.extra/tf_serving_warmup_requests`; nothing where tensorflow-serving-api is missing.

    Of black images, not of the user's: the file goes wherever the model goes.

    Args:
        saved_model: folder of the SavedModel; each of its two signatures is asked.
        size: height and width that it takes.
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
            for signature, name, value in (("serving_default", "image", images), (ENCODED, "encoded", files)):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                request.inputs[name].CopyFrom(value)
                predict = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=predict).SerializeToString())
