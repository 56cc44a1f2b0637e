"""A look at a whole data set before training: what is in it, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fornet_keras.atomic import locked
from fornet_keras.config import Config
from fornet_keras.data.dataset import IGNORE, Dataset
from fornet_keras.data.fingerprint import fingerprint
from fornet_keras.data.label_form import CommonForm, Palette
from fornet_keras.data.scan_report import (
    OF_LABELS,
    Kind,
    Problem,
    ScanReport,
    load_report,
    skipping,
    store_report,
)
from fornet_keras.data.scan_sample import Finding, Record, read_record
from fornet_keras.errors import DataError

_VERSION = 11  # of what a scan finds: raise it when that changes, so that older cached reports are not used

_CACHES = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
CACHE = None if _CACHES.startswith("~") else Path(_CACHES) / "fornet_keras"
"""Where a user's reports are kept: the next run on the same data then starts at once. A user without a home
has none."""


def scan(
    dataset: Dataset,
    workers: int = 2,
    on_sample: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> ScanReport:
    """Read every image and label, count the classes and collect the problems.

    Of several processes that look for the first time at once, one reads and the others wait for its report.

    Args:
        dataset: the samples to look at.
        workers: threads that read; decoding releases Python's lock.
        on_sample: called with (samples done, samples to read) after each, for a progress bar; of what is
            cached only those with a problem are read.
        cache: a folder that keeps reports: this one, and that of what is `usable` of the data set. One is
            used again while no file's name, size and time of change and no class differs, and what had a
            problem still has it; a folder that cannot be written is no error.
        tell: called with a line where another process is waited for.
    """
    if cache is None:
        return _read(dataset, workers, on_sample)[0]
    kept = _kept_at(cache, dataset)
    waited: list[object] = []
    waiting = f"waiting for another run, which looks through {dataset.split}"
    with ExitStack() as stack:
        if not (report := load_report(kept)):
            with suppress(OSError):
                lock = locked(kept.with_suffix(".lock"), on_wait=lambda: waited.append(tell(waiting)))
                stack.enter_context(lock)
            report = load_report(kept)
        if report or waited:  # only bad ones are read, or none is kept: no reason to go one by one
            stack.close()
        if report and _still_holds(report, dataset, workers, on_sample):
            return report
        report, of_sound = _read(dataset, workers, on_sample)
        if kept == _kept_at(cache, dataset):  # unchanged meanwhile
            store_report(report, kept)
            sound = _apart(dataset, report.problems)[1]
            if of_sound and 0 < len(sound) < len(dataset):
                store_report(of_sound, _kept_at(cache, sound))
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
    sound = _apart(dataset, report.problems)[1]
    if not sound.samples:
        raise DataError(
            f"{dataset.root}: no image of split '{dataset.split}' is without a problem: {report.summary()}"
        )
    tell(skipping(report, len(dataset) - len(sound)))
    return sound


def look_through(
    dataset: Dataset,
    config: Config,
    counting: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
    tell: Callable[[str], object],
    may_be_void: bool = False,
    for_run: bool = False,
) -> tuple[Dataset, ScanReport]:
    """Refuse a data set with problems, or leave these out; return it with what is in it.

    Args:
        dataset: what is scanned, as often as something is left out.
        config: of which `data.on_error` and `training.workers` count.
        counting: takes what is done, and hands out `on_sample` while it is.
        tell: called with each line: what is left out, what is odd in the images.
        may_be_void: its labels need no pixel of any class, and may all be missing.
        for_run: tell each report's summary too, and require two classes of the split that trains.

    Raises:
        DataError: there are problems and they may not be skipped, nothing is left, or it is all void.
    """
    with counting(f"looking through {dataset.split}") as on_sample:
        report = scan(dataset, config.training.workers, on_sample, CACHE, tell)
    if may_be_void and not report.num_labels:
        report = replace(
            report, problems=tuple(each for each in report.problems if each.kind != "missing label")
        )
    if for_run:
        tell(f"{dataset.name} {dataset.split}: {report.summary()}")
    kept = usable(dataset, report, config.data.on_error, tell)
    if len(kept) < len(dataset):
        return look_through(kept, config, counting, tell, may_be_void, for_run)
    for note in report.image_notes():
        tell(note)
    trains = for_run and dataset.split == config.data.train_split
    if not may_be_void and (problem := report.void_problem(trains)):
        raise DataError(f"{dataset.root}: {problem}")
    return dataset, report


def _kept_at(cache: Path, dataset: Dataset) -> Path:
    return cache / f"scan-{fingerprint(dataset, _VERSION)}.json"


def _apart(dataset: Dataset, problems: Sequence[Problem]) -> tuple[Dataset, Dataset]:
    """The samples with a problem, and those without."""
    paths = {path for problem in problems for path in problem.paths}
    bad = [not paths.isdisjoint((sample.image, sample.label)) for sample in dataset.samples]
    with_problem, without = (
        tuple(sample for sample, is_bad in zip(dataset.samples, bad, strict=True) if is_bad == wanted)
        for wanted in (True, False)
    )
    return replace(dataset, samples=with_problem), replace(dataset, samples=without)


def _still_holds(
    report: ScanReport, dataset: Dataset, workers: int, on_sample: Callable[[int, int], None] | None
) -> bool:
    """Whether the samples with a problem, read again, have the same ones.

    A problem may go without a trace in a file's size or time of change: a mode, a disk that failed. What
    contradicts other labels does not, and these are not read.
    """
    bad = _apart(dataset, report.problems)[0]
    records = _records(bad, workers, on_sample)
    findings = [finding for record in records for finding in record.findings]
    problems = _problems([*findings, *_shared(dataset)], report.num_images, report.num_labels)
    return problems == tuple(each for each in report.problems if each.kind != "contradictory label")


# === All samples ===


class _Tally:
    """What is counted in samples. Of one more nothing else is kept: there may be hundreds of thousands."""

    def __init__(self) -> None:
        self.pixels = np.zeros(256, np.int64)
        self.values: set[int] = set()
        self.images = np.zeros(256, np.int64)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.turned = 0
        self.deep = 0
        self.findings: list[Finding] = []

    def add(self, record: Record) -> None:
        self.pixels += record.pixels
        self.values.update(record.stored[1].tolist() if record.stored else ())
        self.images += record.pixels > 0
        self.sizes.update([record.size] if record.size else [])
        self.turned += record.turned
        self.deep += record.deep
        self.findings += record.findings

    def report(self, dataset: Dataset, palette: Palette, further: Sequence[Finding] = ()) -> ScanReport:
        """On the samples that were added, which are those of a data set."""
        num_classes, train_ids = dataset.table.num_classes, dataset.table.train_ids
        holds_train_ids = any(sample.label_holds_train_ids for sample in dataset.samples)
        ignored = () if holds_train_ids else (v for v in sorted(self.values) if train_ids.get(v) == IGNORE)
        num_labels = sum(sample.label is not None for sample in dataset.samples)
        return ScanReport(
            name=dataset.name,
            split=dataset.split,
            num_images=len(dataset),
            num_labels=num_labels,
            classes=dataset.table.names,
            values=tuple(
                tuple(value for value, train_id in train_ids.items() if train_id == index)
                for index in range(num_classes)
            ),
            pixels=tuple(self.pixels[:num_classes].tolist()),
            ignored_pixels=int(self.pixels[IGNORE]),
            ignored_values=tuple(ignored),
            images_with_class=tuple(self.images[:num_classes].tolist()),
            sizes=tuple((height, width, count) for (height, width), count in self.sizes.most_common()),
            problems=_problems([*self.findings, *further], len(dataset), num_labels),
            turned=self.turned,
            deep=self.deep,
            palette=palette,
        )


def _read(
    dataset: Dataset, workers: int, on_sample: Callable[[int, int], None] | None
) -> tuple[ScanReport, ScanReport | None]:
    """The reports on a data set and on its samples without a problem.

    None of these where labels contradict each other: only the last label tells which of them do.
    """
    shared = _shared(dataset)
    shared_labels = {label for _, label, _ in shared}
    whole, sound = _Tally(), _Tally()
    common = CommonForm()
    for sample, record in zip(dataset.samples, _records(dataset, workers, on_sample), strict=True):
        is_sound = not record.findings and sample.label not in shared_labels
        if sample.label and record.stored:
            common.add(sample.label, *record.stored, is_sound)
        whole.add(record)
        if is_sound:
            sound.add(record)
    palette, odd = common.settle()
    contradictory: list[Finding] = [("contradictory label", label, text) for label, text in odd]
    report = whole.report(dataset, palette, [*shared, *contradictory])
    return report, None if odd else sound.report(_apart(dataset, report.problems)[1], palette)


def _records(
    dataset: Dataset, workers: int, on_sample: Callable[[int, int], None] | None
) -> Iterator[Record]:
    executor = ThreadPoolExecutor(workers)
    try:
        records = executor.map(partial(read_record, dataset=dataset), dataset.samples)
        for done, record in enumerate(records, 1):
            yield record
            if on_sample:
                on_sample(done, len(dataset))
    finally:
        # After Ctrl-C the samples that have not been started must not be waited for.
        executor.shutdown(cancel_futures=True)


def _shared(dataset: Dataset) -> list[Finding]:
    images: dict[Path, set[Path]] = {}
    for sample in dataset.samples:
        if sample.label:
            images.setdefault(sample.label, set()).add(sample.image)
    text = (
        "belongs to several images, alike but for their folder or suffix; leave one of them, or put the "
        "labels into folders as the images are"
    )
    return [("wrong label", label, text) for label, owners in images.items() if len(owners) > 1]


def _problems(findings: Iterable[Finding], num_images: int, num_labels: int) -> tuple[Problem, ...]:
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
