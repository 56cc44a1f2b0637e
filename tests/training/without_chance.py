"""python without_chance.py DEVICES CONFIG OUTPUT: trains, on forced CPU devices, and keeps no random regions.

Those are another draw on several devices; without them the loss must be that of one.
"""

import os
import sys
import warnings
from pathlib import Path

from rich.console import Console

from fornet_keras.cli.backend import start_backend
from fornet_keras.config import read_config
from tests.untraced import untraced


def main(devices: int, config_file: str, output: str) -> None:
    """Train as `cli.py train --resume` does, in this process or with those of the launcher."""
    start_backend(None)
    warnings.filterwarnings("error", "Detected a mix of local")  # of variables on one device and on several
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, parts)
        # It takes longer than it saves two steps.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    from fornet_keras.layers.topk_gate import TopKGate
    from fornet_keras.training import conclude, train, validation
    from fornet_keras.training.devices import join_processes
    from fornet_keras.training.dry_run import dry_run

    TopKGate._explore = lambda self, order, kept: order
    # On one device as ever, and what is compared is not of them.
    validation.evaluate = untraced()(validation.evaluate)
    conclude.save_pictures = lambda *_: None
    config = read_config(config_file)
    training = config.training.model_copy(update={"devices": devices})
    config = config.model_copy(update={"training": training})
    if devices > 1 and os.environ["KERAS_BACKEND"] == "jax":  # whose arrays know where they lie
        training = training.model_copy(update={"selector_epochs": 1})
        dry_run(config.model_copy(update={"training": training}), Console(quiet=True))
    train.train(config, Path(output), resume=True, processes=join_processes())


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
