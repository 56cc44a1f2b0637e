"""The client against servers on loopback that speak TensorFlow Serving's protocols over a SavedModel."""

import base64
import http.client
import io
import json
import re
import shutil
import subprocess
import threading
import urllib.error
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
from fornet_keras.serving.client import request_grpc, request_rest
from tests.cli.conftest import only_line, run
from tests.serving.conftest import ROOT, SIZE, TABLE, picture
from tests.untraced import untraced_reference

__all__ = ["run"]

DEPLOY = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")

OTHER_ANSWERS = {
    "scores": {"scores": np.zeros((1, *SIZE), np.uint8)},
    "int64": {"label_ids": np.zeros((1, *SIZE), np.int64)},
    "small": {"label_ids": np.zeros((1, 2, 2), np.uint8)},
}
"""What models of another origin may give, by their name at the gRPC server."""


@pytest.fixture(scope="module")
@untraced_reference()
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fornet_keras.artifacts.manifest import OUTPUTS, write_manifest
    from fornet_keras.export.export import export_model
    from fornet_keras.export.formats import ExportSpec
    from fornet_keras.export.reference import ProofImages
    from tests.model.tiny import randomize, tiny_model

    output = tmp_path_factory.mktemp("serving") / "city"
    images = ProofImages("noise", [picture()], [(slice(0, SIZE[0]), slice(0, SIZE[1]))])
    # All that there is: the proof then needs no second model. The manifest then tells of the labels alone.
    spec = ExportSpec("saved_model", SIZE, outputs=OUTPUTS)
    folder, manifest = export_model(randomize(tiny_model()), TABLE, output, spec, images)
    write_manifest(manifest.model_copy(update={"outputs": manifest.outputs[:1]}), folder)
    return folder


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
            response = predict_pb2.PredictResponse()
            if spec.name in OTHER_ANSWERS:
                for name, value in OTHER_ANSWERS[spec.name].items():
                    response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
                return response
            if spec.name != "city" or (spec.HasField("version") and spec.version.value != 1):
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
            signature = loaded.signatures[spec.signature_name]
            inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
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

    loaded = tf.saved_model.load(str(artifact))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path in ("/v1/models/city:predict", "/v1/models/city/versions/1:predict")
            answer: dict[str, Any] = {"error": "Servable not found\nfor request"}
            if known:
                signature = loaded.signatures[content.get("signature_name", "serving_default")]
                [name] = signature.structured_input_signature[1]
                images = [base64.b64decode(instance[name]["b64"]) for instance in content["instances"]]
                found = signature(**{name: tf.constant(images)})
                rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
                # By name, for there are several outputs.
                rows = [{output: x.numpy().tolist() for output, x in row.items()} for row in rows]
                answer = {"predictions": rows}
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
    images = np.concatenate([picture()[None]] * 2)
    found = request_rest(rest_server, "city", images) if rest else request_grpc(grpc_server, "city", images)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.concatenate([expected] * 2))


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_a_model_that_the_server_does_not_have(rest: bool, grpc_server: str, rest_server: str) -> None:
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


def test_the_command_letterboxes(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that gives each pixel's value as its class: 0 in the photograph, 127 around it.

    The client has the manifest alone.
    """
    (tmp_path / "city" / "1").mkdir(parents=True)
    artifact = Path(shutil.copy(artifact / "manifest.json", tmp_path / "city" / "1")).parent
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((100, 100, 3), np.uint8))
    asked = Mock(side_effect=lambda server, name, images, version: images[..., 0])
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", asked)
    result = run("request", artifact, tmp_path / "black.png", "--rest", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(
        asked.call_args.args[2][0, :, [15, 16, 79, 80], 0], [[127] * 64, [0] * 64, [0] * 64, [127] * 64]
    )
    assert not read_label(tmp_path / "out" / "black_labels.png").any()


def test_what_becomes_of_each_image_is_as_with_predict(
    run: Any, artifact: Path, rest_server: str, tmp_path: Path
) -> None:
    """Neither a damaged image nor a name that leaves no room for its labels' ends the command."""
    (tmp_path / "a.png").write_bytes(b"nothing")
    for name in ("b", "c" * 246):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture())
    output, images = tmp_path / "out", tmp_path / "*.png"
    command = ("request", artifact, images, "--output", output, "--json", tmp_path / "result.json", "--rest")
    result = run(*command, "--server", rest_server)
    first, second, third = result.stderr.splitlines()
    assert (result.exit_code, first) == (1, "Error: 2 of 3 inputs failed:")
    assert second.startswith(f"  {tmp_path / 'a.png'}: is not an image")
    assert third.endswith("too long for the disk; rename the file")
    assert result.stdout == f"1 predicted: {output}\n"
    names = [".lock", "b_labels.png", "legend.png", "settings.json", "sources.json"]
    assert sorted(path.name for path in output.iterdir()) == names
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["written"], found["failed"], found["classes"]) == (1, 2, ["water", "quay", "sky"])
    assert [entry["status"] for entry in found["inputs"]] == ["failed", "written", "failed"]
    assert "1 kept" in run(*command, "--server", "127.0.0.1:9").stdout, "nothing is asked for again"
    (tmp_path / "b.png").write_bytes(b"nothing")
    run(*command, "--server", rest_server)
    assert not (output / "b_labels.png").exists(), "they are not what is there now"


