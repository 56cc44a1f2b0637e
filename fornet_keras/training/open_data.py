"""The data sets of a training run, looked through before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress

from fornet_keras.config import Config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.scan import CACHE, scan, usable
from fornet_keras.data.scan_report import ScanReport, skipping
from fornet_keras.data.sources import open_split
from fornet_keras.errors import DataError


def open_data(config: Config, console: Console) -> tuple[Dataset, Dataset, Sequence[int]]:
    """The two data sets, looked through, and the training labels' pixels by class."""
    data = config.data
    train_set = open_split(data, data.train_split, data.exclude)
    val_set = open_split(data, data.val_split)
    (train_set, report), (val_set, _) = (
        _look_through(each, config, console) for each in (train_set, val_set)
    )
    if note := report.padding_note(config.augment.crop):
        console.print(note, highlight=False)
    return train_set, val_set, report.pixels


def _look_through(dataset: Dataset, config: Config, console: Console) -> tuple[Dataset, ScanReport]:
    """Refuse a data set with problems, or leave them out; return it with what is in it."""
    workers = config.training.workers
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"looking through {dataset.split}", total=len(dataset))
        report = scan(dataset, workers, lambda done, _: progress.update(task, completed=done), cache=CACHE)
    console.print(f"{dataset.name} {dataset.split}: {report.summary()}", highlight=False)
    kept = usable(dataset, report, config.data.on_error)
    if len(kept) < len(dataset):
        console.print(skipping(report, len(dataset) - len(kept)), highlight=False)
        return _look_through(kept, config, console)
    if problem := report.void_problem():
        raise DataError(f"{dataset.root}: {problem}")
    return dataset, report
