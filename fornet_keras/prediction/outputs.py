"""What the files are called that a prediction leaves in its folder."""

from __future__ import annotations

from pathlib import Path

KINDS = ("labels", "overlay", "importance")
"""What is written of an input, as `NAME_KIND`."""

LEGEND = "legend.png"
SETTINGS = "settings.json"
SOURCES = "sources.json"


def find_outputs(folder: Path) -> list[Path]:
    """The predictions that lie in a folder and all below it, sorted; of hidden images too."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".mp4") and path.is_file())
    # macOS puts `._NAME` beside files on other systems' disks.
    return [path for path in files if _is_prediction(path) and not path.name.startswith("._")]


def _is_prediction(path: Path) -> bool:
    return path.stem.endswith(tuple(f"_{kind}" for kind in KINDS))


def is_output(path: Path, output: Path) -> bool:
    """Whether a file was written by an earlier run into `output`, and is no input."""
    ours = path.name == LEGEND or _is_prediction(path)
    return ours and path.resolve().is_relative_to(output.resolve())
