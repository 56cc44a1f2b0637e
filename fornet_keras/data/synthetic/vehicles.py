"""Cars and buses: solids in perspective, so that front, rear and side views come by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fornet_keras.data.synthetic.canvas import CIRCLE, Brush, Canvas, panel, pick
from fornet_keras.data.synthetic.geometry import Array, Box, Pose
from fornet_keras.data.synthetic.labels import Label

PAINTS = (
    (205, 208, 212),
    (176, 180, 186),
    (236, 236, 234),
    (224, 222, 214),
    (44, 46, 52),
    (30, 32, 38),
    (96, 100, 108),
    (70, 76, 86),
    (160, 30, 34),
    (36, 66, 130),
    (64, 110, 160),
    (40, 84, 62),
    (196, 160, 60),
    (120, 70, 50),
    (214, 110, 40),
)
GLASS = np.array([46.0, 56.0, 68.0])
RUBBER = np.array([26.0, 26.0, 28.0])
LIVERIES = (
    ((222, 176, 40), (235, 232, 225)),
    ((190, 34, 40), (225, 222, 216)),
    ((40, 96, 170), (236, 238, 240)),
    ((52, 140, 96), (236, 236, 226)),
    ((230, 120, 40), (60, 60, 66)),
)


@dataclass(frozen=True)
class CarShape:
    """Proportions of a car: metres, and the cabin's ends as shares of the length from the rear."""

    length: float
    width: float
    height: float
    belt: float
    cabin: tuple[float, float, float, float]
    """Rear bottom, rear top, front top, front bottom."""


CAR_SHAPES = (
    CarShape(3.9, 1.72, 1.48, 0.92, (0.02, 0.10, 0.58, 0.76)),  # hatchback
    CarShape(4.6, 1.82, 1.44, 0.90, (0.16, 0.30, 0.58, 0.74)),  # saloon
    CarShape(4.6, 1.82, 1.50, 0.92, (0.01, 0.09, 0.58, 0.74)),  # estate
    CarShape(4.5, 1.90, 1.72, 1.05, (0.01, 0.08, 0.60, 0.74)),  # off-roader
    CarShape(4.9, 1.95, 1.98, 1.10, (0.00, 0.02, 0.74, 0.90)),  # van
)


def draw_car(canvas: Canvas, rng: np.random.Generator, pose: Pose, shape: CarShape) -> None:
    """A car: underbody, body, wheels and cabin, with lights, plates and windows."""
    parts = _Parts(canvas.brush(Label.CAR, pose.z), pose, canvas.light.lamps)
    paint = pick(rng, PAINTS)
    half, wide = shape.length / 2, shape.width
    parts.underbody(Box(pose, wide * 0.9, 0.08, 0.4, -half + 0.15, half - 0.15))
    body = Box(pose, wide, 0.26, shape.belt, -half, half, wide * 0.94, -half + 0.04, half - 0.12)
    for name, face, light in parts.faces(body, paint):
        if name in ("left", "right"):
            parts.brush.polygon(panel(face, 0, 1, 0, 0.13), paint * 0.45, light)
            parts.brush.polygon(panel(face, 0, 1, 0.72, 0.8), np.minimum(paint * 1.25 + 12, 255), light)
            parts.wheels(name, wide / 2 + 0.01, (-0.31 * shape.length, 0.32 * shape.length), 0.33)
        elif name != "top":
            parts.car_end(face, name, light)
    rear, rear_top, front_top, front = (share * shape.length - half for share in shape.cabin)
    cabin = Box(pose, wide * 0.93, shape.belt, shape.height, rear, front, wide * 0.78, rear_top, front_top)
    for name, face, light in parts.faces(cabin, paint):
        if name in ("front", "rear"):
            parts.window(face, (0.06, 0.94, 0.06, 0.9), light)
        elif name != "top":
            parts.window(face, (0.07, 0.47, 0.06, 0.88), light)
            parts.window(face, (0.52, 0.93, 0.06, 0.88), light)


def draw_bus(canvas: Canvas, rng: np.random.Generator, pose: Pose, length: float) -> None:
    """A city bus: a tall box in two colours with a band of windows; length in metres."""
    parts = _Parts(canvas.brush(Label.BUS, pose.z), pose, canvas.light.lamps)
    low, high = (np.array(color, float) for color in LIVERIES[rng.integers(len(LIVERIES))])
    half = length / 2
    parts.underbody(Box(pose, 2.3, 0.1, 0.5, -half + 0.2, half - 0.2))
    for name, face, light in parts.faces(Box(pose, 2.5, 0.32, 3.1, -half, half, 2.4), high):
        if name == "top":
            continue
        parts.brush.polygon(panel(face, 0, 1, 0, 0.36), low, light)
        parts.brush.polygon(panel(face, 0, 1, 0.93, 1), low * 0.8, light)
        if name in ("left", "right"):
            for pane in np.linspace(0.02, 0.98, 8)[:-1]:
                parts.window(face, (pane, pane + 0.125, 0.42, 0.84), light)
            for door in (0.34, 0.8) if name == "right" else ():
                parts.brush.polygon(panel(face, door, door + 0.1, 0.03, 0.84), GLASS * 1.3, light)
            parts.wheels(name, 1.26, (-0.28 * length, 0.3 * length), 0.48)
        else:
            parts.bus_end(face, name, light)


