"""Where things are: the street, a place on it, and the pinhole camera that looks along it.

Street coordinates are metres: x to the right of the street's axis, y up from the ground, z ahead of the
camera. A curved street is straight in these coordinates; the camera bends it while projecting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

NEAR = 1.5
"""Distance in metres before which nothing is drawn."""


@dataclass(frozen=True)
class Street:
    """The cross-section of the street and where another one crosses it; lengths in metres.

    Args:
        half_width: from the axis to the kerb.
        sidewalk_width: from the kerb to the line of the facades.
        crossing: nearest and farthest z of the crossing street, or None.
        zebra: nearest z of a pedestrian crossing (3 m long), or None.
    """

    half_width: float
    sidewalk_width: float
    crossing: tuple[float, float] | None = None
    zebra: float | None = None

    @property
    def facade(self) -> float:
        """Distance of the facades from the axis."""
        return self.half_width + self.sidewalk_width

    @property
    def stop(self) -> float | None:
        """Where traffic stops for the zebra or the crossing street, z; None without either."""
        if self.zebra is not None:
            return self.zebra - 0.7
        return self.crossing[0] - 1 if self.crossing else None

    @property
    def lane(self) -> float:
        """Distance of the middle of a lane from the axis; 2.1 m along either kerb are for parking."""
        return max(1.4, 0.5 * (self.half_width - 2.1))

    def crosses(self, start: float, end: float) -> bool:
        """Whether the crossing street touches the stretch `start…end` of z."""
        return self.crossing is not None and start < self.crossing[1] and end > self.crossing[0]


@dataclass(frozen=True)
class Pose:
    """A place on the street and a heading: 0 looks away from the camera, pi/2 to the right, pi at it."""

    x: float
    z: float
    heading: float = 0.0

    def place(self, local: Array) -> Array:
        """Turn points (number, 3) of (right, up, forward) of this pose into street coordinates."""
        sine, cosine = np.sin(self.heading), np.cos(self.heading)
        placed = np.empty_like(local)
        placed[:, 0] = self.x + local[:, 0] * cosine + local[:, 2] * sine
        placed[:, 1] = local[:, 1]
        placed[:, 2] = self.z - local[:, 0] * sine + local[:, 2] * cosine
        return placed

    def upright(self, outline: Array) -> Array:
        """Stand a flat outline (number, 2) of (right, up) at this place, facing the camera."""
        return np.column_stack([self.x + outline[:, 0], outline[:, 1], np.full(len(outline), self.z)])


@dataclass(frozen=True)
class Box:
    """A solid with four-sided bottom and top, narrower at the top where `top_*` say so; metres.

    Args:
        pose: where it stands; the box is centred on it.
        width: across the heading.
        bottom, top: heights above the ground.
        rear, front: where its ends are along the heading, at the bottom.
        top_width, top_rear, top_front: the same at the top; those of the bottom where None.
    """

    pose: Pose
    width: float
    bottom: float
    top: float
    rear: float
    front: float
    top_width: float | None = None
    top_rear: float | None = None
    top_front: float | None = None

    @cached_property
    def corners(self) -> Array:
        """(8, 3) street coordinates: bottom then top, each rear-left, rear-right, front-right, front-left."""
        half = self.width / 2
        top_half = half if self.top_width is None else self.top_width / 2
        top_rear = self.rear if self.top_rear is None else self.top_rear
        top_front = self.front if self.top_front is None else self.top_front
        bottom = [(-half, self.rear), (half, self.rear), (half, self.front), (-half, self.front)]
        top = [(-top_half, top_rear), (top_half, top_rear), (top_half, top_front), (-top_half, top_front)]
        local = [(right, self.bottom, ahead) for right, ahead in bottom]
        local += [(right, self.top, ahead) for right, ahead in top]
        return self.pose.place(np.array(local))

    def face(self, name: str) -> Array:
        """(4, 3) corners of a side seen from outside: bottom left, bottom right, top right, top left."""
        order = {
            "rear": (0, 1, 5, 4),
            "right": (1, 2, 6, 5),
            "front": (2, 3, 7, 6),
            "left": (3, 0, 4, 7),
            "top": (4, 5, 6, 7),
        }[name]
        return self.corners[list(order)]


def normal(corners: Array) -> Array:
    """Unit normal (3,) of a side with corners as `Box.face` orders them, pointing out of the box."""
    ax, ay, az = (corners[1] - corners[0]).tolist()
    bx, by, bz = (corners[3] - corners[0]).tolist()
    outward = (az * by - ay * bz, ax * bz - az * bx, ay * bx - ax * by)  # `np.cross` is ten times slower
    return np.array(outward) / max(math.hypot(*outward), 1e-9)


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera above the street, looking along it.

    Args:
        size: image height and width in pixels.
        focal: focal length in pixels.
        vanishing: column and row in pixels of the point where a straight street ends.
        height: above the ground, metres.
        offset: to the right of the street's axis, metres.
        curve: bend of the street in 1/metres; positive bends to the right.
    """

    size: tuple[int, int]
    focal: float
    vanishing: tuple[float, float]
    height: float
    offset: float
    curve: float

    def project(self, points: Array) -> Array:
        """Pixel (number, 2) of (column, row) of street coordinates (number, 3); z below `NEAR` is clamped."""
        ahead = np.maximum(points[:, 2], NEAR)
        scale = self.focal / ahead
        pixels = np.empty((len(points), 2))
        pixels[:, 0] = (points[:, 0] - self.offset + 0.5 * self.curve * ahead * ahead) * scale
        pixels[:, 1] = (self.height - points[:, 1]) * scale
        return pixels + self.vanishing

    def scale(self, ahead: float) -> float:
        """Pixels per metre at a distance in metres."""
        return self.focal / max(ahead, NEAR)

    def top(self, ahead: float) -> float:
        """Height in metres up to which the image reaches at a distance."""
        return self.height + self.vanishing[1] / self.scale(ahead)

    def enters(self, x: float) -> float:
        """Distance at which a straight line along the street, at this x, comes into the image."""
        aside = self.size[1] - self.vanishing[0] if x > self.offset else self.vanishing[0]
        return abs(x - self.offset) * self.focal / aside

    def ground(self) -> tuple[int, Array, Array]:
        """First image row that shows ground, and x (rows, width) and z (rows, 1) of the ground from there."""
        height, width = self.size
        first = int(np.floor(self.vanishing[1])) + 1
        rows = np.arange(first, height, dtype=np.float32)[:, None]
        columns = np.arange(width, dtype=np.float32)[None]
        ahead = np.float32(self.focal * self.height) / (rows - np.float32(self.vanishing[1]) + 1e-3)
        ahead = np.minimum(ahead, np.float32(500))
        x = (columns - np.float32(self.vanishing[0])) * ahead / np.float32(self.focal)
        x += np.float32(self.offset) - np.float32(0.5 * self.curve) * ahead * ahead
        return first, x, ahead
