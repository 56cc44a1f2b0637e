"""What `model.json` says: the network in plain numbers, and its classes, each field validated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fornet_keras.atomic import last_complete
from fornet_keras.bounded_text import first_finding
from fornet_keras.data.dataset import CLASS_NAME, LabelTable
from fornet_keras.errors import ModelError

MODEL_JSON = "model.json"
CONFIG = "config.yaml"
MAX_DESCRIPTION_BYTES = 1_000_000

Width = Annotated[int, Field(ge=1, le=2048)]
Depth = Annotated[int, Field(ge=1, le=64)]
Byte = Annotated[int, Field(ge=0, le=255)]
# What a library's backbone is built from: no mapping, so nothing that Keras would take for an object.
Plain = None | bool | Annotated[int, Field(ge=-8192, le=8192)] | float | Annotated[str, Field(max_length=100)]
PlainList = Annotated[
    list[Plain | Annotated[list[Plain | list[Plain]], Field(max_length=100)]], Field(max_length=100)
]
Colours = Annotated[list[float], Field(min_length=3, max_length=3)]


class Strict(BaseModel):
    """A part of a file: every key is known, and no value changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Library(Strict):
    """The constructor arguments of a `LibraryBackbone`."""

    library: Literal["keras_hub", "keras_cv"]
    class_name: str = Field(pattern="^[A-Za-z0-9]{1,100}$")
    config: dict[str, Plain | PlainList] = Field(max_length=50)
    scale: float | Colours
    offset: float | Colours


class Architecture(Strict):
    """The constructor arguments of a `FoRNet`; `widths` to `stem_depth` are a `ResidualBackbone`'s."""

    num_classes: int = Field(ge=2, le=255)
    backbone: Literal["efficientnet_lite0"] | Library | None = None
    widths: tuple[Annotated[int, Field(ge=2, le=2048)], Width, Width, Width] | None = None
    depths: tuple[Annotated[int, Field(ge=0, le=64)], Depth, Depth, Depth] | None = None
    stem_filters: Width | None = None
    stem_depth: Depth = 1
    context_filters: Width
    branch_filters: Width
    scales: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(min_length=1, max_length=8)
    region_size: int = Field(ge=16, le=1024, multiple_of=16)
    top_k: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _one_backbone(self) -> Architecture:
        if (self.widths is None) != (self.depths is None) or (self.widths is None) == (self.backbone is None):
            raise ValueError("widths and depths, or backbone, must be given")
        if self.backbone and (self.stem_filters, self.stem_depth) != (None, 1):
            raise ValueError("stem_filters and stem_depth belong to widths and depths, not to a backbone")
        return self

    @model_validator(mode="after")
    def _scales_divide(self) -> Architecture:
        if any(self.branch_filters % scale or self.region_size // 4 % scale for scale in self.scales):
            raise ValueError("scales must divide branch_filters and region_size / 4")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("scales must be different ones")
        return self


class ClassEntry(Strict):
    """One class: its name, its RGB colour, and whether it is a thin structure."""

    name: str = Field(pattern=CLASS_NAME)
    color: tuple[Byte, Byte, Byte]
    thin: bool = False


def label_table(classes: Sequence[ClassEntry]) -> LabelTable:
    """Classes as a `LabelTable` of train ids: a class's id is its position."""
    return LabelTable(
        names=tuple(entry.name for entry in classes),
        colors=tuple(entry.color for entry in classes),
        train_ids={i: i for i in range(len(classes))},
        thin=tuple(entry.name for entry in classes if entry.thin),
    )


def class_entries(table: LabelTable) -> tuple[ClassEntry, ...]:
    """What `label_table` makes a table of."""
    entries = zip(table.names, table.colors, strict=True)
    return tuple(ClassEntry(name=n, color=c, thin=n in table.thin) for n, c in entries)


def find_model_json(folder: Path) -> Path:
    """The `model.json` of a saved model, or of a run's best one; it need not exist."""
    folder, best = last_complete(folder), last_complete(folder / "best")
    run = not (folder / MODEL_JSON).exists() and best.is_dir()
    return (best if run else folder) / MODEL_JSON


def config_beside(folder: Path) -> Path | None:
    """The configuration that a model has learnt with: a run's, a shipped model's, or that of its run."""
    names = (folder, Path(os.path.realpath(folder)))  # `.`, or a link, is called otherwise
    places = (folder, *(name.parent for name in names if name.name in ("best", "last")))
    return next((file for place in places if (file := place / CONFIG).is_file()), None)


class Description(Strict):
    """The content of `model.json`; `short_side` is that of a `FoRNet`, which a file may leave out."""

    format: int = Field(default=2, ge=2, le=2)
    fornet_keras: str
    architecture: Architecture
    classes: tuple[ClassEntry, ...] = Field(max_length=255)
    short_side: int | None = Field(default=None, ge=1, le=65535)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_entry_a_class(self) -> Description:
        if len(self.classes) != self.architecture.num_classes:
            raise ValueError(
                f"{len(self.classes)} classes, but num_classes is {self.architecture.num_classes}"
            )
        return self


def read_description(folder: Path) -> Description:
    """What a saved model's folder says, or that of a run, whose `best` model is taken.

    Raises:
        ModelError: the folder is missing or incomplete, or the file is not one of this package.
    """
    path = find_model_json(folder)
    if not path.is_file():
        expected = "expected a run folder, whose first validation has ended, or a saved model's folder"
        if (path.parent / "manifest.json").is_file():
            raise ModelError(
                f"{path.parent}: is an exported model, which Keras does not run; {expected}; give the model "
                "that it was exported from, or this one to a command that takes exported models"
            )
        raise ModelError(f"{path.parent}: no {MODEL_JSON} in it; {expected}")
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ModelError(f"{path}: larger than {MAX_DESCRIPTION_BYTES} bytes; expected a model's description")
    try:
        return Description.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise ModelError(f"{path}: {first_finding(error)}; expected what `train` writes") from None
