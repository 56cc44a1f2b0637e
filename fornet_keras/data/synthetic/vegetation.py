"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np

from fornet_keras.data.synthetic.canvas import Brush, Canvas
from fornet_keras.data.synthetic.geometry import Array, Pose
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise

GREENS = ((72, 106, 46), (88, 120, 52), (58, 92, 50), (112, 126, 54), (64, 86, 40), (134, 116, 48))
BARKS = ((92, 74, 58), (108, 96, 82), (70, 60, 52))


def draw_tree(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float, radius: float) -> None:
    """A tree: its trunk and a crown of three clumps of leaves; height and crown radius in metres."""
    brush = canvas.brush(Label.VEGETATION, pose.z)
    bark = np.array(BARKS[rng.integers(len(BARKS))])
    crown = height - radius
    lean = rng.uniform(-0.25, 0.25)
    base, fork = (pose.x, 0.0, pose.z), (pose.x + lean, crown, pose.z)
    brush.limb(base, fork, (0.42, 0.26), bark)
    for reach in (-0.5, 0.5):
        twig = (pose.x + lean + reach * radius, crown + 0.4 * radius, pose.z)
        brush.limb((fork[0], 0.75 * crown, pose.z), twig, (0.18, 0.08), bark)
    green = np.array(GREENS[rng.integers(len(GREENS))]) * rng.uniform(0.85, 1.2)
    clumps = ((-0.38, -0.2, 0.66), (0.4, -0.12, 0.64), (0.0, 0.22, 0.78))
    for right, up, share in clumps:
        middle = (pose.x + lean + right * radius, crown + up * radius, pose.z)
        draw_leaves(brush, rng, np.array(middle), (share * radius, share * radius), green)


def draw_bush(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float, radius: float) -> None:
    """A bush that reaches the ground; height and radius in metres."""
    brush = canvas.brush(Label.VEGETATION, pose.z)
    green = np.array(GREENS[rng.integers(len(GREENS))]) * rng.uniform(0.75, 1.1)
    draw_leaves(brush, rng, np.array([pose.x, 0.5 * height, pose.z]), (radius, 0.6 * height), green)


def draw_leaves(
    brush: Brush, rng: np.random.Generator, middle: Array, radii: tuple[float, float], green: Array
) -> None:
    """A ragged, top-lit clump of leaves around a point (3,); radii are (across, up) in metres."""
    canvas = brush.canvas
    scale = canvas.camera.scale(middle[2])
    wide, tall = max(1.5, radii[0] * scale), max(1.5, radii[1] * scale)
    height, width = int(2.3 * tall) + 1, int(2.3 * wide) + 1
    column, row = canvas.camera.project(middle[None])[0]
    left, top = round(column - width / 2), round(row - height / 2)
    if left >= canvas.camera.size[1] or top >= canvas.camera.size[0] or left + width < 0 or top + height < 0:
        return
    down = np.linspace(-1.15, 1.15, height, dtype=np.float32)[:, None]
    across = np.linspace(-1.15, 1.15, width, dtype=np.float32)[None]
    leaves = noise(rng, (height, width), 0.7 * wide)
    mask = 0.92 - down * down - across * across + 0.2 * leaves > 0
    shade = np.clip(0.88 - 0.26 * down + 0.22 * leaves, 0.3, 1.7)
    lit = brush.tint(green)
    colors = np.clip(shade[..., None] * lit.astype(np.float32), 0, 255).astype(np.uint8)
    brush.sprite(left, top, colors, mask)
