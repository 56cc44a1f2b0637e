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


def is_output(path: Path, output: Path) -> bool:
    """Whether a file was written by an earlier run into `output`, and is no input."""
    ours = path.name == LEGEND or path.name.endswith(NAME_ENDINGS)
    return ours and path.resolve().is_relative_to(output.resolve())
