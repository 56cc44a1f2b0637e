"""Houses along the street: a textured front, an end wall, sometimes a pitched roof."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.canvas import Brush, Canvas
from fornet_keras.data.synthetic.geometry import Array
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise

FLOOR = 3.2
"""Height of a floor in metres."""

WALLS = (
    (168, 92, 70),
    (196, 158, 116),
    (214, 202, 176),
    (176, 172, 166),
    (222, 218, 210),
    (203, 166, 92),
    (158, 172, 186),
    (140, 118, 100),
    (186, 128, 108),
)
ROOFS = ((142, 74, 56), (98, 84, 78), (80, 84, 92))
SIGNS = ((180, 40, 40), (30, 80, 140), (40, 110, 70), (230, 190, 60), (60, 50, 60), (225, 225, 220))


@dataclass(frozen=True)
class House:
    """A house: `side` is -1 (left of the street) or 1; `front` is how far its facade is from the axis; lengths in
    metres. A `pitched` one has a gable roof.
    """

    side: int
    front: float
    start: float
    end: float
    height: float
    depth: float = 14.0
    pitched: bool = False

    @property
    def corners(self) -> Array:
        """(8, 3) street coordinates of the house as a box."""
        inner, outer = self.side * self.front, self.side * (self.front + self.depth)
        ground = [(inner, self.start), (outer, self.start), (outer, self.end), (inner, self.end)]
        return np.array([(x, y, z) for y in (0.0, self.height) for x, z in ground])


def draw_house(canvas: Canvas, rng: np.random.Generator, house: House) -> None:
    """Draw the end wall, the roof and the front; nothing is built that lies outside the image."""
    camera, side = canvas.camera, house.side
    inner, outer = side * house.front, side * (house.front + house.depth)
    top = min(house.height, camera.top(house.end) + FLOOR)
    start = min(max(house.start, 0.8 * camera.enters(inner)), house.end - 1)
    color = np.array(WALLS[rng.integers(len(WALLS))]) * rng.uniform(0.8, 1.08)
    paint = _glass_front if house.height > 9 and rng.random() < 0.3 else _masonry_front
    brush = canvas.brush(Label.BUILDING, 0.5 * (start + house.end))

    def wall(
        left: tuple[float, float], right: tuple[float, float], normal: tuple[float, float, float]
    ) -> None:
        (x0, z0), (x1, z1) = left, right
        corners = np.array([(x0, 0, z0), (x1, 0, z1), (x1, top, z1), (x0, top, z0)])
        if canvas.shows(corners):
            detail = float(np.clip(camera.scale(0.5 * (z0 + z1)), 3, 16))
            front = paint(rng, abs(x1 - x0) + abs(z1 - z0), top, detail, color, canvas.light.lamps)
            brush.texture(corners, front, canvas.light.on(np.array(normal)))

    wall((min(inner, outer), house.start), (max(inner, outer), house.start), (0.0, 0.0, -1.0))
    if paint is _masonry_front and house.pitched and top == house.height:
        _roof(canvas, brush, rng, house)
    near, far = (inner, start), (inner, house.end)
    wall(*((near, far) if side < 0 else (far, near)), (-float(side), 0.0, 0.0))


def _roof(canvas: Canvas, brush: Brush, rng: np.random.Generator, house: House) -> None:
    """A pitched roof whose eaves run along the street, with a chimney."""
    color = np.array(ROOFS[rng.integers(len(ROOFS))]) * rng.uniform(0.85, 1.15)
    eave, ridge = house.side * (house.front - 0.3), house.side * (house.front + 0.4 * house.depth)
    back, top = house.side * (house.front + house.depth), house.height + rng.uniform(2.0, 3.6)
    low, start, end = house.height, house.start, house.end
    gable = np.array([(eave, low, start), (back, low, start), (ridge, top, start)])
    brush.polygon(gable, color * 0.8, canvas.light.on(np.array([0.0, 0.0, -1.0])))
    slope = np.array([(eave, low, start), (ridge, top, start), (ridge, top, end), (eave, low, end)])
    light = canvas.light.on(np.array([-0.5 * house.side, 0.866, 0.0]))
    brush.polygon(slope, color, light)
    for share in np.linspace(0.12, 0.88, 6):  # courses of tiles
        course = slope[[0, 3]] + share * (slope[[1, 2]] - slope[[0, 3]])
        brush.polygon(np.concatenate([course, course[::-1] + (0, 0.12, 0)]), color * 0.86, light)
    chimney = np.array([(0, -0.8, 0), (0.8, -0.8, 0), (0.8, 0.8, 0), (0, 0.8, 0)])
    brush.polygon(chimney + (ridge, top, rng.uniform(start, end)), np.array([120.0, 84.0, 70.0]), light)


def _tiles(cell: NDArray[np.bool_], floors: int, bays: int) -> NDArray[np.bool_]:
    return np.tile(cell, (floors, bays))


def _masonry_front(
    rng: np.random.Generator, length: float, height: float, detail: float, wall: Array, lamps: bool
) -> NDArray[np.uint8]:
    """RGB texture of a wall with punched windows; `detail` is pixels per metre."""
    bay = rng.uniform(1.9, 3.2)
    rows, columns = max(5, round(FLOOR * detail)), max(4, round(bay * detail))
    floors, bays = max(1, round(height / FLOOR)), max(1, round(length / bay))
    size = (floors * rows, bays * columns)
    front = (
        wall * (1 + 0.05 * noise(rng, size, 1.5 * detail) + 0.03 * noise(rng, size, 8 * detail))[..., None]
    )
    if rng.random() < 0.4:  # courses of bricks or panels
        front[:: max(2, round(0.35 * detail))] *= 0.9

    wide, tall = rng.uniform(0.42, 0.66), rng.uniform(0.5, 0.68)
    up, across = np.linspace(1, 0, rows)[:, None], np.abs(np.linspace(-1, 1, columns))[None]
    pane = (np.abs(up - 0.55) < tall / 2) & (across < wide)
    frame = (np.abs(up - 0.55) < tall / 2 + 0.05) & (across < wide + 0.09)
    sill = (np.abs(up - 0.55 + tall / 2 + 0.05) < 0.03) & (across < wide + 0.16)
    bar = (across < 1.2 / columns) | (np.abs(up - 0.68) < 0.6 / rows)
    trim = np.array([225.0, 222.0, 215.0]) * rng.uniform(0.5, 1.0)
    front[_tiles(frame & ~pane | pane & bar | sill, floors, bays)] = trim
    _glaze(rng, front, _tiles(pane & ~bar, floors, bays), floors, bays, lamps)
    front[: max(1, rows // 7)] = wall * rng.choice([0.7, 1.15])  # cornice
    _ground_floor(rng, front[-rows:], columns, wall, lamps)
    return np.clip(front, 0, 255).astype(np.uint8)


def _glass_front(
    rng: np.random.Generator, length: float, height: float, detail: float, wall: Array, lamps: bool
) -> NDArray[np.uint8]:
    """RGB texture of an office block: bands of glass between thin mullions; `detail` is pixels per metre."""
    rows, columns = max(5, round(FLOOR * detail)), max(3, round(1.5 * detail))
    floors, bays = max(1, round(height / FLOOR)), max(1, round(length / 1.5))
    front = np.empty((floors * rows, bays * columns, 3))
    front[:] = 0.6 * wall + 60
    up, across = np.linspace(1, 0, rows)[:, None], np.abs(np.linspace(-1, 1, columns))[None]
    pane = (np.abs(up - 0.5) < 0.36) & (across < 0.9)
    _glaze(rng, front, _tiles(pane, floors, bays), floors, bays, lamps, bluish=True)
    _ground_floor(rng, front[-rows:], columns * 2, wall, lamps)
    return np.clip(front, 0, 255).astype(np.uint8)


def _glaze(
    rng: np.random.Generator,
    front: Array,
    panes: NDArray[np.bool_],
    floors: int,
    bays: int,
    lamps: bool,
    bluish: bool = False,
) -> None:
    """Fill the panes in place: each window mirrors a different bit of sky, has a curtain, or is lit."""
    glass = np.array([96.0, 122.0, 150.0]) if bluish else np.array([64.0, 74.0, 86.0])
    windows = glass * rng.uniform(0.55, 1.5, (floors, bays, 1))
    windows[rng.random((floors, bays)) < 0.15] = (190, 184, 172)
    if lamps:
        windows[rng.random((floors, bays)) < 0.3] = (330, 262, 160)
    spread = cv2.resize(windows, front.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    spread *= np.linspace(1.15, 0.8, len(front) // floors)[
        np.arange(len(front)) % (len(front) // floors), None, None
    ]
    front[panes] = spread[panes]


def _ground_floor(rng: np.random.Generator, floor: Array, column: int, wall: Array, lamps: bool) -> None:
    """Turn the lowest floor of a front, in place, into shops or a plinth with doors."""
    rows, columns = floor.shape[:2]
    if rng.random() < 0.55:
        floor[:] = wall * 0.55
        for left in range(0, columns - column, column * 2):
            right = min(left + round(column * 1.8), columns)
            glass = (
                (300, 240, 160)
                if lamps and rng.random() < 0.7
                else np.array([58, 66, 76]) * rng.uniform(0.6, 1.6)
            )
            floor[rows // 4 :, left + 1 : right] = glass
            floor[rows // 10 : rows // 4, left:right] = np.array(SIGNS[rng.integers(len(SIGNS))]) * 0.9
            floor[-max(1, rows // 7) :, left:right] = wall * 0.4
        return
    floor[-max(1, rows // 5) :] *= 0.72
    door = rng.integers(0, max(1, columns - column))
    floor[rows // 3 :, door : door + max(2, column // 2)] = np.array(SIGNS[rng.integers(3)]) * rng.uniform(
        0.35, 0.7
    )
