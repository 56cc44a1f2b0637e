"""What every data source hands on: which classes there are, and which image belongs to which label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fornet_keras.errors import ConfigError

IGNORE = 255
"""Train id of a pixel that is neither trained on nor scored."""

CLASS_NAME = r"^[^\x00-\x1f\x7f-\x9f]{1,100}$"
"""What a class may be called: up to 100 characters, none of which controls a terminal."""

DRAFT_NAME = r"(value|color)_\d+"
"""What `data describe` calls a class that nothing names."""

Color = tuple[int, int, int]
"""Red, green and blue, 0…255."""


@dataclass(frozen=True)
class LabelTable:
    """The classes of a data set and the meaning of the values in its label files.

    Args:
        names: one name a class; the position is the train id.
        colors: one RGB colour (0…255) a class.
        train_ids: label-file value (0…255) → train id, or `IGNORE`. A value that is not a key is an error
            in the data. Of several values of a class the first is what predictions are written in.
        thin: names of the classes that are thin structures (poles, signs), scored as a group.
        label_colors: colour → label-file value, where the label files are pictures in the classes' colours.

    Raises:
        ValueError: not one colour a name.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    train_ids: Mapping[int, int]
    thin: tuple[str, ...] = ()
    label_colors: Mapping[Color, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(
                f"a LabelTable must have one colour a name; received {len(self.names)} names and "
                f"{len(self.colors)} colors"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes that are trained and scored."""
        return len(self.names)

    def require(self, names: Iterable[str], setting: str, whose: str = "the data") -> None:
        """Refuse names that are no class, for a setting that has them.

        Raises:
            ConfigError: one is none; one line.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise ConfigError(
                f"{setting}: '{unknown[0]}' is no class of {whose}; expected one of {', '.join(self.names)}"
            )

    def meaning(self) -> list[Any]:
        """What the values of label files mean and, where they hold colours, those."""
        values, colors = sorted(self.train_ids.items()), sorted(self.label_colors.items())
        return [values, colors] if colors else [values]


@dataclass(frozen=True)
class Sample:
    """One image and its label file; `label` is None where only the image exists.

    `label_holds_train_ids` says that the label file already holds train ids (`IGNORE` for void) and the
    table's mapping does not apply.
    """

    image: Path
    label: Path | None = None
    label_holds_train_ids: bool = False


@dataclass(frozen=True)
class Dataset:
    """The samples of one split of a data source, in a fixed order, with their label table.

    `labels` is where label files are expected, for an error message.
    """

    name: str
    split: str
    root: Path
    table: LabelTable
    samples: tuple[Sample, ...] = field(repr=False)
    labels: str = "one of its name"

    def __len__(self) -> int:
        return len(self.samples)
