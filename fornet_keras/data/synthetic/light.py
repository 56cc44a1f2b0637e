"""The light of a scene (overcast, sunny or dusk) and what the camera makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.geometry import Array


@dataclass(frozen=True)
class Light:
    """Sun, sky and air; colours are RGB in 0…255, `direct` and `ambient` multiply surface colours.

    Args:
        sun: unit vector towards the sun (x, y, z), street coordinates.
        direct, ambient: RGB strength of the sun and of the sky.
        sky_top, sky_low, cloud: colours of the sky overhead, at the horizon, and of clouds.
        cloudiness: 0 (clear) … 1 (closed).
        visibility: distance in metres at which 63 % of the light is haze.
        lamps: whether lamps and some windows are lit.
    """

    sun: Array
    direct: Array
    ambient: Array
    sky_top: Array
    sky_low: Array
    cloud: Array
    cloudiness: float
    visibility: float
    lamps: bool

    def on(self, normal: Array) -> Array:
        """RGB factor of a surface with this unit normal."""
        return self.ambient * (0.85 + 0.15 * normal[1]) + self.direct * max(0.0, float(normal @ self.sun))

    @cached_property
    def upright(self) -> Array:
        """RGB factor of a round upright thing as the camera sees it: the mean over its visible side."""
        sides = ((0.0, 0.3, -0.95), (-0.75, 0.3, -0.6), (0.75, 0.3, -0.6))
        return np.mean([self.on(np.array(side)) for side in sides], axis=0)

    @cached_property
    def ground(self) -> Array:
        """RGB factor of the ground in the sun."""
        return self.on(np.array([0.0, 1.0, 0.0]))

    @property
    def shadow(self) -> Array:
        """RGB factor of shaded ground relative to ground in the sun."""
        return self.ambient / self.ground

    @property
    def shadow_reach(self) -> tuple[float, float]:
        """How far in metres (x, z) the shadow of a point one metre up falls from below it."""
        return -self.sun[0] / self.sun[1], -self.sun[2] / self.sun[1]


_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((step + 0.5) / 256) for step in range(256)], np.float32)
"""Turns random bytes into sensor noise, ten times faster than drawing normal numbers."""


def _sun(azimuth: float, elevation: float) -> Array:
    """Unit vector (3,) towards the sun; both angles in radians, azimuth 0 is straight ahead."""
    level = np.cos(elevation)
    return np.array([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)])


def sample_light(rng: np.random.Generator) -> Light:
    """Overcast (a third of the scenes), sunny (a half) or dusk."""
    mood = rng.choice(3, p=[0.33, 0.47, 0.20])
    return (_overcast, _sunny, _dusk)[mood](rng)


def _overcast(rng: np.random.Generator) -> Light:
    grey = rng.uniform(185, 235)
    return Light(
        sun=_sun(0.0, 1.2),
        direct=np.full(3, 0.10),
        ambient=rng.uniform(0.72, 0.95) * np.array([0.97, 0.99, 1.03]),
        sky_top=grey * np.array([0.80, 0.84, 0.90]),
        sky_low=grey * np.array([0.98, 1.0, 1.02]),
        cloud=grey * np.ones(3),
        cloudiness=1.0,
        visibility=rng.uniform(110, 350),
        lamps=bool(rng.random() < 0.2),
    )


def _sunny(rng: np.random.Generator) -> Light:
    return Light(
        sun=_sun(rng.uniform(-np.pi, np.pi), rng.uniform(0.55, 1.1)),
        direct=rng.uniform(0.60, 0.85) * np.array([1.06, 1.0, 0.88]),
        ambient=rng.uniform(0.48, 0.60) * np.array([0.90, 0.98, 1.12]),
        sky_top=np.array([70.0, 125.0, 205.0]) + rng.uniform(-25, 25),
        sky_low=np.array([190.0, 215.0, 238.0]) + rng.uniform(-15, 10),
        cloud=np.array([248.0, 248.0, 250.0]),
        cloudiness=rng.uniform(0.0, 0.6),
        visibility=rng.uniform(250, 800),
        lamps=False,
    )


def _dusk(rng: np.random.Generator) -> Light:
    return Light(
        sun=_sun(rng.uniform(-np.pi, np.pi), rng.uniform(0.12, 0.25)),
        direct=rng.uniform(0.30, 0.50) * np.array([1.30, 0.85, 0.50]),
        ambient=rng.uniform(0.36, 0.50) * np.array([0.95, 0.95, 1.12]),
        sky_top=np.array([75.0, 85.0, 140.0]) + rng.uniform(-20, 20),
        sky_low=np.array([250.0, 180.0, 125.0]) + rng.uniform(-20, 5),
        cloud=np.array([200.0, 130.0, 125.0]) + rng.uniform(-20, 20),
        cloudiness=rng.uniform(0.1, 0.8),
        visibility=rng.uniform(150, 400),
        lamps=True,
    )


def expose(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera delivers of a painted scene (height, width, 3): blur, vignetting, exposure, noise."""
    height, width = image.shape[:2]
    sharpness = height / 256  # the same lens at any resolution
    exposed = cv2.GaussianBlur(image, (0, 0), max(0.35, rng.uniform(0.4, 0.75) * sharpness)).astype(
        np.float32
    )
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = 1 - np.float32(rng.uniform(0.03, 0.14)) * (rows * rows + columns * columns)
    brightness = rng.uniform(0.88, 1.14) * min(1.7, 112 / float(exposed.mean()))  # automatic exposure
    gain = (brightness * rng.uniform(0.96, 1.04, 3)).astype(np.float32)
    exposed *= vignette[..., None] * gain
    strength = np.float32(rng.uniform(1.5, 4.5))
    grain = cv2.LUT(rng.integers(0, 256, image.shape, np.uint8), strength * _NORMAL_QUANTILES)
    return cv2.add(exposed, grain, dtype=cv2.CV_8U)
