"""Houses along the street: a front, an end wall, sometimes a pitched roof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fornet_keras.data.synthetic.canvas import Brush, Canvas, pick
from fornet_keras.data.synthetic.facades import FLOOR, Wall, curtain_wall, masonry
from fornet_keras.data.synthetic.geometry import Array
from fornet_keras.data.synthetic.labels import Label

PLASTERS = (
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
DEPTH = 14.0  # of a house, in metres


@dataclass(frozen=True)
class House:
    """A house; lengths in metres.

    Args:
        side: -1 for the left side of the street, 1 for the right.
        front: how far its front is from the street's axis.
        start, end: nearest and farthest z.
        height: of its walls.
        exposed: whether anything of the end wall that faces the camera can be seen.
        pitched: whether it has a pitched roof instead of a flat one.
    """

    side: int
    front: float
    start: float
    end: float
    height: float
    exposed: bool
    pitched: bool

    @property
    def corners(self) -> Array:
        """(8, 3) street coordinates of the house as a box."""
        inner, outer = self.side * self.front, self.side * (self.front + DEPTH)
        ground = [(inner, self.start), (outer, self.start), (outer, self.end), (inner, self.end)]
        return np.array([(x, y, z) for y in (0.0, self.height) for x, z in ground])


def draw_house(canvas: Canvas, rng: np.random.Generator, house: House) -> None:
    """Draw the end wall, the roof and the front; nothing is built that lies outside the image."""
    camera, side = canvas.camera, house.side
    inner, outer = side * house.front, side * (house.front + DEPTH)
    top = min(house.height, camera.top(house.end) + FLOOR)
    start = min(max(house.start, 0.8 * camera.enters(inner)), house.end - 1)
    color = pick(rng, PLASTERS, 0.8, 1.08)
    modern = house.height > 9 and rng.random() < 0.3
    brush = canvas.brush(Label.BUILDING, 0.5 * (start + house.end))

    def build(
        left: tuple[float, float], right: tuple[float, float], normal: tuple[float, float, float]
    ) -> None:
        (x0, z0), (x1, z1) = left, right
        corners = np.array([(x0, 0, z0), (x1, 0, z1), (x1, top, z1), (x0, top, z0)])
        if canvas.shows(corners):
            detail = float(np.clip(camera.scale(0.5 * (z0 + z1)), 3, 14))
            wall = Wall(abs(x1 - x0) + abs(z1 - z0), top, detail, color, canvas.light.lamps)
            texture = curtain_wall(rng, wall) if modern else masonry(rng, wall)
            brush.texture(corners, texture, canvas.light.on(np.array(normal)))

    if house.exposed:
        build((min(inner, outer), house.start), (max(inner, outer), house.start), (0.0, 0.0, -1.0))
    if house.pitched and not modern and top == house.height:
        _draw_roof(canvas, brush, rng, house)
    near, far = (inner, start), (inner, house.end)
    build(*((near, far) if side < 0 else (far, near)), (-float(side), 0.0, 0.0))


def _draw_roof(canvas: Canvas, brush: Brush, rng: np.random.Generator, house: House) -> None:
    """A pitched roof whose eaves run along the street, with a chimney."""
    color = pick(rng, ROOFS, high=1.15)
    eave, ridge = house.side * (house.front - 0.3), house.side * (house.front + 0.4 * DEPTH)
    back, top = house.side * (house.front + DEPTH), house.height + rng.uniform(2.0, 3.6)
    low, start, end = house.height, house.start, house.end
    gable = np.array([(eave, low, start), (back, low, start), (ridge, top, start)])
    brush.polygon(gable, color * 0.8, canvas.light.on(np.array([0.0, 0.0, -1.0])))
    slope = np.array([(eave, low, start), (ridge, top, start), (ridge, top, end), (eave, low, end)])
    light = canvas.light.on(np.array([-0.5 * house.side, 0.866, 0.0]))
    brush.polygon(slope, color, light)
    for share in np.linspace(0.15, 0.85, 4):  # courses of tiles
        course = slope[[0, 3]] + share * (slope[[1, 2]] - slope[[0, 3]])
        brush.polygon(np.concatenate([course, course[::-1] + (0, 0.14, 0)]), color * 0.86, light)
    chimney = np.array([(0, -0.8, 0), (0.8, -0.8, 0), (0.8, 0.8, 0), (0, 0.8, 0)])
    brush.polygon(chimney + (ridge, top, rng.uniform(start, end)), np.array([120.0, 84.0, 70.0]), light)
