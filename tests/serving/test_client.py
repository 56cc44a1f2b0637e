"""The client against servers on loopback that speak TensorFlow Serving's protocols over a SavedModel."""

import base64
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from fornet_keras.data.label_files import read_label
from fornet_keras.errors import ServingError
from fornet_keras.serving.client import request_rest
from tests.cli.conftest import only_line, run
from tests.serving.conftest import ROOT, SIZE, TABLE, picture

__all__ = ["run"]

DEPLOY = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fornet_keras.export.deployment import OUTPUTS
    from fornet_keras.export.export import export_model
    from fornet_keras.export.formats import ExportSpec
    from fornet_keras.export.proof import ProofImages
    from tests.model.tiny import randomize, tiny_model

    output = tmp_path_factory.mktemp("serving") / "city"
    images = ProofImages("noise", [picture()])
    spec = ExportSpec("saved_model", SIZE, outputs=OUTPUTS)
    return export_model(randomize(tiny_model()), TABLE, output, spec, images)[0]


@pytest.fixture(scope="module")
def expected(artifact: Path) -> np.ndarray:
    from fornet_keras.artifacts.runtimes import open_runtime

    found: np.ndarray = open_runtime(artifact, "saved_model")(picture()[None])["label_ids"]
    return found


@pytest.fixture(scope="module")
def grpc_server(artifact: Path) -> Iterator[str]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    loaded = tf.saved_model.load(str(artifact))

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            spec = request.model_spec
            if spec.name != "city" or (spec.HasField("version") and spec.version.value != 1):
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
            signature = loaded.signatures[spec.signature_name]
            inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, value in signature(**inputs).items():
                if name in request.output_filter:
                    response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def rest_server(artifact: Path) -> Iterator[str]:
    import tensorflow as tf

    signature = tf.saved_model.load(str(artifact)).signatures["serving_encoded"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path in ("/v1/models/city:predict", "/v1/models/city/versions/1:predict")
            images = [base64.b64decode(instance["encoded"]["b64"]) for instance in content["instances"]]
            answer: dict[str, Any] = {"error": "Servable not found\nfor request"}
            if known:
                found = signature(encoded=tf.constant(images))["label_ids"].numpy()
                answer = {"predictions": found.tolist()}
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_a_server_answers_as_the_model_does(
    rest: bool, grpc_server: str, rest_server: str, expected: np.ndarray
) -> None:
    from fornet_keras.serving.client import request_grpc, request_rest

    images = np.concatenate([picture()[None]] * 2)
    found = request_rest(rest_server, "city", images) if rest else request_grpc(grpc_server, "city", images)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.concatenate([expected] * 2))


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_a_model_that_the_server_does_not_have(rest: bool, grpc_server: str, rest_server: str) -> None:
    from fornet_keras.serving.client import request_grpc, request_rest

    with pytest.raises(ServingError, match="model 'town' did not answer .*not found") as error:
        if rest:
            request_rest(rest_server, "town", picture()[None])
        else:
            request_grpc(grpc_server, "town", picture()[None])
    assert "\n" not in str(error.value)


