"""Videos that are written and read in tests."""

import struct
from collections.abc import Iterable
from pathlib import Path, PurePath

import cv2
import numpy as np

from fornet_keras.prediction.inputs import Input
from fornet_keras.prediction.pictures import Picture


def write_video(path: Path, num_frames: int, height: int, width: int, rate: float = 12) -> Path:
    """Frames of one red each, brighter and brighter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (width, height))
    for index in range(num_frames):
        writer.write(np.full((height, width, 3), (0, 0, 20 * index), np.uint8))
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[Picture], float]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        intact, frame = capture.read()
        if not intact:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame[..., ::-1])


def video(path: Path) -> Input:
    return Input(path, PurePath(path.stem))


def untracked(frames: Iterable[Picture], total: int | None) -> Iterable[Picture]:
    return frames


def write_trimmed(path: Path, num_frames: int, first: int) -> Path:
    """An MP4 whose edit list hides the frames before the `first`."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for index in range(num_frames):
        writer.write(np.full((48, 64, 3), 4 * index, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    # After its name, version, flags and number of edits: 1/1000 s that are played; where in the track's time.
    played, began = 40 * (num_frames - first), 512 * first
    struct.pack_into(">II", content, content.index(b"elst") + 12, played, began)
    struct.pack_into(">I", content, content.index(b"mvhd") + 20, played)
    path.write_bytes(content)
    return path
