"""Many clients at once on `serve`, for minutes: is an answer wrong, does the memory grow?

    python benchmarks/serve_load.py ARTIFACT... [--clients 64] [--minutes 3] [--json FILE]

Starts the server over the artifacts. Each client sends one of a few images again and again, to one artifact
after the other, and compares the labels with those that the runtime itself gave before. A 503 is tried
again after the time that it names. The server's own metrics tell its memory.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

from fornet_keras.data.synthetic import render_scene
from fornet_keras.errors import FoRNetError, ServingError
from fornet_keras.serving.artifacts import open_artifacts

ROOT = Path(__file__).parents[1]
IMAGES = 8
SAMPLES = 12  # of the memory


def ask(host: str, method: str, path: str, body: bytes | None = None) -> tuple[int, int, bytes]:
    """Status, seconds to wait before another try, content."""
    connection = http.client.HTTPConnection(host, timeout=120)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, int(reply.getheader("Retry-After", "0")), reply.read()
    finally:
        connection.close()


def memory(host: str) -> float:
    """Resident megabytes of the server."""
    lines = ask(host, "GET", "/metrics")[2].decode().splitlines()
    return next(float(line.split()[1]) / 1e6 for line in lines if line.startswith("process_resident"))


def load(
    host: str, number: int, files: list[bytes], expected: dict[str, list[np.ndarray]], end: float
) -> Counter[str]:
    """One client, until the time is over; what became of its requests."""
    outcome: Counter[str] = Counter()
    names = list(expected)
    while time.monotonic() < end:
        name, image = names[number % len(names)], number % IMAGES
        number += 1
        status, seconds, content = ask(host, "POST", f"/v1/predict?output=labels&model={name}", files[image])
        if status == 200:
            right = np.array_equal(np.asarray(Image.open(BytesIO(content))), expected[name][image])
            outcome["right" if right else "wrong"] += 1
        else:
            outcome[str(status)] += 1
            time.sleep(seconds or 1)
    return outcome


@contextmanager
def serving(artifacts: tuple[Path, ...]) -> Iterator[str]:
    """The address of a server over the artifacts, which ends with the block, whatever ends that."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "address.json"
        paths = [str(path) for path in artifacts]
        command = [sys.executable, str(ROOT / "cli.py"), "serve", *paths, "--port", "0", "--json", str(notes)]
        with subprocess.Popen(command) as server:
            try:
                while not notes.exists() and server.poll() is None:
                    time.sleep(0.1)
                if server.poll() is not None:
                    raise ServingError("the server has ended; see what it says above")
                yield json.loads(notes.read_text())["address"].removeprefix("http://")
            finally:
                server.terminate()


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--clients", default=64, show_default=True)
@click.option("--minutes", default=3.0, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(artifacts: tuple[Path, ...], clients: int, minutes: float, json_file: Path | None) -> None:
    """Load the server, and print what became of the requests."""
    opened = open_artifacts(artifacts)
    size = next(iter(opened.values())).manifest.size
    images = [render_scene(seed, size).image for seed in range(IMAGES)]
    files = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    expected = {name: [one.find(image).label_ids for image in images] for name, one in opened.items()}
    with serving(artifacts) as host, ThreadPoolExecutor(clients) as pool:
        megabytes = [memory(host)]
        began = time.monotonic()
        end = began + 60 * minutes
        running = [pool.submit(load, host, number, files, expected, end) for number in range(clients)]
        for _ in range(SAMPLES):
            time.sleep(60 * minutes / SAMPLES)
            megabytes.append(memory(host))
        outcome = sum((one.result() for one in running), Counter())
        seconds = time.monotonic() - began  # until the last request that was begun in time has its answer
    result = {
        "clients": clients,
        "minutes": minutes,
        **outcome,
        "images_per_second": outcome["right"] / seconds,
        "megabytes": [round(value, 1) for value in megabytes],
    }
    print(json.dumps(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if outcome["wrong"]:
        raise ServingError(f"{outcome['wrong']} answers are not what the runtime itself gives")
    if failed := set(outcome) - {"right", "wrong", "503"}:
        raise ServingError(f"answers of status {', '.join(sorted(failed))}; expected 200 and 503 alone")


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
