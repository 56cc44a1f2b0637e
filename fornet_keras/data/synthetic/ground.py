"""The ground: asphalt with its markings, sidewalks with their slabs, and the shadows that fall on both.

All maps are float32: half of the pixels are ground, and float64 would double the time they take.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.canvas import SUBPIXEL_BITS, Canvas, subpixel
from fornet_keras.data.synthetic.geometry import Array, Street
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise_at, wrap

KERB = 0.22
"""Width of the kerb stones in metres; they count as sidewalk."""

PAVINGS = np.array([(1.0, 0.97, 0.93), (1.04, 0.93, 0.86), (0.97, 1.0, 1.02)], np.float32)
"""Tones of sidewalk slabs, as RGB factors."""

SHADOWS_END, CONTACTS_END = 50.0, 35.0
"""Distances in metres beyond which cast shadows and the dimness below solids are too flat to be seen."""

LOW = 0.4
"""Height in metres below which a corner of a solid counts as its foot."""


@dataclass(frozen=True)
class _View:
    """The ground as the camera sees it.

    Args:
        x: metres from the street's axis, (rows, width).
        z: metres ahead, (rows, 1).
        pixel_x, pixel_z: metres that a pixel spans across and along the street, (rows, 1).
        grain, stains: fine and broad noise that lies on the ground, (rows, width).
    """

    x: Array
    z: Array
    pixel_x: Array
    pixel_z: Array
    grain: Array
    stains: Array


def _stripe(distance: Array, half_width: float, pixel: Array) -> Array:
    """Share 0…1 of each pixel that a stripe covers, from the distance in metres to the stripe's middle."""
    share = np.clip((half_width - np.abs(distance)) / pixel + 0.5, 0, 1)
    return share * np.minimum(1, 2 * half_width / pixel)


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
    grain, stains = noise_at(x, z, rng.uniform(0.8, 1.6)), noise_at(x, z * 0.4, 8.0)
    view = _View(x, z, z / np.float32(camera.focal), pixel_z, grain, stains)
    road = np.abs(x) < street.half_width
    if street.crossing:
        road |= (z > street.crossing[0]) & (z < street.crossing[1])

    surface = _sidewalk(view, street, rng)
    np.copyto(surface, _markings(view, street, rng, _asphalt(view, street, rng)), where=road[..., None])
    surface *= light.ground.astype(np.float32) * _shadows(canvas, casters, first)
    surface += (1 - np.exp(-z / np.float32(light.visibility)))[..., None] * (
        light.sky_low.astype(np.float32) - surface
    )
    canvas.image[first:] = np.clip(surface, 0, 255)
    canvas.instance_ids[first:] = np.where(road, np.uint16(Label.ROAD), np.uint16(Label.SIDEWALK))


def _asphalt(view: _View, street: Street, rng: np.random.Generator) -> Array:
    """RGB (rows, width, 3) of bare asphalt: grain, stains, wheel tracks, repaired patches, manholes."""
    half = street.half_width
    level = rng.uniform(72, 112) * (1 + 0.07 * view.grain + 0.07 * view.stains)
    track = np.abs(np.abs(np.abs(view.x) - half * 0.5) - 0.75)
    level *= 1 - 0.08 * np.clip(1 - track / 0.45, 0, 1)
    for _ in range(rng.integers(0, 4)):
        across = np.abs(view.x - rng.uniform(-half, half)) < rng.uniform(0.4, 1.6)
        along = np.abs(view.z - rng.uniform(5, 30)) < rng.uniform(0.6, 4)
        level[across & along] *= float(rng.choice([0.78, 0.86, 1.12]))
    for _ in range(rng.integers(0, 3)):
        x, z = rng.uniform(-0.7, 0.7) * half, rng.uniform(6, 22)
        level[(view.x - x) ** 2 + (view.z - z) ** 2 < 0.16] *= 0.55
    return level[..., None] * (1 + rng.uniform(-0.03, 0.04, 3)).astype(np.float32)


