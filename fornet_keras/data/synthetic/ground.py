"""The ground: asphalt with its markings, sidewalks with their slabs, and the shadows that fall on both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.canvas import SUBPIXEL_BITS, Canvas, subpixel
from fornet_keras.data.synthetic.geometry import Array, Street
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise_at

Map = NDArray[np.float32]

KERB = 0.22
"""Width of the kerb stones in metres; they count as sidewalk."""


@dataclass(frozen=True)
class _View:
    """The ground as the camera sees it: x and z in metres of each pixel, and the metres a pixel spans."""

    x: Map
    z: Map
    pixel_x: Map
    pixel_z: Map

    def stripe(self, distance: Map, half_width: float, pixel: Map) -> Map:
        """Coverage 0…1 of each pixel by a stripe, from its distance in metres to the stripe's middle."""
        return np.clip((half_width - np.abs(distance)) / pixel + 0.5, 0, 1) * np.minimum(
            1, 2 * half_width / pixel
        )


def draw_ground(canvas: Canvas, street: Street, rng: np.random.Generator, casters: Iterable[Array]) -> None:
    """Paint everything below the horizon.

    Args:
        canvas: where to.
        street: which parts are road.
        rng: for colours, wear and the style of the markings.
        casters: corner points (number, 3) of each solid that casts a shadow.
    """
    camera, light = canvas.camera, canvas.light
    first, x, z = camera.ground()
    pixel_z = z * z / np.float32(camera.focal * camera.height)
    view = _View(x, z, z / np.float32(camera.focal), pixel_z)
    road = np.abs(x) < street.half_width
    if street.crossing:
        road |= (z > street.crossing[0]) & (z < street.crossing[1])

    asphalt = _paint_markings(view, street, rng, _asphalt(view, street, rng))
    surface = np.where(road[..., None], asphalt, _sidewalk(view, street, rng))
    shadow = _shadows(canvas, casters, first)
    lit = surface * np.float32(light.ground) * shadow
    haze = (1 - np.exp(-z / np.float32(light.visibility)))[..., None]
    canvas.image[first:] = np.clip(lit + haze * (np.float32(light.sky_low) - lit), 0, 255)
    canvas.instance_ids[first:] = np.where(road, int(Label.ROAD), int(Label.SIDEWALK))


def _asphalt(view: _View, street: Street, rng: np.random.Generator) -> Map:
    """RGB (rows, width, 3) of bare asphalt: grain, stains, wheel tracks, repaired patches, manholes."""
    grain = noise_at(view.x, view.z, rng.uniform(0.8, 1.6))
    stains = noise_at(view.x + 31, view.z * 0.4, 9.0)
    level = rng.uniform(72, 112) * (1 + 0.07 * grain + 0.07 * stains)
    track = np.abs(np.abs(np.abs(view.x) - street.half_width * 0.5) - 0.75)
    level *= 1 - 0.08 * np.clip(1 - track / 0.45, 0, 1)
    for _ in range(rng.integers(0, 4)):
        middle_x, middle_z = rng.uniform(-street.half_width, street.half_width), rng.uniform(5, 30)
        inside = (np.abs(view.x - middle_x) < rng.uniform(0.4, 1.6)) & (
            np.abs(view.z - middle_z) < rng.uniform(0.6, 4)
        )
        level = np.where(inside, level * rng.choice([0.78, 0.86, 1.12]), level)
    for _ in range(rng.integers(0, 3)):
        middle_x, middle_z = rng.uniform(-1, 1) * street.half_width * 0.7, rng.uniform(6, 22)
        level = np.where((view.x - middle_x) ** 2 + (view.z - middle_z) ** 2 < 0.16, level * 0.55, level)
    tone = np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.03, 0.04, 3)
    return (level[..., None] * np.float32(tone)).astype(np.float32)


