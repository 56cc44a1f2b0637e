"""Predict images and videos into a folder: what is there is kept, and a bad file does not stop the others."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from fornet_keras.atomic import locked, write_text
from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.fingerprint import file_state
from fornet_keras.data.images import SUFFIXES, image_size, read_image
from fornet_keras.data.sizes import brought_back, shrunk, shrunk_size
from fornet_keras.errors import DataError, FoRNetError, one_line
from fornet_keras.prediction.files import write_labels, write_picture
from fornet_keras.prediction.inputs import ENDINGS, KINDS, LEGEND, SETTINGS, SOURCES, Input, find_outputs
from fornet_keras.prediction.pictures import Picture, importance_map, legend, overlay, palette
from fornet_keras.prediction.video import first_size, transform_video

if TYPE_CHECKING:  # they import Keras, which an exported model does without
    from fornet_keras.prediction.artifact import ArtifactPredictor
    from fornet_keras.prediction.predictor import Predictor
    from fornet_keras.prediction.views import ViewsPredictor

Track = Callable[[Iterable[Any], int | None, str], Iterable[Any]]

LOCK = ".lock"
NO_SETTINGS = ("model", "budget_ms", "budget_size")
"""Settings that say more and change nothing."""

OUT_OF_MEMORY = re.compile("out of memory|resource_exhausted|OOM when|(can't|failed to) allocate", re.I)
"""How TensorFlow, JAX, PyTorch, ONNX Runtime and OpenCV say it, each in an error of its own."""


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


def recorded_settings(folder: Path) -> dict[str, Any]:
    """What the outputs in a folder were made with; empty where that is not known."""
    return _read_dict(folder / SETTINGS)


def _read_dict(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


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
        predictor: a `Predictor`, a `ViewsPredictor`, or an `ArtifactPredictor`, which gives no importance.
            Outputs have the image's own size, also where it brings larger images down.
        table: its model's classes.
        output: the folder.
        kinds: what to write of an image, some of `KINDS`.
        overwrite: write again what is there.
        track: gets items, their number or None, and a description, and hands the items on: a progress bar.
        settings: whatever else the outputs depend on, such as which weights they are of; plain values.
    """

    predictor: Predictor | ViewsPredictor | ArtifactPredictor
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
        """
        self.begin(inputs)
        by_size = sorted(inputs, key=self._seen_size)  # a backend compiles for each size, and keeps few
        outcomes = {entry: self.one(entry) for entry in self.track(by_size, len(inputs), "images")}
        return [outcomes[entry] for entry in inputs]

    def begin(self, inputs: Sequence[Input]) -> None:
        """Write what the outputs share: the legend and the settings.

        Raises:
            DataError: outputs that were made with other settings would stay beside those of the inputs, or
                outputs of another file would be taken for an input's.
        """
        with locked(self.output / LOCK):  # several commands may write into one folder
            self._record(inputs)
        write_picture(self.output / LEGEND, legend(self.table))

    def _record(self, inputs: Sequence[Input]) -> None:
        shared = {"short_side": self.predictor.short_side, "classes": self.table.names}
        settings = json.loads(json.dumps({**self.settings, **shared}))  # as they are when they are read
        found = recorded_settings(self.output)
        changed = [name for name in settings if name not in NO_SETTINGS and found.get(name) != settings[name]]
        if changed or not found:
            values = [(name, found.get(name), settings[name]) for name in changed if name != "classes"]
            said = [f"{name} is {there} there and {here} here" for name, there, here in values]
            said += ["other classes"] if "classes" in changed else []
            self._make_room(inputs, "; ".join(said) if found else f"no {SETTINGS} says which")
        sources = self._sources(inputs)
        write_text(self.output / SETTINGS, json.dumps(settings, indent=2) + "\n")
        write_text(self.output / SOURCES, json.dumps(sources, indent=2) + "\n")

    def _make_room(self, inputs: Sequence[Input], difference: str) -> None:
        """Remove the outputs that are to be written again: broken off, none must be taken for a new one."""
        outputs = find_outputs(self.output)
        again = [entry for entry in inputs if not entry.is_missing] if self.overwrite else []
        own = {file for entry in again for file in self._files(entry).values()}
        if staying := [path for path in outputs if path not in own]:
            fix = "move them away" if self.overwrite else "write all of them again with --overwrite"
            raise DataError(
                f"{self.output}: holds {len(staying)} predictions made with other settings ({difference}), "
                f"such as {staying[0].name}; choose another folder, or {fix}"
            )
        # A recording cannot be made again where its camera is away by now.
        live = {file for entry in again if entry.is_live for file in self._files(entry).values()}
        for path in outputs:
            if path not in live:
                path.unlink()

    def _sources(self, inputs: Sequence[Input]) -> dict[str, list[Any]]:
        """Name of the outputs → path, size and time of change of their input; outputs of older states go."""
        recorded = _read_dict(self.output / SOURCES)
        sources: dict[str, list[Any]] = {}
        outdated: list[Path] = []
        for entry in inputs:
            if entry.is_missing:  # for now: a disk that is not mounted takes no predictions with it
                continue
            now = sources[str(entry.name)] = [os.path.abspath(entry.path), *file_state(entry.path)]
            before = recorded.get(str(entry.name))
            if not isinstance(before, list) or len(before) != len(now):
                before = [f"a file that {SOURCES} does not name", None]
            # Of each kind, asked for this time or not: none may be taken for the new state's later.
            there = [file for file in self._files(entry, KINDS).values() if os.path.exists(file)]
            if not there or before[1:] == now[1:]:
                continue
            if before[0] != now[0] and not self.overwrite:
                raise DataError(
                    f"{there[0]}: is there already, of {before[0]}, and would be taken for that of "
                    f"{entry.path}; choose another folder, or write it again with --overwrite"
                )
            outdated += there
        for file in outdated:
            file.unlink()
        return {**recorded, **sources}

    def _seen_size(self, entry: Input) -> tuple[float, float]:
        """Height and width at which an image is predicted; what is none comes after all that are."""
        try:
            if not entry.is_video:
                return shrunk_size(image_size(entry.path), self.predictor.short_side)
        except DataError:
            pass  # which is an outcome, when its turn comes
        return math.inf, math.inf

    def _files(self, entry: Input, kinds: Sequence[str] | None = None) -> dict[str, Path]:
        asked, suffix = (("overlay",), ".mp4") if entry.is_video else (kinds or self.kinds, ".png")
        return {kind: self.output / f"{entry.name}_{kind}{suffix}" for kind in asked}

    def one(self, entry: Input) -> Outcome:
        """Predict one input."""
        files = self._files(entry)
        try:
            wanted = {kind: file for kind, file in files.items() if self.overwrite or not file.exists()}
            if entry.is_missing:
                raise DataError("no such file; expected an image or a video; check the path")
            if not wanted and entry.is_live:
                there = files["overlay"]
                raise DataError(f"{there} is there already; move it away or choose another --output")
            if not wanted:
                return Outcome(entry.path, "kept", files)
            notes = self._write(entry, wanted)
        except DataError as error:
            place = one_line(f"{entry.path}: ")
            return Outcome(entry.path, "failed", {}, place + str(error).removeprefix(place))
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise  # a full disk, which is the others' too
            finding = f"{entry.path}: the names of its predictions are too long for the disk; rename the file"
            return Outcome(entry.path, "failed", {}, one_line(finding))
        return Outcome(entry.path, "written", files, notes=tuple(map(one_line, notes)))

    def _write(self, entry: Input, wanted: dict[str, Path]) -> list[str]:
        try:
            if entry.is_video:
                return self._video(entry, wanted)
            self._image(entry, wanted)
            return []
        except (FoRNetError, OSError):  # a server's own memory, or a file "out of memory.png"
            raise
        except Exception as error:
            if not (isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error))):
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
            write_labels(wanted["labels"], label_ids, palette(self.table))
        if "overlay" in wanted:
            write_picture(wanted["overlay"], overlay(image, label_ids, self.table))
        if "importance" in wanted:
            seen = shrunk(image, self.predictor.short_side)
            regions = prediction["importance"], prediction["kept"]
            hard = importance_map(seen, *regions, self.predictor.region_size)
            write_picture(wanted["importance"], brought_back(hard, image.shape[:2]))

    def _predict(self, image: Picture) -> dict[str, NDArray[Any]]:
        compiled, started = self.predictor.compiled, time.perf_counter()
        prediction = self.predictor(image)
        if self.predictor.compiled == compiled:
            self.seconds.append(time.perf_counter() - started)
        return prediction

    def _video(self, entry: Input, wanted: dict[str, Path]) -> list[str]:
        def paint(frame: Picture) -> Picture:
            return overlay(frame, self._predict(frame)["label_ids"], self.table)

        return transform_video(
            entry, wanted["overlay"], paint, lambda frames, total: self.track(frames, total, entry.path.name)
        )