def _markings(view: _View, street: Street, rng: np.random.Generator, asphalt: Array) -> Array:
    """The asphalt with its centre line, edge lines, cycle lane and zebra crossing painted on."""
    half, x, z, zebra = street.half_width, view.x, view.z, street.zebra
    if rng.random() < 0.3:  # a red cycle lane
        lane = np.clip((0.7 - np.abs(np.abs(x) - (half - 2.9))) / view.pixel_x, 0, 1)[..., None]
        asphalt += 0.75 * lane * (np.array([138, 74, 62], np.float32) - asphalt)
    style = rng.choice(["dashed", "solid", "double"], p=[0.6, 0.2, 0.2])
    paint = _stripe(np.abs(x) - 0.16 if style == "double" else x, 0.08, view.pixel_x)
    if style == "dashed":
        paint *= wrap(z + rng.uniform(0, 6), rng.uniform(5, 9)) < 3
    if rng.random() < 0.7:
        edge = half - float(rng.choice([0.3, 2.1]))
        paint = np.maximum(paint, _stripe(np.abs(x) - edge, 0.08, view.pixel_x))
    if street.crossing:
        paint *= (z < street.crossing[0]) | (z > street.crossing[1])
    if zebra is not None:
        paint *= (z < zebra - 1) | (z > zebra + 4)
        bars = _stripe(wrap(x + half, 1.1) - 0.55, 0.28, view.pixel_x) * (np.abs(x) < half - 0.2)
        paint = np.maximum(paint, bars * _stripe(z - zebra - 1.5, 1.5, view.pixel_z))
    worn = np.clip(0.85 + 0.25 * view.grain, rng.uniform(0.3, 0.8), 1) * paint
    color = [232, 200, 90] if rng.random() < 0.15 else [228, 228, 224]
    return asphalt + worn[..., None] * (np.array(color, np.float32) - asphalt)


def _sidewalk(view: _View, street: Street, rng: np.random.Generator) -> Array:
    """RGB (rows, width, 3) of paving: slabs with joints, and the lighter kerb at the road's edge."""
    slab = rng.uniform(0.5, 1.3)
    level = rng.uniform(118, 168) * (1 + 0.05 * view.grain + 0.05 * view.stains)
    joints = _stripe(wrap(view.x, slab) - slab / 2, 0.025, view.pixel_x)
    joints = np.maximum(joints, _stripe(wrap(view.z, slab) - slab / 2, 0.025, view.pixel_z))
    level *= 1 - 0.35 * joints
    tone = PAVINGS[rng.integers(len(PAVINGS))]
    paving = level[..., None] * tone
    kerb = np.clip((KERB + street.half_width - np.abs(view.x)) / view.pixel_x, 0, 1)[..., None]
    paving += 0.8 * kerb * (np.array([188, 186, 180], np.float32) - paving)
    return paving


def _shadows(canvas: Canvas, casters: Iterable[Array], first: int) -> Array:
    """RGB factor (rows, width, 3) of the ground from row `first` on: shadows, and dimness below solids."""
    reach_x, reach_z = canvas.light.shadow_reach
    fall = np.array([(1.0, 0.0, 0.0), (reach_x, 0.0, reach_z), (0.0, 0.0, 1.0)])
    cast = np.zeros(canvas.camera.size, np.uint8)
    contact = np.zeros_like(cast)
    sunny = canvas.light.direct.max() > 0.2
    for points in casters:
        ahead = points[:, 2].min()
        if sunny and ahead < SHADOWS_END:
            _fill_hull(cast, canvas.camera.project(points @ fall), 240)
        if ahead < CONTACTS_END and points[:, 1].min() < LOW:
            low = points[points[:, 1] < LOW] * (1.0, 0.0, 1.0)
            middle = low.mean(axis=0)
            _fill_hull(contact, canvas.camera.project(middle + 1.12 * (low - middle)), 150)
    soft = cv2.GaussianBlur(contact[first:], (0, 0), 0.008 * canvas.camera.size[0])
    shaded = cast[first:].astype(np.float32)[..., None] * ((canvas.light.shadow - 1) / 255).astype(np.float32)
    return (1 + shaded) * (1 - soft.astype(np.float32) / 255)[..., None]


def _fill_hull(mask: NDArray[np.uint8], pixels: Array, value: int) -> None:
    hull = cv2.convexHull(pixels.astype(np.float32))[:, 0]
    cv2.fillConvexPoly(mask, subpixel(hull), value, cv2.LINE_AA, SUBPIXEL_BITS)
