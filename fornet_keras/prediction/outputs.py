"""What a prediction leaves in its folder: what the files are called, and what is recorded of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fornet_keras.bounded_text import read_text
from fornet_keras.data.file_list import MAX_BYTES
from fornet_keras.errors import DataError

KINDS = ("labels", "overlay", "importance")
"""What is written of an image, as `NAME_KIND.png`."""

VIDEO_SUFFIX = ".mp4"
VIDEO_ENDING = f"_overlay{VIDEO_SUFFIX}"
"""Of the one file that is written of a video."""

VIDEO_MARK = "/"
"""What ends a video's name in the record, and no image's: that may be `x_overlay.mp4`."""

NAME_ENDINGS = (*(f"_{kind}.png" for kind in KINDS), VIDEO_ENDING)

LEGEND = "legend.png"
SETTINGS = "settings.json"
SOURCES = "sources.json"

Sources = dict[str, list[Any]]
"""Name of an input's outputs, of a video's with the mark → path, size and time of change of the input."""


def output_test(output: Path) -> Callable[[Path, Path], bool]:
    """A test whether an earlier run wrote a file, as a record says: it is no input. Each record is read once.

    Args:
        output: folder of the outputs, also those of this run.

    Returns:
        A function of the file, and of the folder that a user named, in which it was found: runs wrote into
        folders there too.
    """
    real = cache(Path.resolve)

    @cache
    def written(folder: Path) -> set[str]:
        try:
            keys = recorded_sources(folder)
        except DataError:
            keys = {}  # another program's
        names = {name for key in keys for name in output_names(key)}
        return names | {LEGEND, SETTINGS, SOURCES} if names else names

    def is_output(path: Path, named: Path) -> bool:
        if not (path.name in (LEGEND, SETTINGS, SOURCES) or path.name.endswith(NAME_ENDINGS)):
            return False
        places = [(folder, path) for folder in path.parents if folder.is_relative_to(named)]
        place = real(path.parent) / path.name
        places += [(real(output), place)] if place.is_relative_to(real(output)) else []
        return any(str(file.relative_to(folder)) in written(folder) for folder, file in places)

    return is_output


def output_names(key: str) -> list[str]:
    """What a name in the recorded sources stands for."""
    if key.endswith(VIDEO_MARK):
        return [key.removesuffix(VIDEO_MARK) + VIDEO_ENDING]
    return [f"{key}_{kind}.png" for kind in KINDS]


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
    return _read(
        folder / SOURCES,
        lambda found: all(isinstance(source, list) and len(source) == 3 for source in found.values()),
    )


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
