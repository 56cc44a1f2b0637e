"""A look at one image and its label before training: its size, its classes, and what is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.cityscapes import LABEL_IDS
from fornet_keras.data.cityscapes import TABLE as CITYSCAPES
from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.data.file_list import shorter_names
from fornet_keras.data.images import has_16_bits, turns_unseen, verify_image
from fornet_keras.data.label_files import OTHER_SUFFIXES, WrongLabelError, read_label, train_id_lookup
from fornet_keras.data.label_form import LabelForm, label_form
from fornet_keras.data.scan_report import Kind
from fornet_keras.errors import DataError, one_line

_VALUES_APART = 8  # up to so many undeclared values get a line each; more are a photo taken for a label
_TRAIN_IDS = (
    "train ids where label ids are expected; use the original label files "
    "(for Cityscapes *_labelIds.png; train ids belong in *_labelTrainIds.png), or leave `value` out of "
    "dataset.yaml and ignore 255 alone"
)
_LABEL_IDS = (
    "label ids where train ids are expected; write the file again from the label ids "
    "(for Cityscapes with csCreateTrainIdLabelImgs), or delete it where *_labelIds.png is beside it"
)
_LABEL_IDS_BY_POSITION = (
    "label ids where train ids are expected; give each class its value, such as {name: road, value: 7}, and "
    "put the other label ids under ignore"
)

Finding = tuple[Kind, Path, str]
"""What is wrong with a file; the text is "finding; fix", without the path."""


@dataclass(frozen=True)
class Record:
    """What an image and its label hold.

    Args:
        size: the image's `(height, width)`; None where it cannot be read.
        pixels: of each train id 0…255.
        findings: what is wrong.
        turned: the image `turns_unseen`.
        deep: it `has_16_bits`.
        stored: how the label stores its values, and those in it; None without one, or with one in colours.
    """

    size: tuple[int, int] | None
    pixels: NDArray[np.int64]
    findings: tuple[Finding, ...]
    turned: bool
    deep: bool
    stored: tuple[LabelForm, NDArray[np.intp]] | None = None


def read_record(sample: Sample, dataset: Dataset) -> Record:
    """Read an image of a data set and its label."""
    table = dataset.table
    findings: list[Finding] = []
    size, turned, deep, stored = None, False, False, None
    pixels = np.zeros(256, np.int64)
    try:
        size = verify_image(sample.image)
        turned = sample.label is not None and turns_unseen(sample.image)
        deep = has_16_bits(sample.image)
    except DataError as error:
        findings.append(("corrupt image", sample.image, _without_path(error, sample.image)))
    if sample.label is None:
        findings.append(("missing label", sample.image, _missing(sample.image, dataset)))
        return Record(size, pixels, tuple(findings), turned, deep)
    try:
        label = read_label(sample.label, table.label_colors)
        if size and label.shape != size:
            found, wanted = (f"{height}×{width}" for height, width in (label.shape, size))
            fix = "export them again"
            if label.shape == size[::-1]:
                fix = "turn the label too if the image has an EXIF orientation, or export them again"
            text = f"label of {found} for an image of {wanted} (height×width); expected equal sizes; {fix}"
            findings.append(("wrong label", sample.label, text))
        histogram = np.bincount(label.ravel(), minlength=256)
        lookup, undeclared = train_id_lookup(table, sample.label_holds_train_ids)
        np.add.at(pixels, lookup, np.where(undeclared, 0, histogram))
        other_ids = _other_ids(histogram, undeclared, table, sample.label_holds_train_ids)
        texts = [other_ids] if other_ids else _undeclared_values(histogram * undeclared, table)
        findings += [("wrong label", sample.label, text) for text in texts]
        if not table.label_colors:
            stored = label_form(sample.label), np.flatnonzero(histogram)
    except WrongLabelError as error:
        findings.append(("wrong label", sample.label, _without_path(error, sample.label)))
    except DataError as error:
        findings.append(("corrupt label", sample.label, _without_path(error, sample.label)))
    return Record(size, pixels, tuple(findings), turned, deep, stored)


def _missing(image: Path, dataset: Dataset) -> str:
    """What is said of an image without a label, and not of it alone: images with one text are counted."""
    before, _, after = dataset.labels.partition("*")
    folder, begin = os.path.split(before)
    folders = image.parent.relative_to(dataset.root).parts
    places = [Path(dataset.root, folder, *folders[start:]) for start in range(len(folders) + 1)]
    endings = [*OTHER_SUFFIXES, *map(str.upper, OTHER_SUFFIXES)]
    for place in filter(os.path.isdir, places):
        label = place / f"{begin}{image.stem}{after}"
        for file in map(label.with_suffix, endings):
            if file != image and os.path.isfile(file):
                found = f"no label, but a {file.suffix} file of its name"
                return f"{found}; expected {dataset.labels}; export it as PNG"
        for stem in shorter_names(image.stem):
            is_other = image.with_name(stem + image.suffix).exists()
            if os.path.isfile(place / f"{begin}{stem}{after}") and not is_other:
                rest = image.name.removeprefix(stem)
                found = f"no label, but one of its name without {rest}"
                return f"{found}; expected {dataset.labels}; set image_suffixes: [{rest}]"
    return f"no label; expected {dataset.labels}; add the file or leave the image out"


def _without_path(error: DataError, path: Path) -> str:
    return str(error).removeprefix(one_line(f"{path}: "))


def _undeclared_values(histogram: NDArray[np.int64], table: LabelTable) -> list[str]:
    values = np.flatnonzero(histogram)
    if len(values) > _VALUES_APART:
        return [
            f"more than {_VALUES_APART} values that are not in the label table; "
            "use the class labels, not a photo or a score map; of a blurred mask of two classes save "
            "(mask >= 128) * 255"
        ]
    texts = {value: f"value {value}; declare it as a class or under ignore" for value in values.tolist()}
    if (beyond := table.num_classes) in texts and _names(table).keys() == {*range(beyond)}:
        texts[beyond] += ", or set first_value: 1 where 0 is void and the first class 1"
    return [*texts.values()]


# === Cityscapes' classes, whose labels come with both kinds of values, here and in other street data ===


def _names(table: LabelTable) -> dict[int, str]:
    """The class of each label-file value that has one."""
    return {value: table.names[index] for value, index in table.train_ids.items() if index != IGNORE}


_LABEL_ID_NAMES = _names(CITYSCAPES)
_TRAIN_ID_NAMES = dict(enumerate(CITYSCAPES.names))


def _other_ids(
    histogram: NDArray[np.int64], undeclared: NDArray[np.uint8], table: LabelTable, holds_train_ids: bool
) -> str | None:
    """What is said of train ids in the place of label ids, or the reverse; None of what is neither."""
    if holds_train_ids:
        return _LABEL_IDS if _looks_like_label_ids(histogram, undeclared) else None
    if _names(table) == _TRAIN_ID_NAMES:
        return _LABEL_IDS_BY_POSITION if _looks_like_label_ids(histogram, undeclared) else None
    return _TRAIN_IDS if _names(table) == _LABEL_ID_NAMES and _looks_like_train_ids(histogram) else None


def _looks_like_train_ids(histogram: NDArray[np.int64]) -> bool:
    """Whether what should be label ids are train ids by mistake.

    Most classes have label ids beyond the train ids: a true label holds some, or it is nearly all void, as in
    Cityscapes' test split and coarse labels. Its void is then 0…6, or 255 in data of one's own; beside 255
    several of 0…6 are classes.
    """
    if histogram[CITYSCAPES.num_classes : IGNORE].any() or not histogram[IGNORE]:
        return False
    of_class = histogram[[*_LABEL_ID_NAMES]].sum()
    return bool(np.count_nonzero(histogram[: LABEL_IDS[0]]) > 1 and 0 < of_class < histogram.sum() - of_class)


def _looks_like_label_ids(histogram: NDArray[np.int64], undeclared: NDArray[np.uint8]) -> bool:
    """Whether what should be train ids are label ids by mistake; of these 19 may be a void of one's own.

    Others may be, too, where they are declared and not all are.
    """
    is_known = CITYSCAPES.train_ids.keys() >= {*np.flatnonzero(histogram).tolist()}
    beyond = slice(CITYSCAPES.num_classes + 1, max(LABEL_IDS) + 1)
    is_wrong = undeclared[beyond] if undeclared[beyond].any() else 1
    return is_known and bool((histogram[beyond] * is_wrong).any())
