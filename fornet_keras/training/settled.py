"""A run's configuration as it runs: nothing in it is left to the machine or to the weights it begins with."""

from __future__ import annotations

from pathlib import Path

from fornet_keras.config import Config, read_config
from fornet_keras.model_description import CONFIG
from fornet_keras.training.accelerator import dtype_policy
from fornet_keras.training.begin_with import SIZES, sized_as_weights


def settled(config: Config, folder: Path, resume: bool) -> Config:
    """The same configuration with the number format that `auto` means, and the sizes that null does.

    So what is recorded is what ran.

    Args:
        config: configuration of the run.
        folder: the run folder; need not exist.
        resume: whether a run in the folder goes on, on whatever machine, with the number format that it has,
            and without `model.weights`, which may be gone.

    Raises:
        ModelError: the sizes of `model.weights` cannot be read.
    """
    precision, model = config.training.precision, config.model
    if resume and (precision == "auto" or not model.preset) and (folder / CONFIG).is_file():
        began = read_config(folder / CONFIG)
        precision = began.training.precision if precision == "auto" else precision
        if not model.preset:
            given = {name: value for name, value in model if value is not None}
            model = model.model_copy(update={name: getattr(began.model, name) for name in SIZES} | given)
    training = config.training.model_copy(update={"precision": dtype_policy(precision)})
    return config.model_copy(update={"training": training, "model": sized_as_weights(model)})
