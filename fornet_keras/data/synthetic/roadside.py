"""What stands beside the road: houses, gardens, and the furniture along the kerb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fornet_keras.data.synthetic.furniture import (
    draw_bollard,
    draw_fence,
    draw_lamp_post,
    draw_sign,
    draw_traffic_light,
    fence_texture,
)
from fornet_keras.data.synthetic.geometry import Array, Box, Pose, Street
from fornet_keras.data.synthetic.houses import House, draw_house
from fornet_keras.data.synthetic.thing import Thing, slots
from fornet_keras.data.synthetic.vegetation import draw_bush, draw_tree

HOUSES_END, LOTS_END = 105.0, 50.0
"""Distances in metres up to which houses are built and gardens lie between them."""


def sample_block(
    rng: np.random.Generator, street: Street, side: int, height: float, gaps: float
) -> Iterator[Thing]:
    """Houses wall to wall on one side of the street, with green lots behind fences in between."""
    start = 2.0
    hidden = 0.0  # height up to which the house before hides the end wall of the next one
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


def _post(draw: Callable[..., None], pose: Pose, height: float) -> Thing:
    """A thin upright thing of this height, drawn by `draw(canvas, rng, pose, height)`."""
    return Thing(pose.z, partial(draw, pose=pose, height=height), _post_solid(pose, height))


def _post_solid(pose: Pose, height: float) -> Array:
    return Box(pose, 0.2, 0.0, height, -0.1, 0.1).corners


def sample_kerb(rng: np.random.Generator, street: Street, side: int, trees: float) -> Iterator[Thing]:
    """What stands along the kerb: trees, lamp posts, signs, traffic lights, bollards, barriers."""
    x = side * (street.half_width + 0.6)
    for ahead in slots(rng, street, rng.uniform(7, 14), 60, (7, 10)):
        if rng.random() < trees:
            yield _tree(Pose(x + 0.3 * side, ahead), rng.uniform(5, 8), rng.uniform(1.4, 2.3))
    for ahead in slots(rng, street, rng.uniform(7, 15), 48, (12, 18)):
        yield _post(draw_lamp_post, Pose(x, ahead), rng.uniform(4.5, 7))
    for ahead in slots(rng, street, rng.uniform(7, 16), 32, (7, 16)):
        if rng.random() < 0.6:
            yield _post(draw_sign, Pose(x - 0.1 * side, ahead), rng.uniform(2.2, 2.9))
    if street.stop is not None:
        for ahead in (street.stop, street.stop + 14):
            yield _post(draw_traffic_light, Pose(x - 0.2 * side, ahead), rng.uniform(2.3, 2.9))
    if rng.random() < 0.3:
        for ahead in slots(rng, street, rng.uniform(7, 10), 22, (1.8, 1.8)):
            yield _post(draw_bollard, Pose(x - 0.25 * side, ahead), 0.95)
    if rng.random() < 0.35:
        start, length = rng.uniform(7, 18), rng.uniform(6, 14)
        style = rng.choice(["barrier", "railing"])
        yield from _fence(rng, x - 0.3 * side, start, start + length, style, rng.uniform(0.95, 1.15))
