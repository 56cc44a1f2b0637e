"""A first `dataset.yaml` for a folder of labelled images, to be corrected by hand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fornet_keras.bounded_text import read_bounded
from fornet_keras.data.dataset import CLASS_NAME
from fornet_keras.data.description import DATASET_YAML, MAX_BYTES, FolderDescription
from fornet_keras.data.file_list import files_below, refuse_to_list, visible
from fornet_keras.data.folder import (
    find_samples,
    find_splits,
    labelled_splits,
    places_of,
    unsplit_samples,
)
from fornet_keras.data.found_classes import found_classes
from fornet_keras.data.labelme_file import read_drawn
from fornet_keras.data.yolo_file import read_data_yaml
from fornet_keras.errors import DataError, one_line

_LABEL_FOLDERS = ("labels", "masks", "annotations")
_LAYOUTS: tuple[dict[str, Any], ...] = (
    # Pascal VOC, what CVAT exports, and what labelme2voc.py makes of LabelMe's files, in older versions *PNG.
    *(
        {"lists": "ImageSets/Segmentation/{split}.txt", "images": "JPEGImages", "labels": name}
        for name in ("SegmentationClass", "SegmentationClassPNG")
    ),
    *({"images": "images/{split}", "labels": f"{name}/{{split}}"} for name in _LABEL_FOLDERS),
    *({"images": "{split}/images", "labels": f"{{split}}/{name}"} for name in _LABEL_FOLDERS),
    # mmsegmentation's.
    {"images": "img_dir/{split}", "labels": "ann_dir/{split}"},
    # SegNet's CamVid, and Kaggle's.
    *({"images": "{split}", "labels": f"{{split}}{name}"} for name in ("annot", "_labels", "_masks")),
    # What Roboflow exports.
    {"images": "{split}", "labels": "{split}", "image_suffixes": [".jpg", ".jpeg"]},
    {"images": "{split}", "labels": "{split}"},
)
_LABEL_NAMES = ("{stem}.png", "{stem}_mask.png", "{stem}_L.png")
_HEAD = """\
# A draft, with the classes from {source}. Give them the names that they should have (and color: [R, G, B]),
# move what is neither trained on nor scored to {ignore}, and mark what is a few pixels wide with thin: true.
"""


def write_draft(root: Path) -> tuple[str, list[str], FolderDescription]:
    """Write `ROOT/dataset.yaml`, guessed from what is in the folder.

    The classes are those of CVAT's `labelmap.txt`, Roboflow's `_classes.csv` or Kaggle's `class_dict.csv`,
    else the values or colours in the labels.

    Returns:
        Where the classes are from, the names of the splits with labels, and the description. Where no folder
        tells splits apart there are none: `split_off` makes them.

    Raises:
        DataError: there is a description already, no layout fits, a folder cannot be listed, or the labels
            hold no classes.
    """
    path = root / DATASET_YAML
    if path.exists():
        raise DataError(f"{path}: exists already; expected none; remove it to have a draft")
    try:
        layout, splits, labels = _layout(root)
    except OSError as error:
        refuse_to_list(error, root)
    places = [root / layout["images"].replace("{split}", split) for split in splits]
    table = _table(root, [root, *places])
    source, classes, others, remarks = (*table, []) if table else found_classes(labels)
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
    write_description(root, head, classes, others | layout, remarks)
    return source, splits, description


def write_description(
    root: Path,
    head: str,
    classes: Sequence[Mapping[str, Any]],
    others: Mapping[str, Any],
    remarks: Sequence[str] = (),
) -> None:
    """Write `ROOT/dataset.yaml`, where there is none: comments, the folder's name, classes, other keys.

    The remarks, if any, are comments beside the classes.
    """
    name = root.resolve().name.encode(errors="replace").decode()
    name = name if re.match(CLASS_NAME, name) else "data"
    lines = [f"{head}name: {_plain(name)}", "classes:"]
    for entry, remark in zip_longest(classes, remarks):
        keys = ", ".join(f"{key}: {_plain(value)}" for key, value in entry.items())
        lines.append(f"  - {{{keys}}}" + (f"  # {one_line(remark)}" if remark else ""))
    lines += [f"{key}: {_plain(value)}" for key, value in others.items()]
    with (root / DATASET_YAML).open("x", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _layout(root: Path) -> tuple[dict[str, Any], list[str], list[Path]]:
    """The first layout in which an image has a label, the splits that have some, and their labels."""
    layouts = [layout | {"label_name": name} for layout in _LAYOUTS for name in _LABEL_NAMES]
    named = {"name": "draft", "classes": ["a", "b"]}
    descriptions = [FolderDescription.model_validate(named | layout) for layout in layouts]
    for layout, description in zip(layouts, descriptions, strict=True):
        if splits := labelled_splits(root, description):
            return layout, [*splits], [s.label for samples in splits.values() for s in samples if s.label]
    for layout, description in zip(layouts, descriptions, strict=True):
        if labels := [sample.label for sample in unsplit_samples(root, description) if sample.label]:
            return layout, [], labels
    raise (
        _to_be_drawn(root)
        or _named_otherwise(root, descriptions)
        or _one_of_two(root.resolve())
        or DataError(
            f"{root}: no images with labels found; expected images/SPLIT and labels/SPLIT, SPLIT/images and "
            "SPLIT/masks, SPLIT and SPLIT_labels, images and labels (or masks), or an export of CVAT or "
            f"Roboflow; write {DATASET_YAML} by hand, with images, labels and label_name"
        )
    )


def _to_be_drawn(root: Path) -> DataError | None:
    """Of a folder that has annotations of YOLO or LabelMe, and no labels."""
    yamls = [path for path in visible(root) if path.suffix.lower() in (".yaml", ".yml")]
    tried: list[tuple[Path, Callable[[Path], object], str, Path]] = [
        *((path, read_data_yaml, "YOLO", path) for path in yamls),
        *((path, read_drawn, "LabelMe", path.parent) for path in files_below(root, [".json"])[:1]),
    ]
    for path, read, tool, source in tried:
        with suppress(DataError):
            read(path)
            draw = f"`data rasterize {shlex.quote(str(source))} --output DIR`"
            return DataError(f"{path}: annotations of {tool}; expected labels as PNGs; draw them: {draw}")
    return None


def _named_otherwise(root: Path, descriptions: Sequence[FolderDescription]) -> DataError | None:
    """Of the first layout whose folders are there: no image has a label of a name that is tried."""
    for description in descriptions:
        for split in (*find_splits(root, description), ""):
            images, labels = (root / place for place in places_of(description, split))
            if images == labels or not labels.is_dir():
                continue
            samples = find_samples(root, split, description) if split else unsplit_samples(root, description)
            if samples:
                image, found = samples[0].image, files_below(labels, [""])
                but = f", but {found[0].relative_to(labels).as_posix()}" if found else ""
                tried = " or ".join(name.replace("{stem}", image.stem) for name in _LABEL_NAMES)
                return DataError(
                    f"{labels}: has no {tried}{but}; expected the label of {image}; export labels as PNGs so "
                    f"named, or write {DATASET_YAML} by hand, with images, labels and label_name"
                )
    return None


def _one_of_two(root: Path) -> DataError | None:
    """Of the folder of the images or of the labels, where the one that both are in is meant."""
    both = [name for name in ("images", *_LABEL_FOLDERS) if (root.parent / name).is_dir()]
    if root.name not in both or len(both) < 2:
        return None
    return DataError(
        f"{root}: no images with labels found; expected the folder that {' and '.join(both)} are in; did you "
        f"mean {root.parent}?"
    )


def _table(root: Path, folders: Sequence[Path]) -> tuple[str, list[dict[str, Any]], dict[str, Any]] | None:
    """Where the classes are from, they themselves, and the keys that go with them; None without a table."""
    for name, row, read, keys in _TABLES:
        found: list[tuple[Path, list[dict[str, Any]]]] = []
        for table in (folder / name for folder in folders):
            if table.is_file():
                try:
                    found.append((table, read(_lines(table))))
                except (IndexError, ValueError) as error:
                    raise DataError(f"{table}: expected {row} a line; correct or remove it") from error
        for table, classes in found[1:]:
            if classes != found[0][1]:
                raise DataError(
                    f"{table}: other classes than in {found[0][0]}; expected the same for all splits; "
                    "export them together, or remove the wrong one"
                )
        if found:
            return found[0][0].relative_to(root).as_posix(), found[0][1], keys
    return None


def _of_labelmap(lines: Sequence[str]) -> list[dict[str, Any]]:
    rows = [line.split(":") for line in lines if not line.startswith("#")]
    return [{"name": row[0], "color": [int(part) for part in row[1].split(",")]} for row in rows]


def _of_values(lines: Sequence[str]) -> list[dict[str, Any]]:
    pairs = [line.partition(",") for line in lines[1:]]
    return [{"name": name.strip(), "value": int(value)} for value, _, name in pairs]


def _of_colors(lines: Sequence[str]) -> list[dict[str, Any]]:
    rows = [line.rsplit(",", 3) for line in lines[1:]]
    return [{"name": row[0].strip(), "color": [int(part) for part in row[1:]]} for row in rows]


_TABLES: tuple[tuple[str, str, Callable[[Sequence[str]], list[dict[str, Any]]], dict[str, Any]], ...] = (
    ("labelmap.txt", "name:R,G,B::", _of_labelmap, {"label_colors": True}),
    ("_classes.csv", "a value and a name", _of_values, {}),
    ("class_dict.csv", "name,r,g,b", _of_colors, {"label_colors": True}),
)


def _lines(path: Path) -> list[str]:
    text = read_bounded(path, MAX_BYTES, "a short text, or no such file")
    return [line.strip() for line in text.splitlines() if line.strip()]
