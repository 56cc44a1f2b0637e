"""Cameras and streams."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from fornet_keras.errors import DataError
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.pictures import Picture
from fornet_keras.prediction.video import first_size, transform_video
from tests.prediction.videos import read_video, untracked, write_video


class Camera:
    """As OpenCV hands out a connected camera: frames without end, whose number it does not know."""

    def __init__(self, number: int) -> None: ...

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_HEIGHT: 48, cv2.CAP_PROP_FRAME_WIDTH: 64}.get(what, -1.0)

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.001)
        return True, np.full((48, 64, 3), 90, np.uint8)

    def release(self) -> None: ...


def test_a_camera_is_recorded_until_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def interrupt_at_the_fifth(frame: Picture) -> Picture:
        seen.append(frame)
        now[0] += (0, 0.2, 0.01, 0.01, 0)[len(seen) - 1]
        if len(seen) == 5:
            raise KeyboardInterrupt
        return frame

    class Terminated(KeyboardInterrupt):
        """As the commands make of SIGTERM, which ends what comes after the camera too."""

    now = [100.0]
    monkeypatch.setattr("fornet_keras.prediction.frames.monotonic", lambda: now[0])
    (camera,) = find_inputs(["camera:7"], tmp_path)
    assert (camera.name, camera.is_video) == (PurePath("camera_7"), True)
    with monkeypatch.context() as patch:
        files = cv2.VideoCapture
        patch.setattr(cv2, "VideoCapture", lambda what: Camera(what) if what == 7 else files(what))
        assert first_size([camera]) == (48, 64)
        assert transform_video(camera, tmp_path / "a.mp4", interrupt_at_the_fifth, untracked) == []
        first = np.zeros((48, 64, 3), np.uint8)
        with pytest.raises(Terminated):
            transform_video(camera, tmp_path / "b.mp4", Mock(side_effect=[first, Terminated]), untracked)
        with pytest.raises(KeyboardInterrupt):  # there is nothing to keep yet
            transform_video(camera, tmp_path / "c.mp4", Mock(side_effect=KeyboardInterrupt), untracked)
    frames, rate = read_video(tmp_path / "a.mp4")
    # At 25 a second: the first, one that took 0.2 s and so fills that time, one that came at once; no other.
    assert (len(frames), rate) == (7, 25)
    assert len(read_video(tmp_path / "b.mp4")[0]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}


def test_no_camera(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (camera,) = find_inputs(["camera:99"], tmp_path)
    with pytest.raises(
        DataError, match="camera:99: gives no frame; expected a connected camera; try another"
    ):
        transform_video(camera, tmp_path / "a.mp4", lambda frame: frame, untracked)
    assert capfd.readouterr().err == "" and not list(tmp_path.iterdir())


@contextmanager
def serving(parts: Sequence[bytes], kind: str, rate: float = np.inf) -> Iterator[str]:
    """The address, with a password in it, at which a server in this process sends so many parts a second."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            began = time.monotonic()
            with suppress(ConnectionError):  # who has seen enough goes away
                for number, part in enumerate(parts):
                    time.sleep(max(0, began + number / rate - time.monotonic()))
                    self.wfile.write(part)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://me:secret@127.0.0.1:{server.server_port}/live?x=1"
        finally:
            server.shutdown()
            thread.join()


def jpeg_part(brightness: int) -> bytes:
    """As network cameras send it: one JPEG after another, without a number of frames."""
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), brightness, np.uint8))[1].tobytes()
    head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    return head + jpeg + b"\r\n"


JPEGS = "multipart/x-mixed-replace; boundary=f"


def test_a_stream_is_recorded_until_it_ends(tmp_path: Path) -> None:
    with serving(20 * [jpeg_part(90)], JPEGS, rate=25) as address:
        (stream,) = find_inputs([address], tmp_path)
        assert (stream.is_video, stream.is_missing, "secret" in f"{stream.path}{stream.name}") == (
            True,
            False,
            False,
        )
        assert first_size([stream]) == (48, 64)
        (note,) = transform_video(stream, tmp_path / "a.mp4", lambda frame: frame, untracked)
    assert re.search(r"/live\?x=1: ended by itself after [01] s; record more into another --output$", note)
    frames, _ = read_video(tmp_path / "a.mp4")
    assert (len(frames) >= 7, frames[-1].mean()) == (True, pytest.approx(90, abs=3))


def test_a_stream_that_comes_faster_than_it_is_predicted_is_no_slow_motion(tmp_path: Path) -> None:
    def slow(frame: Picture) -> Picture:
        time.sleep(0.2)
        return frame

    with serving([jpeg_part(3 * number) for number in range(75)], JPEGS, rate=25) as address:
        (stream,) = find_inputs([address], tmp_path)
        transform_video(stream, tmp_path / "a.mp4", slow, untracked)
    frames, rate = read_video(tmp_path / "a.mp4")
    shown = (frames[-1].mean() - frames[0].mean()) / 3 / 25
    assert (rate, len(frames) / rate) == (25, pytest.approx(shown, abs=0.8)), "seconds, and those shown"
    assert shown > 1.5


def test_a_video_at_an_address_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the network is: its frames are its own."""
    source = write_video(tmp_path / "a.avi", 9, 48, 64)
    monkeypatch.setattr("fornet_keras.prediction.frames.monotonic", iter(range(99)).__next__)
    with serving([source.read_bytes()], "video/avi") as address:
        (stream,) = find_inputs([address], tmp_path)
        assert transform_video(stream, tmp_path / "b.mp4", lambda frame: frame, untracked) == []
        interrupted = Mock(side_effect=[np.zeros((48, 64, 3), np.uint8), KeyboardInterrupt])
        assert transform_video(stream, tmp_path / "c.mp4", interrupted, untracked) == [], (
            "it is not cut short"
        )
    assert [len(read_video(tmp_path / name)[0]) for name in ("b.mp4", "c.mp4")] == [9, 1]


def test_a_film_at_an_address_that_does_not_say_its_length(tmp_path: Path) -> None:
    """It comes at once, and yet no frame is left out that can be predicted in its time."""
    seen = []

    def in_time(frame: Picture) -> Picture:
        time.sleep(0.01)
        seen.append(frame)
        return frame

    writer = cv2.VideoWriter(str(tmp_path / "a.ts"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for number in range(50):
        writer.write(np.full((48, 64, 3), 4 * number, np.uint8))
    writer.release()
    with serving([(tmp_path / "a.ts").read_bytes()], "video/mp2t") as address:
        (stream,) = find_inputs([address], tmp_path)
        assert transform_video(stream, tmp_path / "b.mp4", in_time, untracked) == []
    assert len(seen) >= 40 and len(read_video(tmp_path / "b.mp4")[0]) == pytest.approx(50, abs=10)


def test_no_stream(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (stream,) = find_inputs(["rtsp://me:secret@127.0.0.1:9/live"], tmp_path)
    with pytest.raises(DataError, match="^127.0.0.1:9/live: gives no frame; expected a stream that FFmpeg"):
        transform_video(stream, tmp_path / "a.mp4", lambda frame: frame, untracked)
    assert capfd.readouterr().err == "" and not list(tmp_path.iterdir())
