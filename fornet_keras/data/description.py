"""`dataset.yaml`, which says what the label values of a user's own data mean and where its files are.

A complete one; only `name` and `classes` are required, the rest are the defaults:

    name: harbour
    classes:
      - {name: water, color: [0, 0, 200]}                            # value 0, its position
      - {name: mooring, color: [200, 200, 0], value: 7, thin: true}
      - {name: boat, value: [8, 11, 12]}                             # several values, 8 where one is written
      - sky                                                          # value 3; the color of CamVid's sky
    ignore: []                     # further label values that are neither trained on nor scored
    first_value: 0                 # 1: positions count from 1, as where 0 is void, under ignore
    label_colors: false            # true: label files are pictures in the classes' colours and hold no values
    ignore_colors: []              # then instead of ignore, such as [[0, 0, 0]]
    images: images/{split}
    labels: labels/{split}
    image_suffixes: [.png, .jpg, .jpeg, .webp, .bmp]
    label_name: "{stem}.png"       # {stem} is the image's name without its suffix
    lists: null                    # or "{split}.txt": only the images named there, paths below the folder

With `label_colors` a class needs its `color`, and may have more: `colors: [[64, 0, 128], [192, 0, 192]]`.

Lists tell the splits apart, so that `images` and `labels` then need no {split}. A line may be the name alone
of an image in `images`, with its suffix or without. The label of an image in a folder below `images` is in
the same folder below `labels`, or in `labels` itself.
"""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from fornet_keras.bounded_text import read_text
from fornet_keras.config.section import Section
from fornet_keras.config.yaml_text import parse_yaml
from fornet_keras.data.class_colors import complete_colors
from fornet_keras.data.dataset import CLASS_NAME, IGNORE, Color, LabelTable
from fornet_keras.data.images import SUFFIXES
from fornet_keras.errors import ConfigError, DataError, os_reason

DATASET_YAML = "dataset.yaml"
MAX_BYTES = 1_000_000
_LISTS = {
    "classes": "[water, quay]",
    "color": "[0, 0, 200]",
    "ignore": "[255]",
    "image_suffixes": "[.png, .jpg]",
}
"""Examples for keys that hold a list; the others' hold several colours."""

_Byte = Annotated[int, Field(ge=0, le=255)]
_Color = Annotated[list[_Byte], Field(min_length=3, max_length=3)]


def _name_pattern(pattern: str) -> str:
    if pattern.count("{stem}") != 1:
        raise ValueError('must contain {stem} once, for example "{stem}_mask.png"')
    return pattern


def _suffix(ending: str) -> str:
    if "." not in ending.rstrip("."):  # the last of a stem: "a." has no label
        raise ValueError("must contain a dot, such as .jpg")
    return ending


_Suffix = Annotated[str, AfterValidator(_suffix)]


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


def _colors(lists: list[list[int]]) -> list[Color]:
    return [(red, green, blue) for red, green, blue in lists]


class ClassDescription(Section):
    """One class: its name, its RGB colours (0…255), its values in a label file, whether it is thin."""

    name: Annotated[str, Field(pattern=CLASS_NAME)]
    color: _Color | None = None
    colors: list[_Color] = []
    value: Annotated[Annotated[list[_Byte], Field(min_length=1)] | None, BeforeValidator(_as_list)] = None
    thin: bool = False

    @model_validator(mode="before")
    @classmethod
    def _or_only_a_name(cls, entry: Any) -> Any:
        return {"name": entry} if isinstance(entry, str) else entry

    def all_colors(self) -> list[Color]:
        """Those that pictures are drawn in and labels may be: `color` before `colors`."""
        return _colors([*([self.color] if self.color else []), *self.colors])


