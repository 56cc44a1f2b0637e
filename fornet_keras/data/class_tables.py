"""The tables of classes that data sets and annotation tools put beside the images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fornet_keras.bounded_text import read_bounded
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.description import MAX_BYTES
from fornet_keras.errors import DataError

_Classes = tuple[list[dict[str, Any]], dict[str, Any]]
"""The classes, and further keys, as in a `dataset.yaml`."""


def read_table(
    root: Path, folders: Sequence[Path], labels: str
) -> tuple[str, list[dict[str, Any]], dict[str, Any]] | None:
    """Where the classes are from, they themselves, and the keys that go with them; None without a table.

    Args:
        root: the folder of the data.
        folders: those that may hold a table.
        labels: the place of the labels, such as `{split}/v2.0/labels`, whose version has its own.

    Raises:
        DataError: a table cannot be read, or there are two that differ.
    """
    for name, row, read in _TABLES:
        name = name.replace("{version}", PurePosixPath(labels).parent.name)
        found: list[tuple[Path, _Classes]] = []
        for table in (folder / name for folder in folders):
            if table.is_file():
                try:
                    found.append((table, read(_lines(table))))
                except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
                    raise DataError(f"{table}: expected {row}; correct or remove it") from error
        for table, classes in found[1:]:
            if classes != found[0][1]:
                raise DataError(
                    f"{table}: other classes than in {found[0][0]}; expected the same for all splits; "
                    "export them together, or remove the wrong one"
                )
        if found:
            return found[0][0].relative_to(root).as_posix(), *found[0][1]
    return None


def _of_labelmap(lines: Sequence[str]) -> _Classes:
    rows = [line.split(":") for line in lines if not line.startswith("#")]
    classes = [{"name": row[0], "color": [int(part) for part in row[1].split(",")]} for row in rows]
    return classes, {"label_colors": True}


def _of_values(lines: Sequence[str]) -> _Classes:
    pairs = [line.partition(",") for line in lines[1:]]
    return [{"name": name.strip(), "value": int(value)} for value, _, name in pairs], {}


def _of_colors(lines: Sequence[str]) -> _Classes:
    rows = [line.rsplit(",", 3) for line in lines[1:]]
    classes = [{"name": row[0].strip(), "color": [int(part) for part in row[1:]]} for row in rows]
    return classes, {"label_colors": True}


def _of_config(lines: Sequence[str]) -> _Classes:
    """Mapillary's form: a label's value is its position; what is not evaluated is void."""
    entries = [*enumerate(json.loads("\n".join(lines))["labels"])]
    void = [value for value, entry in entries if not entry.get("evaluate", True)]
    classes = [
        {"name": entry["name"], "color": entry["color"], "value": value}
        for value, entry in entries
        if value not in void
    ]
    return classes, {"ignore": [*void, IGNORE]}


_CONFIG = "JSON with labels, each with a name and a color"
_TABLES: tuple[tuple[str, str, Callable[[Sequence[str]], _Classes]], ...] = (
    ("labelmap.txt", "name:R,G,B:: a line", _of_labelmap),
    ("_classes.csv", "a value and a name a line", _of_values),
    ("class_dict.csv", "name,r,g,b a line", _of_colors),
    ("config_{version}.json", _CONFIG, _of_config),
    ("rs19-config.json", _CONFIG, _of_config),
)


def _lines(path: Path) -> list[str]:
    text = read_bounded(path, MAX_BYTES, "a short text, or no such file")
    return [line.strip() for line in text.splitlines() if line.strip()]
