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


def write_table_first(path: Path, num_frames: int) -> tuple[bytes, int]:
    """An MP4 as cameras and the web write it: its table of contents, then so many bytes with the frames."""
    content = write_trimmed(path, num_frames, 0).read_bytes()
    end, start = content.index(b"moov") - 4, content.index(b"mdat") - 4
    table = bytearray(content[end:])
    places = table.index(b"stco") + 8
    for place in range(places + 4, places + 4 + 4 * int.from_bytes(table[places : places + 4], "big"), 4):
        (offset,) = struct.unpack_from(">I", table, place)
        struct.pack_into(">I", table, place, offset + len(table))
    path.write_bytes(whole := content[:start] + table + content[start:end])
    return whole, end - start


def write_wide_pixels(path: Path, ratio: tuple[int, int]) -> Path:
    """An MP4 whose pixels are so wide and so high, in any unit."""
    content = write_trimmed(path, 9, 0).read_bytes()
    end, start = content.index(b"moov") - 4, content.index(b"mp4v") - 4
    table = bytearray(content[end:])
    added = struct.pack(">I4sII", 16, b"pasp", *ratio)
    (length,) = struct.unpack_from(">I", content, start)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        place = table.index(name) - 4
        struct.pack_into(">I", table, place, len(added) + int.from_bytes(table[place : place + 4], "big"))
    table[start + length - end : start + length - end] = added
    path.write_bytes(content[:end] + table)
    return path