def _paint_markings(view: _View, street: Street, rng: np.random.Generator, asphalt: Map) -> Map:
    """The asphalt with its centre line, edge lines, cycle lane and zebra crossing painted on."""
    half, x, z = street.half_width, view.x, view.z
    if rng.random() < 0.3:  # a red cycle lane
        lane = np.clip((0.7 - np.abs(np.abs(x) - (half - 2.9))) / view.pixel_x, 0, 1)[..., None]
        asphalt = asphalt + 0.75 * lane * (np.float32([138, 74, 62]) - asphalt)
    centre = view.stripe(x, 0.09, view.pixel_x)
    style = rng.choice(["dashed", "solid", "double"], p=[0.6, 0.2, 0.2])
    if style == "dashed":
        centre = centre * ((z + rng.uniform(0, 6)) % rng.uniform(5, 9) < 3)
    elif style == "double":
        centre = view.stripe(np.abs(x) - 0.16, 0.07, view.pixel_x)
    paint = centre
    if rng.random() < 0.7:
        edge = half - rng.choice([0.3, 2.1])
        paint = np.maximum(paint, view.stripe(np.abs(x) - edge, 0.08, view.pixel_x))
    open_road = np.ones_like(z)
    if street.crossing:
        open_road *= (z < street.crossing[0]) | (z > street.crossing[1])
    if street.zebra is not None:
        open_road *= (z < street.zebra - 1) | (z > street.zebra + 4)
    paint = paint * open_road
    if street.zebra is not None:
        bars = view.stripe((x + half) % 1.1 - 0.55, 0.28, view.pixel_x) * (np.abs(x) < half - 0.2)
        paint = np.maximum(paint, bars * view.stripe(z - street.zebra - 1.5, 1.5, view.pixel_z))
    worn = np.clip(0.85 + 0.25 * noise_at(x, z, 1.2), rng.uniform(0.3, 0.8), 1) * paint
    color = [232, 200, 90] if rng.random() < 0.15 else [228, 228, 224]
    return asphalt + worn[..., None] * (np.float32(color) - asphalt)


def _sidewalk(view: _View, street: Street, rng: np.random.Generator) -> Map:
    """RGB (rows, width, 3) of paving: slabs with joints, and the lighter kerb at the road's edge."""
    slab = rng.uniform(0.5, 1.3)
    level = rng.uniform(118, 168) * (
        1 + 0.05 * noise_at(view.x, view.z, 1.0) + 0.05 * noise_at(view.x, view.z, 7.0)
    )
    joints_z = view.stripe(view.z % slab - slab / 2, 0.025, view.pixel_z)
    joints_x = view.stripe(view.x % slab - slab / 2, 0.025, view.pixel_x)
    level *= 1 - 0.35 * np.maximum(joints_x, joints_z)
    tone = np.float32(((1.0, 0.97, 0.93), (1.04, 0.93, 0.86), (0.97, 1.0, 1.02))[rng.integers(3)])
    paving = level[..., None] * tone
    beside = np.abs(view.x) - street.half_width
    kerb = np.clip((KERB - beside) / view.pixel_x, 0, 1)[..., None]
    return paving + 0.8 * kerb * (np.float32([188, 186, 180]) - paving)


def _shadows(canvas: Canvas, casters: Iterable[Array], first: int) -> Map:
    """RGB factor (rows, width, 3) of the ground from row `first` on: cast shadows, and dimness below solids."""
    reach_x, reach_z = canvas.light.shadow_reach
    mask = np.zeros(canvas.camera.size, np.uint8)
    contact = np.zeros_like(mask)
    for points in casters:
        fallen = points + points[:, 1:2] * np.array([[reach_x, -1.0, reach_z]])
        fallen[:, 1] = 0
        _fill_hull(mask, canvas.camera.project(fallen), 240)
        low = points[points[:, 1] < 0.4] * (1.0, 0.0, 1.0)
        if len(low):
            middle = low.mean(axis=0)
            _fill_hull(contact, canvas.camera.project(middle + 1.12 * (low - middle)), 150)
    contact = cv2.GaussianBlur(contact[first:], (0, 0), 0.008 * canvas.camera.size[0])
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    cast = (1 + levels * np.float32(canvas.light.shadow - 1))[mask[first:]]
    return cast * (1 - levels[:, 0])[contact][..., None]


def _fill_hull(mask: NDArray[np.uint8], pixels: Array, value: int) -> None:
    hull = cv2.convexHull(pixels.astype(np.float32))[:, 0]
    cv2.fillConvexPoly(mask, subpixel(hull), value, cv2.LINE_AA, SUBPIXEL_BITS)
