"""The moving average of the weights: what is validated and saved, while training goes on with its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the optimizer's moving average into the model, and the trained weights back at the end.

    Batch normalisation's statistics are averages already and stay as they are. A model whose optimizer keeps
    no average stays as it is altogether.

    Args:
        model: compiled and built.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    try:
        yield
    finally:
        swap.on_test_end()
