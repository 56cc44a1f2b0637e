"""A video, frame by frame, into an overlay video."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import cv2

from fornet_keras.atomic import Placing, written_whole
from fornet_keras.data.images import image_size, require_file
from fornet_keras.errors import DataError
from fornet_keras.prediction.frames import all_frames, in_time, newest_frames, reading_rate, shown_size
from fornet_keras.prediction.inputs import Input
from fornet_keras.prediction.mp4 import MP4_SUFFIXES, shown_frames
from fornet_keras.prediction.pictures import Picture

# What FFmpeg finds in a damaged file would be many lines on standard error; ours is one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

CODEC = "mp4v"
"""MPEG-4 in .mp4: OpenCV's wheels can always write it, and desktop players play it."""

AV1 = cv2.VideoWriter.fourcc(*"AV01")
"""For which OpenCV's wheels have no decoder but the graphics card's."""

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

    Each frame is shown as long as the others, where the file's are not too. The codec wants even sides: an
    odd one loses a line.

    Ctrl-C ends the recording of a camera or a stream, and what was recorded is written; SIGTERM is raised
    again after that, since it ends the whole command. What is transformed is always their newest frame, and
    it is repeated or left out as its time demands: a minute's recording shows a minute.

    Args:
        entry: a file that FFmpeg reads, a camera or a stream.
        target: an .mp4 file, which appears when it is complete.
        transform: from an RGB uint8 `(height, width, 3)` frame to another of its size.
        track: gets the frames and their number, where the file tells it, and hands the frames on.
        placing: as of `written_whole`.

    Returns:
        What is to be known of the result: a line where its rate is not the file's, frames may be missing, or
        a camera or a stream has ended by itself.

    Raises:
        DataError: no frame can be read, many are missing, or the video cannot be written.
    """
    capture = _open(entry)
    rate, announced = _rate(capture), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    paced = entry.is_live and announced <= 0  # a whole film at an address has its own frames
    most = reading_rate(entry.source, capture, rate)
    reading = newest_frames(capture, most) if paced else all_frames(capture)
    with reading as frames:
        tracked = track(frames, announced if announced > 0 else None)
        with written_whole(target, placing) as temporary:
            pictures: Iterable[Picture] = (transform(frame) for frame in tracked)
            if paced:
                pictures = in_time(pictures, rate, each=math.isfinite(most))
            num_frames, stop = _write(temporary, pictures, rate, entry.is_live)
            if not num_frames:
                _refuse(entry, capture)
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
        height, width = capture.get(cv2.CAP_PROP_FRAME_HEIGHT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        if height <= 0 or width <= 0:
            _refuse(entry, capture)
        return shown_size(capture, (int(height), int(width)))
    finally:
        capture.release()


def _count(path: Path) -> int:
    capture = cv2.VideoCapture(_file(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _open(entry: Input) -> cv2.VideoCapture:
    if entry.source is None:
        _require_readable(entry.path)
    with _opencv_silent():
        return cv2.VideoCapture(_file(entry.path) if entry.source is None else entry.source)


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


def _refuse(entry: Input, capture: cv2.VideoCapture) -> NoReturn:
    """Say that there is no frame, and what to do."""
    if isinstance(entry.source, int):
        finding = "gives no frame; expected a connected camera; try another number"
    elif entry.is_live:
        finding = "gives no frame; expected a stream that FFmpeg plays; check address and password"
    elif capture.get(cv2.CAP_PROP_FOURCC) == AV1:
        finding = "is AV1, which OpenCV cannot decode here; expected another codec; convert it to H.264"
    else:
        finding = "no frame in it can be read; expected a video; copy it again"
    raise DataError(f"{entry.path}: {finding}")


def _rate(capture: cv2.VideoCapture) -> float:
    """Frames a second of the result. MPEG-4 counts a second in at most 65535 steps."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not MIN_RATE <= rate < MAX_RATE:
        return USUAL_RATE
    return round(rate, next(digits for digits in (3, 2, 1) if rate * 10**digits <= 65535))


def _notes(entry: Input, capture: cv2.VideoCapture, num_frames: int) -> list[str]:
    """What is to be known of a video that was read to its end; an error where many frames are missing."""
    rate, announced = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if entry.is_live and announced <= 0:
        if math.isfinite(reading_rate(entry.source, capture, rate)):
            return []  # a film
        seconds = num_frames / _rate(capture)
        return [f"{entry.path}: ended by itself after {seconds:.0f} s; record more into another --output"]
    notes = []
    if not (MIN_RATE <= rate < MAX_RATE or entry.is_live):
        notes.append(f"{entry.path}: says {rate:g} frames a second; written with {USUAL_RATE:g}")
    shown = math.inf if entry.is_live else shown_frames(entry.path, rate)
    found = f"{num_frames} of {announced} frames can be read"
    fix = "where the end is missing, " + ("use --overwrite" if entry.is_live else "copy it again")
    is_counted = not entry.is_live and entry.path.suffix.lower() in COUNTING_SUFFIXES
    if num_frames + 1 < WHOLE_ENOUGH * min(announced, shown):
        if is_counted:
            raise DataError(f"{entry.path}: cut short or damaged: {found}; copy it again")
        notes.append(f"{entry.path}: {found}, going by its length; {fix}")
    elif is_counted and num_frames + 1 < announced < shown + 1:  # none is hidden by an edit list
        notes.append(f"{entry.path}: {found}; {fix}")
    return notes


def _write(
    path: Path, pictures: Iterable[Picture], rate: float, is_live: bool
) -> tuple[int, KeyboardInterrupt | None]:
    """Returns how many frames were written, and what ended a recording before its pictures ended."""
    writer = cv2.VideoWriter()
    num_frames = 0
    try:
        for picture in pictures:
            if not num_frames:
                _open_writer(writer, path, picture.shape[:2], rate)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
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
