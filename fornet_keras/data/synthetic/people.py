"""Pedestrians, bicycles and the riders on them."""

from __future__ import annotations

import numpy as np

from fornet_keras.data.synthetic.canvas import CIRCLE, Brush, Canvas, pick
from fornet_keras.data.synthetic.geometry import Array, Pose
from fornet_keras.data.synthetic.labels import Label

SKINS = ((232, 190, 160), (206, 156, 122), (150, 102, 74), (98, 66, 50))
HAIRS = ((44, 34, 28), (96, 66, 40), (178, 140, 84), (150, 148, 146), (24, 22, 24))
TOPS = (
    (176, 40, 44),
    (44, 74, 140),
    (226, 222, 214),
    (40, 40, 46),
    (70, 116, 74),
    (218, 170, 60),
    (128, 84, 136),
    (110, 118, 128),
    (214, 120, 140),
    (96, 70, 52),
)
TROUSERS = ((48, 58, 88), (38, 38, 42), (118, 104, 84), (86, 88, 94), (60, 50, 44))
VESTS = ((228, 232, 40), (250, 130, 30), (240, 80, 60))
FRAMES = ((190, 40, 44), (40, 90, 170), (40, 42, 46), (60, 140, 90), (225, 222, 216))
TYRE = np.array([28.0, 28.0, 30.0])
WHEEL = 0.35
"""Radius of a bicycle wheel in metres."""


def draw_person(canvas: Canvas, rng: np.random.Generator, pose: Pose, height: float) -> None:
    """A walking or standing person, `height` metres tall; a heading across the street shows the stride."""
    brush = canvas.brush(Label.PERSON, pose.z)
    size = height / 1.75
    top, legs, skin = pick(rng, TOPS), pick(rng, TROUSERS), pick(rng, SKINS)
    sideways = abs(np.sin(pose.heading))
    stride = rng.uniform(0.05, 0.36) * sideways + 0.05
    hips, shoulders = 0.09 * (1 - 0.5 * sideways), 0.20 * (1 - 0.35 * sideways)
    coat = rng.random() < 0.35

    def bar(
        start: tuple[float, float], end: tuple[float, float], widths: tuple[float, float], color: Array
    ) -> None:
        (x0, y0), (x1, y1) = start, end
        ends = pose.upright(size * np.array([(x0, y0), (x1, y1)]))
        brush.limb(ends[0], ends[1], (widths[0] * size, widths[1] * size), color)

    for side in (-1, 1):
        foot = side * (stride if sideways > 0.4 else hips + 0.02)
        bar((side * hips, 0.88), (foot, 0.1), (0.19, 0.12), legs * (1 if side > 0 else 0.82))
        bar((foot - 0.02, 0.05), (foot + 0.05 * np.sign(np.sin(pose.heading) + 0.01), 0.05), (0.1, 0.1), TYRE)
    swing = rng.uniform(0.0, 0.24) * sideways + 0.04
    for side in (-1, 1):
        hand = (side * (shoulders + 0.06) + side * swing * sideways, 0.84)
        bar((side * (shoulders + 0.02), 1.36), hand, (0.13, 0.1), top * 0.8)
        bar(hand, (hand[0], 0.8), (0.09, 0.08), skin)
    hem, width = (0.6, 0.3) if coat else (0.88, 0.22)
    torso = np.array([(-shoulders, 1.44), (shoulders, 1.44), (width * 0.72, hem), (-width * 0.72, hem)])
    brush.polygon(pose.upright(size * torso), top)
    bar((-shoulders + 0.05, 1.4), (shoulders - 0.05, 1.4), (0.16, 0.16), top)
    shaded = np.array([(shoulders * 0.35, 1.46), (shoulders, 1.44), (width * 0.72, hem), (width * 0.25, hem)])
    brush.polygon(pose.upright(size * shaded), top * 0.8)
    if rng.random() < 0.3:  # a rucksack or a bag
        bag = (0.0, 1.2) if sideways < 0.4 else (-0.2 * np.sign(np.sin(pose.heading)), 1.2)
        brush.ellipse(pose, (size * bag[0], size * bag[1]), (0.14 * size, 0.22 * size), pick(rng, TOPS) * 0.7)
    _head(brush, pose, (0.0, 1.62 * size), size, skin, pick(rng, HAIRS))


