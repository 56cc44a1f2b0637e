"""A first `dataset.yaml` for a folder of labelled images, to be corrected by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fornet_keras.bounded_text import TooLargeError, read_text
from fornet_keras.data.dataset import CLASS_NAME, IGNORE
from fornet_keras.data.description import DESCRIPTION_FILE, MAX_BYTES, FolderDescription
from fornet_keras.data.folder import find_samples, find_splits
from fornet_keras.data.images import read_image
from fornet_keras.data.label_files import WrongLabelError, read_label
from fornet_keras.errors import DataError, one_line

MAX_LABELS = 100
"""Labels that are read for the values in them, evenly picked."""

MAX_CLASSES = 64
"""More values than this are not classes."""

_LABEL_FOLDERS = ("labels", "masks", "annotations")
_LAYOUTS: tuple[dict[str, Any], ...] = (
    # Pascal VOC, and what CVAT exports.
    {"lists": "ImageSets/Segmentation/{split}.txt", "images": "JPEGImages", "labels": "SegmentationClass"},
    *({"images": "images/{split}", "labels": f"{name}/{{split}}"} for name in _LABEL_FOLDERS),
    *({"images": "{split}/images", "labels": f"{{split}}/{name}"} for name in _LABEL_FOLDERS),
    # What Roboflow exports.
    {"images": "{split}", "labels": "{split}", "image_suffixes": [".jpg", ".jpeg"]},
)
_LABEL_NAMES = ("{stem}.png", "{stem}_mask.png")
_HEAD = """\
# A draft, with the classes from {source}. Give them the names that they should have (and color: [R, G, B]),
# move what is neither trained on nor scored to {ignore}, and mark what is a few pixels wide with thin: true.
"""


def write_draft(root: Path) -> tuple[str, list[str], FolderDescription]:
    """Write `ROOT/dataset.yaml`, guessed from what is in the folder.

    The classes are those of CVAT's `labelmap.txt` or Roboflow's `_classes.csv`, else the values or colours in
    the labels.

    Returns:
        Where the classes are from, the names of the splits, and the description.

    Raises:
        DataError: there is a description already, no layout fits, or the labels hold no classes.
    """
    path = root / DESCRIPTION_FILE
    if path.exists():
        raise DataError(f"{path}: exists already; expected none; remove it to have a draft")
    layout, splits, labels = _layout(root)
    source, classes, others = _classes(root, splits, labels)
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} classes, from {source}; expected two or more; write {path.name} by hand"
        )
    ignore = "ignore_colors" if others.get("label_colors") else "ignore"
    head = _HEAD.format(source=one_line(source), ignore=ignore)
    try:
        description = FolderDescription.model_validate(
            {"name": "draft", "classes": classes} | others | layout
        )
    except ValidationError as error:
        wrong = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{root}: the classes from {source}: {wrong}; write {path.name} by hand") from error
    write_description(root, head, classes, others | layout)
    return source, splits, description


def write_description(
    root: Path, head: str, classes: Sequence[Mapping[str, Any]], others: Mapping[str, Any]
) -> None:
    """Write `ROOT/dataset.yaml`, where there is none: comments, the folder's name, classes, other keys."""
    name = root.resolve().name.encode(errors="replace").decode()
    name = name if re.match(CLASS_NAME, name) else "data"
    lines = [f"{head}name: {_plain(name)}", "classes:"]
    for entry in classes:
        lines.append("  - {" + ", ".join(f"{key}: {_plain(value)}" for key, value in entry.items()) + "}")
    lines += [f"{key}: {_plain(value)}" for key, value in others.items()]
    with (root / DESCRIPTION_FILE).open("x", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _layout(root: Path) -> tuple[dict[str, Any], list[str], list[Path]]:
    """The first layout in which an image has a label, the splits, and all labels."""
    for patterns in _LAYOUTS:
        for label_name in _LABEL_NAMES:
            layout = patterns | {"label_name": label_name}
            description = FolderDescription.model_validate({"name": "draft", "classes": ["a", "b"], **layout})
            splits = find_splits(root, description)
            samples = [sample for split in splits for sample in find_samples(root, split, description)]
            if labels := [sample.label for sample in samples if sample.label]:
                return layout, splits, labels
    raise DataError(
        f"{root}: no images with labels found; expected images/SPLIT and labels/SPLIT, SPLIT/images and "
        f"SPLIT/masks, or an export of CVAT or Roboflow; write {DESCRIPTION_FILE} by hand, with lists where "
        "no folder tells the splits apart"
    )


def _classes(
    root: Path, splits: Sequence[str], labels: Sequence[Path]
) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """Where the classes are from, they themselves, and the keys that go with them."""
    classes: list[dict[str, Any]]
    labelmap = root / "labelmap.txt"
    if labelmap.is_file():  # name:R,G,B:parts:actions
        rows = [line.split(":") for line in _lines(labelmap) if not line.startswith("#")]
        try:
            classes = [{"name": row[0], "color": [int(part) for part in row[1].split(",")]} for row in rows]
        except (IndexError, ValueError) as error:
            raise DataError(f"{labelmap}: expected name:R,G,B:: a line; correct or remove it") from error
        return labelmap.name, classes, {"label_colors": True}
    for table in (root / split / "_classes.csv" for split in splits):
        if table.is_file():  # value, name
            pairs = [line.partition(",") for line in _lines(table)[1:]]
            try:
                classes = [{"name": name.strip(), "value": int(value)} for value, _, name in pairs]
            except ValueError as error:
                raise DataError(
                    f"{table}: expected a value and a name a line; correct or remove it"
                ) from error
            return f"{table.parent.name}/{table.name}", classes, {}
    return _found(labels)


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path, MAX_BYTES)
    except (OSError, UnicodeDecodeError, TooLargeError) as error:
        raise DataError(f"{path}: cannot be read; expected a short text in UTF-8; remove it") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _found(labels: Sequence[Path]) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """The values in some of the labels, or the colours of those that hold pictures."""
    values: set[int] = set()
    colors: set[int] = set()
    classes: list[dict[str, Any]]
    picked = [labels[i] for i in np.unique(np.linspace(0, len(labels) - 1, MAX_LABELS).astype(int))]
    for label in picked:
        try:
            values |= {int(value) for value in np.unique(read_label(label))}
        except WrongLabelError:
            packed = read_image(label).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
            colors |= {int(color) for color in np.unique(packed)}
        if len(values | colors) > MAX_CLASSES:
            raise DataError(
                f"{label}: with it more than {MAX_CLASSES} values or colours; expected class labels"
            )
    source = f"the {'colours' if colors else 'values'} in {len(picked)} of {len(labels)} labels"
    if colors:
        found = [[color >> shift & 255 for shift in (16, 8, 0)] for color in sorted(colors)]
        classes = [{"name": f"color_{index}", "color": color} for index, color in enumerate(found)]
        return source, classes, {"label_colors": True}
    ignored = {IGNORE} & values if len(values) > 2 else set()  # a mask of 0 and 255 has two classes
    classes = [{"name": f"value_{value}", "value": value} for value in sorted(values - ignored)]
    return source, classes, {"ignore": [*ignored]} if ignored else {}
