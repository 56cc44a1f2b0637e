"""Label ids of an image at another size than its logits are of, decided outside the network."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 8
"""Cells of the tiles in which labels are enlarged: in most of them few classes can be the highest."""


def enlarged_label_ids(
    logits: NDArray[np.floating[Any]], stride: int, own: Sequence[int], size: Sequence[int]
) -> NDArray[np.uint8]:
    """Label ids of an image at another size than it was predicted at.

    Logits are resized bilinearly before the highest is taken: borders of labels that are resized themselves
    would be stairs.

    Args:
        logits: `(rows, columns, classes)`, which may cover more than the image.
        stride: pixels of the image a row and a column.
        own: height and width that the image was predicted at.
        size: height and width of the labels.
    """
    cells = [-(-length // stride) for length in own]
    logits = np.asarray(logits[: cells[0], : cells[1]], np.float32)
    steps = [old / new / stride for old, new in zip(own, size, strict=True)]
    label_ids = np.empty(size, np.uint8)
    tops, lefts = (
        _tile_starts(new, step, count) for new, step, count in zip(size, steps, cells, strict=True)
    )
    for row, (top, bottom) in enumerate(zip(tops, tops[1:], strict=False)):
        for column, (left, right) in enumerate(zip(lefts, lefts[1:], strict=False)):
            first = np.array([row, column]) * TILE
            tile = logits[first[0] : first[0] + TILE + 1, first[1] : first[1] + TILE + 1]
            offsets = (np.array([top, left]) + 0.5) * steps - 0.5 - first
            _decide(tile, steps, offsets, label_ids[top:bottom, left:right])
    return label_ids


def _tile_starts(pixels: int, step: float, cells: int) -> list[int]:
    """The first pixel whose cell before it is in each tile, and the number of pixels."""
    centres = (np.arange(pixels) + 0.5) * step - 0.5
    return [0, *np.searchsorted(centres, np.arange(TILE, cells, TILE)).tolist(), pixels]


def _decide(
    tile: NDArray[np.float32], steps: Sequence[float], offsets: NDArray[Any], label_ids: NDArray[np.uint8]
) -> None:
    """Fill in the labels of a tile's pixels, `steps` cells apart, the first `offsets` from its first cell."""
    # Between the cells no class can be the highest that is below another one's lowest in all of them.
    classes = np.flatnonzero(~(tile.max((0, 1)) < tile.min((0, 1)).max()))  # all of them where one is NaN
    label_ids[:] = classes[0]
    if len(classes) == 1 or not label_ids.size:
        return
    places = np.array([[steps[1], 0, offsets[1]], [0, steps[0], offsets[0]]])
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    maps = (
        cv2.warpAffine(np.ascontiguousarray(tile[..., number]), places, label_ids.shape[::-1], **how)
        for number in classes
    )
    highest = next(maps)
    for number, logits in zip(classes[1:], maps, strict=True):
        label_ids[logits > highest] = number
        cv2.max(highest, logits, dst=highest)
