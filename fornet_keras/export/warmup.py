"""Requests that TensorFlow Serving sends itself when it loads a model: no user waits for the first one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_warmup(saved_model: Path, image: NDArray[np.uint8], batches: tuple[int, ...] = (1, 2)) -> None:
    """Write `assets.extra/tf_serving_warmup_requests`; nothing where tensorflow-serving-api is missing.

    Args:
        saved_model: folder of the SavedModel.
        image: uint8 `(height, width, 3)`, of the model's size.
        batches: images a request.
    """
    if find_spec("tensorflow_serving") is None:
        return
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    folder = saved_model / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for batch in batches:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.stack([image] * batch)))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
