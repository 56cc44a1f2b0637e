"""Another learning rate for the backbone, whose pre-trained weights need smaller steps than a new head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras


def scale_rate(
    optimizer: keras.optimizers.Optimizer, slowed: Iterable[keras.Variable], factor: float
) -> None:
    """Make an optimizer update some variables, and decay their weights, at a share of its learning rate.

    Args:
        optimizer: any of Keras' own, on any backend, without a loss scale around it.
        slowed: the variables.
        factor: their share of the learning rate, > 0.
    """
    # Not keras.optimizers.MultiOptimizer: it clips each group by itself, and keeps no moving average.
    names = {variable.path for variable in slowed}
    rate = optimizer._get_current_learning_rate
    decay, update = optimizer._apply_weight_decay, optimizer._backend_update_step

    def each_group(step: Any, variables: list[keras.Variable], *gradients: list[Any]) -> None:
        for share, is_slowed in ((1.0, False), (factor, True)):
            chosen = [at for at, variable in enumerate(variables) if (variable.path in names) == is_slowed]
            if chosen:
                optimizer._get_current_learning_rate = lambda share=share: share * rate()
                step([variables[at] for at in chosen], *([of[at] for at in chosen] for of in gradients))
        optimizer._get_current_learning_rate = rate

    def decay_groups(variables: list[keras.Variable]) -> None:
        each_group(decay, variables)

    def update_groups(gradients: list[Any], variables: list[keras.Variable], _: Any) -> None:
        each_group(
            lambda group, group_gradients: update(group_gradients, group, optimizer.learning_rate),
            variables,
            gradients,
        )

    optimizer._apply_weight_decay, optimizer._backend_update_step = decay_groups, update_groups
