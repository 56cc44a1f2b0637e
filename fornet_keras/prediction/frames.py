"""The frames of a video: which are predicted, of what size, and how long a live one is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic

import cv2

from fornet_keras.data.sizes import stretched
from fornet_keras.prediction.pictures import Picture

MOTION_JPEG = cv2.VideoWriter.fourcc(*"MJPG")
"""As many network cameras send it."""


@contextmanager
def all_frames(capture: cv2.VideoCapture) -> Iterator[Iterator[Picture]]:
    """Hand out every frame, RGB uint8 `(height, width, 3)` with square pixels.

    The video is closed when the block ends.
    """
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


def reading_rate(source: int | str | None, capture: cv2.VideoCapture, rate: float) -> float:
    """Frames a second at which a camera or a stream is to be read at most.

    What an address gives as a film in pieces (HLS, .ts) comes as fast as the network is, and is to be taken
    at its own rate, or a little above, since clocks differ. JPEGs have no times that their rate would be of.
    """
    is_film = re.match("https?:", str(source), re.IGNORECASE)
    return 1.02 * rate if is_film and capture.get(cv2.CAP_PROP_FOURCC) != MOTION_JPEG else math.inf


def in_time(pictures: Iterable[Picture], rate: float, each: bool) -> Iterator[Picture]:
    """Repeat pictures of a camera or a stream that took long, and leave out what comes faster than the rate.

    So a minute's recording shows a minute. It may be a frame ahead: those that come at this very rate are
    never quite on time.

    Args:
        pictures: as they are there.
        rate: frames a second of the recording.
        each: whether none is left out: a film's are read a little faster than they are to be shown.
    """
    num_frames, began = 0, 0.0
    for picture in pictures:
        if not num_frames:
            began = monotonic()
        due = int((monotonic() - began) * rate) + 1
        least = 1 if each or num_frames <= due else 0
        for _ in range(max(least, due - num_frames)):
            yield picture
            num_frames += 1


def shown_size(capture: cv2.VideoCapture, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a frame with square pixels, no side smaller; a camcorder's and a DVD's are wider.

    Ratios that nobody sees, such as 1279:1280, are left, and those that are nonsense.
    """
    wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (wide > 0 < high and 0.25 <= wide / high <= 4) or abs(wide / high - 1) < 0.01:
        return size
    if capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:  # OpenCV has turned the frame
        wide, high = high, wide
    return (size[0], round(size[1] * wide / high)) if wide > high else (round(size[0] * high / wide), size[1])


def _read(capture: cv2.VideoCapture) -> Iterator[Picture]:
    size = None
    while True:
        intact, frame = capture.read()
        if not intact:
            return
        size = size or shown_size(capture, frame.shape[:2])
        yield cv2.cvtColor(stretched(frame, size), cv2.COLOR_BGR2RGB)
