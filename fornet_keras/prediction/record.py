"""What the predictions in a folder were made with and from, so that none is taken for another's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Any

from filelock import Timeout

from fornet_keras.atomic import locked, unfinished_files, write_text
from fornet_keras.data.fingerprint import file_state
from fornet_keras.errors import DataError, FoRNetError
from fornet_keras.prediction.inputs import Input
from fornet_keras.prediction.outputs import (
    KINDS,
    LEGEND,
    SETTINGS,
    SOURCES,
    VIDEO_ENDING,
    VIDEO_MARK,
    VIDEO_SUFFIX,
    Sources,
    output_names,
    recorded_settings,
    recorded_sources,
)

LOCK = ".lock"
NO_SETTINGS = ("model", "budget_ms", "budget_size")
"""Recorded for information; they do not change the outputs."""


@dataclass(frozen=True)
class FolderRecord:
    """The settings and sources of a folder's predictions, in `settings.json` and `sources.json`.

    Args:
        folder: of the predictions.
        kinds: what is written of an image, some of `KINDS`.
        overwrite: whether what is there is written again.
        settings: what the predictions are made with.
    """

    folder: Path
    kinds: Sequence[str]
    overwrite: bool
    settings: Mapping[str, Any]

    def files(self, entry: Input, kinds: Sequence[str] | None = None) -> dict[str, Path]:
        """Kind of output → file; of a video there is the overlay alone."""
        if entry.is_video:
            return {"overlay": self.folder / f"{entry.name}{VIDEO_ENDING}"}
        return {kind: self.folder / f"{entry.name}_{kind}.png" for kind in kinds or self.kinds}

    def update(self, inputs: Sequence[Input]) -> None:
        """Take in inputs that are to be predicted; outputs of their older states go.

        Raises:
            DataError: files that no earlier prediction wrote are in the way, outputs that were made with
                other settings would stay beside those of the inputs or are being written, or outputs of
                another file would be taken for an input's.
        """
        with locked(self.folder / LOCK):  # several commands may write into one folder
            before, recorded = recorded_settings(self.folder), recorded_sources(self.folder)
            self._require_free(inputs, recorded)
            if difference := _difference(before, self.settings):
                self._make_room(inputs, recorded, difference)
            sources = self._sources(inputs, recorded)
            write_text(self.folder / SETTINGS, json.dumps(self.settings, indent=2) + "\n")
            write_text(self.folder / SOURCES, json.dumps(sources, indent=2) + "\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """In the block no other command changes the record, which is still of these settings.

        Before an output is there, nothing keeps a command with other settings out.

        Raises:
            FoRNetError: it is of other settings by now.
        """
        with locked(self.folder / LOCK):
            if difference := _difference(recorded_settings(self.folder), self.settings):
                raise FoRNetError(
                    f"{self.folder}: is of other settings by now ({difference}), since another command "
                    "writes there; give each a folder of its own"
                )
            yield

    @contextmanager
    def recording(self, entry: Input) -> Iterator[None]:
        """In the block no other command records the same camera or stream: its end would replace this one's.

        Raises:
            DataError: one does.
        """
        if not entry.is_live:
            yield
            return
        video = self.files(entry)["overlay"]
        name = hashlib.sha256(os.fsencode(entry.name)).hexdigest()[:16]  # that of the video may be too long
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / f".{name}{LOCK}", blocking=False))
            except Timeout as error:
                raise DataError(
                    f"{video}: another command records it; end that one, or choose another --output"
                ) from error
            yield

    def _require_free(self, inputs: Sequence[Input], recorded: Sources) -> None:
        """A user's own file may be called like a prediction: only what is recorded is one."""
        new = [entry for entry in inputs if _key(entry) not in recorded and not entry.is_missing]
        files = [file for entry in new for file in self.files(entry, KINDS).values()]
        if not (self.folder / SOURCES).exists():
            files.append(self.folder / LEGEND)
        if there := next(filter(os.path.exists, files), None):
            raise DataError(
                f"{there}: is there already, and no {SOURCES} says that it is a prediction's; choose another "
                "folder, or move it away"
            )

    def _make_room(self, inputs: Sequence[Input], recorded: Sources, difference: str) -> None:
        """Remove the outputs that are to be written again: broken off, none must be taken for a new one."""
        folders = {(self.folder / key).parent for key in recorded if key.endswith(VIDEO_MARK)}
        videos = (video for folder in folders for video in unfinished_files(folder, VIDEO_SUFFIX))
        if video := next(videos, None):
            raise DataError(
                f"{video}: a video that another command writes with other settings ({difference}); choose "
                "another folder, or remove it if that command was killed"
            )
        files = (self.folder / name for key in sorted(recorded) for name in output_names(key))
        outputs = [file for file in files if os.path.exists(file)]
        again = [entry for entry in inputs if not entry.is_missing] if self.overwrite else []
        own = {file for entry in again for file in self.files(entry).values()}
        if staying := [path for path in outputs if path not in own]:
            fix = "write all of them again with --overwrite"
            if self.overwrite:
                fix = "write them again too (--overlay, --importance), or move them away"
            raise DataError(
                f"{self.folder}: holds predictions made with other settings ({difference}), "
                f"{len(staying)} in all, such as {staying[0].name}; choose another folder, or {fix}"
            )
        # A recording cannot be made again where its camera is away by now.
        live = {file for entry in again if entry.is_live for file in self.files(entry).values()}
        for path in outputs:
            if path not in live:
                path.unlink()

    def _sources(self, inputs: Sequence[Input], recorded: Sources) -> Sources:
        """The record with that of the inputs; their outputs of older states go."""
        sources: Sources = {}
        outdated: list[Path] = []
        for entry in inputs:
            if entry.is_missing:  # for now: a disk that is not mounted takes no predictions with it
                continue
            now = sources[_key(entry)] = [os.path.abspath(entry.path), *file_state(entry.path)]
            # Of each kind, asked for this time or not: none may be taken for the new state's later.
            there = [file for file in self.files(entry, KINDS).values() if os.path.exists(file)]
            if not there or _is_same(before := recorded[_key(entry)], now):
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


def _key(entry: Input) -> str:
    """What an input is recorded by: a video and an image of one name have outputs of their own."""
    return f"{entry.name}{VIDEO_MARK}" if entry.is_video else str(entry.name)


def _difference(before: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """In which settings those of a folder differ, for a message; empty where they do not."""
    if not before:
        return f"no {SETTINGS} says which"
    now = json.loads(json.dumps(settings))  # as they are when they are read
    changed = [name for name in now if name not in NO_SETTINGS and before.get(name) != now[name]]
    said = {name: f"{name} is {before.get(name)} there and {now[name]} here" for name in changed}
    said |= {"classes": "other classes"} if "classes" in said else {}
    return "; ".join(said.values())


def _is_same(before: Sequence[Any], now: Sequence[Any]) -> bool:
    """Whether an input is what its outputs are of: that very file, which may have moved, or a copy of it."""
    if before[1:] != now[1:]:
        return False
    return before[0] == now[0] or not os.path.exists(before[0]) or cmp(before[0], now[0], shallow=False)
