"""Predict images and videos into a folder: what is there is kept, and a bad file does not stop the others."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.images import SUFFIXES, image_size, read_image
from fornet_keras.data.sizes import shrunk_size
from fornet_keras.errors import DataError, is_out_of_memory, one_line
from fornet_keras.prediction.files import write_labels, write_picture
from fornet_keras.prediction.inputs import ENDINGS, Input
from fornet_keras.prediction.outputs import KINDS, LEGEND
from fornet_keras.prediction.pictures import Picture, legend, overlay, palette
from fornet_keras.prediction.protocol import Prediction, ShowsImportance
from fornet_keras.prediction.record import FolderRecord
from fornet_keras.prediction.video import first_size, transform_video

Track = Callable[[Iterable[Any], int | None, str], Iterable[Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Args:
        path: the input.
        status: `written`, `kept` (all outputs were there) or `failed`.
        files: kind of output → file.
        error: why it failed.
        notes: what is to be known of it, though it did not.
    """

    path: Path
    status: Literal["written", "kept", "failed"]
    files: dict[str, Path]
    error: str | None = None
    notes: tuple[str, ...] = ()


def untracked(items: Iterable[Any], total: int | None, description: str) -> Iterable[Any]:
    """Show no progress."""
    return items


@dataclass(frozen=True)
class FolderPrediction:
    """Predicts inputs into one folder.

    Of an image `NAME_labels.png`, a palette PNG of train ids at the image's own size, and, where asked for,
    `NAME_overlay.png` and `NAME_importance.png`; of a video `NAME_overlay.mp4`; and `legend.png`,
    `settings.json` and `sources.json`, which say what the colours mean, what all was made with and from.

    Args:
        predictor: a `Predictor`, a `ViewsPredictor`, or an `ArtifactPredictor`; of importance one that gives
            it. Outputs have the image's own size, also where it brings larger images down.
        table: its model's classes.
        output: the folder.
        kinds: what to write of an image, some of `KINDS`.
        overwrite: write again what is there.
        track: gets items, their number or None, and a description, and hands the items on: a progress bar.
        settings: whatever else the outputs depend on, such as which weights they are of; plain values.
    """

    predictor: ShowsImportance
    table: LabelTable
    output: Path
    kinds: Sequence[str] = KINDS[:1]
    overwrite: bool = False
    track: Track = untracked
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list, init=False)
    """What each prediction took for which nothing was compiled."""

    def __call__(self, inputs: Sequence[Input]) -> list[Outcome]:
        """Predict all inputs; a file that cannot be used is an `Outcome`, not an error.

        Raises:
            DataError: the folder holds predictions that were made with other settings, or of other files.
            FoRNetError: another command has made it a folder of other settings meanwhile.
        """
        self.begin(inputs)
        by_size = sorted(inputs, key=self._seen_size)  # a backend compiles for each size, and keeps few
        outcomes = {entry: self.one(entry) for entry in self.track(by_size, len(inputs), "images")}
        return [outcomes[entry] for entry in inputs]

    def begin(self, inputs: Sequence[Input]) -> None:
        """Write what the outputs share: the legend, the settings and the sources.

        Raises:
            DataError: outputs that were made with other settings would stay beside those of the inputs, or
                outputs of another file would be taken for an input's.
        """
        self._record.update(inputs)
        write_picture(self.output / LEGEND, legend(self.table))

    @cached_property
    def _record(self) -> FolderRecord:
        shared = {"short_side": self.predictor.short_side, "classes": self.table.names}
        return FolderRecord(self.output, self.kinds, self.overwrite, {**self.settings, **shared})

    def _seen_size(self, entry: Input) -> tuple[float, float]:
        """Height and width at which an image is predicted; what is none comes after all that are."""
        try:
            if not entry.is_video:
                return shrunk_size(image_size(entry.path), self.predictor.short_side)
        except DataError:
            pass  # which is an outcome, when its turn comes
        return math.inf, math.inf

    def one(self, entry: Input) -> Outcome:
        """Predict one input."""
        files = self._record.files(entry)
        try:
            wanted = {kind: file for kind, file in files.items() if self.overwrite or not _is_whole(file)}
            if entry.is_missing:
                finding = "no such file, or no permission to look for it"
                raise DataError(f"{finding}; expected an image or a video; check path and mode")
            if not wanted and entry.is_live:
                there = files["overlay"]
                raise DataError(
                    f"{there} is there already; replace it with --overwrite, or choose another --output"
                )
            if not wanted:
                return Outcome(entry.path, "kept", files)
            notes = self._write(entry, wanted)
        except DataError as error:
            place = one_line(f"{entry.path}: ")
            finding = place + str(error).removeprefix(place)
            if entry.is_live and wanted and os.path.exists(there := files["overlay"]):
                finding += one_line(f"; {there} stays as it was recorded, with the settings of then")
            return Outcome(entry.path, "failed", {}, finding)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise  # a full disk, which is the others' too
            fix = "predict it from a shorter address" if entry.is_live else "rename the file"
            finding = f"{entry.path}: the names of its predictions are too long for the disk; {fix}"
            return Outcome(entry.path, "failed", {}, one_line(finding))
        return Outcome(entry.path, "written", files, notes=tuple(map(one_line, notes)))

    def _write(self, entry: Input, wanted: dict[str, Path]) -> list[str]:
        try:
            if entry.is_video:
                return self._video(entry, wanted)
            self._image(entry, wanted)
            return []
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            height, width = first_size([entry])
            raise DataError(
                f"{height}x{width} pixels are too many for the memory; predict it with a small --window or "
                "--short-side, make the image itself smaller, or export the model again with a smaller --size"
            ) from error

    def _image(self, entry: Input, wanted: dict[str, Path]) -> None:
        suffix = entry.path.suffix
        if suffix.lower() not in SUFFIXES and entry.path.is_file():
            endings = ", ".join(ENDINGS)
            raise DataError(f"files ending in '{suffix}' are not supported; expected {endings}; convert it")
        image = read_image(entry.path)
        prediction = self._predict(image)
        label_ids = prediction["label_ids"]
        if "labels" in wanted:
            write_labels(wanted["labels"], label_ids, palette(self.table), self._record.held())
        if "overlay" in wanted:
            write_picture(wanted["overlay"], overlay(image, label_ids, self.table), self._record.held())
        if "importance" in wanted:
            importance = self.predictor.importance_map(image, prediction)
            write_picture(wanted["importance"], importance, self._record.held())

    def _predict(self, image: Picture) -> Prediction:
        compiled, started = self.predictor.compiled, time.perf_counter()
        prediction = self.predictor(image)
        if self.predictor.compiled == compiled:
            self.seconds.append(time.perf_counter() - started)
        return prediction

    def _video(self, entry: Input, wanted: dict[str, Path]) -> list[str]:
        def paint(frame: Picture) -> Picture:
            return overlay(frame, self._predict(frame)["label_ids"], self.table)

        def track(frames: Iterable[Picture], total: int | None) -> Iterable[Picture]:
            return self.track(frames, total, entry.path.name)

        with self._record.recording(entry):
            return transform_video(entry, wanted["overlay"], paint, track, self._record.held())


def _is_whole(file: Path) -> bool:
    """Whether a prediction is there: a power cut may leave an empty file."""
    return file.exists() and file.stat().st_size > 0
