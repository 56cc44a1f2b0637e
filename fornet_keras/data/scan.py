"""A look at a whole data set before training: what is in it, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.cityscapes import TABLE as CITYSCAPES
from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.data.fingerprint import fingerprint
from fornet_keras.data.images import turns_unseen, verify_image
from fornet_keras.data.label_files import WrongLabelError, read_label, train_id_lookup
from fornet_keras.data.scan_report import (
    OF_LABELS,
    Kind,
    Problem,
    ScanReport,
    load_report,
    skipping,
    store_report,
)
from fornet_keras.errors import DataError, one_line

_VERSION = 5  # of what a scan finds: raise it when that changes, so that older cached reports are not used
_VALUES_APART = 8  # up to so many undeclared values get a line each; more are a photo taken for a label
_TRAIN_IDS = (
    "train ids where label ids are expected; use the original label files "
    "(for Cityscapes *_labelIds.png; train ids belong in *_labelTrainIds.png)"
)
_LABEL_IDS = (
    "label ids where train ids are expected; write the file again from the label ids "
    "(for Cityscapes with csCreateTrainIdLabelImgs), or delete it where *_labelIds.png is beside it"
)

_CACHES = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
CACHE = None if _CACHES.startswith("~") else Path(_CACHES) / "fornet_keras"
"""Where a user's reports are kept: the next run on the same data then starts at once. A user without a home
has none."""


def scan(
    dataset: Dataset,
    workers: int = 2,
    on_sample: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> ScanReport:
    """Read every image and label, count the classes and collect the problems.

    Args:
        dataset: the samples to look at.
        workers: threads that read; decoding releases Python's lock.
        on_sample: called with (samples done, samples in all) after each, for a progress bar. Not called
            where the report comes from the cache.
        cache: a folder that keeps reports. One is used again while no file's name, size and time of change
            and no class differs; a folder that cannot be written is no error.
    """
    cached = cache and cache / f"scan-{fingerprint(dataset, _VERSION)}.json"
    report = load_report(cached) if cached else None
    if report is None:
        report = _report(dataset, _read_all(dataset, workers, on_sample))
        if cached and not report.problems:
            # A problem may go without a trace in a file's size or time of change: a mode, a disk that failed.
            store_report(report, cached)
    return report


def usable(
    dataset: Dataset, report: ScanReport, on_error: Literal["fail", "skip"], tell: Callable[[str], object]
) -> Dataset:
    """The data set without the samples that have a problem.

    Args:
        dataset: what was scanned.
        report: what was found.
        on_error: `fail` refuses a data set with problems.
        tell: called with a line about what is left out, where something is.

    Raises:
        DataError: there are problems and they may not be skipped, or nothing is left.
    """
    if on_error == "fail" or not report.problems:
        report.raise_if_bad()
        return dataset
    bad = {path for problem in report.problems for path in problem.paths}
    samples = tuple(sample for sample in dataset.samples if not {sample.image, sample.label} & bad)
    if not samples:
        raise DataError(
            f"{dataset.root}: no image of split '{dataset.split}' is without a problem: {report.summary()}"
        )
    tell(skipping(report, len(dataset) - len(samples)))
    return replace(dataset, samples=samples)


# === One sample ===

_Finding = tuple[Kind, Path, str]  # the text is "finding; fix", without the path


@dataclass(frozen=True)
class _Record:
    """The image's `(height, width)`, the pixels of each train id 0…255, what is wrong, `turns_unseen`."""

    size: tuple[int, int] | None
    pixels: NDArray[np.int64]
    findings: tuple[_Finding, ...]
    turned: bool


def _read_all(dataset: Dataset, workers: int, on_sample: Callable[[int, int], None] | None) -> list[_Record]:
    records = []
    executor = ThreadPoolExecutor(workers)
    try:
        for record in executor.map(partial(_read, dataset=dataset), dataset.samples):
            records.append(record)
            if on_sample:
                on_sample(len(records), len(dataset))
    finally:
        # After Ctrl-C the samples that have not been started must not be waited for.
        executor.shutdown(cancel_futures=True)
    return records


