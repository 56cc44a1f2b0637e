"""How long an MP4 is, as its header says."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

MP4_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp")


def shown_frames(path: Path, rate: float) -> float:
    """How many frames an MP4 is long; without bound for other formats.

    It also counts frames that its edit list hides: what a phone's editor or `ffmpeg -ss … -c copy` has left
    out. The length in its header is that of what is shown.
    """
    if path.suffix.lower() not in MP4_SUFFIXES:
        return math.inf
    with path.open("rb") as file:
        movie = _find_box(file, 0, path.stat().st_size, b"moov")
        header = _find_box(file, *movie, b"mvhd") if movie else None
        if header is None:
            return math.inf
        file.seek(header[0])
        content = file.read(32)
    # After version, flags and two dates: units a second, and the length in them.
    units, length = struct.unpack_from(">20xIQ" if content[0] else ">12xII", content)
    return length / units * rate if units and length else math.inf


def _find_box(file: BinaryIO, start: int, end: int, name: bytes) -> tuple[int, int] | None:
    """Where the content of an MP4's box begins and ends, among those in a part of the file."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        length, content = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:], "big"), start + 16
        if head[4:8] == name:
            return content, start + length if length else end
        if length < 8:  # the last one, or damaged
            return None
        start += length
    return None
