"""Part of the images set apart for validation, where no folder does it: `train.txt` and `val.txt`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from fornet_keras.atomic import write_text
from fornet_keras.bounded_text import read_text
from fornet_keras.config.yaml_text import parse_yaml
from fornet_keras.data.dataset import Sample
from fornet_keras.data.description import DATASET_YAML, MAX_BYTES, FolderDescription, read_dataset_yaml
from fornet_keras.data.file_list import require_inside
from fornet_keras.data.folder import labelled_splits, places_of, unsplit_samples
from fornet_keras.errors import ConfigError, DataError

STRETCHES = 5
"""Of neighbours, at the end of each of which images validate: more would be more alike, fewer less varied."""

_LISTS = "{split}.txt"


def split_off(root: Path, share: float) -> dict[str, list[Path]]:
    """Write `train.txt` and `val.txt` of the labelled images, and name them in `ROOT/dataset.yaml`.

    Images are taken in the order of their names, which is cut into stretches; the end of each validates.
    Neighbours, such as frames of a drive, look alike, and nearly all of them stay together.

    Args:
        root: a folder with a `dataset.yaml`, whose images are in one split or in none.
        share: of the images to validate on, in (0, 1).

    Returns:
        The images that train and validate, and those in neither because they have no label: `train`, `val`,
        `unlabelled`.

    Raises:
        DataError: the lists are there already, there are several splits or too few images, or a file leads
            out of the folder.
    """
    description = read_dataset_yaml(root, before_lists=True)
    train_list, val_list = (root / _LISTS.replace("{split}", split) for split in ("train", "val"))
    for path in (train_list, val_list):
        if path.exists():
            take = f', or write lists: "{_LISTS}" into {DATASET_YAML} to take it'
            raise DataError(
                f"{path}: exists already; expected none; remove {train_list.name} and {val_list.name} to "
                f"split anew{'' if description.lists == _LISTS else take}"
            )
    split, samples = _only_split(root, description)
    labelled = sorted((sample for sample in samples if sample.label), key=_in_order)
    if len(labelled) < 2:
        expected = " and ".join(description.layout())
        raise DataError(
            f"{root}: {len(labelled)} images with labels; expected two or more, as {expected}; label others, "
            f"or correct {DATASET_YAML}"
        )
    lines = [_line(root, sample) for sample in labelled]
    ends = _ends_of_stretches(len(labelled), share)
    others = sorted({*range(len(labelled))} - {*ends})
    images_at, labels_at = places_of(description, split)
    text = _completed(root, description, {"lists": _LISTS, "images": images_at, "labels": labels_at})
    write_text(train_list, "".join(lines[index] for index in others))
    write_text(val_list, "".join(lines[index] for index in ends))
    write_text(root / DATASET_YAML, text)
    return {
        "train": [labelled[index].image for index in others],
        "val": [labelled[index].image for index in ends],
        "unlabelled": [sample.image for sample in samples if not sample.label],
    }


def _only_split(root: Path, description: FolderDescription) -> tuple[str, list[Sample]]:
    """The split with labels, or what lies in none where more of that has them."""
    apart = "{split}" in (description.lists or description.images)
    splits = labelled_splits(root, description) if apart else {}
    if len(splits) > 1:
        raise DataError(
            f"{root}: has splits {', '.join(splits)}; expected one or none; choose of them with "
            "--set data.train_split=… and --set data.val_split=…"
        )
    whole = ("", unsplit_samples(root, description))
    found = next(iter(splits.items()), whole)
    if description.lists and splits:  # what they leave out is left out
        return found
    return max(found, whole, key=lambda entry: sum(sample.label is not None for sample in entry[1]))


def _in_order(sample: Sample) -> list[str | int]:
    """Sorts frame_9 before frame_10, and folders alike on Windows."""
    parts = re.split(r"(\d+)", sample.image.as_posix())
    return [int(part) if part.isdecimal() else part for part in parts]


def _line(root: Path, sample: Sample) -> str:
    """An image's line in a list, which must be able to say it."""
    for path in (sample.image, sample.label):
        if path:
            fix = (
                "copy it there (`cp -al` takes no space), or describe the folder that it is in; then call "
                f"`data describe {root} --val` again"
            )
            require_inside(root, path, str(root), fix=fix)
    name = sample.image.relative_to(root).as_posix()
    if re.search("[\r\n\ud800-\udfff]", name):
        raise DataError(f"{sample.image}: cannot be written into a list; expected a plain name; rename it")
    return f"{name}\n"


def _ends_of_stretches(number: int, share: float) -> list[int]:
    validating = min(max(1, round(number * share)), number - 1)
    stretches = min(STRETCHES, validating)
    ends: list[int] = []
    for whole, end in zip(
        np.array_split(np.arange(number), stretches),
        np.array_split(np.arange(validating), stretches),
        strict=True,
    ):
        ends += whole[len(whole) - len(end) :].tolist()
    return ends


def _completed(root: Path, description: FolderDescription, keys: dict[str, str]) -> str:
    """The text of `dataset.yaml` with other values of some keys; what a person wrote beside them stays."""
    path = root / DATASET_YAML
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    text = read_text(path, MAX_BYTES).replace("\r\n", "\n")
    text = re.sub(rf"(?m)^({'|'.join(keys)}):.*\n?", "", text).rstrip()
    text = "\n".join([text, *lines, ""])
    try:
        content, _ = parse_yaml(text, lambda _: str(path))
        if FolderDescription.model_validate(content) == description.model_copy(update=keys):
            return text
    except (ConfigError, ValidationError):
        pass
    raise DataError(f"{path}: its form is unusual; expected a key a line; write {', '.join(lines)} by hand")
