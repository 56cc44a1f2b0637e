"""What a prediction leaves in its folder: what the files are called, and what is recorded of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fornet_keras.bounded_text import read_text
from fornet_keras.data.file_list import MAX_BYTES
from fornet_keras.data.images import SUFFIXES
from fornet_keras.errors import DataError

KINDS = ("labels", "overlay", "importance")
"""What is written of an image, as `NAME_KIND.png`."""

VIDEO_ENDING = "_overlay.mp4"
"""Of the one file that is written of a video."""

NAME_ENDINGS = (*(f"_{kind}.png" for kind in KINDS), VIDEO_ENDING)

LEGEND = "legend.png"
SETTINGS = "settings.json"
SOURCES = "sources.json"

Sources = dict[str, list[Any]]
"""Name of an image's outputs, or a video's whole output → path, size and time of change of the input."""


def is_output(path: Path, output: Path, named: Path) -> bool:
    """Whether a file was written by an earlier run, and is no input.

    Args:
        path: the file.
        output: folder of the outputs, also those of this run.
        named: the folder that a user named, in which the file was found: runs wrote into folders there too.
    """
    if not (path.name in (LEGEND, SETTINGS, SOURCES) or path.name.endswith(NAME_ENDINGS)):
        return False
    folders = (folder for folder in path.parents if folder.is_relative_to(named))
    return path.resolve().is_relative_to(output.resolve()) or any(map(_has_record, folders))


def _has_record(folder: Path) -> bool:
    return (folder / SETTINGS).is_file() and (folder / SOURCES).is_file()


def output_names(key: str) -> list[str]:
    """What a key of the recorded sources may stand for."""
    return [key] if key.endswith(VIDEO_ENDING) else [f"{key}_{kind}.png" for kind in KINDS]


def recorded_settings(folder: Path) -> dict[str, Any]:
    """What the outputs in a folder were made with; empty where that is not known.

    Raises:
        DataError: the file is another program's.
    """
    return _read(folder / SETTINGS, lambda found: {"short_side", "classes"} <= found.keys())


def recorded_sources(folder: Path) -> Sources:
    """What the outputs in a folder are of; empty where that is not known.

    Raises:
        DataError: the file is another program's.
    """
    found = _read(
        folder / SOURCES,
        lambda found: all(isinstance(source, list) and len(source) == 3 for source in found.values()),
    )
    return {_key(folder, name, source): source for name, source in found.items()}


def _key(folder: Path, name: str, source: list[Any]) -> str:
    """Videos were once recorded by their names alone, as images are."""
    own = name.endswith(VIDEO_ENDING) or Path(str(source[0])).suffix.lower() in SUFFIXES
    video = f"{name}{VIDEO_ENDING}"
    return name if own or not (folder / video).exists() else video


def _read(path: Path, is_ours: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, MAX_BYTES))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError):  # a folder; no JSON; one that is nested without end
        found = None
    if isinstance(found, dict) and is_ours(found):
        return found
    raise DataError(
        f"{path}: is not of an earlier prediction; expected what `predict` writes; choose another folder, or "
        "move it away"
    )
