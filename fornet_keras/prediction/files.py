"""The picture files that a prediction writes, each whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fornet_keras.atomic import Placing, written_whole


def write_picture(path: Path, picture: NDArray[np.uint8], placing: Placing | None = None) -> None:
    """Write RGB `(height, width, 3)` or grey `(height, width)` as a PNG; `placing` as of `written_whole`."""
    with written_whole(path, placing) as temporary:
        Image.fromarray(picture).save(temporary)


def write_labels(
    path: Path, values: NDArray[np.uint8], colors: NDArray[np.uint8], placing: Placing | None = None
) -> None:
    """Write class values as a palette PNG: viewers show the colours, programs read the values.

    Args:
        path: the file.
        values: uint8 `(height, width)`.
        colors: uint8 `(256, 3)`, the RGB colour of each value.
        placing: as of `written_whole`.
    """
    with written_whole(path, placing) as temporary:
        palette_image(values, colors).save(temporary)


def palette_image(values: NDArray[np.uint8], colors: NDArray[np.uint8]) -> Image.Image:
    """Class values as an image that `write_labels` writes."""
    image = Image.fromarray(values)
    image.putpalette(colors.tobytes())
    return image
