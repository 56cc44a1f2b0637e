"""The layout of a scene: its street, its camera, and the things along the street."""

from __future__ import annotations

import numpy as np

from fornet_keras.data.synthetic.geometry import Camera, Street
from fornet_keras.data.synthetic.roadside import sample_block, sample_kerb
from fornet_keras.data.synthetic.thing import Thing
from fornet_keras.data.synthetic.traffic import (
    sample_crossing,
    sample_parked_cars,
    sample_riders,
    sample_sidewalk,
    sample_traffic,
)


def sample_street(rng: np.random.Generator) -> Street:
    """A street 9.6 to 14 m wide between sidewalks of 3 to 6 m, often with a crossing street."""
    crossing = None
    if rng.random() < 0.4:
        start = rng.uniform(16, 34)
        crossing = (start, start + rng.uniform(8, 12))
    zebra = None
    if rng.random() < 0.5:
        zebra = crossing[0] - 4.5 if crossing else rng.uniform(8, 22)
    return Street(rng.uniform(4.8, 7.0), rng.uniform(3.0, 6.0), crossing, zebra)


def sample_camera(rng: np.random.Generator, street: Street, size: tuple[int, int]) -> Camera:
    """A car's camera in the right-hand lane, in half of the scenes on a bend."""
    height, width = size
    return Camera(
        size=size,
        focal=width * rng.uniform(0.72, 0.95),
        vanishing=(width * rng.uniform(0.38, 0.62), height * rng.uniform(0.38, 0.52)),
        height=rng.uniform(1.25, 1.95),
        offset=street.half_width * rng.uniform(0.15, 0.5),
        curve=rng.uniform(-1 / 120, 1 / 120) if rng.random() < 0.5 else 0.0,
    )


def sample_things(rng: np.random.Generator, street: Street) -> list[Thing]:
    """Everything on the street, in no particular order."""
    things: list[Thing] = []
    height = rng.uniform(5.5, 17)
    gaps = rng.uniform(0.1, 0.4)
    trees = rng.uniform(0.0, 0.9) if rng.random() < 0.6 else 0.0
    for side in (-1, 1):
        things += sample_block(rng, street, side, height, gaps)
        things += sample_kerb(rng, street, side, trees)
        things += sample_parked_cars(rng, street, side)
        things += sample_sidewalk(rng, street, side)
    things += sample_traffic(rng, street)
    things += sample_riders(rng, street)
    things += sample_crossing(rng, street)
    return things
