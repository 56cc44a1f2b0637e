"""Street furniture: lamp posts, bollards, traffic lights, traffic signs, fences and bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.canvas import CIRCLE, Canvas, pick
from fornet_keras.data.synthetic.geometry import Array, Box, Pose
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise

STEELS = ((92, 96, 98), (58, 66, 62), (142, 146, 148), (64, 60, 60), (112, 116, 110))
PLANKS = ((150, 112, 76), (120, 96, 76), (176, 168, 156), (96, 110, 88))
SIGNALS = ((235, 40, 36), (250, 176, 40), (50, 220, 120))
RED, BLUE, WHITE = (np.array(color, float) for color in ((196, 26, 34), (28, 78, 168), (240, 240, 236)))
YELLOW, BLACK = np.array([240.0, 196.0, 40.0]), np.array([26.0, 26.0, 28.0])
DIAMOND = CIRCLE[::4] * 1.15
OCTAGON = CIRCLE[::2]
TRIANGLE = np.array([(-1.0, -0.75), (1.0, -0.75), (0.0, 1.0)])
SQUARE = np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
SIGNS: tuple[tuple[tuple[Array, float, Array], ...], ...] = (
    ((CIRCLE, 1, RED), (CIRCLE, 0.74, WHITE), (SQUARE, 0.3, BLACK)),
    ((CIRCLE, 1, WHITE), (CIRCLE, 0.93, BLUE), (TRIANGLE, 0.5, WHITE)),
    ((TRIANGLE, 1.15, RED), (TRIANGLE, 0.75, WHITE), (SQUARE, 0.16, BLACK)),
    ((SQUARE, 1.05, WHITE), (SQUARE, 0.95, BLUE), (SQUARE, 0.45, WHITE)),
    ((OCTAGON, 1, WHITE), (OCTAGON, 0.92, RED), (SQUARE * (1, 0.3), 0.75, WHITE)),
    ((DIAMOND, 1, WHITE), (DIAMOND, 0.85, YELLOW)),
    ((CIRCLE, 1, RED), (SQUARE * (1, 0.26), 0.8, WHITE)),
)
"""Traffic signs as layers, lowest first: outline (number, 2), its share of the sign's radius, RGB colour."""


def _post(canvas: Canvas, pose: Pose, height: float, widths: tuple[float, float], steel: Array) -> None:
    """An upright post with its lit edge; widths at foot and top in metres."""
    brush = canvas.brush(Label.POLE, pose.z)
    brush.limb((pose.x, 0.0, pose.z), (pose.x, height, pose.z), widths, steel)
    lit = pose.x - 0.2 * widths[0]
    brush.limb((lit, 0.1, pose.z), (lit, height, pose.z), (0.2 * widths[0], 0.2 * widths[1]), steel * 1.35)


def draw_lamp_post(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float) -> None:
    """A lamp post with an arm over the road; all of it counts as pole, as Cityscapes has it."""
    steel = pick(rng, STEELS, high=1.15)
    _post(canvas, pose, height, (0.26, 0.17), steel)
    brush = canvas.brush(Label.POLE, pose.z)
    reach = -np.sign(pose.x) * rng.uniform(0.9, 1.8)
    tip = (pose.x + reach, height + 0.25, pose.z)
    brush.limb((pose.x, height, pose.z), tip, (0.14, 0.12), steel)
    brush.limb(tip, (tip[0] + 0.35 * np.sign(reach), tip[1], pose.z), (0.24, 0.2), steel * 0.8)
    if canvas.light.lamps:
        bulb = Pose(tip[0] + 0.17 * np.sign(reach), pose.z).upright(
            CIRCLE * (0.22, 0.09) + (0, tip[1] - 0.06)
        )
        brush.glow(bulb, np.array([255.0, 236.0, 180.0]))


def draw_bollard(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float) -> None:
    """A short post with a white band; height in metres."""
    steel = pick(rng, STEELS, high=1.15)
    _post(canvas, pose, height, (0.2, 0.18), steel)
    brush = canvas.brush(Label.POLE, pose.z)
    brush.limb((pose.x, 0.76 * height, pose.z), (pose.x, 0.84 * height, pose.z), (0.2, 0.2), WHITE)