def test_a_server_that_stops_answering_ends_the_command_which_goes_on_when_it_is_given_again(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture())
    labels, error = np.zeros((1, *SIZE), np.uint8), "model 'city' did not answer (RESOURCE_EXHAUSTED: queue)"
    asked = Mock(side_effect=[labels, ServingError(error), labels, labels])
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", asked)
    command = ("request", artifact, tmp_path / "*.png", "--rest", "--output", tmp_path / "out")
    result = run(*command)
    assert (result.exit_code, only_line(result.stderr)) == (1, f"Error: {error}")
    result = run(*command)
    assert (result.exit_code, result.stdout.startswith("2 predicted, ")) == (0, True)
    assert (asked.call_count, "1 kept (they were there; --overwrite" in result.stdout) == (4, True)


def test_predictions_of_another_model_are_not_mixed(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    asked = Mock(return_value=np.zeros((1, *SIZE), np.uint8))
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", asked)
    command = ("request", artifact, tmp_path / "a.png", "--rest", "--output", tmp_path / "out")
    assert run(*command).exit_code == 0
    result = run(*command, "--name", "town")
    assert (result.exit_code, "(served is city there and town here)" in only_line(result.stderr)) == (1, True)
    assert run(*command, "--name", "town", "--overwrite").exit_code == 0
    assert [call.args[1] for call in asked.call_args_list] == ["city", "town"]


def test_logits_do_not_travel_as_text(run: Any, artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(artifact, tmp_path / "1")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["outputs"] += [{"name": "logits", "dtype": "float32", "shape": [None, *SIZE, 3]}]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = run("request", copy, "a.png", "--rest", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "gives logits, which REST would send along as text" in only_line(result.stderr)
    assert "a.png: no such file" in only_line(run("request", copy, "a.png", "--output", tmp_path).stderr)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("a.mp4", (), "a.mp4: is a video or camera; expected images"),
        (
            "a.png",
            ("--server", "http://localhost:8501"),
            "is not HOST:PORT; expected for example localhost:8500",
        ),
        *(
            ("a.png", ("--server", server), f"--server '{server}': is not HOST:PORT; expected for")
            for server in ("", "localhost", "a b:1", "localhost:99999", "localhost:0", ":1", "::1:1", "u@h:1")
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


def test_the_address_of_serve_is_told_how_that_is_asked(run: Any, tmp_path: Path) -> None:
    result = run("request", "http://127.0.0.1:8000", "a.png", "--output", tmp_path / "out")
    assert (result.exit_code, "`serve` runs is asked with curl" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("folder", "version"), [("7", 7), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("newest", None)]
)
def test_the_version_is_the_folder_s(
    folder: str,
    version: int | None,
    artifact: Path,
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number of more bits than TensorFlow Serving has for them is no version's."""
    (tmp_path / folder).mkdir()
    shutil.copy(artifact / "manifest.json", tmp_path / folder)
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    asked = Mock(return_value=np.zeros((1, *SIZE), np.uint8))
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", asked)
    where = ("--rest", "--server", "[::1]:8501", "--output", tmp_path / "out")
    result = run("request", tmp_path / folder, tmp_path / "a.png", *where)
    assert (result.exit_code, asked.call_args.args[0], asked.call_args.args[3]) == (0, "[::1]:8501", version)


def test_the_model_is_called_as_the_folder_around_it(
    artifact: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "city" / "1"
    (folder / "beside").mkdir(parents=True)
    shutil.copy(artifact / "manifest.json", folder)
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    asked = Mock(return_value=np.zeros((1, *SIZE), np.uint8))
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", asked)
    for number, given in enumerate((folder, folder.parent / "1" / ".." / "1", folder / "beside" / "..")):
        run("request", given, tmp_path / "a.png", "--rest", "--output", tmp_path / f"out{number}")
        assert (asked.call_args.args[1], asked.call_args.args[3]) == ("city", 1), given


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


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("scores", "no label_ids in its answer"),
        ("int64", r"int64 of shape \(1, 64, 96\)"),
        ("small", r"uint8 of shape \(1, 2, 2\)"),
    ],
)
def test_an_answer_of_something_else_through_grpc(grpc_server: str, name: str, finding: str) -> None:
    with pytest.raises(ServingError, match=rf"model '{name}' did not answer \({finding}.*; expected Tensor"):
        request_grpc(grpc_server, name, picture()[None])


def test_an_answer_of_label_ids_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One output comes without its name."""
    reply = io.BytesIO(json.dumps({"predictions": [[[1, 2], [0, 255]]]}).encode())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: reply)
    found = request_rest("localhost:1", "city", np.zeros((1, 2, 2, 3), np.uint8))
    np.testing.assert_array_equal(found, [[[1, 2], [0, 255]]])


@pytest.mark.parametrize("predictions", [[{"scores": 1}], [[[300]]], [[[1], [1, 2]]], 3, [[[1]]]])
def test_an_answer_of_something_else(predictions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = io.BytesIO(json.dumps({"predictions": predictions}).encode())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: reply)
    with pytest.raises(ServingError, match="expected TensorFlow Serving with that model"):
        request_rest("localhost:1", "city", np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize("id", [3.7, True, "3", -1, 256, 2**64])
def test_an_answer_that_is_no_label_ids(id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = io.BytesIO(json.dumps({"predictions": [[[id] * 2] * 2]}).encode())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: reply)
    with pytest.raises(ServingError, match="label ids, not all whole numbers from 0 to 255"):
        request_rest("localhost:1", "city", np.zeros((1, 2, 2, 3), np.uint8))


def test_an_answer_that_is_too_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"[" * 1_000_000))
    with pytest.raises(ServingError, match="recursion.*expected TensorFlow Serving with that model"):
        request_rest("localhost:1", "city", np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize("error", [None, TimeoutError("timed out"), http.client.IncompleteRead(b"")])
def test_an_error_that_breaks_off(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Content(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            if error:
                raise error
            return b""

    refusal = urllib.error.HTTPError("", 502, "", http.client.HTTPMessage(), Content())
    monkeypatch.setattr("urllib.request.urlopen", Mock(side_effect=refusal))
    with pytest.raises(ServingError, match=r"localhost:1: model 'city' did not answer \(status 502\)"):
        request_rest("localhost:1", "city", picture()[None])


def test_an_answer_of_more_classes_than_the_manifest_has(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    monkeypatch.setattr("fornet_keras.serving.client.request_rest", Mock(return_value=np.full((1, *SIZE), 3)))
    result = run("request", artifact, tmp_path / "a.png", "--rest", "--output", tmp_path / "out")
    message = f"Error: {artifact}: label id 3 was given, and manifest.json has 3 classes; expected "
    assert (result.exit_code, only_line(result.stderr).startswith(message)) == (1, True), result.stderr
    assert not (tmp_path / "out" / "a_labels.png").exists()


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


def test_grpc_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.serving.client.find_spec", lambda name: None)
    with pytest.raises(ServingError, match="gRPC needs tensorflow-serving-api: pip install .*; or --rest"):
        request_grpc("127.0.0.1:8500", "city", np.zeros((1, *SIZE, 3), np.uint8))


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_documented_curl(rest_server: str, expected: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), picture()[..., ::-1])
    [program] = re.findall(r"```\n([^`]*curl .*?)```", DEPLOY, re.DOTALL)
    program = program.replace("localhost:8501", rest_server)
    answer = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, check=True).stdout
    found = [row["label_ids"] for row in json.loads(answer)["predictions"]]
    np.testing.assert_array_equal(found, expected)
