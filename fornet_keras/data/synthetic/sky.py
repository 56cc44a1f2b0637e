"""The sky with its clouds, and the hazy skyline that closes the view."""

from __future__ import annotations

import numpy as np

from fornet_keras.data.synthetic.canvas import Canvas
from fornet_keras.data.synthetic.labels import Label
from fornet_keras.data.synthetic.noise import noise

SKYLINE = 150.0
"""Distance of the skyline in metres."""


def draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill the image down to the horizon: a gradient, clouds, and the glow of a low sun."""
    light, width = canvas.light, canvas.camera.size[1]
    column, row = canvas.camera.vanishing
    height = int(row) + 2
    rise = np.clip(1 - np.arange(height, dtype=np.float32) / row, 0, 1)[:, None, None]
    low, top, cloud = (color.astype(np.float32) for color in (light.sky_low, light.sky_top, light.cloud))
    sky = low + rise**0.7 * (top - low)

    lumps = noise(rng, (height, width), width * rng.uniform(0.12, 0.3))
    cover = np.clip(0.45 * lumps + 1.6 * np.float32(light.cloudiness) - 0.8, 0, 1)[..., None]
    sky = sky + 0.85 * cover * (cloud * (1 - 0.06 * lumps[..., None]) - sky)

    if light.sun[2] > 0 and light.lamps:
        across = (
            np.arange(width, dtype=np.float32) - column - canvas.camera.focal * light.sun[0] / light.sun[2]
        )
        glow = np.exp(-np.abs(across) / (0.3 * width))[None, :, None] * (1 - rise) ** 3
        sky = sky + 0.6 * glow.astype(np.float32) * (np.array([255, 225, 170], np.float32) - sky)
    canvas.image[:height] = np.clip(sky, 0, 255)


def draw_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """A row of far houses and tree tops across the image, standing on the horizon."""
    width, scale = canvas.camera.size[1], canvas.camera.scale(SKYLINE)
    houses = canvas.brush(Label.BUILDING, SKYLINE)
    trees = canvas.brush(Label.VEGETATION, SKYLINE)
    foot = canvas.camera.vanishing[1] + canvas.camera.height * scale + 1
    left = -5.0
    while left < width:
        right = left + rng.uniform(5, 16) * scale
        if rng.random() < 0.55:
            top = foot - rng.uniform(7, 18) * scale
            color = houses.tint(rng.uniform(90, 170) * np.array([1.0, 0.96, 0.9]))
            houses.fill(np.array([[left, foot], [right, foot], [right, top], [left, top]]), color)
        else:
            top = foot - rng.uniform(6, 11) * scale
            color = trees.tint(rng.uniform(0.7, 1.2) * np.array([62.0, 88.0, 48.0]))
            bend = np.linspace(0, np.pi, 9)
            across = 0.5 * (left + right) - 0.6 * (right - left) * np.cos(bend)
            trees.fill(np.column_stack([across, foot - (foot - top) * np.sin(bend) ** 0.5]), color)
        left = right
