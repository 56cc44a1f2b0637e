"""Something on the street, as the layout hands it to the painter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fornet_keras.data.synthetic.canvas import Canvas
from fornet_keras.data.synthetic.geometry import Array, Street

Draw = Callable[[Canvas, np.random.Generator], None]


@dataclass(frozen=True)
class Thing:
    """Something on the street.

    Args:
        ahead: distance in metres that decides what hides what: of houses and fences that of the far end, of
            what stands or drives that of the middle.
        draw: paints it.
        solid: points (number, 3) whose hull casts its shadow; what is far outside the image is not painted.
    """

    ahead: float
    draw: Draw
    solid: Array


def slots(
    rng: np.random.Generator, street: Street, start: float, end: float, step: tuple[float, float]
) -> Iterator[float]:
    """Distances from `start` to `end`, `step` apart, that leave the crossing street free."""
    ahead = start
    while ahead < end:
        if not street.crosses(ahead - 2.5, ahead + 2.5):
            yield ahead
        ahead += rng.uniform(*step)
