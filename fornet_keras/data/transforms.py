"""Augmentation of an image together with its label: a pure function of (seed, epoch, index)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fornet_keras.config import AugmentConfig
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.sizes import PAD_COLOR


def random_generator(seed: int, epoch: int, index: int, repeat: int = 0) -> np.random.Generator:
    """The generator that decides everything about sample `index` of `epoch`, on any machine and backend.

    `repeat` counts how often the epoch has had the sample before; NumPy takes a 0 at the end for nothing.
    """
    return np.random.default_rng((seed, epoch, index, repeat))


def augment(
    image: NDArray[np.uint8], label: NDArray[np.uint8], options: AugmentConfig, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scale, crop, flip and recolour.

    Args:
        image: uint8 RGB `(height, width, 3)`.
        label: uint8 train ids `(height, width)`.
        options: a `config.AugmentConfig`.
        random: NumPy generator; nine numbers are drawn whatever the options, so that one option leaves what
            the others do.

    Returns:
        uint8 `(*options.crop, 3)` and uint8 `options.crop`. What lies outside the image is `PAD_COLOR`, made
        brighter or darker like the rest, and `IGNORE`. No other label value appears that the label did not
        hold.
    """
    image, label = _scale_crop_flip(image, label, options, random)
    matrix = color_matrix(options, random)
    image = cv2.LUT(image, gamma_table(options, random))
    return cv2.transform(image, matrix), label


def _scale_crop_flip(
    image: NDArray[np.uint8], label: NDArray[np.uint8], options: AugmentConfig, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All of the geometry in one resampling: linear for the image, nearest for the label."""
    height, width = options.crop
    low, high = np.log(options.scale)
    scale = float(np.exp(random.uniform(low, high)))
    # Where the crop begins in the scaled image; negative where the crop is the larger of the two.
    top, left = (
        random.uniform(min(0.0, slack), max(0.0, slack))
        for slack in (image.shape[0] * scale - height, image.shape[1] * scale - width)
    )
    # Pixel centres lie at half coordinates: source = (target + offset + 0.5) / scale - 0.5.
    to_source = np.array(
        [[1 / scale, 0, (left + 0.5) / scale - 0.5], [0, 1 / scale, (top + 0.5) / scale - 0.5]]
    )
    if random.random() < options.flip:
        to_source[0] = [-to_source[0, 0], 0, to_source[0, 2] + (width - 1) / scale]
    size, border = (width, height), {"borderMode": cv2.BORDER_CONSTANT}
    linear, nearest = (how | cv2.WARP_INVERSE_MAP for how in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
    image = cv2.warpAffine(image, to_source, size, flags=linear, borderValue=PAD_COLOR, **border)
    label = cv2.warpAffine(label, to_source, size, flags=nearest, borderValue=IGNORE, **border)
    return image, label


def letterbox_half(
    image: NDArray[np.uint8], label: NDArray[np.uint8], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Half of the time cover two opposite sides, as of an image of other proportions than the model's.

    Args:
        image: uint8 RGB `(height, width, 3)`.
        label: uint8 train ids `(height, width)`.
        random: NumPy generator; two numbers are drawn.

    Returns:
        Copies of both, up to 60 % of them `PAD_COLOR` and `IGNORE`.
    """
    axis = int(random.integers(2))
    return cover_sides(image, label, axis, max(0.0, random.uniform(-0.3, 0.3)))


def cover_sides(
    image: NDArray[np.uint8], label: NDArray[np.uint8], axis: int, share: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Copies of both, this share of them at either end of an axis `PAD_COLOR` and `IGNORE`."""
    image, label = image.copy(), label.copy()
    bar = round(label.shape[axis] * share)
    for array, fill in ((image, PAD_COLOR), (label, IGNORE)):
        lines = np.moveaxis(array, axis, 0)  # a view
        lines[:bar] = fill
        lines[len(lines) - bar :] = fill
    return image, label


def color_matrix(options: AugmentConfig, random: np.random.Generator) -> NDArray[np.float64]:
    """A random change of brightness, contrast, saturation and hue as one affine map of RGB.

    Returns:
        float64 `(3, 4)`, for values 0…255; the identity where all four options are 0.
    """
    draw = random.uniform(-1, 1, size=4)
    brightness = 1 + options.brightness * draw[0]
    contrast = 1 + options.contrast * draw[1]
    saturation = 1 + options.saturation * draw[2]
    angle = 2 * np.pi * options.hue * draw[3]

    # Hue turns and saturation stretches the plane of colours around the axis of greys.
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + saturation * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    gain = brightness * contrast
    offset = brightness * (1 - contrast) * 127.5
    return np.hstack([gain * turn, np.full((3, 1), offset)])


def gamma_table(options: AugmentConfig, random: np.random.Generator) -> NDArray[np.uint8]:
    """A random exposure: the value that each value 0…255 becomes when raised to an exponent near 1.

    Unlike brightness it keeps black and white, and moves the dark tones most.

    Returns:
        uint8 `(256,)`; the identity where `options.gamma` is 0.
    """
    exponent = np.exp(options.gamma * random.uniform(-1, 1))
    return np.rint(255 * np.linspace(0, 1, 256) ** exponent).astype(np.uint8)
