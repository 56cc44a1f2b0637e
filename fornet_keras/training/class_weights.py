"""Weights that keep rare classes from being drowned by road and sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


def class_weights(
    method: Literal["none", "inverse_log", "inverse_sqrt", "median_frequency"], pixel_counts: Sequence[int]
) -> list[float] | None:
    """One weight a class, with a mean of 1 over the classes that occur.

    Args:
        method: `"none"`; `"inverse_log"`, 1 / log(1.1 + share of the pixels) (after ENet, arXiv 1606.02147);
            `"inverse_sqrt"`, 1 / sqrt(share of the pixels);
            or `"median_frequency"`, the median share over the class's share (arXiv 1411.4734), capped at 10.
        pixel_counts: int `(classes,)`, pixels of each class in the training labels.

    Returns:
        list of float, or None for `"none"`. A class without pixels has weight 1.
    """
    if method == "none":
        return None
    counts = np.asarray(pixel_counts, dtype=np.float64)
    occurs = counts > 0
    share = counts / counts.sum()
    weights = np.ones_like(share)
    if method == "inverse_log":
        weights[occurs] = 1 / np.log(1.1 + share[occurs])
    elif method == "inverse_sqrt":
        weights[occurs] = share[occurs] ** -0.5
    else:
        weights[occurs] = np.minimum(np.median(share[occurs]) / share[occurs], 10.0)
    weights[occurs] /= weights[occurs].mean()
    return weights.tolist()
