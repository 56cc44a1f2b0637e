"""What the predictions in a folder were made with and from, so that none is taken for another's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fornet_keras.atomic import locked, write_text
from fornet_keras.data.fingerprint import file_state
from fornet_keras.errors import DataError
from fornet_keras.prediction.inputs import Input
from fornet_keras.prediction.outputs import KINDS, SETTINGS, SOURCES, find_outputs

LOCK = ".lock"
NO_SETTINGS = ("model", "budget_ms", "budget_size")
"""Settings that say more and change nothing."""


@dataclass(frozen=True)
class FolderRecord:
    """The settings and sources of a folder's predictions, in `settings.json` and `sources.json`.

    Args:
        folder: of the predictions.
        kinds: what is written of an image, some of `KINDS`.
        overwrite: whether what is there is written again.
    """

    folder: Path
    kinds: Sequence[str]
    overwrite: bool

    def files(self, entry: Input, kinds: Sequence[str] | None = None) -> dict[str, Path]:
        """Kind of output → file; of a video there is the overlay alone."""
        asked, suffix = (("overlay",), ".mp4") if entry.is_video else (kinds or self.kinds, ".png")
        return {kind: self.folder / f"{entry.name}_{kind}{suffix}" for kind in asked}

    def update(self, inputs: Sequence[Input], settings: Mapping[str, Any]) -> None:
        """Take in inputs that are to be predicted with some settings; outputs of their older states go.

        Raises:
            DataError: outputs that were made with other settings would stay beside those of the inputs, or
                outputs of another file would be taken for an input's.
        """
        with locked(self.folder / LOCK):  # several commands may write into one folder
            self._require_same(inputs, settings)
            sources = self._sources(inputs)
            write_text(self.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
            write_text(self.folder / SOURCES, json.dumps(sources, indent=2) + "\n")

    def _require_same(self, inputs: Sequence[Input], settings: Mapping[str, Any]) -> None:
        settings = json.loads(json.dumps(settings))  # as they are when they are read
        found = recorded_settings(self.folder)
        changed = [name for name in settings if name not in NO_SETTINGS and found.get(name) != settings[name]]
        if changed or not found:
            values = [(name, found.get(name), settings[name]) for name in changed if name != "classes"]
            said = [f"{name} is {there} there and {here} here" for name, there, here in values]
            said += ["other classes"] if "classes" in changed else []
            self._make_room(inputs, "; ".join(said) if found else f"no {SETTINGS} says which")

    def _make_room(self, inputs: Sequence[Input], difference: str) -> None:
        """Remove the outputs that are to be written again: broken off, none must be taken for a new one."""
        outputs = find_outputs(self.folder)
        again = [entry for entry in inputs if not entry.is_missing] if self.overwrite else []
        own = {file for entry in again for file in self.files(entry).values()}
        if staying := [path for path in outputs if path not in own]:
            fix = "move them away" if self.overwrite else "write all of them again with --overwrite"
            raise DataError(
                f"{self.folder}: holds {len(staying)} predictions made with other settings ({difference}), "
                f"such as {staying[0].name}; choose another folder, or {fix}"
            )
        # A recording cannot be made again where its camera is away by now.
        live = {file for entry in again if entry.is_live for file in self.files(entry).values()}
        for path in outputs:
            if path not in live:
                path.unlink()

    def _sources(self, inputs: Sequence[Input]) -> dict[str, list[Any]]:
        """Name of the outputs → path, size and time of change of their input; outputs of older states go."""
        recorded = _read_dict(self.folder / SOURCES)
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
            there = [file for file in self.files(entry, KINDS).values() if os.path.exists(file)]
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


def recorded_settings(folder: Path) -> dict[str, Any]:
    """What the outputs in a folder were made with; empty where that is not known."""
    return _read_dict(folder / SETTINGS)


def _read_dict(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