def _head(
    brush: Brush, pose: Pose, middle: tuple[float, float], size: float, skin: Array, hair: Array
) -> None:
    """Neck, face and hair (or a helmet), centred at (right, up) metres of the pose."""
    right, up = middle
    brush.ellipse(pose, (right, up - 0.13 * size), (0.06 * size, 0.08 * size), skin * 0.85)
    brush.ellipse(pose, (right, up), (0.1 * size, 0.135 * size), skin)
    brush.ellipse(pose, (right, up + 0.06 * size), (0.115 * size, 0.09 * size), hair)


def draw_bicycle(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """A bicycle that stands along its heading."""
    brush = canvas.brush(Label.BICYCLE, pose.z)
    frame = pick(rng, FRAMES)

    def tube(start: tuple[float, float], end: tuple[float, float], width: float, color: Array) -> None:
        points = pose.place(np.array([(0.0, start[1], start[0]), (0.0, end[1], end[0])]))
        brush.limb(points[0], points[1], (width, width), color)

    for middle in (-0.52, 0.52):
        ring = pose.place(np.column_stack([np.zeros(len(CIRCLE)), CIRCLE[:, ::-1] * WHEEL + (WHEEL, middle)]))
        _wheel(brush, ring)
    crank, saddle, bars = (-0.08, 0.32), (-0.22, 0.88), (0.4, 0.92)
    for start, end in (
        (crank, saddle),
        (crank, (0.36, 0.72)),
        (saddle, (0.36, 0.74)),
        ((-0.52, 0.35), crank),
    ):
        tube(start, end, 0.065, frame)
    tube((0.52, 0.35), bars, 0.065, frame)
    tube((-0.52, 0.35), saddle, 0.045, frame)
    tube((-0.34, 0.93), (-0.12, 0.93), 0.09, TYRE)
    grips = pose.place(np.array([(-0.28, 0.98, 0.36), (0.28, 0.98, 0.36)]))
    brush.limb(grips[0], grips[1], (0.06, 0.06), TYRE)


def _wheel(brush: Brush, ring: Array) -> None:
    """A tyre around spokes; the outline (16, 3) is the tyre's, and the spokes count as bicycle too."""
    middle = ring.mean(axis=0)
    brush.polygon(ring, TYRE)
    brush.polygon(middle + 0.8 * (ring - middle), np.array([146.0, 146.0, 142.0]))
    for spoke in range(0, len(ring) // 2, 2):
        brush.limb(
            middle + 0.8 * (ring[spoke] - middle),
            middle + 0.8 * (ring[spoke + 8] - middle),
            (0.02, 0.02),
            TYRE * 3.2,
        )


def draw_rider(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """A bicycle and a helmeted rider leaning over its handlebar, two objects with a label each."""
    draw_bicycle(canvas, rng, pose)
    brush = canvas.brush(Label.RIDER, pose.z)
    top = pick(rng, VESTS) if rng.random() < 0.75 else pick(rng, TOPS)
    legs, skin = pick(rng, TROUSERS), pick(rng, SKINS)

    def bar(
        start: tuple[float, ...], end: tuple[float, ...], widths: tuple[float, float], color: Array
    ) -> None:
        points = pose.place(np.array([start, end]))
        brush.limb(points[0], points[1], widths, color)

    pedal = rng.uniform(-0.14, 0.14)
    for side in (-1, 1):
        foot = (0.1 * side, 0.3 + side * pedal, 0.02 + 0.1 * side)
        knee = (0.11 * side, 0.66 + 0.6 * side * pedal, 0.2)
        bar((0.1 * side, 0.95, -0.2), knee, (0.2, 0.15), legs)
        bar(knee, foot, (0.14, 0.1), legs * 0.9)
        bar(foot, (foot[0], foot[1] - 0.02, foot[2] + 0.12), (0.1, 0.09), TYRE)
    bar((0.0, 1.0, -0.2), (0.0, 1.42, 0.06), (0.34, 0.4), top)
    for side in (-1, 1):
        bar((0.19 * side, 1.42, 0.08), (0.26 * side, 1.02, 0.36), (0.13, 0.1), top * 0.85)
        bar((0.26 * side, 1.02, 0.36), (0.26 * side, 1.0, 0.38), (0.1, 0.1), skin)
    head = pose.place(np.array([(0.0, 1.66, 0.16)]))[0]
    helmet = pick(rng, FRAMES + VESTS)
    _head(brush, Pose(float(head[0]), float(head[2])), (0.0, float(head[1])), 1.05, skin, helmet)
