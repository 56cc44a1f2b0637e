"""Files and folders that are there whole or not at all, whether killed or out of space."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The temporary path to write to; it takes the place of `path` where the block ends without an error.

    Missing folders are made. The temporary file has the same suffix, which image and video writers look at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not of its name, which may be as long as names can be.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8; it is on the disk, and not only in the system's memory, when this returns.

    Args:
        path: the file.
        text: the whole content.

    Raises:
        OSError: it could not be written; an older file is as it was.
    """
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
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
