"""Cloudy noise, the raw material of every surface: asphalt, plaster, leaves, clouds."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.geometry import Array

TILE = 512
"""Side of the noise tile in pixels."""

LUMP = 64
"""Size in tile pixels of the largest lumps."""


@lru_cache(maxsize=1)
def _tile() -> NDArray[np.float32]:
    """Fractal noise (TILE, TILE), mean 0, standard deviation 1; the same in every process."""
    rng = np.random.default_rng(20240917)
    tile = np.zeros((TILE, TILE), np.float32)
    for octave in range(6):
        cells = TILE // (LUMP >> octave)
        layer = rng.standard_normal((cells, cells), dtype=np.float32)
        tile += 0.72**octave * cv2.resize(layer, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    tile = (tile - tile.mean()) / tile.std()
    tile.setflags(write=False)
    return tile


def noise(rng: np.random.Generator, size: tuple[int, int], lump: float) -> NDArray[np.float32]:
    """A random piece (height, width) of the tile; `lump` is the size in pixels of the largest lumps."""
    step = LUMP / max(lump, 1.0)
    left, top = rng.uniform(0, TILE, 2)
    window = np.array([[step, 0, left], [0, step, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(_tile(), window, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)


def wrap(values: Array, period: float) -> Array:
    """`values % period`, twenty times faster than NumPy's."""
    return values - np.float32(period) * np.floor(values * np.float32(1 / period))


def noise_at(x: Array, y: Array, lump: float) -> NDArray[np.float32]:
    """Noise that lies on a surface: its value at coordinates x, y, lumps of `lump` units; both broadcast."""
    step = np.float32(LUMP / lump)
    columns, rows = wrap(x * step, TILE), wrap(y * step, TILE)
    columns, rows = (np.ascontiguousarray(grid) for grid in np.broadcast_arrays(columns, rows))
    return cv2.remap(_tile(), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
