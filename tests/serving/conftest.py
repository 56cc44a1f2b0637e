"""Small artifacts, and the server over them in a process of its own: 64x96 pixels, three classes."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from fornet_keras.artifacts.manifest import OUTPUTS
from fornet_keras.data.dataset import LabelTable
from tests.untraced import untraced_reference

ROOT = Path(__file__).parents[2]
SIZE = (64, 96)
TABLE = LabelTable(("water", "quay", "sky"), ((0, 0, 200), (90, 90, 90), (130, 180, 230)), {})

# The command itself; at its end, it tells which of the packages that it must not load were loaded.
PROGRAM = """
import sys
from fornet_keras.cli import main
try:
    main()
finally:
    print("loaded:", *{"keras", "tensorflow", "jax", "torch"} & {*sys.modules})
"""


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    host: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, content."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[str, str]:
        """What it has written until its end, to both streams; without LiteRT's note."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=30)
        return output, errors.replace("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n", "")


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return cv2.resize(noise, size[::-1])


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


@pytest.fixture(scope="session")
def ratios(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ONNX artifacts of two top-k, with importance, and one of LiteRT without."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers of a session share
    with FileLock(folder / "artifacts.lock"):
        if not (folder / "artifacts").exists():
            _export_ratios(folder / "exporting")
            (folder / "exporting").rename(folder / "artifacts")
    return folder / "artifacts"


@untraced_reference()
def _export_ratios(folder: Path) -> None:
    from fornet_keras.export.export import export_model
    from fornet_keras.export.formats import ExportSpec
    from fornet_keras.export.reference import ProofImages
    from tests.model.tiny import randomize, tiny_model

    model = randomize(tiny_model())
    images = ProofImages("noise", [picture()], [(slice(0, SIZE[0]), slice(0, SIZE[1]))])
    for share in (0.25, 1.0):
        # All that there is: the proof then needs no second model.
        of_share = model.with_top_k(share)
        spec = ExportSpec("onnx", SIZE, outputs=OUTPUTS)
        export_model(of_share, TABLE, folder / f"k{share:g}", spec, images)
    export_model(model.with_top_k(0.5), TABLE, folder / "phone", ExportSpec("litert", SIZE), images)


def start(artifacts: Path, notes: Path, *options: str) -> Server:
    """Start the command, and wait until it listens."""
    command = [sys.executable, "-c", PROGRAM, "serve", str(artifacts), "--port", "0", "--json", str(notes)]

    # A job in the background of a script starts with SIGINT ignored, one of nohup with SIGHUP, and hands
    # that down.
    def heard() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    while not notes.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return Server(process, json.loads(notes.read_text())["address"].removeprefix("http://"))


@pytest.fixture(scope="module")
def server(ratios: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server; nothing may have been written to standard error at its end."""
    running = start(ratios, tmp_path_factory.mktemp("notes") / "address.json")
    try:
        yield running
        _, errors = running.stop()
        assert (running.process.returncode, errors) == (0, "")
    finally:
        running.process.kill()
