"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np

from fornet_keras.data.synthetic.canvas import Brush, Canvas, pick
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
    green = pick(rng, GREENS, high=1.2)
    middle = np.array([pose.x + lean, crown, pose.z])
    _draw_leaves(
        brush,
        rng,
        middle,
        (radius, radius),
        green,
        ((-0.38, -0.2, 0.66), (0.4, -0.12, 0.64), (0, 0.22, 0.78)),
    )


def draw_bush(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float, radius: float) -> None:
    """A bush that reaches the ground; height and radius in metres."""
    brush = canvas.brush(Label.VEGETATION, pose.z)
    green = pick(rng, GREENS, low=0.75)
    middle = np.array([pose.x, 0.5 * height, pose.z])
    _draw_leaves(brush, rng, middle, (radius, 0.6 * height), green, ((0, 0, 1),))


def _draw_leaves(
    brush: Brush,
    rng: np.random.Generator,
    middle: Array,
    radii: tuple[float, float],
    green: Array,
    clumps: tuple[tuple[float, float, float], ...],
) -> None:
    """Ragged, top-lit leaves around a point (3,).

    Args:
        brush: draws them.
        rng: for their texture.
        middle: street coordinates.
        radii: across and up in metres.
        green: RGB of a leaf.
        clumps: (right, up, radius) of each clump, in units of `radii`.
    """
    camera = brush.canvas.camera
    scale = camera.scale(middle[2])
    wide, tall = max(1.5, radii[0] * scale), max(1.5, radii[1] * scale)
    height, width = int(2.3 * tall) + 1, int(2.3 * wide) + 1
    column, row = camera.project(middle[None])[0]
    up = np.linspace(1.15, -1.15, height, dtype=np.float32)[:, None]
    across = np.linspace(-1.15, 1.15, width, dtype=np.float32)[None]
    leaves = noise(rng, (height, width), 0.7 * wide)
    if scale > 12:  # near enough to tell leaves apart
        leaves += 0.7 * noise(rng, (height, width), 0.4 * scale)
    mask, relief = np.zeros((height, width), bool), 0.2 * leaves + 0.92
    for x, y, radius in clumps:
        mask |= ((across - x) ** 2 + (up - y) ** 2) < relief * np.float32(radius**2)
    shade = np.clip(0.9 + 0.24 * up + 0.22 * leaves, 0.3, 1.7)
    colors = np.clip(shade[..., None] * brush.tint(green).astype(np.float32), 0, 255).astype(np.uint8)
    brush.sprite(round(column - width / 2), round(row - height / 2), colors, mask)
