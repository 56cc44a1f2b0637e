"""Files and folders that are there whole or not at all, whether killed or out of space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, in the place of an older one only when it is on disk as a whole.

    Args:
        path: the file; its folder exists.
        text: the whole content.

    Raises:
        OSError: it could not be written; an older file is as it was.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Hand out an empty folder to be filled with files, which becomes `path` when the block ends well.

    Args:
        path: a folder that does not exist yet; its parents are made.

    Raises:
        OSError: something could not be written; nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _sync(written)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's memory to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