class FolderDescription(Section):
    """The contents of a `dataset.yaml`; the keys are explained at the top of this file."""

    name: Annotated[str, Field(pattern=CLASS_NAME)]
    classes: Annotated[list[ClassDescription], Field(min_length=2, max_length=IGNORE)]
    ignore: Annotated[list[_Byte], BeforeValidator(_as_list)] = []
    first_value: Literal[0, 1] = 0
    label_colors: bool = False
    ignore_colors: list[_Color] = []
    lists: str | None = None
    images: str = "images/{split}"
    labels: str = "labels/{split}"
    image_suffixes: Annotated[list[_Suffix], Field(min_length=1)] = [*SUFFIXES]
    label_name: Annotated[str, AfterValidator(_name_pattern)] = "{stem}.png"

    @field_validator("lists", "images", "labels")
    @classmethod
    def _tells_the_splits_apart(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        if pattern is None:
            return None
        if PurePosixPath(pattern).is_absolute():
            raise ValueError(
                "must be relative to the folder of this file, such as images/{split}; put this file there"
            )
        if "*" in pattern:
            raise ValueError(
                "must be one path, without *; of images in several folders name that above these, and list "
                'the images: lists: "{split}.txt"'
            )
        # Without {split} the same images would train and validate, but where lists say which, or will.
        listed = info.data.get("lists") or (info.context and info.field_name != "lists")
        if pattern.count("{split}") not in ((0, 1) if listed else (1,)):
            raise ValueError(
                "must be a relative path that contains {split} once, for example images/{split}; where all "
                "images are in one folder, have some of them validate: `data describe DIR --val 0.2`"
            )
        return PurePosixPath(pattern).as_posix()

    @model_validator(mode="after")
    def _values_or_colors(self) -> FolderDescription:
        by_value = any(entry.value is not None for entry in self.classes)
        if self.label_colors and (by_value or self.ignore or self.first_value):
            raise ValueError(
                "label_colors is true, and labels then hold no values; remove value and first_value, and for "
                "ignore write ignore_colors: [[0, 0, 0]]"
            )
        colorless = [entry.name for entry in self.classes if not entry.all_colors()]
        if self.label_colors and colorless:
            raise ValueError(f"label_colors is true, and class {colorless[0]} has no color; give it one")
        if not self.label_colors:
            for key, given in (
                ("ignore_colors", self.ignore_colors),
                ("colors", any(entry.colors for entry in self.classes)),
            ):
                if given:
                    raise ValueError(f"{key} is of labels in colours; set label_colors: true, or remove it")
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> FolderDescription:
        for what, entries in (
            ("class name", [entry.name for entry in self.classes]),
            ("label value", [value for values in (*self._values(), self.ignore) for value in values]),
            ("color", [str([*color]) for color, _ in self._label_colors()] if self.label_colors else []),
        ):
            twice = [entry for entry, count in Counter[str | int](entries).items() if count > 1]
            if twice:
                fix = "declare each once"
                for position, entry in enumerate(self.classes, self.first_value):
                    if what == "label value" and position == twice[0] and entry.value is None:
                        fix = f"{entry.name} has it by its position: give it its own"
                        fix += "" if position else ", or set first_value: 1"
                raise ValueError(f"{what} {twice[0]} is declared twice; {fix}")
        return self

    def _values(self) -> list[list[int]]:
        """The values of each class in a label file, in the order of the train ids."""
        placed = enumerate(self.classes, self.first_value)
        return [[position] if entry.value is None else entry.value for position, entry in placed]

    def _label_colors(self) -> list[tuple[Color, int]]:
        """The colours in a label file, each with its train id."""
        owned = [(color, index) for index, entry in enumerate(self.classes) for color in entry.all_colors()]
        return owned + [(color, IGNORE) for color in _colors(self.ignore_colors)]

    def table(self) -> LabelTable:
        """The label table that the rest of the package works with."""
        train_ids = {value: train_id for train_id, values in enumerate(self._values()) for value in values}
        ignored = [IGNORE] if self.ignore_colors else self.ignore
        own = [(*entry.all_colors(), None)[0] for entry in self.classes]
        names = tuple(entry.name for entry in self.classes)
        return LabelTable(
            names=names,
            colors=complete_colors(names, own),
            train_ids=train_ids | dict.fromkeys(ignored, IGNORE),
            thin=tuple(entry.name for entry in self.classes if entry.thin),
            label_colors=dict(self._label_colors()) if self.label_colors else {},
        )

    def layout(self) -> tuple[str, str]:
        """The expected images and labels, for an error message."""
        endings = " or ".join(f"*{suffix}" for suffix in self.image_suffixes)
        images = f"{self.lists}, a list of images," if self.lists else f"{self.images}/{endings}"
        labels = f"{self.labels}/{self.label_name.replace('{stem}', '*')}"
        return images.replace("{split}", "SPLIT"), labels.replace("{split}", "SPLIT")


def read_dataset_yaml(root: Path, before_lists: bool = False) -> FolderDescription:
    """Read and check `ROOT/dataset.yaml`.

    Args:
        root: the folder of the data.
        before_lists: its images are going to be split by lists, and may lie in one folder without {split}.

    Raises:
        DataError: the file is missing, not YAML, or has a wrong, missing or unknown key; one line.
    """
    path = root / DATASET_YAML
    try:
        text = read_text(path, MAX_BYTES)
        content, origins = parse_yaml(text, lambda line: f"{path}:{line}" if line else str(path))
    except FileNotFoundError as error:
        fix = f"write one with name and classes, or have a draft with `data describe {root}`"
        if (root.parent / DATASET_YAML).is_file():
            fix = f"did you mean {root.parent}?"
        raise DataError(f"{path}: no such file; expected a description of the classes; {fix}") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({os_reason(error)}); expected a few kB of YAML in UTF-8; check it"
        ) from error
    except ConfigError as error:
        raise DataError(str(error)) from error
    try:
        return FolderDescription.model_validate(content, context=before_lists)
    except ValidationError as error:
        # A misspelt key is also a missing one: the misspelling is the finding that helps.
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        steps = tuple(map(str, first["loc"]))
        line = next((origins[steps[:n]] for n in range(len(steps), 0, -1) if steps[:n] in origins), path)
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise DataError(f"{line}: {_finding(first)}{more}") from error


def _finding(error: ErrorDetails) -> str:
    """One of pydantic's findings, such as "classes.0.colour: unknown key; did you mean color?"."""
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        keys = (FolderDescription if len(error["loc"]) == 1 else ClassDescription).model_fields
        similar = difflib.get_close_matches(str(error["loc"][-1]), keys, n=1)
        fix = f"did you mean {similar[0]}?" if similar else "remove it"
        message = f"unknown key; expected one of {', '.join(keys)}; {fix}"
    elif error["type"] == "missing":
        message = "is missing; add it"
    elif error["type"] == "model_type" and not where:
        message = "expected keys and values, such as 'name: harbour'"
    else:
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "list_type":
            key = [str(step) for step in error["loc"] if isinstance(step, str)][-1]
            message = f"expected a list, such as {key}: {_LISTS.get(key, '[[0, 0, 200]]')}"
        elif error["type"] == "model_type":  # of a class
            message = 'expected a name, in quotes where it is a number or a word such as true: "1"'
        elif error["type"] == "too_short" and where == "classes":
            message = "expected two or more; what is of no class of yours is one too, such as background"
        if isinstance(error["input"], str | int | float | None):
            message += f"; received {error['input']!r}"
    return f"{where}: {message}" if where else message
