"""The canvas: colour and label are one stroke, so the label is by construction what is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.synthetic.geometry import Array, Camera, Pose, normal
from fornet_keras.data.synthetic.labels import COUNTED, Label
from fornet_keras.data.synthetic.light import Light

Color = Sequence[float] | Array
Point = Sequence[float] | Array

SUBPIXEL_BITS = 4
"""Strokes are placed to 1/16 pixel."""

_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE = np.column_stack([np.cos(_TURN), np.sin(_TURN)])
"""Outline (16, 2) of the unit circle."""


def subpixel(pixels: Array) -> NDArray[np.int32]:
    """Coordinates (number, 2) in the fixed-point form that OpenCV's drawing takes."""
    return np.rint(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def panel(face: Array, left: float, right: float, bottom: float, top: float) -> Array:
    """The part (4, 3) of a four-cornered face between fractions 0…1 of its width and height."""
    across, up = np.array([[left], [right], [right], [left]]), np.array([[bottom], [bottom], [top], [top]])
    low = face[0] + across * (face[1] - face[0])
    high = face[3] + across * (face[2] - face[3])
    return low + up * (high - low)


def pick(rng: np.random.Generator, palette: tuple[Color, ...], low: float = 0.85, high: float = 1.1) -> Array:
    """One of a palette's colours, RGB (3,), darker or lighter by a factor of low…high."""
    return np.array(palette[rng.integers(len(palette))]) * rng.uniform(low, high)


class Canvas:
    """An image under construction, with the instance id of what each pixel shows.

    Args:
        camera: turns street coordinates into pixels.
        light: gives surfaces their brightness and distance its haze.

    `image` is uint8 RGB (height, width, 3); `instance_ids` is uint16 (height, width).
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        self.image = np.zeros((*camera.size, 3), np.uint8)
        self.instance_ids = np.full(camera.size, int(Label.SKY), np.uint16)
        self._counts: Counter[Label] = Counter()

    def brush(self, label: Label, ahead: float) -> Brush:
        """A brush for one object at this distance in metres; counted labels get a new instance id."""
        stroke_id = int(label)
        if label in COUNTED:
            stroke_id = label * 1000 + self._counts[label]
            self._counts[label] += 1
        haze = 1 - np.exp(-ahead / self.light.visibility)
        return Brush(self, stroke_id, float(haze))

    def shows(self, points: Array, margin: float = 0.0) -> bool:
        """Whether the bounding box of these points (number, 3), `margin` pixels wider, touches the image."""
        pixels = self.camera.project(points)
        height, width = self.camera.size
        (left, top), (right, bottom) = pixels.min(axis=0) - margin, pixels.max(axis=0) + margin
        return bool(right >= 0 and bottom >= 0 and left < width and top < height)


@dataclass(frozen=True)
class Brush:
    """Draws one object: every stroke puts a colour into the image and the object's id into the label.

    Colours are RGB 0…255 of the surface; `light` (RGB factor) defaults to that of an upright thing.
    """

    canvas: Canvas
    stroke_id: int
    haze: float

    def tint(self, color: Color, light: Array | None = None) -> Array:
        """The colour (RGB 0…255) as it reaches the camera, lit and through the haze."""
        lit = np.asarray(color) * (self.canvas.light.upright if light is None else light)
        return np.minimum(lit + self.haze * (self.canvas.light.sky_low - lit), 255)

    def fill(self, pixels: Array, color: Color) -> None:
        """Fill a convex outline (number, 2) of pixels with a colour as the camera sees it."""
        outline = subpixel(pixels)
        red, green, blue = (float(value) for value in color)
        cv2.fillConvexPoly(self.canvas.image, outline, (red, green, blue), cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillConvexPoly(self.canvas.instance_ids, outline, self.stroke_id, cv2.LINE_8, SUBPIXEL_BITS)

    def polygon(self, points: Array, color: Color, light: Array | None = None) -> None:
        """Fill a convex outline (number, 3) of street coordinates."""
        self.fill(self.canvas.camera.project(points), self.tint(color, light))

    def glow(self, points: Array, color: Color) -> None:
        """Fill a convex outline (number, 3) with light of its own: a lamp, not lit by the sun."""
        self.fill(self.canvas.camera.project(points), self.tint(color, np.ones(3)))

    def face(self, corners: Array, color: Color) -> Array | None:
        """Fill a flat side (4, 3, as `Box.face` orders them) if it faces the camera.

        Returns the side's RGB light for further strokes on it, or None where the camera sees its back.
        """
        pixels = self.canvas.camera.project(corners)
        (x0, y0), (x1, y1), (x2, y2) = pixels[:3]
        if (x1 - x0) * (y2 - y1) - (y1 - y0) * (x2 - x1) >= 0:
            return None
        light = self.canvas.light.on(normal(corners))
        self.fill(pixels, self.tint(color, light))
        return light

    def limb(self, start: Point, end: Point, widths: tuple[float, float], color: Color) -> None:
        """A round bar between two points (3,) with the given thickness in metres at either end."""
        ends = self.canvas.camera.project(np.array([start, end]))
        scales = np.array([[self.canvas.camera.scale(point[2])] for point in (start, end)])
        radii = np.maximum(0.5 * np.array(widths)[:, None] * scales, 0.5)
        circles = (ends[:, None] + radii[:, None] * CIRCLE).reshape(-1, 2)
        self.fill(cv2.convexHull(circles.astype(np.float32))[:, 0], self.tint(color))

    def ellipse(
        self, pose: Pose, center: tuple[float, float], radii: tuple[float, float], color: Color
    ) -> None:
        """An ellipse facing the camera; centre and radii are (right, up) in metres."""
        self.polygon(pose.upright(CIRCLE * radii + center), color)

    def texture(
        self, corners: Array, texture: NDArray[np.uint8], light: Array, alpha: Array | None = None
    ) -> None:
        """Stretch an RGB texture over a flat side (4, 3); the label covers all of it.

        Args:
            corners: bottom left, bottom right, top right, top left, street coordinates.
            texture: (height, width, 3), its first row at the top.
            light: RGB factor of the side.
            alpha: opacity (height, width) in 0…1 where the side can be seen through.
        """
        pixels = self.canvas.camera.project(corners)
        window, offset = self._window(pixels)
        if window is None:
            return
        lit = cv2.LUT(texture, np.rint(self.tint(np.arange(256.0)[:, None], light)).astype(np.uint8)[None])
        height, width = texture.shape[:2]
        source = np.array([[0, height], [width, height], [width, 0], [0, 0]], np.float32)
        warp = cv2.getPerspectiveTransform(source, (pixels - offset).astype(np.float32))
        view, ids = self.canvas.image[window], self.canvas.instance_ids[window]
        size = view.shape[1::-1]
        warped = cv2.warpPerspective(lit, warp, size, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros(view.shape[:2], np.uint8)
        outline = subpixel(pixels - offset)
        cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.fillConvexPoly(ids, outline, self.stroke_id, cv2.LINE_8, SUBPIXEL_BITS)
        if alpha is not None:
            cover = cv2.warpPerspective(alpha, warp, size, borderMode=cv2.BORDER_REPLICATE)[..., None]
            warped = (view + cover * (warped.astype(np.float32) - view)).astype(np.uint8)
        cv2.copyTo(warped, mask, view)

    def sprite(self, left: int, top: int, colors: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        """Put the masked pixels of a picture (height, width, 3) down with its corner at a pixel."""
        height, width = self.canvas.camera.size
        rows = slice(max(top, 0), min(top + mask.shape[0], height))
        columns = slice(max(left, 0), min(left + mask.shape[1], width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        self.canvas.image[rows, columns][mask[inner]] = colors[inner][mask[inner]]
        self.canvas.instance_ids[rows, columns][mask[inner]] = self.stroke_id

    def _window(self, pixels: Array) -> tuple[tuple[slice, slice] | None, Array]:
        """The part of the image that an outline touches (None if none) and its first (column, row)."""
        height, width = self.canvas.camera.size
        left, top = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 2, (width, height))
        if left >= right or top >= bottom:
            return None, np.zeros(2)
        return (slice(top, bottom), slice(left, right)), np.array([left, top])
