"""Colours for classes to which nobody has given one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data import camvid, cityscapes
from fornet_keras.data.dataset import Color

VOID = (0, 0, 0)
USUAL = {"background": VOID} | {
    name: color
    for table in (cityscapes.TABLE, camvid.TABLE)
    for name, color in zip(table.names, table.colors, strict=True)
}
"""Colours by the names of classes: CamVid's, whose models are shipped, before Cityscapes'."""


def complete_colors(names: Sequence[str], own: Sequence[Color | None]) -> tuple[Color, ...]:
    """The colours of all classes: own ones, the usual ones of names, else those least like all others.

    The last are of PASCAL VOC's 255, each the farthest in Lab from what the classes have by then and from
    void's black. Of up to 255 classes all differ where those that are own do.

    Args:
        names: of the classes.
        own: the color of each, or None.
    """
    usual = {name: color for name, color in USUAL.items() if color not in own}
    colors = [color or usual.get(name) for name, color in zip(names, own, strict=True)]
    free = [color for color in map(_voc_color, range(1, 256)) if color not in colors]
    where, taken = _lab(free), [VOID, *(color for color in colors if color)]
    distances = np.linalg.norm(where[:, None] - _lab(taken), axis=-1).min(axis=1)
    for index, color in enumerate(colors):
        if color is None:
            farthest = int(distances.argmax())
            colors[index] = free[farthest]
            distances = np.minimum(distances, np.linalg.norm(where - where[farthest], axis=-1))
    return tuple(color for color in colors if color)


def _lab(colors: Sequence[Color]) -> NDArray[np.float32]:
    """CIELAB `(colors, 3)`, in which distances are as people see them."""
    return cv2.cvtColor(np.array([colors], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def _voc_color(index: int) -> Color:
    """The color that PASCAL VOC gives to a class; 0 is its background. All differ."""
    color = [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            color[channel] |= (index >> channel & 1) << bit
        index >>= 3
    return color[0], color[1], color[2]
