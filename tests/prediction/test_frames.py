import signal
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from fornet_keras.prediction.frames import in_time, newest_frames, shown_size


class Stream:
    """Frames of a brightness each, from 0 on, which come when they are let through; the end is at 7."""

    def __init__(self) -> None:
        self.let_through, self.asked_for = threading.Semaphore(0), threading.Condition()
        self.reads = 0
        self.release = Mock(side_effect=lambda: setattr(self, "reader_at_release", self.reader.is_alive()))

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.reader = threading.current_thread()
        with self.asked_for:
            self.reads += 1
            self.asked_for.notify()
        self.let_through.acquire(timeout=30)
        return (True, np.full((2, 3, 3), self.reads - 1, np.uint8)) if self.reads < 8 else (False, None)

    def get(self, what: int) -> float:
        return 0.0

    def come(self, number: int) -> None:
        """Let some frames through, until the next one is asked for: they have been read by then."""
        expected = self.reads + number
        self.let_through.release(number)
        with self.asked_for:
            assert self.asked_for.wait_for(lambda: self.reads >= expected, timeout=30)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_what_came_meanwhile_is_left_out_but_for_the_newest(stream: Stream) -> None:
    with newest_frames(stream) as frames:
        with stream.asked_for:
            assert stream.asked_for.wait_for(lambda: stream.reads, timeout=30)
        seen = []
        for number in (1, 3, 2):
            stream.come(number)
            seen.append(int(next(frames).max()))
        assert seen == [0, 3, 5]
        stream.let_through.release(2)  # the last one, and what says that it was
        assert [int(frame.max()) for frame in frames] == [6]
    assert (stream.release.call_count, stream.reader_at_release) == (1, False)


def test_the_thread_ends_with_the_block(stream: Stream) -> None:
    stream.let_through.release(5)
    with pytest.raises(KeyboardInterrupt), newest_frames(stream) as frames:
        next(frames)
        threading.Timer(0.1, stream.let_through.release).start()  # the frame that it is waiting for
        raise KeyboardInterrupt
    assert (stream.release.call_count, stream.reader_at_release) == (1, False)


def test_ctrl_c_ends_the_waiting_for_a_frame(stream: Stream) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background ignores it
    try:
        with pytest.raises(KeyboardInterrupt), newest_frames(stream) as frames:
            threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
            threading.Timer(0.5, stream.let_through.release).start()
            next(frames)
            pytest.fail("it has waited for the frame")
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_of_the_decoder_is_raised(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "read", Mock(side_effect=cv2.error("no memory")))
    stream.reader = threading.current_thread()
    with pytest.raises(cv2.error, match="no memory"), newest_frames(stream) as frames:
        next(frames)
    assert stream.release.call_count == 1


@pytest.mark.parametrize(
    ("come_at", "each", "shown"),
    [
        ([number / 40 for number in range(120)], False, 75),  # a JPEG stream, of which FFmpeg says 25
        ([number / 10 for number in range(30)], False, 73),
        ([number / 25 + 0.009 * (-1) ** number for number in range(75)], False, 75),
        ([number / 25.5 for number in range(75)], True, 75),  # a film
    ],
)
def test_what_a_camera_sends_is_shown_as_long_as_it_took(
    monkeypatch: pytest.MonkeyPatch, come_at: list[float], each: bool, shown: int
) -> None:
    now = 0.0

    def pictures() -> Iterator[np.ndarray]:
        nonlocal now
        for now in come_at:
            yield np.full((2, 3, 3), now, np.float32)

    monkeypatch.setattr("fornet_keras.prediction.frames.monotonic", lambda: now)
    recorded = [picture.max() for picture in in_time(pictures(), 25, each)]
    assert len(recorded) == pytest.approx(shown, abs=1)
    assert recorded == sorted(recorded)
    if len(come_at) == shown:
        assert len(set(recorded)) == shown, "no frame is left out where they come at this very rate"


@pytest.mark.parametrize(
    ("ratio", "turned", "expected"),
    [
        ((64, 45), 0, (480, 1024)),
        ((8, 9), 0, (540, 720)),
        ((64, 45), 90, (683, 720)),
        ((1280, 1279), 0, (480, 720)),
        ((0, 1), 0, (480, 720)),  # of a camera
        ((-1, -1), -1, (480, 720)),
        ((65535, 1), 0, (480, 720)),
    ],
)
def test_pixels_become_square(ratio: tuple[int, int], turned: int, expected: tuple[int, int]) -> None:
    said = {
        cv2.CAP_PROP_SAR_NUM: float(ratio[0]),
        cv2.CAP_PROP_SAR_DEN: float(ratio[1]),
        cv2.CAP_PROP_ORIENTATION_META: float(turned),
    }
    assert shown_size(Mock(get=said.__getitem__), (480, 720)) == expected
