"""Which files are meant: those in a folder, or those of a list, none of which leads out of its folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

from fornet_keras.bounded_text import read_bounded
from fornet_keras.errors import DataError

MAX_BYTES = 1_000_000_000
"""Some ten million lines."""

_BY_NAME = attrgetter("parts")
"""Sorts alike everywhere: Windows compares paths themselves without their case, and a seed means an order."""


def visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files and folders.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_BY_NAME)
    except OSError as error:
        refuse_to_list(error)


def refuse_to_list(error: OSError, root: Path = Path()) -> NoReturn:
    """Say which folder cannot be listed, else `root`: what is in it must not be passed over in silence."""
    place = error.filename or root
    folder = place if os.path.isdir(place) else os.path.dirname(place)  # of a file that cannot be looked for
    raise DataError(
        f"{folder}: cannot be listed ({error.strerror}); expected a readable folder; change its mode"
    ) from error


def in_either_case(path: Path) -> Path:
    """`path`, or that with the other case of its suffix where only that is a file."""
    other = path.with_suffix(path.suffix.swapcase())
    return other if not path.is_file() and other.is_file() else path


def shorter_names(name: str) -> list[str]:
    """What a name begins with, the longest first: of `a-1_rgb` it is `a-1`, then `a`."""
    return [name[: cut.start()] for cut in re.finditer("(?!^)[_.-]", name)][::-1]


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files with one of some suffixes, in either case, in a folder and all below it, sorted.

    Links to folders are followed, each folder once: a link may lead back to where it lies. Links to files are
    meant also where they lead nowhere. Hidden files are not: a dot begins their name or that of a folder on
    the way.

    Raises:
        DataError: a folder cannot be listed.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    paths = (Path(place, name) for place, files in walk_once(folder) for name in files)
    meant = (path for path in paths if path.name.lower().endswith(endings))
    return sorted((path for path in meant if path.is_symlink() or path.is_file()), key=_BY_NAME)


def walk_once(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folder and all below it, as `files_below` follows them, each with the names of the files in it."""
    entered = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse_to_list):
        yield Path(place), [name for name in files if not name.startswith(".")]
        inside = [Path(place, name) for name in folders if not name.startswith(".")]
        folders.clear()
        for path in sorted(inside, key=lambda path: (path.is_symlink(), _BY_NAME(path))):
            if (real := os.path.realpath(path)) not in entered:
                entered.add(real)
                folders.append(path.name)


Resolve = Callable[[Path], Path]


def resolver() -> Resolve:
    """`Path.resolve` for many files: each is looked at, the folders on its way once, for slow disks."""
    followed: dict[Path, Path] = {}

    def resolve(path: Path) -> Path:
        if path in followed:
            return followed[path]
        try:
            is_file = stat.S_ISREG(path.lstat().st_mode)
        except OSError:  # not there
            return path.resolve()
        if is_file:
            return resolve(path.parent) / path.name
        # All folders, not links alone: on Windows some lead elsewhere, or have a second, short name.
        return followed.setdefault(path, path.resolve())

    return resolve


def read_list(path: Path, root: Path, resolve: Resolve | None = None) -> Iterator[Path]:
    """The files that a list names, whether they exist or not; blanks at the end of a line are not meant.

    Each line is looked at when its turn comes: who needs the first one alone need not wait for all.

    Args:
        path: a text file in UTF-8.
        root: what its lines are relative to, and where all files must be, links followed.
        resolve: a `resolver`, where more than the list needs one.

    Raises:
        DataError: the list cannot be read, or a line leads out of `root`.
    """
    lines = read_bounded(path, MAX_BYTES, "a list of files, one path a line").split("\n")
    resolve = resolve or resolver()
    named = ((number, line.rstrip()) for number, line in enumerate(lines, 1))
    return (_named(root, line, f"{path}:{number}", resolve) for number, line in named if line)


def _named(root: Path, line: str, where: str, resolve: Resolve) -> Path:
    """What a line names, as a path below `root` also where it is written as an absolute one."""
    file = require_inside(root, root / line, where, resolve)
    return root / resolve(file).relative_to(resolve(root)) if Path(line).is_absolute() else file


def require_inside(
    root: Path,
    file: Path,
    where: str,
    resolve: Resolve = Path.resolve,
    fix: str = "copy it there or remove the line",
) -> Path:
    """`file` itself, where it lies in `root` after all links and `..` are followed.

    Raises:
        DataError: it does not, or is `root` itself; the message begins with `where` and ends with `fix`.
    """
    try:
        found, folder = resolve(file), resolve(root)
        if folder in found.parents:
            return file
        finding = "is the folder itself" if found == folder else "leads out of it"
    except (OSError, ValueError, RuntimeError):  # a null character, a link to itself
        finding = "cannot be followed"
    raise DataError(f"{where}: {file} {finding}; expected a file in {root}, links followed; {fix}")
