"""One scene: lay out a street, paint it from far to near, expose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.canvas import Canvas
from fornet_keras.data.synthetic.ground import draw_ground
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.layout import sample_camera, sample_street, sample_things
from fornet_keras.data.synthetic.light import expose, sample_light
from fornet_keras.data.synthetic.sky import draw_sky, draw_skyline


@dataclass(frozen=True)
class Scene:
    """An image and what each of its pixels shows.

    Args:
        image: uint8 RGB (height, width, 3).
        label_ids: uint8 (height, width), Cityscapes label ids.
        instance_ids: uint16 (height, width), label id * 1000 + number for persons, riders, cars, buses and
            bicycles, the label id for everything else.
    """

    image: NDArray[np.uint8]
    label_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.uint16]


def render_scene(seed: int, size: tuple[int, int]) -> Scene:
    """Render the street scene of a seed.

    Its labels are always the same; its image is but for single values, which another processor may round
    differently.

    Args:
        seed: 0 or more; picks street, light, objects and noise.
        size: height and width in pixels, each at least 64.

    Example:
        >>> scene = render_scene(seed=7, size=(64, 128))
        >>> scene.image.shape, scene.label_ids.shape
        ((64, 128, 3), (64, 128))
    """
    rng = np.random.default_rng(seed)
    light = sample_light(rng)
    street = sample_street(rng)
    camera = sample_camera(rng, street, size)
    things = sample_things(rng, street)

    canvas = Canvas(camera, light)
    draw_sky(canvas, rng)
    draw_skyline(canvas, rng)
    draw_ground(canvas, street, rng, [thing.solid for thing in things])
    for thing in sorted(things, key=lambda thing: -thing.ahead):
        if canvas.shows(thing.solid, margin=0.06 * size[1]):
            thing.draw(canvas, rng)
    if rng.random() < 0.3:
        _draw_bonnet(canvas, rng)

    ids = canvas.instance_ids
    label_ids = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
    return Scene(expose(canvas.image, rng), label_ids, ids)


def _draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """The bonnet of the car that carries the camera, a flat arc along the lower edge of the image."""
    height, width = canvas.camera.size
    brush = canvas.brush(Label.EGO_VEHICLE, 0)
    paint = np.array([1.0, 1.0, 1.05]) * rng.uniform(35, 150)
    bend = np.linspace(0, np.pi, 25)
    middle = width * rng.uniform(0.42, 0.58)
    for share, gain in ((1.0, 0.75), (0.82, 1.0), (0.5, 1.12)):
        arc = np.column_stack(
            [middle - 0.62 * width * np.cos(bend), height - 0.085 * share * height * np.sin(bend)]
        )
        brush.fill(arc + (0, 1), brush.tint(paint * gain))
