"""The moving average of the weights: what is validated and saved, while training goes on with its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the optimizer's moving average into the model, and the trained weights back at the end.

    Batch normalisation's statistics are averages already and stay as they are. They are the trained weights':
    while the learning rate is high they fit the average badly, and its scores are low. A model whose
    optimizer keeps no average stays as it is altogether.

    Args:
        model: compiled and built.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    # Not keras.callbacks.SwapEMAWeights: on TensorFlow it adds and subtracts, and the last bit changes.
    weights = model.trainable_variables
    # Copies: JAX would take an average itself for the weight, and give its memory away when it predicts.
    trained, averages = (
        [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        for variables in (weights, optimizer._model_variables_moving_average)
    )
    for weight, average in zip(weights, averages, strict=True):
        weight.assign(average)
    try:
        yield
    finally:
        for weight, value in zip(weights, trained, strict=True):
            weight.assign(value)
