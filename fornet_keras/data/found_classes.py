"""The classes of labels, by the values or colours in them: a draft, or those of a table that is given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fornet_keras.data import camvid, cityscapes
from fornet_keras.data.dataset import DRAFT_NAME, IGNORE, Color, LabelTable
from fornet_keras.data.description import DATASET_YAML
from fornet_keras.data.images import read_image
from fornet_keras.data.label_files import read_label
from fornet_keras.data.label_form import CommonForm, LabelForm, label_form
from fornet_keras.errors import DataError, listed

MAX_LABELS = 100
"""Labels that are read for the values in them, evenly picked."""

MAX_CLASSES = 200
"""More values than this are not classes: ADE20K has 150, COCO-Stuff 182."""

_MAX_BLENDS = 64
"""More colours than this, or values up to near 255, are smoothed edges or photos. What is smoothed between
values up to `MAX_CLASSES` is not told from classes."""

_NOISE = 32
"""Values of a blurred mask are less than this from 0 or 255; where they are further, there are too many."""


_PLATE = 34
"""GTA5's licence plates; Cityscapes' own value of them is -1."""

_LOW_LABEL_IDS = {*range(cityscapes.LABEL_IDS[0]), *cityscapes.LABEL_IDS, IGNORE}
"""Of train ids an image with sky, terrain or a bicycle has others."""


def found_classes(labels: Sequence[Path]) -> tuple[str, list[dict[str, Any]], dict[str, Any], list[str]]:
    """The values in some of the labels, or the colours where they are pictures or their palettes differ.

    Returns:
        Where they are from, the classes and further keys as in a `dataset.yaml`, and a remark on each class,
        then on void, that says in which labels it is: what is in one alone may be a slip.

    Raises:
        DataError: a label cannot be read, some hold values and others colours, there are too many, or they
            are those of a blurred mask.
    """
    forms, palette, by_color = _forms(labels)
    found = _found(forms, by_color)
    if not by_color:
        _refuse_blurred(sorted(found), labels[0].parent)
    is_void = not by_color and len(found) > 2 and IGNORE in found  # a mask of 0 and 255 has two classes
    values = sorted(found.keys() - ({IGNORE} if is_void else set()))
    remarks = [
        f"in {len(found[value])} of {len(forms)} labels: {listed(found[value], 1)}" for value in sorted(found)
    ]
    source = f"the {'colours' if by_color else 'values'} in {len(forms)} of {len(labels)} labels"
    if is_void:
        source += f", {IGNORE} taken for void"
        remarks[-1] += "; if it is a class, move it up"
    classes: list[dict[str, Any]]
    if by_color:
        classes = [{"name": f"color_{at}", "color": [*_unpacked(color)]} for at, color in enumerate(values)]
        return source + _kinds(forms), classes, {"label_colors": True}, remarks
    given = {value: {"color": [*color]} for value, color in _colors_of(values, palette or {}).items()}
    names = {0: "background"} if values == [0, IGNORE] else {}
    classes = [
        {"name": names.get(value, f"value_{value}"), "value": value} | given.get(value, {})
        for value in values
    ]
    return source, classes, {"ignore": [IGNORE]} if is_void else {}, remarks


def may_be_cityscapes(drafted: LabelTable) -> bool:
    """Whether what a draft names has half of its colours, a car by label ids, or most of its train ids."""
    if not re.fullmatch(DRAFT_NAME, drafted.names[0]):
        return False
    if drafted.label_colors:
        return len(drafted.label_colors.keys() & {*cityscapes.TABLE.colors}) > 9
    values = drafted.train_ids.keys() - {IGNORE}
    return (26 in values and max(values) <= _PLATE) or (max(values) == 18 and len(values) > 14)


def classes_of(table: LabelTable, labels: Sequence[Path]) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """The classes of a table, by the train ids, label ids or colours in some of the labels.

    Returns:
        By which, the classes and further keys as in a `dataset.yaml`.

    Raises:
        DataError: a label cannot be read, or holds something else.
    """
    published = {known.names: known for known in (cityscapes.TABLE, camvid.TABLE)}
    table = published.get(table.names, table)
    forms, _, by_color = _forms(labels)
    found = _found(forms, by_color)
    classes: list[dict[str, Any]] = [
        {"name": name, "color": [*color]} | ({"thin": True} if name in table.thin else {})
        for name, color in zip(table.names, table.colors, strict=True)
    ]
    where, names = f"in {len(forms)} of {len(labels)} labels", listed(table.names)
    if by_color:
        others = [[*color] for color in map(_unpacked, sorted(found)) if color not in table.colors]
        if len(found) - len(others) < 2:
            raise DataError(
                f"{labels[0].parent}: holds {listed(others)}; expected those of {names}; leave out --classes"
            )
        keys = {"label_colors": True, "ignore_colors": others}
        return f"the colours {where}, {len(others)} others ignored", classes, keys
    plate = {_PLATE: IGNORE} if table is cityscapes.TABLE else {}
    label_ids = {**table.train_ids, **plate, IGNORE: IGNORE}
    if unknown := sorted(found.keys() - label_ids.keys()):
        label = next(label for label in forms if label.name in found[unknown[0]])
        largest = max(label_ids.keys() - {IGNORE})
        raise DataError(
            f"{label}: holds {unknown[0]}; expected 0…{largest} or {IGNORE}, of {names}; leave out --classes"
        )
    train_ids = {at: at for at in (*range(table.num_classes), IGNORE)}
    by_train_id = found.keys() <= train_ids.keys()
    ids = train_ids if by_train_id else label_ids
    for value, at in ids.items():
        if at != IGNORE:
            classes[at]["value"] = value
    void = sorted(value for value, at in ids.items() if at == IGNORE)
    source = f"the {'train' if by_train_id else 'label'} ids {where}"
    if table is cityscapes.TABLE and by_train_id and found.keys() <= _LOW_LABEL_IDS:
        source += "; they may be label ids, too: see with `data inspect`"
    return source, classes, {"ignore": void}


def _forms(labels: Sequence[Path]) -> tuple[dict[Path, LabelForm], Mapping[int, Color] | None, bool]:
    """How some of the labels store their values, the palette that they share, and whether colours count."""
    picked = [labels[i] for i in np.unique(np.linspace(0, len(labels) - 1, MAX_LABELS).astype(int))]
    forms = {label: label_form(label) for label in picked}
    palette = _common_palette(forms)
    pictures = (label for label, form in forms.items() if form.is_picture)
    return forms, palette, palette is None or not all(map(_is_grey, pictures))


def _found(forms: Mapping[Path, LabelForm], by_color: bool) -> dict[int, list[str]]:
    """The values or packed colours in labels, each with the names of those that have it."""
    found: dict[int, list[str]] = {}
    colored = [label for label, form in forms.items() if form.is_picture or form.palette]
    for label in colored + [label for label in forms if label not in colored]:
        values = {} if by_color and forms[label].is_picture else np.unique(read_label(label)).tolist()
        more = _colors_in(label) if by_color else {*values}
        if by_color and label not in colored and not more <= found.keys():
            raise DataError(
                f"{label}: holds values, and {colored[0].name} colours; expected one of them in all labels; "
                "export the others again"
            )
        for value in more:
            found.setdefault(value, []).append(label.name)
        may_blend = by_color or any(MAX_CLASSES < value < IGNORE for value in found)
        most = _MAX_BLENDS if may_blend else MAX_CLASSES
        if len(found) > most:
            raise DataError(
                f"{label}: with it more than {most} values or colours; expected class labels, no smoothed "
                f"edges; write {DATASET_YAML} by hand if they are, or save a mask of two classes as "
                "(mask >= 128) * 255"
            )
    return found


def _refuse_blurred(values: Sequence[int], folder: Path) -> None:
    low = [value for value in values if value < _NOISE]
    high = [value for value in values if value > IGNORE - _NOISE]
    # Two high ones may be two kinds of void.
    if min(len(low), len(high)) > 2 and len(low) + len(high) == len(values):
        raise DataError(
            f"{folder}: values {low[0]}…{low[-1]} and {high[0]}…{high[-1]}, as of a mask of two classes that "
            "JPEG or resizing has blurred; expected class labels; save it as (mask >= 128) * 255, or write "
            f"{DATASET_YAML} by hand"
        )


def _kinds(forms: Mapping[Path, LabelForm]) -> str:
    """Which labels hold colours in which way, where some do in channels and others in a palette."""
    channels = [label.name for label, form in forms.items() if form.is_picture]
    palettes = [label.name for label, form in forms.items() if form.palette]
    kinds = (("channels", channels), ("a palette", palettes))
    named = [f"{len(names)} with {kind} ({listed(names, 1)})" for kind, names in kinds if names]
    return f", {' and '.join(named)}" if len(named) > 1 else ""


def _common_palette(forms: Mapping[Path, LabelForm]) -> dict[int, Color] | None:
    """The colours of the values that occur; None where palettes differ."""
    common = CommonForm()
    for label, form in forms.items():
        if form.palette:
            common.add(label, form, np.unique(read_label(label)))
    palette, contradictory = common.settle()
    return None if contradictory else {value: color for value, color, _ in palette}


def _colors_of(values: Sequence[int], palette: Mapping[int, Color]) -> dict[int, Color]:
    """Those of the values of classes, for others may be padding; none that several have, or all are grey."""
    colors = {value: palette[value] for value in values if value in palette}
    is_grey = all(color == (value,) * 3 for value, color in colors.items())
    times = Counter(colors.values())
    return {} if is_grey else {value: color for value, color in colors.items() if times[color] == 1}


def _unpacked(color: int) -> Color:
    return color >> 16, color >> 8 & 255, color & 255


def _is_grey(picture: Path) -> bool:
    """Whether it holds values, written three times."""
    return all(color % 0x10101 == 0 for color in _colors_in(picture))


def _colors_in(label: Path) -> set[int]:
    packed = read_image(label).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return set(np.unique(packed).tolist())
