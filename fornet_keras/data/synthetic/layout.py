"""What stands where: the street, the camera, and the things along the street."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fornet_keras.data.synthetic.canvas import Canvas
from fornet_keras.data.synthetic.houses import House, draw_house
from fornet_keras.data.synthetic.furniture import (
    draw_bin,
    draw_bollard,
    draw_fence,
    draw_lamp_post,
    draw_sign,
    draw_traffic_light,
    fence_texture,
)
from fornet_keras.data.synthetic.geometry import Array, Box, Camera, Pose, Street
from fornet_keras.data.synthetic.people import draw_bicycle, draw_person, draw_rider
from fornet_keras.data.synthetic.vegetation import draw_bush, draw_tree
from fornet_keras.data.synthetic.vehicles import CAR_SHAPES, draw_bus, draw_car

Draw = Callable[[Canvas, np.random.Generator], None]

HOUSES_END, LOTS_END = 115.0, 55.0
"""Distances in metres up to which houses are built and gardens lie between them."""


@dataclass(frozen=True)
class Thing:
    """Something on the street.

    Args:
        ahead: distance in metres that decides what hides what; a long thing counts by its far end.
        draw: paints it.
        solid: points (number, 3) whose hull casts its shadow; what is far outside the image is not painted.
    """

    ahead: float
    draw: Draw
    solid: Array


def sample_street(rng: np.random.Generator) -> Street:
    """A street 8 to 14 m wide between sidewalks of 2.2 to 5 m, often with a crossing street."""
    crossing = None
    if rng.random() < 0.4:
        start = rng.uniform(16, 34)
        crossing = (start, start + rng.uniform(8, 12))
    zebra = None
    if rng.random() < 0.5:
        zebra = crossing[0] - 4.5 if crossing else rng.uniform(8, 22)
    return Street(rng.uniform(4.0, 7.0), rng.uniform(2.2, 5.0), crossing, zebra)


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
        things += _block(rng, street, side, height, gaps)
        things += _kerb(rng, street, side, trees)
        things += _parked_cars(rng, street, side)
        things += _sidewalk_life(rng, street, side)
    things += _traffic(rng, street)
    things += _riders(rng, street)
    things += _crossing_life(rng, street)
    return things


def _slots(
    rng: np.random.Generator, street: Street, start: float, end: float, step: tuple[float, float]
) -> Iterator[float]:
    """Distances from `start` to `end`, `step` apart, that leave the crossing street free."""
    ahead = start
    while ahead < end:
        if not street.crosses(ahead - 2.5, ahead + 2.5):
            yield ahead
        ahead += rng.uniform(*step)


def _block(
    rng: np.random.Generator, street: Street, side: int, height: float, gaps: float
) -> Iterator[Thing]:
    """Houses wall to wall on one side of the street, with green lots behind fences in between."""
    start, hidden = (
        2.0,
        0.0,
    )  # `hidden`: the height up to which the house before hides the next one's end wall
    while start < HOUSES_END:
        end = start + rng.uniform(8, 20)
        if street.crossing and street.crosses(start, end):
            if start >= street.crossing[0]:
                start, hidden = street.crossing[1], 0.0
                continue
            end = street.crossing[0]
        if rng.random() < gaps and end - start > 4 and start < LOTS_END:
            hidden = 0.0
            yield from _lot(rng, street, side, start, end)
        elif end - start > 1:
            tall = max(4.0, height * rng.uniform(0.65, 1.4))
            front = street.facade + rng.choice([0.0, 0.0, 1.0])
            house = House(side, front, start, end, tall, tall > hidden, bool(rng.random() < 0.5))
            hidden = tall if front == street.facade else 0.0
            yield Thing(end, partial(draw_house, house=house), house.corners)
        start = end


def _lot(rng: np.random.Generator, street: Street, side: int, start: float, end: float) -> Iterator[Thing]:
    """A garden: a fence or a hedge towards the street, bushes and trees behind."""
    x = side * street.facade
    for ahead in np.arange(start + 1.5, end, 3.2):
        place = Pose(x + side * rng.uniform(2.5, 7), ahead + rng.uniform(-1, 1))
        if rng.random() < 0.75:
            yield _tree(place, rng.uniform(5, 9.5), rng.uniform(1.8, 2.8), behind=3)
        yield _bush(Pose(x + 2 * side, ahead), 2.4, 1.9, behind=2)
    if rng.random() < 0.7:
        yield from _fence(rng, x, start, end, rng.choice(["planks", "railing"]), rng.uniform(1.3, 2.0))
    else:
        for ahead in np.arange(start, end, 1.1):
            yield _bush(Pose(x + 0.5 * side, ahead), 1.7, 0.9)


def _fence(
    rng: np.random.Generator, x: float, start: float, end: float, style: str, height: float
) -> Iterator[Thing]:
    """Panels of 2 m along the street, so that each is sorted by its own distance."""
    texture = fence_texture(rng, style)
    for near in np.arange(start, end - 1, 2.0):
        far = min(near + 2.0, end)
        draw = partial(draw_fence, ends=((x, near), (x, far)), height=height, texture=texture)
        solid = np.array([(x, y, z) for y in (0.0, height) for z in (near, far)])
        yield Thing(far, draw, solid)


def _tree(pose: Pose, height: float, radius: float, behind: float = 0.0) -> Thing:
    crown = Box(pose, 1.4 * radius, height - 1.8 * radius, height, -0.7 * radius, 0.7 * radius).corners
    solid = np.concatenate([crown, _post_solid(pose, 1.0)])
    return Thing(pose.z + behind, partial(draw_tree, pose=pose, height=height, radius=radius), solid)


def _bush(pose: Pose, height: float, radius: float, behind: float = 0.0) -> Thing:
    solid = Box(pose, 1.6 * radius, 0.0, 0.9 * height, -0.7 * radius, 0.7 * radius).corners
    return Thing(pose.z + behind, partial(draw_bush, pose=pose, height=height, radius=radius), solid)


def _post_solid(pose: Pose, height: float) -> Array:
    return Box(pose, 0.2, 0.0, height, -0.1, 0.1).corners


def _kerb(rng: np.random.Generator, street: Street, side: int, trees: float) -> Iterator[Thing]:
    """What stands along the kerb: trees, lamp posts, signs, traffic lights, bollards, barriers."""
    x = side * (street.half_width + 0.6)
    for ahead in _slots(rng, street, rng.uniform(7, 14), 60, (7, 10)):
        if rng.random() < trees:
            yield _tree(Pose(x + 0.3 * side, ahead), rng.uniform(5, 8), rng.uniform(1.4, 2.3))
    for ahead in _slots(rng, street, rng.uniform(7, 15), 48, (12, 18)):
        pose, tall = Pose(x, ahead), rng.uniform(4.5, 7)
        yield Thing(ahead, partial(draw_lamp_post, pose=pose, height=tall), _post_solid(pose, tall))
    for ahead in _slots(rng, street, rng.uniform(7, 16), 32, (7, 16)):
        if rng.random() < 0.6:
            pose, tall = Pose(x - 0.1 * side, ahead), rng.uniform(2.2, 2.9)
            yield Thing(ahead, partial(draw_sign, pose=pose, height=tall), _post_solid(pose, tall))
    if street.crossing or street.zebra is not None or rng.random() < 0.3:
        stop = (
            street.zebra - 0.7
            if street.zebra is not None
            else street.crossing[0] - 1
            if street.crossing
            else 14
        )
        for ahead in (stop, stop + 14):
            pose, tall = Pose(x - 0.2 * side, ahead), rng.uniform(2.3, 2.9)
            yield Thing(ahead, partial(draw_traffic_light, pose=pose, height=tall), _post_solid(pose, tall))
    if rng.random() < 0.3:
        for ahead in _slots(rng, street, rng.uniform(7, 10), 22, (1.8, 1.8)):
            pose = Pose(x - 0.25 * side, ahead)
            yield Thing(ahead, partial(draw_bollard, pose=pose), _post_solid(pose, 0.95))
    if rng.random() < 0.35:
        start, style = rng.uniform(7, 18), rng.choice(["barrier", "railing"])
        yield from _fence(
            rng, x - 0.3 * side, start, start + rng.uniform(6, 14), style, rng.uniform(0.95, 1.15)
        )


def _parked_cars(rng: np.random.Generator, street: Street, side: int) -> Iterator[Thing]:
    """Cars parked along the kerb, facing the way their side of the street goes."""
    density = rng.choice([0.0, 0.35, 0.75], p=[0.25, 0.4, 0.35])
    start = rng.uniform(8, 12) if side > 0 else rng.uniform(5, 9)
    for ahead in _slots(rng, street, start, 65, (5.3, 6.5)):
        on_zebra = street.zebra is not None and abs(ahead - street.zebra - 1.5) < 4.5
        if rng.random() < density and not on_zebra:
            x = side * (street.half_width - 1.05 + rng.uniform(-0.1, 0.1))
            yield _car(rng, Pose(x, ahead, (0 if side > 0 else np.pi) + rng.uniform(-0.05, 0.05)))


def _car(rng: np.random.Generator, pose: Pose) -> Thing:
    shape = CAR_SHAPES[rng.integers(len(CAR_SHAPES))]
    solid = Box(pose, shape.width, 0.0, shape.height, -shape.length / 2, shape.length / 2).corners
    return Thing(pose.z, partial(draw_car, pose=pose, shape=shape), solid)


def _traffic(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
    """Cars and, in two scenes of five, a bus on the move in both lanes."""
    lane = street.half_width * 0.5 - (0.5 if street.half_width > 5.5 else 0.0)
    bus_lane = rng.choice([-1, 1]) if rng.random() < 0.45 else 0
    for side, heading in ((1, 0.0), (-1, np.pi)):
        ahead = rng.uniform(10, 30) if side > 0 else rng.uniform(8, 24)
        if bus_lane == side:
            length = rng.uniform(9, 12)
            pose = Pose(side * (lane + 0.4), ahead + length / 2, heading)
            solid = Box(pose, 2.5, 0.0, 3.1, -length / 2, length / 2).corners
            yield Thing(pose.z, partial(draw_bus, pose=pose, length=length), solid)
            ahead += length + 8
        for _ in range(rng.integers(0, 4)):
            yield _car(
                rng, Pose(side * lane + rng.uniform(-0.3, 0.3), ahead, heading + rng.uniform(-0.06, 0.06))
            )
            ahead += rng.uniform(8, 22)


def _sidewalk_life(rng: np.random.Generator, street: Street, side: int) -> Iterator[Thing]:
    """People walking, parked bicycles and bins on one sidewalk."""
    for _ in range(rng.integers(1, 6)):
        x = side * (street.half_width + rng.uniform(0.8, max(1.0, street.sidewalk_width - 0.4)))
        yield _person(rng, Pose(x, rng.uniform(7, 32), rng.choice([0.0, np.pi, 1.2, -1.2])))
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
    return Thing(
        pose.z,
        partial(draw_person, pose=pose, height=height),
        Box(pose, 0.4, 0.0, height, -0.15, 0.15).corners,
    )


def _riders(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
    """Up to three people on bicycles, along the kerb or crossing the street."""
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])):
        side = rng.choice([-1, 1])
        heading = (0.0 if side > 0 else np.pi) + rng.uniform(-0.5, 0.5)
        x = side * (street.half_width - rng.uniform(0.6, 2.6))
        if rng.random() < 0.35:
            x, heading = rng.uniform(-0.8, 0.8) * street.half_width, side * np.pi / 2 + rng.uniform(-0.3, 0.3)
        pose = Pose(x, rng.uniform(7, 20), heading)
        yield Thing(pose.z, partial(draw_rider, pose=pose), Box(pose, 0.4, 0.0, 1.7, -0.8, 0.8).corners)


def _crossing_life(rng: np.random.Generator, street: Street) -> Iterator[Thing]:
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
