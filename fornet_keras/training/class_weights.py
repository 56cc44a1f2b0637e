"""Weights that keep rare classes from being drowned by road and sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fornet_keras.config.training import ClassWeights
from fornet_keras.data.dataset import LabelTable


def class_weights(
    method: ClassWeights | Mapping[str, float], pixel_counts: Sequence[int], table: LabelTable
) -> list[float] | None:
    """One weight a class; by a method they have a mean of 1 over the classes that occur.

    Args:
        method: `"none"`; `"inverse_log"`, 1 / log(1.1 + share of the pixels) (after ENet, arXiv 1606.02147);
            `"inverse_sqrt"`, 1 / sqrt(share of the pixels);
            `"median_frequency"`, the median share over the class's share (arXiv 1411.4734), capped at 10;
            or the weights of some classes by name, where the others have 1.
        pixel_counts: int `(classes,)`, pixels of each class in the training labels.
        table: the classes.

    Returns:
        list of float, or None for `"none"`. By a method a class without pixels has weight 1.

    Raises:
        ConfigError: a name is no class.
    """
    if isinstance(method, Mapping):
        table.require(method, "loss.class_weights")
        return [float(method.get(name, 1)) for name in table.names]
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
