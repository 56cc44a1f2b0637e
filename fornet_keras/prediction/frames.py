"""The frames of a video that are to be predicted: each one of a file, the newest of a camera or a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic

import cv2

from fornet_keras.prediction.pictures import Picture


@contextmanager
def all_frames(capture: cv2.VideoCapture) -> Iterator[Iterator[Picture]]:
    """Hand out every frame, RGB uint8 `(height, width, 3)`; the video is closed when the block ends."""
    try:
        yield _read(capture)
    finally:
        capture.release()


@contextmanager
def newest_frames(capture: cv2.VideoCapture, most: float = math.inf) -> Iterator[Iterator[Picture]]:
    """As `all_frames`, without those that come while one before is still at work, but for the last of them.

    They are read in a thread, as they come. Left to wait, they would fill the buffers of network and FFmpeg,
    and what is predicted would lie further and further back.

    Args:
        capture: of a camera or a stream.
        most: frames a second that are read at most, of what may be sent faster than it is to be seen.
    """
    waiting: SimpleQueue[Picture | None] = SimpleQueue()
    stopped = Event()

    def read() -> None:
        began = monotonic()
        try:
            for number, frame in enumerate(_read(capture), 1):
                with suppress(Empty):
                    waiting.get_nowait()  # nobody had the time for it
                waiting.put(frame)
                if stopped.wait(max(0, began + number / most - monotonic())):
                    return
        finally:
            waiting.put(None)

    def handed_out() -> Iterator[Picture]:
        while (frame := waiting.get()) is not None:
            yield frame
        reading.result()  # raises what ended it, if that was an error

    pool = ThreadPoolExecutor(1)
    reading = pool.submit(read)
    try:
        yield handed_out()
    finally:
        stopped.set()
        pool.shutdown()
        capture.release()  # never while it is read: a second Ctrl-C, which ends the waiting, leaves this out


def _read(capture: cv2.VideoCapture) -> Iterator[Picture]:
    while True:
        intact, frame = capture.read()
        if not intact:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
