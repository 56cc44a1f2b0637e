"""The data sets of a training run, looked through before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress

from fornet_keras.config import Config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.decoded import DecodedSamples, decoded_samples
from fornet_keras.data.label_form import palette_problem
from fornet_keras.data.scan import look_through
from fornet_keras.data.scan_report import ScanReport
from fornet_keras.data.sources import open_split, shared_note
from fornet_keras.errors import ConfigError, DataError
from fornet_keras.prediction.predictor import MAX_SIZES


def open_data(config: Config, console: Console) -> tuple[Dataset, Dataset, ScanReport, ScanReport]:
    """The data set that trains and the one that validates, looked through, and what was found in each."""
    data = config.data
    train_set = open_split(data, data.train_split, data.exclude)
    val_set = open_split(data, data.val_split)
    tell = _telling(console)
    if note := shared_note(data, train_set, val_set):
        tell(note)
    (train_set, report), (val_set, val_report) = (
        look_through(each, config, partial(_counting, console), tell, for_run=True)
        for each in (train_set, val_set)
    )
    if problem := palette_problem(
        {each.split: each.palette for each in (report, val_report)}, train_set.table
    ):
        raise DataError(f"{train_set.root}: {problem}")
    crop_note = report.crop_note(config.augment.crop, data.short_side)
    absent_notes = report.absent_note(trains=True), val_report.absent_note(trains=False)
    side_note = report.side_note(data.short_side)
    for note in filter(None, (report.names_note(), *absent_notes, crop_note, side_note)):
        tell(note)
    note = val_report.sizes_note(report.learnt_side(data.short_side), MAX_SIZES)
    if note and keras.backend.backend() != "torch":  # which compiles nothing
        tell(note)
    return train_set, val_set, report, val_report


class LabelState:
    """What is in the labels that a run learns from and is scored on: it goes on with no others.

    Of labels that are changed under the same names, some class gains pixels or loses some.

    Args:
        root: the data folder.
        reports: on what trains and on what validates.
    """

    def __init__(self, root: Path, *reports: ScanReport) -> None:
        self.root = root
        self.reports = reports

    @property
    def state(self) -> dict[str, Any]:
        """What a run that goes on must still know."""
        return {"pixels": [[*report.pixels, report.ignored_pixels] for report in self.reports]}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        pairs = zip(self.reports, state["pixels"], self.state["pixels"], strict=True)
        if changed := [report.split for report, theirs, ours in pairs if theirs != ours]:
            raise ConfigError(
                f"{self.root}: the labels of {' and '.join(changed)} have been changed since the run began: "
                "other numbers of pixels; expected the same; put them back, or begin a new run with another "
                "--output and model.weights"
            )


def at_learnt_side(config: Config, report: ScanReport) -> Config:
    """The configuration with the `short_side` at which a model of these images learns."""
    data = config.data.model_copy(update={"short_side": report.learnt_side(config.data.short_side)})
    return config.model_copy(update={"data": data})


def open_decoded(dataset: Dataset, config: Config, console: Console) -> DecodedSamples | None:
    """The data set's samples in `data.cache`, written first where they are not there; None without one."""
    if config.data.cache is None:
        return None
    with _counting(console, f"decoding {dataset.split}") as on_sample:
        return decoded_samples(
            dataset,
            Path(config.data.cache),
            config.training.workers,
            _telling(console),
            on_sample,
            config.data.short_side,
        )


def _telling(console: Console) -> Callable[[str], None]:
    """What prints a line as it is: brackets in a file's name are no markup."""
    return partial(console.print, highlight=False, markup=False)


@contextmanager
def _counting(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    """Hand out what shows how many samples of how many are done."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
