"""A client of TensorFlow Serving, over gRPC or REST, for the SavedModels that `export` writes."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.runtimes import DEFAULT, ENCODED
from fornet_keras.errors import ServingError

TIMEOUT = 30.0
"""Seconds that an answer may take through gRPC, and stay without a byte more through REST."""


def request_grpc(
    server: str, name: str, images: NDArray[np.uint8], version: int | None = None
) -> NDArray[np.uint8]:
    """Ask for label ids through gRPC, the faster way: pixels travel as they are.

    Args:
        server: `host:port`; TensorFlow Serving listens on 8500.
        name: name of the model there.
        images: uint8 `(batch, height, width, 3)`, of the exported size.
        version: None takes the newest.

    Returns:
        uint8 `(batch, height, width)`.

    Raises:
        ServingError: tensorflow-serving-api is missing, or the server is not there, refuses, or answers
            something else.
    """
    if find_spec("tensorflow_serving") is None:
        raise ServingError(
            "gRPC needs tensorflow-serving-api: pip install 'fornet_keras[tf-serving]'; or --rest"
        )
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = DEFAULT
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    request.output_filter.append("label_ids")
    # As large as an image of 16 megapixels with its label ids; gRPC's own limit is 4 MB.
    options = [("grpc.max_send_message_length", 2**26), ("grpc.max_receive_message_length", 2**26)]
    with grpc.insecure_channel(server, options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise ServingError(_refused(server, name, f"{error.code().name}: {error.details()}")) from None
    try:
        if "label_ids" not in response.outputs:
            raise ValueError("no label_ids in its answer")
        return _fitting(tf.make_ndarray(response.outputs["label_ids"]), images)
    except (ValueError, TypeError) as error:
        raise ServingError(_refused(server, name, str(error))) from None


def request_rest(
    server: str, name: str, images: NDArray[np.uint8], version: int | None = None
) -> NDArray[np.uint8]:
    """Ask for label ids through REST, which needs no package: images travel as PNG.

    Args and result as of `request_grpc`; TensorFlow Serving's REST listens on 8501.

    Raises:
        ServingError: the server is not there, refuses, or answers something else.
    """
    encoded = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    content = {
        "signature_name": ENCODED,
        "instances": [{"encoded": {"b64": base64.b64encode(image).decode()}} for image in encoded],
    }
    path = f"v1/models/{urllib.parse.quote(name, safe='')}" + (
        f"/versions/{version}" if version is not None else ""
    )
    request = urllib.request.Request(
        f"http://{server}/{path}:predict",
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            predictions = json.load(response)["predictions"]
        # One output is given as it is, several by name.
        rows = [row["label_ids"] if isinstance(row, dict) else row for row in predictions]
        found = np.array(rows)
        # Else NumPy would make ids of what are none: 3.7, True and "3".
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 255:
            raise ValueError(f"{found.dtype} label ids, not all whole numbers from 0 to 255")
        return _fitting(found.astype(np.uint8), images)
    except urllib.error.HTTPError as error:
        reason = ""
        with error, suppress(OSError, http.client.HTTPException):  # it may break off
            reason = error.read(1000).decode(errors="replace")
        raise ServingError(_refused(server, name, reason or f"status {error.code}")) from None
    # Of the last, what a gRPC port answers.
    except (OSError, ValueError, KeyError, TypeError, RecursionError, http.client.HTTPException) as error:
        raise ServingError(_refused(server, name, str(error))) from None


def _fitting(found: NDArray[Any], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was answered, where it can be the label ids of these images; a ValueError where it cannot."""
    if found.dtype != np.uint8 or found.shape != images.shape[:3]:
        raise ValueError(f"{found.dtype} of shape {found.shape} for images of {images.shape}")
    return found


def _refused(server: str, name: str, reason: str) -> str:
    reason = " ".join(reason.split())
    return f"{server}: model '{name}' did not answer ({reason}); expected TensorFlow Serving with that model"
