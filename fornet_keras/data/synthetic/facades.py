"""Textures of house fronts: walls with windows, office blocks of glass, shops on the ground floor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.geometry import Array
from fornet_keras.data.synthetic.noise import noise

Picture = NDArray[np.uint8]

FLOOR = 3.2
"""Height of a floor in metres."""

SIGNS = ((180, 40, 40), (30, 80, 140), (40, 110, 70), (230, 190, 60), (60, 50, 60), (225, 225, 220))
LIT = np.array([255.0, 238.0, 155.0])


@dataclass(frozen=True)
class Wall:
    """A wall to be painted.

    Args:
        length, height: metres.
        detail: pixels of the texture per metre.
        color: RGB 0…255 of the plaster.
        lamps: whether some rooms and shops are lit.
    """

    length: float
    height: float
    detail: float
    color: Array
    lamps: bool


def masonry(rng: np.random.Generator, wall: Wall) -> Picture:
    """RGB texture of a plastered or brick wall with punched windows."""
    bay = rng.uniform(1.9, 3.2)
    rows, columns = max(5, round(FLOOR * wall.detail)), max(4, round(bay * wall.detail))
    wide, tall = rng.uniform(0.42, 0.66), rng.uniform(0.5, 0.68)
    up, across = np.linspace(1, 0, rows)[:, None], np.abs(np.linspace(-1, 1, columns))[None]
    opening = (np.abs(up - 0.55) < tall / 2) & (across < wide)
    frame = (np.abs(up - 0.55) < tall / 2 + 0.05) & (across < wide + 0.09)
    sill = (np.abs(up - 0.5 + tall / 2) < 0.03) & (across < wide + 0.16)
    bars = (across < 1.2 / columns) | (np.abs(up - 0.68) < 0.6 / rows)
    cell = np.empty((rows, columns, 3))
    cell[:] = wall.color
    if rng.random() < 0.4:  # courses of bricks or panels
        cell[:: max(2, round(0.35 * wall.detail))] *= 0.9
    cell[frame | sill] = np.array([225.0, 222.0, 215.0]) * rng.uniform(0.5, 1.0)
    cells = _glazed(rng, cell, opening & ~bars, np.array([64.0, 74.0, 86.0]))
    return _front(rng, cells, wall, bay)


def curtain_wall(rng: np.random.Generator, wall: Wall) -> Picture:
    """RGB texture of an office block: bands of glass between thin mullions."""
    bay = 1.5
    rows, columns = max(5, round(FLOOR * wall.detail)), max(3, round(bay * wall.detail))
    up, across = np.linspace(1, 0, rows)[:, None], np.abs(np.linspace(-1, 1, columns))[None]
    cell = np.empty((rows, columns, 3))
    cell[:] = 0.6 * wall.color + 60
    cells = _glazed(rng, cell, (np.abs(up - 0.5) < 0.36) & (across < 0.9), np.array([96.0, 122.0, 150.0]))
    return _front(rng, cells, wall, bay)


def _glazed(rng: np.random.Generator, cell: Array, panes: NDArray[np.bool_], glass: Array) -> Picture:
    """The cell (rows, columns, 3) with five windows: three that mirror the sky, a curtain, a lit one."""
    cells = np.repeat(cell[None], 5, axis=0)
    mirror = np.linspace(1.2, 0.8, len(cell))[:, None, None]
    colors = [glass * rng.uniform(*span) for span in ((0.5, 0.8), (0.8, 1.1), (1.1, 1.5))]
    for window, color in zip(cells, (*colors, np.array([190.0, 184.0, 172.0]), LIT), strict=True):
        window[panes] = np.broadcast_to(mirror * color, cell.shape)[panes]
    return np.clip(cells, 0, 255).astype(np.uint8)


def _front(rng: np.random.Generator, cells: Picture, wall: Wall, bay: float) -> Picture:
    """Floors times bays of cells, each of them one of the variants (variants, rows, columns, 3)."""
    variants, rows, columns, _ = cells.shape
    floors, bays = max(1, round(wall.height / FLOOR)), max(1, round(wall.length / bay))
    likely = np.array([1.0] * (variants - 2) + [0.5, 1.5 if wall.lamps else 0.0])
    choice = rng.choice(variants, (floors, bays), p=likely / likely.sum())
    front = cells[choice].swapaxes(1, 2).reshape(floors * rows, bays * columns, 3)
    grime = cv2.cvtColor(7 * noise(rng, front.shape[:2], 3 * rows), cv2.COLOR_GRAY2RGB)
    front = cv2.add(front, grime, dtype=cv2.CV_8U)
    front[: max(1, rows // 7)] = np.minimum(wall.color * rng.choice([0.7, 1.15]), 255)  # cornice
    if rng.random() < 0.55:
        _paint_shops(rng, front[-rows:], wall)
    else:
        _paint_entrance(rng, front[-rows:], wall)
    return front


def _paint_shops(rng: np.random.Generator, floor: Picture, wall: Wall) -> None:
    """Shop windows below coloured signs, painted into the lowest floor (rows, width, 3) of a front."""
    rows, width = floor.shape[:2]
    floor[:] = wall.color * 0.55
    step = round(rng.uniform(4, 7) * wall.detail)
    for left in range(0, max(1, width - step // 2), step):
        right = min(left + round(0.9 * step), width)
        lit = wall.lamps and rng.random() < 0.7
        floor[rows // 4 :, left + 1 : right] = LIT if lit else np.array([58, 66, 76]) * rng.uniform(0.6, 1.6)
        floor[rows // 10 : rows // 4, left:right] = np.array(SIGNS[rng.integers(len(SIGNS))]) * 0.9
        floor[-max(1, rows // 7) :, left:right] = wall.color * 0.4


def _paint_entrance(rng: np.random.Generator, floor: Picture, wall: Wall) -> None:
    """A plinth and a door, painted into the lowest floor (rows, width, 3) of a front."""
    rows, width = floor.shape[:2]
    door = round(1.2 * wall.detail)
    left = rng.integers(0, max(1, width - door))
    floor[-max(1, rows // 6) :] = wall.color * 0.7
    floor[rows // 3 :, left : left + door] = np.array(SIGNS[rng.integers(3)]) * rng.uniform(0.35, 0.7)
