"""Who is on the street: cars, buses, people on foot and on bicycles."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from fornet_keras.data.synthetic.furniture import draw_bin
from fornet_keras.data.synthetic.geometry import Box, Pose, Street
from fornet_keras.data.synthetic.people import draw_bicycle, draw_person, draw_rider
from fornet_keras.data.synthetic.thing import Thing, slots
from fornet_keras.data.synthetic.vehicles import CAR_SHAPES, draw_bus, draw_car


def sample_parked_cars(rng: np.random.Generator, street: Street, side: int) -> Iterator[Thing]:
    """Cars parked along the kerb, facing the way their side of the street goes."""
    density = rng.choice([0.0, 0.35, 0.75], p=[0.25, 0.4, 0.35])
    start = rng.uniform(8, 12) if side > 0 else rng.uniform(5, 9)
    for ahead in slots(rng, street, start, 55, (5.3, 6.5)):
        on_zebra = street.zebra is not None and abs(ahead - street.zebra - 1.5) < 4.5
        if rng.random() < density and not on_zebra:
            x = side * (street.half_width - 1.05 + rng.uniform(-0.1, 0.1))
            yield _car(rng, Pose(x, ahead, (0 if side > 0 else np.pi) + rng.uniform(-0.05, 0.05)))


def _car(rng: np.random.Generator, pose: Pose) -> Thing:
    shape = CAR_SHAPES[rng.integers(len(CAR_SHAPES))]
    solid = Box(pose, shape.width, 0.0, shape.height, -shape.length / 2, shape.length / 2).corners
    return Thing(pose.z, partial(draw_car, pose=pose, shape=shape), solid)


def sample_traffic(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
    """Cars and, in two scenes of five, a bus on the move in both lanes."""
    bus_lane = rng.choice([-1, 1]) if rng.random() < 0.45 else 0
    for side, heading in ((1, 0.0), (-1, np.pi)):
        ahead = rng.uniform(10, 30) if side > 0 else rng.uniform(8, 24)
        if bus_lane == side:
            length = rng.uniform(9, 12)
            pose = Pose(side * street.lane, ahead + length / 2, heading)
            solid = Box(pose, 2.5, 0.0, 3.1, -length / 2, length / 2).corners
            yield Thing(pose.z, partial(draw_bus, pose=pose, length=length), solid)
            ahead += length + 8
        for _ in range(rng.integers(0, 4)):
            x = side * street.lane + rng.uniform(-0.2, 0.2)
            yield _car(rng, Pose(x, ahead, heading + rng.uniform(-0.06, 0.06)))
            ahead += rng.uniform(8, 22)


def sample_sidewalk(rng: np.random.Generator, street: Street, side: int) -> Iterator[Thing]:
    """People walking, parked bicycles and bins on one sidewalk."""
    for _ in range(rng.integers(1, 6)):
        x = side * (street.half_width + rng.uniform(0.8, max(1.0, street.sidewalk_width - 0.4)))
        yield _person(rng, Pose(x, rng.uniform(7, 27), rng.choice([0.0, np.pi, 1.2, -1.2])))
    if rng.random() < 0.5:
        start, x = rng.uniform(7, 18), side * (street.half_width + rng.uniform(0.9, 1.6))
        heading = rng.choice([np.pi / 2, -np.pi / 2, 0.9, -0.9])
        for number in range(rng.integers(1, 5)):
            pose = Pose(x + rng.uniform(-0.1, 0.1), start + 0.9 * number, heading)
            solid = Box(pose, 0.1, 0.0, 0.9, -0.8, 0.8).corners
            yield Thing(pose.z, partial(draw_bicycle, pose=pose), solid)
    if rng.random() < 0.3:
        pose = Pose(side * (street.facade - 0.6), rng.uniform(8, 22))
        yield Thing(pose.z, partial(draw_bin, pose=pose), Box(pose, 0.5, 0.0, 0.9, -0.25, 0.25).corners)


def _person(rng: np.random.Generator, pose: Pose) -> Thing:
    height = rng.uniform(1.55, 1.92) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    solid = Box(pose, 0.4, 0.0, height, -0.15, 0.15).corners
    return Thing(pose.z, partial(draw_person, pose=pose, height=height), solid)


def sample_riders(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
    """Up to three people on bicycles, along the kerb or crossing the street."""
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])):
        side = rng.choice([-1, 1])
        heading = (0.0 if side > 0 else np.pi) + rng.uniform(-0.5, 0.5)
        x = side * (street.half_width - rng.uniform(2.3, 3.0))
        if rng.random() < 0.35:
            x, heading = rng.uniform(-0.8, 0.8) * street.half_width, side * np.pi / 2 + rng.uniform(-0.3, 0.3)
        pose = Pose(x, rng.uniform(7, 20), heading)
        yield Thing(pose.z, partial(draw_rider, pose=pose), Box(pose, 0.4, 0.0, 1.7, -0.8, 0.8).corners)


def sample_crossing(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
    """People on the zebra crossing, and cars coming out of the crossing street."""
    if street.zebra is not None:
        for _ in range(rng.integers(0, 4)):
            x = rng.uniform(-0.9, 0.9) * street.half_width
            yield _person(rng, Pose(x, street.zebra + rng.uniform(0.4, 2.6), rng.choice([-1, 1]) * np.pi / 2))
    if street.crossing:
        for share, heading in ((0.28, np.pi / 2), (0.72, -np.pi / 2)):
            if rng.random() < 0.45:
                ahead = street.crossing[0] + share * (street.crossing[1] - street.crossing[0])
                yield _car(rng, Pose(rng.uniform(-9, 9), ahead, heading + rng.uniform(-0.2, 0.2)))
