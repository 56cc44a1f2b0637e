"""`serve` in a process of its own, asked over HTTP; its answers against the runtimes asked directly."""

import base64
import json
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.artifacts.runtimes import open_runtime
from fornet_keras.prediction.pictures import importance_map, overlay
from fornet_keras.serving.answers import answer
from fornet_keras.serving.artifacts import open_artifacts
from tests.cli.conftest import only_line
from tests.serving.conftest import ROOT, SIZE, TABLE, Server, picture, png, start


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)))


def test_labels_are_those_of_the_runtime(server: Server, ratios: Path) -> None:
    for name, format in (("k0.25", "onnx"), ("k1", "onnx"), ("phone", "litert")):
        expected = open_runtime(ratios / name, format)(picture()[None])["label_ids"][0]
        status, headers, content = server.ask(
            "POST", f"/v1/predict?model={name}&output=labels", png(picture())
        )
        assert (status, headers["content-type"]) == (200, "image/png")
        assert headers["server-timing"].startswith("model;dur=")
        np.testing.assert_array_equal(decoded(content), expected)
    assert Image.open(BytesIO(content)).getpalette()[:9] == [x for color in TABLE.colors for x in color]


@pytest.mark.parametrize(
    ("size", "window"),
    [((100, 90), (0, 19, 64, 58)), ((20, 40), (8, 0, 48, 96)), ((64, 32), (0, 32, 64, 32))],
)
def test_any_size_is_letterboxed_and_the_labels_brought_back(
    server: Server, ratios: Path, size: tuple[int, int], window: tuple[int, int, int, int]
) -> None:
    """Against Pillow, where sides shrink and where they grow; the two round differently."""
    image, (top, left, rows, columns) = picture(1, size), window
    how = Image.Resampling.BOX if rows < size[0] else Image.Resampling.BILINEAR
    fitted = np.full((*SIZE, 3), 127, np.uint8)
    inside = slice(top, top + rows), slice(left, left + columns)
    fitted[inside] = np.asarray(Image.fromarray(image).resize((columns, rows), how))
    outputs = {n: v[0] for n, v in open_runtime(ratios / "k0.25", "onnx")(fitted[None]).items()}
    labels = Image.fromarray(outputs["label_ids"][inside])
    expected = np.asarray(labels.resize(size[::-1], Image.Resampling.NEAREST))
    _, _, content = server.ask("POST", "/v1/predict?model=k0.25", png(image))
    found = json.loads(content)
    assert found["letterbox"] == list(window)
    assert np.mean(decoded(base64.b64decode(found["labels_png"])) == expected) > 0.98
    regions = np.zeros(SIZE, bool)
    regions[inside] = True
    seen = np.reshape(regions, (SIZE[0] // 16, 16, SIZE[1] // 16, 16)).any((1, 3))  # the others are grey
    hard = importance_map(fitted, outputs["importance"] * seen, outputs["kept"], 16)[inside]
    pictures = {
        "overlay": overlay(image, expected, TABLE),
        "importance": np.asarray(Image.fromarray(hard).resize(size[::-1], Image.Resampling.BOX)),
    }
    for output, drawn in pictures.items():
        status, headers, content = server.ask("POST", f"/v1/predict?model=k0.25&output={output}", png(image))
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert np.abs(decoded(content).astype(int) - drawn).mean() < 8, output


def test_the_longest_side_is_answered(server: Server) -> None:
    long = png(picture(0, (1, 65_500)))
    for output in ("labels", "overlay", "importance"):
        status, _, content = server.ask("POST", f"/v1/predict?model=k1&output={output}", long)
        assert (status, decoded(content).shape[:2]) == (200, (1, 65_500))


def test_json_holds_all(server: Server, ratios: Path) -> None:
    expected = open_runtime(ratios / "k0.25", "onnx")(picture()[None])
    status, _, content = server.ask("POST", "/v1/predict?model=k0.25", png(picture()))
    found = json.loads(content)
    assert (status, found["model"], found["top_k"], found["region_size"]) == (200, "k0.25", 0.25, 16)
    labels = decoded(base64.b64decode(found["labels_png"]))
    np.testing.assert_array_equal(labels, expected["label_ids"][0])
    np.testing.assert_array_equal(found["kept"], expected["kept"][0])
    np.testing.assert_allclose(found["importance"], expected["importance"][0], atol=1e-4)
    for number, entry in enumerate(found["classes"]):
        assert (entry["name"], entry["color"]) == (TABLE.names[number], list(TABLE.colors[number]))
        assert entry["share"] == pytest.approx((labels == number).mean())
    unnamed = json.loads(server.ask("POST", "/v1/predict", png(picture()))[2])
    assert unnamed["model"] == "k0.25", "the smallest ratio"


def test_shares_are_counted_in_little_memory(ratios: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = open_artifacts([ratios / "k1"])["k1"]
    large = artifact.find(picture(0, (1000, 2000)))
    monkeypatch.setattr(artifact, "find", lambda image: large)
    tracemalloc.start()
    answer(artifact, png(picture()), "json")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * large.label_ids.size


def test_models_health_and_metrics(server: Server) -> None:
    models = json.loads(server.ask("GET", "/v1/models")[2])
    assert [(model["name"], model["top_k"]) for model in models] == [
        ("k0.25", 0.25),
        ("phone", 0.5),
        ("k1", 1),
    ]
    server.ask("POST", "/v1/predict", b"nothing")
    status, _, content = server.ask("GET", "/health")
    assert (status, json.loads(content)["status"]) == (200, "ok")
    text = server.ask("GET", "/metrics")[2].decode()
    assert 'fornet_requests_total{status="400"}' in text
    assert "process_resident_memory_bytes" in text and "fornet_waiting 0.0" in text


def bomb() -> bytes:
    """A PNG of 100,000 × 100,000 pixels, in its header."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    start, end = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + start + header + end + png(picture())[33:]


def joined_jpeg() -> bytes:
    """What `curl --data @street.jpg` makes of a JPEG."""
    return cv2.imencode(".jpg", picture())[1].tobytes().translate(None, b"\r\n\0")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/predict", b"", 400, "expected the bytes of a PNG, JPEG"),
        (
            "POST",
            "/v1/predict",
            b"GIF89a nothing",
            400,
            "the body begins with b'GIF89a n'; expected the bytes of a PNG",
        ),
        ("POST", "/v1/predict", png(picture())[:-400], 400, "the image: cannot be read"),
        ("POST", "/v1/predict", joined_jpeg(), 400, "send the file itself, with curl by --data-binary @FILE"),
        (
            "POST",
            "/v1/predict",
            bomb(),
            400,
            "too large to be read safely; expected at most 40,000,000",
        ),
        (
            "POST",
            "/v1/predict?output=overlay",
            png(picture(0, (1, 66_000))),
            400,
            "1x66000 pixels; expected at",
        ),
        (
            "POST",
            "/v1/predict",
            bytes(20_000_002),
            413,
            "the image: 20,000,002 bytes or more; expected at most",
        ),
        (
            "POST",
            "/v1/predict?model=k2",
            b"x",
            404,
            "no model of the name 'k2'; expected one of k0.25, phone",
        ),
        ("POST", "/v1/predict?output=gif", b"x", 400, "no output of the name 'gif'; expected one of labels"),
        ("POST", "/v1/predict?mdoel=k1", b"x", 400, "'mdoel' is in the address; expected model and output"),
        ("POST", "/v1/predict?model=k1&model=k2", b"x", 400, "'model' is in the address twice; expected mo"),
        ("POST", "/v1/predict?model=phone&output=importance", b"x", 400, "phone has no importance; export"),
        ("GET", "/v1/predict", None, 405, "Method Not Allowed; expected one of GET /, GET /v1/models, POST"),
        ("GET", "/nowhere", None, 404, "GET '/nowhere': Not Found; expected one of GET /, GET /v1/m"),
        ("POST", "/v1/predict/", b"x", 404, "POST '/v1/predict/': Not Found; expected one of GET /, GET"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
def test_a_wrong_request(
    server: Server, method: str, path: str, body: bytes | None, status: int, message: str
) -> None:
    found, _, content = server.ask(method, path, body)
    assert (found, message in only_line(json.loads(content)["error"])) == (status, True), content


@pytest.mark.parametrize(
    ("path", "size", "headers", "status"),
    [
        ("/v1/predict?model=k2", 5_000_000, {}, 404),
        ("/predict", 5_000_000, {}, 404),
        ("/v1/models", 5_000_000, {}, 405),
        ("/v1/predict", 5_000_000, {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ("/v1/predict", 25_000_000, {}, 413),
    ],
)
def test_a_refusal_reaches_a_client_that_closes_the_connection(
    server: Server, path: str, size: int, headers: dict[str, str], status: int
) -> None:
    """As urllib does, and nginx before a server: neither reads an answer while it still sends."""
    found, _, content = server.ask("POST", path, bytes(size), {"Connection": "close", **headers})
    assert found == status and json.loads(content)["error"]


def test_a_form_is_told_to_send_the_bytes(server: Server) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _, content = server.ask("POST", "/v1/predict", b"--x\r\n", form)
    assert status == 415
    assert (
        json.loads(content)["error"] == "expected the bytes of the image as the body, not a form with a file"
    )


def mutated(rng: random.Random) -> bytes:
    """An image file with something wrong, or nothing of the kind."""
    image = Image.fromarray(picture(rng.randrange(9)))
    file = BytesIO()
    image.save(file, rng.choice(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]))
    content = bytearray(file.getvalue())
    for _ in range(rng.randrange(6)):
        content[rng.randrange(min(len(content), rng.choice([64, 10**9])))] = rng.randrange(256)
    kind = rng.random()
    if kind < 0.2:
        del content[rng.randrange(len(content)) :]
    elif kind < 0.3:
        content = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(content)


def test_fuzzed_requests_are_survived(server: Server) -> None:
    """That nothing was written to standard error is seen when the server ends."""
    rng = random.Random(0)
    statuses = []
    for _ in range(450):
        query = rng.choice(["", "?output=labels", "?output=overlay", "?model=%00", "?output=&&model=k1"])
        statuses.append(server.ask("POST", "/v1/predict" + query, mutated(rng))[0])
    assert {200, 400} <= set(statuses) <= {200, 400, 404}
    host, port = server.host.split(":")
    for _ in range(100):
        junk = rng.choice([b"", b"POST /v1/predict HTTP/1.1\r\n", b"GET / HTTP/9\r\n"]) + rng.randbytes(60)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(junk + b"\r\n\r\n")
            assert connection.recv(12)[:10] in (b"HTTP/1.1 4", b"")
    for line in (b"GET /health", b"POST /v1/predict", b"POST /v1/predict?model=none"):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(line + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            if line.endswith(b"none"):
                assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")
            connection.sendall(b"no chunk\r\n")
            while connection.recv(1000):  # until it is closed
                pass
    assert server.ask("POST", "/v1/predict", png(picture()))[0] == 200


def test_64_clients_get_right_answers(server: Server, ratios: Path) -> None:
    runtime = open_runtime(ratios / "k0.25", "onnx")
    images = [picture(seed) for seed in range(64)]
    expected = [runtime(image[None])["label_ids"][0] for image in images]

    def client(number: int) -> None:
        for _ in range(4):
            while True:
                path = "/v1/predict?model=k0.25&output=labels"
                status, headers, content = server.ask("POST", path, png(images[number]))
                if status == 200:
                    break
                assert (status, headers["retry-after"]) == (503, "1")
                time.sleep(0.1)
            np.testing.assert_array_equal(decoded(content), expected[number])

    with ThreadPoolExecutor(64) as clients:
        list(clients.map(client, range(64)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_after_what_was_begun_and_keras_was_never_loaded(
    ratios: Path, tmp_path: Path, number: int
) -> None:
    running = start(ratios, tmp_path / "address.json", "--threads", "1")
    try:
        assert running.host.startswith("127.0.0.1:")
        assert running.ask("POST", "/v1/predict?output=importance", png(picture()))[0] == 200
        host, port = running.host.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as begun:
            begun.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
            while not json.loads(running.ask("GET", "/health")[2])["waiting"]:
                time.sleep(0.01)
            threading.Timer(0.5, begun.sendall, (b"x",)).start()
            output, errors = running.stop(number)
            assert begun.recv(1000).startswith(b"HTTP/1.1 400 ")
    finally:
        running.process.kill()
    assert (running.process.returncode, errors) == (0, "")
    assert output.splitlines()[1:] == ["stopped", "loaded:"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize(("model", "code"), [("k1", 0), ("none", 22)])
def test_the_documented_curl_fails_where_the_server_refuses(
    server: Server, model: str, code: int, tmp_path: Path
) -> None:
    """Else a script would take the error for a picture."""
    (tmp_path / "YOUR.jpg").write_bytes(png(picture()))
    [line] = re.findall(r"^curl .*\\\n.*", (ROOT / "docs" / "export.md").read_text("utf-8"), re.MULTILINE)
    line = line.replace("127.0.0.1:8000", server.host).replace("top_k_0.25", model)
    assert subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True).returncode == code
    if code == 0:
        assert decoded((tmp_path / "overlay.jpg").read_bytes()).shape == (*SIZE, 3)
