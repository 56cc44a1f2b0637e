"""A video, frame by frame, into an overlay video."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NoReturn

import cv2

from fornet_keras.atomic import Placing, written_whole
from fornet_keras.data.images import image_size, require_file
from fornet_keras.errors import DataError
from fornet_keras.prediction.frames import all_frames, newest_frames
from fornet_keras.prediction.inputs import Input
from fornet_keras.prediction.mp4 import MP4_SUFFIXES, shown_frames
from fornet_keras.prediction.pictures import Picture

# What FFmpeg finds in a damaged file would be many lines on standard error; ours is one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

CODEC = "mp4v"
"""MPEG-4 in .mp4: OpenCV's wheels can always write it, and desktop players play it."""

MOTION_JPEG = cv2.VideoWriter.fourcc(*"MJPG")
"""As many network cameras send it."""

MIN_SIDE, MAX_SIDE = 2, 8191
"""Pixels that its encoder takes."""

USUAL_RATE = 25.0
"""Frames a second, where a file does not say or says nonsense."""
MIN_RATE, MAX_RATE = 1, 1000
"""What is no nonsense; less than the second, which is Matroska's unit of time and not a rate."""

COUNTING_SUFFIXES = (*MP4_SUFFIXES, ".avi")
"""Of files that count their frames; of others, FFmpeg knows only how long they are, sound and all."""

WHOLE_ENOUGH = 0.95
"""Share of the announced frames that must be there, but for one: files do not always count exactly."""

Track = Callable[[Iterable[Picture], int | None], Iterable[Picture]]


def transform_video(
    entry: Input,
    target: Path,
    transform: Callable[[Picture], Picture],
    track: Track,
    placing: Placing | None = None,
) -> list[str]:
    """Write `transform` of each frame of a video as a video of the same rate, without sound.

    The codec wants even sides: an odd one loses a line.

    Ctrl-C ends the recording of a camera or a stream, and what was recorded is written; SIGTERM is raised
    again after that, since it ends the whole command. What is transformed is always their newest frame, and
    what takes longer than the rate says is written more than once, or the video would play faster than what
    it shows.

    Args:
        entry: a file that FFmpeg reads, a camera or a stream.
        target: an .mp4 file, which appears when it is complete.
        transform: from an RGB uint8 `(height, width, 3)` frame to another of its size.
        track: gets the frames and their number, where the file tells it, and hands the frames on.
        placing: as of `written_whole`.

    Returns:
        What is to be known of the result: a line where its rate is not the file's, or frames may be missing.

    Raises:
        DataError: no frame can be read, many are missing, or the video cannot be written.
    """
    capture = _open(entry)
    rate, announced = _rate(capture), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    paced = entry.is_live and announced <= 0  # a whole film at an address has its own frames
    reading = newest_frames(capture, _most(entry, capture, rate)) if paced else all_frames(capture)
    with reading as frames:
        tracked = track(frames, announced if announced > 0 else None)
        with written_whole(target, placing) as temporary:
            pictures = (transform(frame) for frame in tracked)
            num_frames, stop = _write(temporary, pictures, rate, entry.is_live, paced)
            if not num_frames:
                _refuse(entry)
            notes = [] if stop else _notes(entry, capture, num_frames)
            # OpenCV does not say that a disk is full.
            if _count(temporary) < num_frames:
                raise DataError(f"{target}: the video could not be written whole; make room on the disk")
        if stop and type(stop) is not KeyboardInterrupt:
            raise stop
        return notes


def first_size(entries: Sequence[Input]) -> tuple[int, int]:
    """Height and width in pixels of the first input that can be read.

    Raises:
        DataError: none can; says why the last one cannot.
    """
    for entry in entries[:-1]:
        try:
            return _size(entry)
        except DataError:
            continue
    return _size(entries[-1])


def _size(entry: Input) -> tuple[int, int]:
    if not entry.is_video:
        return image_size(entry.path)
    capture = _open(entry)
    try:
        size = capture.get(cv2.CAP_PROP_FRAME_HEIGHT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)
    finally:
        capture.release()
    if not all(size):
        _refuse(entry)
    return int(size[0]), int(size[1])


