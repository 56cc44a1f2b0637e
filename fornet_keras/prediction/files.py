"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The temporary path to write to; it takes the place of `path` where the block ends without an error.

    Missing folders are made. The temporary file has the same suffix, which image and video writers look at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write RGB `(height, width, 3)` as a PNG."""
    with written_whole(path) as temporary:
        Image.fromarray(picture).save(temporary)


def write_labels(path: Path, values: NDArray[np.uint8], colors: NDArray[np.uint8]) -> None:
    """Write class values as a palette PNG: viewers show the colours, programs read the values.

    Args:
        path: the file.
        values: uint8 `(height, width)`.
        colors: uint8 `(256, 3)`, the RGB colour of each value.
    """
    image = Image.fromarray(values)
    image.putpalette(colors.tobytes())
    with written_whole(path) as temporary:
        image.save(temporary)