def test_rest_at_the_port_of_grpc(run: Any, artifact: Path, grpc_server: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    where = ("--server", grpc_server, "--output", tmp_path / "out", "--name", "a stadt ü", "--rest")
    result = run("request", artifact, tmp_path / "a.png", *where)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {grpc_server}: model 'a stadt ü' did not answer (")


@pytest.mark.parametrize("options", [(), ("--rest",)], ids=["grpc", "rest"])
def test_no_server(options: tuple[str, ...], run: Any, artifact: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    where = ("--server", "127.0.0.1:9", "--output", tmp_path / "out")
    result = run("request", artifact, tmp_path / "a.png", *where, *options)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith("Error: 127.0.0.1:9: model 'city' did not answer (")


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_a_version_that_the_server_does_not_have(rest: bool, grpc_server: str, rest_server: str) -> None:
    from fornet_keras.serving.client import request_grpc, request_rest

    ask, server = (request_rest, rest_server) if rest else (request_grpc, grpc_server)
    assert ask(server, "city", picture()[None], version=1).shape == (1, *SIZE)
    with pytest.raises(ServingError, match="not found"):
        ask(server, "city", picture()[None], version=2)


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_the_command_writes_labels_at_the_image_s_own_size(
    run: Any,
    artifact: Path,
    rest: bool,
    grpc_server: str,
    rest_server: str,
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    cv2.imwrite(str(tmp_path / "same.png"), picture()[..., ::-1])
    cv2.imwrite(str(tmp_path / "larger.png"), picture(size=(130, 200))[..., ::-1])
    images = (tmp_path / "same.png", tmp_path / "larger.png")
    where = ("--rest", "--server", rest_server) if rest else ("--server", grpc_server)
    result = run("request", artifact, *images, *where, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(read_label(tmp_path / "out" / "same_labels.png"), expected[0])
    assert read_label(tmp_path / "out" / "larger_labels.png").shape == (130, 200)


def test_one_bad_image_does_not_end_the_command(
    run: Any, artifact: Path, rest_server: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    cv2.imwrite(str(tmp_path / "b.png"), picture())
    where = (
        "--rest",
        "--server",
        rest_server,
        "--output",
        tmp_path / "out",
        "--json",
        tmp_path / "result.json",
    )
    result = run("request", artifact, tmp_path / "a.png", tmp_path / "b.png", *where)
    first, second = result.stderr.splitlines()
    assert (result.exit_code, first) == (1, "Error: 1 of 2 images failed:")
    assert second.startswith(f"  {tmp_path / 'a.png'}: is not an image")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_labels.png"]
    found = json.loads((tmp_path / "result.json").read_text())
    assert (len(found["written"]), len(found["failed"])) == (1, 1)


def test_a_server_that_stops_answering_ends_the_command_with_what_it_has(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture())
    answers = [
        np.zeros((1, *SIZE), np.uint8),
        ServingError("localhost:8501: model 'city' did not answer (late)"),
    ]
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", Mock(side_effect=answers))
    where = ("--rest", "--output", tmp_path / "out", "--json", tmp_path / "result.json")
    result = run("request", artifact, tmp_path / "*.png", *where)
    first, second = result.stderr.splitlines()
    assert (result.exit_code, first) == (1, "Error: 1 of 3 images failed:")
    assert second.startswith(
        f"  {tmp_path / 'b.png'}: localhost:8501: model 'city' did not answer (late); the"
    )
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["written"], found["failed"]) == ([str(tmp_path / "out" / "a_labels.png")], [second.strip()])


def test_a_folder_of_predict_is_left_alone(run: Any, artifact: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    (tmp_path / "settings.json").write_text("{}")
    result = run("request", artifact, tmp_path / "a.png", "--output", tmp_path)
    assert result.exit_code == 1
    assert "holds a settings.json, by which `predict` knows" in only_line(result.stderr)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("a.mp4", (), "a.mp4: is a video or camera; expected images"),
        (
            "a.png",
            ("--server", "http://localhost:8501"),
            "is not HOST:PORT; expected for example localhost:8500",
        ),
    ],
)
def test_what_cannot_be_asked(
    run: Any, artifact: Path, tmp_path: Path, image: str, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / image).write_bytes(b"")
    result = run("request", artifact, tmp_path / image, "--output", tmp_path / "out", *options)
    assert (result.exit_code, message in only_line(result.stderr)) == (1, True)
    assert not (tmp_path / "out").exists()


def test_an_artifact_of_another_runtime(run: Any, artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(artifact, tmp_path / "phone")
    (copy / "saved_model.pb").rename(copy / "model.onnx")
    manifest = (copy / "manifest.json").read_text().replace("saved_model.pb", "model.onnx")
    (copy / "manifest.json").write_text(manifest.replace('"saved_model"', '"onnx"', 1))
    result = run("request", copy, "a.png", "--output", tmp_path / "out")
    assert (result.exit_code, "is written for onnx, which" in only_line(result.stderr)) == (1, True)


def test_the_documented_python_client(
    grpc_server: str, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), picture()[..., ::-1])
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"```python\n(.*?)```", DEPLOY, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("localhost:8500", grpc_server), names)
    np.testing.assert_array_equal(names["label_ids"], expected[0])


@pytest.mark.parametrize("predictions", [[{"scores": 1}], [[[300]]], [[[1], [1, 2]]], 3, [[[1]]]])
def test_an_answer_of_something_else(predictions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = io.BytesIO(json.dumps({"predictions": predictions}).encode())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: reply)
    with pytest.raises(ServingError, match="expected TensorFlow Serving with that model"):
        request_rest("localhost:1", "city", np.zeros((1, 2, 2, 3), np.uint8))


def test_the_settings_fit_what_is_exported() -> None:
    """A server that is older than the exporter's TensorFlow may not know its operations."""
    exporter = re.search(r'"tensorflow>=(\d+)\.(\d+)', (ROOT / "pyproject.toml").read_text("utf-8"))
    server = re.search(
        r"tensorflow/serving:(\d+)\.(\d+)", (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    )
    assert exporter and server
    assert tuple(map(int, server.groups())) >= tuple(map(int, exporter.groups()))
    batching = (ROOT / "deploy" / "batching.config").read_text("utf-8")
    most = {name: int(value) for name, value in re.findall(r"(\w+_size) \{ value: (\d+) \}", batching)}
    allowed = [int(value) for value in re.findall(r"allowed_batch_sizes: (\d+)", batching)]
    # What TensorFlow Serving demands where it may split a request.
    assert allowed == sorted(allowed) and allowed[-1] == most["max_execution_batch_size"]
    assert most["max_execution_batch_size"] <= most["max_batch_size"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_documented_curl(rest_server: str, expected: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), picture()[..., ::-1])
    [program] = re.findall(r"```\n([^`]*curl .*?)```", DEPLOY, re.DOTALL)
    program = program.replace("localhost:8501", rest_server)
    answer = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(json.loads(answer)["predictions"], expected)
