"""A first `dataset.yaml` for a folder of labelled images, to be corrected by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fornet_keras.data.class_tables import read_table
from fornet_keras.data.dataset import CLASS_NAME, LabelTable
from fornet_keras.data.description import DATASET_YAML, FolderDescription
from fornet_keras.data.file_list import refuse_to_list
from fornet_keras.data.found_classes import classes_of, found_classes
from fornet_keras.data.found_layout import find_layout, other_labels
from fornet_keras.errors import DataError, one_line

_HEAD = """\
# A draft, with the classes from {source}. Give them the names that they should have (and color: [R, G, B]),
# move what is neither trained on nor scored to {ignore}, and mark what is a few pixels wide with thin: true.
"""
_HEAD_OF_GIVEN = "# The classes are given, with {source}.\n"


def write_draft(
    root: Path, given: LabelTable | None = None
) -> tuple[str, list[str], FolderDescription, list[str]]:
    """Write `ROOT/dataset.yaml`, guessed from what is in the folder.

    The classes are those that are given, else those of a table beside the images, such as CVAT's
    `labelmap.txt`, else the values or colours in the labels.

    Returns:
        Where the classes are from, the names of the splits with labels, the description, and other places
        where labels may lie. Where no folder tells splits apart there are none: `split_off` makes them.

    Raises:
        DataError: there is a description already, no layout fits, a folder cannot be listed, or the labels
            hold no classes, or others than those that are given.
    """
    path = root / DATASET_YAML
    if path.exists():
        raise DataError(
            f"{path}: exists already; expected none; remove it to have a draft, or keep it: `--val` without "
            "`--classes` splits by it"
        )
    try:
        layout, splits, labels = find_layout(root)
    except OSError as error:
        refuse_to_list(error, root)
    places = [root / layout["images"].replace("{split}", split) for split in splits]
    table = classes_of(given, labels) if given else read_table(root, [root, *places], layout["labels"])
    source, classes, others, remarks = (*table, []) if table else found_classes(labels)
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} classes, from {source}; expected two or more; write {path.name} by hand"
        )
    ignore = "ignore_colors" if others.get("label_colors") else "ignore"
    head = (_HEAD_OF_GIVEN if given else _HEAD).format(source=one_line(source), ignore=ignore)
    try:
        description = FolderDescription.model_validate(
            {"name": "draft", "classes": classes} | others | layout
        )
    except ValidationError as error:
        wrong = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{root}: the classes from {source}: {wrong}; write {path.name} by hand") from error
    write_description(root, head, classes, others | layout, remarks)
    return source, splits, description, other_labels(root, layout, splits)


def write_description(
    root: Path,
    head: str,
    classes: Sequence[Mapping[str, Any]],
    others: Mapping[str, Any],
    remarks: Sequence[str] = (),
) -> None:
    """Write `ROOT/dataset.yaml`, where there is none: comments, the folder's name, classes, other keys.

    The remarks, if any, are comments beside the classes and what follows them.
    """
    name = root.resolve().name.encode(errors="replace").decode()
    name = name if re.match(CLASS_NAME, name) else "data"
    entries = (", ".join(f"{key}: {_plain(value)}" for key, value in entry.items()) for entry in classes)
    lines = [f"  - {{{entry}}}" for entry in entries]
    lines += [f"{key}: {_plain(value)}" for key, value in others.items()]
    remarked = zip_longest(lines, remarks, fillvalue="")
    lines = [f"{line}  # {one_line(remark)}" if remark else line for line, remark in remarked]
    lines = [f"{head}name: {_plain(name)}", "classes:", *lines]
    with (root / DATASET_YAML).open("x", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
