"""The whole configuration: its sections by name."""

from typing import Any

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

    def by_key(self) -> dict[str, Any]:
        """Every setting as "section.key" and its value."""
        sections = self.model_dump(mode="json").items()
        return {f"{name}.{key}": value for name, keys in sections for key, value in keys.items()}


SECTIONS: dict[str, type[Section]] = dict(Config.__annotations__)
