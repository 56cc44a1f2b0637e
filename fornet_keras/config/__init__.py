"""Typed, strict configuration: one YAML file an experiment, every mistake one clear line.

Example:
    >>> from fornet_keras.config import config_from_mapping
    >>> config = config_from_mapping(
    ...     {
    ...         "data": {"format": "camvid"},
    ...         "augment": {"crop": [360, 480]},
    ...         "training": {"epochs": 5, "batch_size": 8},
    ...     },
    ...     source="example",
    ... )
    >>> config.augment.crop, config.training.learning_rate
    ((360, 480), 0.001)
"""

from fornet_keras.config.data import AugmentConfig, DataConfig
from fornet_keras.config.model import ModelConfig
from fornet_keras.config.reader import config_from_mapping, dump_config, read_config
from fornet_keras.config.schema import Config
from fornet_keras.config.training import LossConfig, TrainingConfig

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "TrainingConfig",
    "config_from_mapping",
    "dump_config",
    "read_config",
]