def _count(path: Path) -> int:
    capture = cv2.VideoCapture(_file(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _open(entry: Input) -> cv2.VideoCapture:
    if entry.source is None:
        _require_readable(entry.path)
        return cv2.VideoCapture(_file(entry.path))
    with _opencv_silent():
        return cv2.VideoCapture(entry.source)


def _require_readable(path: Path) -> None:
    """Before OpenCV opens it, which says nothing, and in a named pipe waits for good, deaf to SIGTERM."""
    try:
        require_file(path, "a video")
        path.open("rb").close()
    except PermissionError as error:
        raise DataError(
            f"{path}: no permission to read it; expected a readable file; change its mode"
        ) from error


@contextmanager
def _opencv_silent() -> Iterator[None]:
    """Without OpenCV's lines about what cannot be opened: ours says it."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _file(path: Path) -> str:
    """A path in which FFmpeg takes nothing before a colon for a protocol."""
    return os.path.abspath(path)


def _refuse(entry: Input) -> NoReturn:
    """Say that there is no frame, and what to do."""
    if isinstance(entry.source, int):
        raise DataError(f"{entry.path}: gives no frame; expected a connected camera; try another number")
    if entry.is_live:
        raise DataError(
            f"{entry.path}: gives no frame; expected a stream that FFmpeg plays; check address and password"
        )
    raise DataError(f"{entry.path}: no frame in it can be read; expected a video; copy it again")


def _most(entry: Input, capture: cv2.VideoCapture, rate: float) -> float:
    """Frames a second at which a camera or a stream is to be read at most.

    What an address gives as a film in pieces (HLS, .ts) comes as fast as the network is, and is to be taken
    at its own rate, or a little above, since clocks differ. JPEGs have no times that their rate would be of.
    """
    is_film = re.match("https?:", str(entry.source), re.IGNORECASE)
    return 1.02 * rate if is_film and capture.get(cv2.CAP_PROP_FOURCC) != MOTION_JPEG else math.inf


def _rate(capture: cv2.VideoCapture) -> float:
    """Frames a second of the result. MPEG-4 counts a second in at most 65535 steps."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not MIN_RATE <= rate < MAX_RATE:
        return USUAL_RATE
    return round(rate, next(digits for digits in (3, 2, 1) if rate * 10**digits <= 65535))


def _notes(entry: Input, capture: cv2.VideoCapture, num_frames: int) -> list[str]:
    """What is to be known of a video that was read to its end; an error where frames are missing."""
    rate, announced = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    notes = []
    if not (MIN_RATE <= rate < MAX_RATE or entry.is_live):
        notes.append(f"{entry.path}: says {rate:g} frames a second; written with {USUAL_RATE:g}")
    shown = math.inf if entry.is_live else shown_frames(entry.path, rate)
    if num_frames + 1 < WHOLE_ENOUGH * min(announced, shown):
        found = f"{num_frames} of {announced} frames can be read"
        if not entry.is_live and entry.path.suffix.lower() in COUNTING_SUFFIXES:
            raise DataError(f"{entry.path}: cut short or damaged: {found}; copy it again")
        notes.append(f"{entry.path}: {found}, going by its length; where the end is missing, copy it again")
    return notes


def _write(
    path: Path, pictures: Iterable[Picture], rate: float, is_live: bool, paced: bool
) -> tuple[int, KeyboardInterrupt | None]:
    """Returns how many frames were written, and what ended a recording before its pictures ended."""
    writer = cv2.VideoWriter()
    num_frames, began = 0, 0.0
    try:
        for picture in pictures:
            if not num_frames:
                _open_writer(writer, path, picture.shape[:2], rate)
                began = monotonic()
            frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            due = int((monotonic() - began) * rate) + 1 if paced else 0
            for _ in range(max(1, due - num_frames)):
                writer.write(frame)
                num_frames += 1
    except KeyboardInterrupt as stop:
        if not (is_live and num_frames):  # a file's video is made again; or there is nothing to keep
            raise
        return num_frames, stop
    finally:
        writer.release()
    return num_frames, None


def _open_writer(writer: cv2.VideoWriter, path: Path, size: tuple[int, ...], rate: float) -> None:
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise DataError(
            f"a video of {size[0]}x{size[1]} pixels cannot be written; MPEG-4 takes {MIN_SIDE}…{MAX_SIDE} "
            "pixels a side; make the video smaller"
        )
    with _opencv_silent():
        opened = writer.open(_file(path), cv2.VideoWriter.fourcc(*CODEC), rate, size[::-1])
    if not opened:
        raise DataError(
            f"{path.parent}: no video of {size[0]}x{size[1]} pixels with {rate:g} frames a second ({CODEC}) "
            "can be written there; check the folder's mode"
        )