def draw_traffic_light(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float) -> None:
    """A post with a signal head on top, one of its three lamps lit; `height` is the head's foot in metres."""
    _post(canvas, pose, height + 0.3, (0.2, 0.17), pick(rng, STEELS, high=1.15))
    brush = canvas.brush(Label.TRAFFIC_LIGHT, pose.z)
    wide, tall, lit = 0.27, 1.15, rng.integers(3)
    outline = np.array([(-wide, 0), (wide, 0), (wide, tall), (-wide, tall)]) + (0, height)
    brush.polygon(pose.upright(outline * (1.14, 1)), np.array([205.0, 205.0, 200.0]))
    brush.polygon(pose.upright((outline - (0, height + tall / 2)) * 0.93 + (0, height + tall / 2)), BLACK)
    for number, color in enumerate(SIGNALS):
        lamp = pose.upright(CIRCLE * 0.16 + (0, height + tall * (5 - 2 * number) / 6))
        if number == lit:
            brush.glow(lamp, np.array(color))
        else:
            brush.polygon(lamp, np.array(color) * 0.28)


def draw_sign(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float) -> None:
    """A post with one or two traffic signs; `height` is the middle of the upper one in metres."""
    _post(canvas, pose, height, (0.14, 0.13), pick(rng, STEELS, high=1.15))
    brush = canvas.brush(Label.TRAFFIC_SIGN, pose.z)
    middle = height
    for _ in range(1 + int(rng.random() < 0.35)):
        radius = rng.uniform(0.40, 0.50)
        for outline, share, color in SIGNS[rng.integers(len(SIGNS))]:
            brush.polygon(pose.upright(outline * share * radius + (0, middle)), color)
        middle -= 2.05 * radius


def draw_bin(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """A litter bin; Cityscapes calls such things static and does not score them."""
    brush = canvas.brush(Label.STATIC, pose.z)
    color = np.array([(52, 82, 60), (90, 92, 96), (170, 96, 40)][rng.integers(3)])
    box = Box(pose, 0.5, 0.05, 0.95, -0.25, 0.25, 0.6, -0.3, 0.3)
    for name in ("rear", "right", "front", "left", "top"):
        brush.face(box.face(name), color * (0.5 if name == "top" else 1))


def fence_texture(rng: np.random.Generator, style: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """RGB (48, 96, 3) and opacity (48, 96) of 2 m of fence: "planks", "railing" or "barrier"."""
    rows, columns = np.indices((48, 96))
    color = np.empty((48, 96, 3), np.float32)
    alpha = np.ones((48, 96), np.float32)
    if style == "planks":
        color[:] = pick(rng, PLANKS, 0.9, 1.15)
        color *= (1 - 0.45 * (columns % 12 < 2) - 0.12 * ((columns // 12) % 2))[..., None]
        color *= (1 + 0.1 * noise(rng, (48, 96), 12))[..., None]
        color[(rows % 24 > 9) & (rows % 24 < 12)] *= 0.8
    elif style == "railing":
        color[:] = np.array([(52, 66, 58), (70, 72, 76), (176, 180, 182)][rng.integers(3)])
        bars = (columns % 8 < 3) | (rows < 5) | (rows > 42)
        alpha = np.where(bars, 1.0, 0.35).astype(np.float32)
    else:
        color[:] = WHITE
        color[(columns + rows) // 16 % 2 == 0] = RED
        color[rows % 24 > 20] = (110, 110, 112)
    return np.clip(color, 0, 255).astype(np.uint8), alpha


def draw_fence(
    canvas: Canvas,
    rng: np.random.Generator,
    ends: tuple[tuple[float, float], tuple[float, float]],
    height: float,
    texture: tuple[NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    """A stretch of fence between two (x, z) on the ground, `height` metres tall."""
    (x0, z0), (x1, z1) = ends
    corners = np.array([(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)])
    if not canvas.shows(corners):
        return
    brush = canvas.brush(Label.FENCE, 0.5 * (z0 + z1))
    brush.texture(corners, texture[0], canvas.light.upright, texture[1])
    post = height + rng.uniform(0.03, 0.1)
    brush.limb((x0, 0, z0), (x0, post, z0), (0.09, 0.09), np.array([96.0, 92.0, 88.0]))