def _read(sample: Sample, dataset: Dataset) -> _Record:
    table = dataset.table
    findings: list[_Finding] = []
    size, turned = None, False
    pixels = np.zeros(256, np.int64)
    try:
        size = verify_image(sample.image)
        turned = sample.label is not None and turns_unseen(sample.image)
    except DataError as error:
        findings.append(("corrupt image", sample.image, _without_path(error, sample.image)))
    if sample.label is None:
        text = f"no label; expected {dataset.labels}; add the file or leave the image out"
        findings.append(("missing label", sample.image, text))
        return _Record(size, pixels, tuple(findings), turned)
    try:
        label = read_label(sample.label, table.label_colors)
        if size and label.shape != size:
            found, wanted = (f"{height}×{width}" for height, width in (label.shape, size))
            fix = "export them again"
            if label.shape == size[::-1]:
                fix = "turn the label too if the image has an EXIF orientation, or export them again"
            text = f"label of {found} for an image of {wanted}; expected equal sizes; {fix}"
            findings.append(("wrong label", sample.label, text))
        histogram = np.bincount(label.ravel(), minlength=256)
        lookup, undeclared = train_id_lookup(table, sample.label_holds_train_ids)
        np.add.at(pixels, lookup, np.where(undeclared, 0, histogram))
        if sample.label_holds_train_ids and _looks_like_label_ids(histogram, undeclared, table):
            findings.append(("wrong label", sample.label, _LABEL_IDS))
        else:
            texts = _undeclared_values(histogram * undeclared)
            findings += [("wrong label", sample.label, text) for text in texts]
        if not sample.label_holds_train_ids and _looks_like_train_ids(histogram, pixels, table):
            findings.append(("wrong label", sample.label, _TRAIN_IDS))
    except WrongLabelError as error:
        findings.append(("wrong label", sample.label, _without_path(error, sample.label)))
    except DataError as error:
        findings.append(("corrupt label", sample.label, _without_path(error, sample.label)))
    return _Record(size, pixels, tuple(findings), turned)


def _without_path(error: DataError, path: Path) -> str:
    return str(error).removeprefix(one_line(f"{path}: "))


def _undeclared_values(histogram: NDArray[np.int64]) -> list[str]:
    values = np.flatnonzero(histogram)
    if len(values) > _VALUES_APART:
        return [
            f"more than {_VALUES_APART} values that are not in the label table; "
            "use the class labels, not a photo or a score map"
        ]
    return [f"value {value}; declare it as a class or under ignore" for value in values]


def _looks_like_train_ids(histogram: NDArray[np.int64], pixels: NDArray[np.int64], table: LabelTable) -> bool:
    """Whether label-file values are train ids by mistake, told by what the table makes of them.

    Of Cityscapes alone, whose data comes with both kinds of files and most of whose classes have values
    beyond the train ids: a true label holds some such value, or it is all void, as in its test split.
    """
    if table != CITYSCAPES or histogram[table.num_classes : IGNORE].any():
        return False
    return bool(0 < pixels[: table.num_classes].sum() < pixels[IGNORE])


def _looks_like_label_ids(
    histogram: NDArray[np.int64], undeclared: NDArray[np.uint8], table: LabelTable
) -> bool:
    """Whether a file of train ids holds label-file values by mistake: all are, and some are no train ids."""
    values = np.flatnonzero(histogram)
    return bool(undeclared[values].any()) and set(values.tolist()) <= table.train_ids.keys()


# === All samples ===


def _report(dataset: Dataset, records: list[_Record]) -> ScanReport:
    num_classes = dataset.table.num_classes
    pixels = sum((record.pixels for record in records), start=np.zeros(256, np.int64))
    images = sum((record.pixels > 0 for record in records), start=np.zeros(256, np.int64))
    sizes = Counter(record.size for record in records if record.size)
    num_labels = sum(sample.label is not None for sample in dataset.samples)
    findings = [finding for record in records for finding in record.findings] + _shared(dataset)
    return ScanReport(
        name=dataset.name,
        split=dataset.split,
        num_images=len(dataset),
        num_labels=num_labels,
        classes=dataset.table.names,
        pixels=tuple(pixels[:num_classes].tolist()),
        ignored_pixels=int(pixels[IGNORE]),
        images_with_class=tuple(images[:num_classes].tolist()),
        sizes=tuple((height, width, count) for (height, width), count in sizes.most_common()),
        problems=_problems(findings, len(dataset), num_labels),
        turned=sum(record.turned for record in records),
    )


def _shared(dataset: Dataset) -> list[_Finding]:
    images: dict[Path, set[Path]] = {}
    for sample in dataset.samples:
        if sample.label:
            images.setdefault(sample.label, set()).add(sample.image)
    text = (
        "belongs to several images, alike but for their folder or suffix; leave one of them, or put the "
        "labels into folders as the images are"
    )
    return [("wrong label", label, text) for label, owners in images.items() if len(owners) > 1]


def _problems(findings: Iterable[_Finding], num_images: int, num_labels: int) -> tuple[Problem, ...]:
    """One problem for each text, whatever the number of files that have it."""
    grouped: dict[tuple[Kind, str], list[Path]] = {}
    for kind, path, text in findings:
        grouped.setdefault((kind, text), []).append(path)
    problems = []
    for (kind, text), paths in grouped.items():
        finding, _, fix = text.partition("; ")
        total = num_labels if kind in OF_LABELS else num_images
        problems.append(Problem(kind, finding, fix, tuple(paths), total))
    return tuple(sorted(problems, key=lambda problem: -len(problem.paths)))
