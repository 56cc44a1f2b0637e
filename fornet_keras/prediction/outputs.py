"""What the files are called that a prediction leaves in its folder."""

from __future__ import annotations

from pathlib import Path

KINDS = ("labels", "overlay", "importance")
"""What is written of an input, as `NAME_KIND`."""

NAME_ENDINGS = (*(f"_{kind}.png" for kind in KINDS), "_overlay.mp4")
"""Of the files: an image's, and a video's."""

LEGEND = "legend.png"
SETTINGS = "settings.json"
SOURCES = "sources.json"


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