@dataclass(frozen=True)
class _Parts:
    """The parts that vehicles are made of; faces are (4, 3) as `Box.face` orders them.

    Args:
        brush: the vehicle's.
        pose: where the vehicle is.
        lamps: whether its lamps are on.
    """

    brush: Brush
    pose: Pose
    lamps: bool

    def faces(self, box: Box, color: Array) -> Iterator[tuple[str, Array, Array]]:
        """Paint the sides of a box that face the camera; yields name, corners and RGB light of each."""
        for name in ("top", "rear", "right", "front", "left"):
            face = box.face(name)
            light = self.brush.face(face, color)
            if light is not None:
                yield name, face, light

    def underbody(self, box: Box) -> None:
        """The dark below a vehicle."""
        for _ in self.faces(box, RUBBER):
            pass

    def window(self, face: Array, place: tuple[float, float, float, float], light: Array) -> None:
        """A pane with the bright reflection of the sky in its upper part."""
        left, right, bottom, top = place
        self.brush.polygon(panel(face, *place), GLASS, light)
        self.brush.polygon(panel(face, left, right, bottom + 0.6 * (top - bottom), top), GLASS * 1.7, light)

    def wheels(self, side: str, reach: float, places: tuple[float, float], radius: float) -> None:
        """The wheels of one side: tyre, rim and hub, `reach` metres from the middle."""
        right = -reach if side == "left" else reach
        for ahead in places:
            for share, color in ((1.0, RUBBER), (0.62, np.array([150.0, 152.0, 156.0])), (0.2, RUBBER * 2)):
                ring = np.column_stack(
                    [np.full(len(CIRCLE), right), CIRCLE * share * radius + (radius, ahead)]
                )
                self.brush.polygon(self.pose.place(ring), color)

    def lamp(self, face: Array, place: tuple[float, float, float, float], color: Array, light: Array) -> None:
        """A lamp at a place on a face; it shines if lamps are on."""
        corners = panel(face, *place)
        if self.lamps:
            self.brush.glow(corners, np.minimum(color * 1.5 + 40, 255))
        else:
            self.brush.polygon(corners, color, light)

    def car_end(self, face: Array, name: str, light: Array) -> None:
        """Bumper, wheels below it, plate, lamps and, at the front, the grille."""
        self.brush.polygon(panel(face, 0, 1, 0, 0.24), RUBBER * 2, light)
        self.brush.polygon(panel(face, 0.03, 0.16, -0.34, 0.04), RUBBER, light)
        self.brush.polygon(panel(face, 0.84, 0.97, -0.34, 0.04), RUBBER, light)
        if name == "front":
            self.brush.polygon(panel(face, 0.24, 0.76, 0.36, 0.72), RUBBER * 1.6, light)
        plate = (0.36, 0.64, 0.16, 0.34) if name == "front" else (0.36, 0.64, 0.4, 0.6)
        self.brush.polygon(panel(face, *plate), np.array([232.0, 230.0, 214.0]), light)
        color = np.array([238.0, 238.0, 225.0]) if name == "front" else np.array([190.0, 24.0, 24.0])
        self.lamp(face, (0.03, 0.21, 0.52, 0.84), color, light)
        self.lamp(face, (0.79, 0.97, 0.52, 0.84), color, light)

    def bus_end(self, face: Array, name: str, light: Array) -> None:
        """Wheels, windscreen or rear window, destination board, lamps."""
        self.brush.polygon(panel(face, 0.04, 0.16, -0.11, 0.02), RUBBER, light)
        self.brush.polygon(panel(face, 0.84, 0.96, -0.11, 0.02), RUBBER, light)
        front = name == "front"
        self.window(face, (0.05, 0.95, 0.36, 0.8) if front else (0.12, 0.88, 0.48, 0.8), light)
        self.brush.polygon(panel(face, 0.2, 0.8, 0.84, 0.94), RUBBER, light)
        self.brush.glow(panel(face, 0.28, 0.72, 0.87, 0.92), np.array([250.0, 170.0, 50.0]))
        color = np.array([238.0, 238.0, 225.0]) if front else np.array([200.0, 24.0, 24.0])
        self.lamp(face, (0.05, 0.19, 0.1, 0.19), color, light)
        self.lamp(face, (0.81, 0.95, 0.1, 0.19), color, light)
