"""Another learning rate for the backbone, whose pre-trained weights need smaller steps than a new head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops


def scale_rate(
    optimizer: keras.optimizers.Optimizer,
    scaled: Iterable[keras.Variable],
    factor: float,
    frozen_steps: int = 0,
) -> None:
    """Make an optimizer update some variables, and decay their weights, at a share of its learning rate.

    Args:
        optimizer: any of Keras' own, on any backend, without a loss scale around it.
        scaled: the variables.
        factor: their share of the learning rate, > 0.
        frozen_steps: steps at the run's beginning in which their share is 0.
    """
    # Not keras.optimizers.MultiOptimizer: it clips each group by itself, and keeps no moving average.
    names = {variable.path for variable in scaled}
    rate = optimizer._get_current_learning_rate
    decay, update = optimizer._apply_weight_decay, optimizer._backend_update_step

    def scaled_rate() -> Any:
        if not frozen_steps:
            return factor * rate()
        # Follows from the step alone, so that a run that goes on needs nothing more. Not the public
        # `iterations`, which counts changes of the weights and not the steps accumulated for them.
        return ops.where(optimizer._iterations < frozen_steps, 0.0, factor) * rate()

    def each_group(step: Any, variables: list[keras.Variable], *gradients: list[Any]) -> None:
        for group_rate, is_scaled in ((rate, False), (scaled_rate, True)):
            chosen = [at for at, variable in enumerate(variables) if (variable.path in names) == is_scaled]
            if chosen:
                optimizer._get_current_learning_rate = group_rate
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
