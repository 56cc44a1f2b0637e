"""The whole configuration: its sections by name."""

from fornet_keras.config.data import AugmentConfig, DataConfig
from fornet_keras.config.model import ModelConfig
from fornet_keras.config.section import Section
from fornet_keras.config.training import LossConfig, TrainingConfig


class Config(Section):
    """One experiment: the sections of a configuration file."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig


SECTIONS: dict[str, type[Section]] = dict(Config.__annotations__)
