"""From what a user names (files, folders, globs) to the inputs and what their outputs are called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

from fornet_keras.data.description import DATASET_YAML, read_dataset_yaml
from fornet_keras.data.file_list import files_below, read_list, walk_once
from fornet_keras.data.images import SUFFIXES
from fornet_keras.errors import DataError
from fornet_keras.prediction.outputs import output_test

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"),
    *(".ts", ".mts", ".m2ts"),  # of camcorders
)

ENDINGS = (*SUFFIXES, *VIDEO_SUFFIXES)
"""Of the files that can be predicted, in lower case."""

OTHER_SUFFIXES = (".tif", ".tiff", ".gif", ".jfif", ".heic", ".heif", ".avif")
"""Pictures that cannot be read: in a folder they are inputs that fail, or nobody would miss them."""

CAMERA = re.compile(r"camera:(\d{1,4})")
"""What names a camera: its number, from 0."""

STREAM = re.compile(r"(?:rtsps?|https?)://(?:.*@)?([^@]*)", re.IGNORECASE | re.DOTALL)
"""What names a stream; name and password, all before the last `@`, are shown and recorded nowhere."""


@dataclass(frozen=True)
class Input:
    """One image, video, camera or stream.

    Args:
        path: where it is; of a camera or a stream, what it is called.
        name: what its outputs' names begin with: a relative path without suffix, no other input's.
        source: a camera's number or a stream's address; None for a file.
    """

    path: Path
    name: PurePath
    source: int | str | None = None

    @property
    def is_video(self) -> bool:
        """Told by the file's ending; a camera or a stream is one too."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES or self.is_live

    @property
    def is_live(self) -> bool:
        """Whether the frames come from a camera or a stream, until Ctrl-C."""
        return self.source is not None

    @property
    def is_missing(self) -> bool:
        """Whether there is no such file: a list may name it, and disks come and go."""
        return not (self.is_live or os.path.exists(self.path))


@dataclass(frozen=True)
class _Found:
    path: Path
    short: PurePath  # below the folder that the user named; of a file its name
    source: int | str | None = None

    @property
    def absolute(self) -> PurePath:
        return Path(os.path.abspath(self.path))

    @property
    def whole(self) -> PurePath:
        """The absolute path below the folder of the outputs: Windows' drive or share becomes a folder."""
        drive = re.sub(r"\W+", "_", self.absolute.drive).strip("_")
        return PurePath(drive, *self.absolute.parts[1:])

    def spellings(self) -> tuple[PurePath, PurePath, PurePath]:
        """Names of the outputs, from the shortest on."""
        in_its_folder = PurePath(*self.whole.parts[-len(self.short.parts) - 1 :])
        return self.short.with_suffix(""), in_its_folder.with_suffix(""), self.short


def find_inputs(arguments: Sequence[str], output: Path) -> list[Input]:
    """Every image and video that the arguments name, each once, in their order, folders sorted by name.

    Args:
        arguments: images, videos, folders (with all below them), globs, in which `**` means any folders,
            `@LIST`, a text file of paths in its own folder, which need not exist, `camera:0`, and the address
            of a stream, `rtsp://…` or `http://…`.
        output: the folder of the outputs: what an earlier run wrote there, or into a folder below one that is
            named, is no input, if that folder's record says so.

    Raises:
        DataError: an argument names nothing, or a folder with a data set and its labels, or a list something
            outside its folder, or all are outputs.
    """
    found: dict[PurePath, _Found] = {}
    is_output = output_test(output)
    for argument in arguments:
        for entry in _expand(argument, is_output):
            # Not of `absolute`: `//a` is `/a`, but for the shares of Windows.
            first = found.setdefault(Path(entry.absolute.drive, entry.whole), entry)
            if str(first.source).rstrip("/") != str(entry.source).rstrip("/"):
                raise DataError(
                    f"{entry.path}: two INPUTs have this name; expected one; predict them into folders of "
                    "their own"
                )
    if not found:
        raise DataError(
            f"{arguments[0]}: is of an earlier prediction; expected images, videos or folders; name what is "
            "to be predicted"
        )
    return _named(list(found.values()))


def _expand(argument: str, is_output: Callable[[Path, Path], bool]) -> Iterator[_Found]:
    if not argument:  # which would be the working folder
        raise DataError("INPUT is empty; expected a path; look whether a variable in its place is set")
    path = Path(os.path.expanduser(argument))
    if argument.startswith("@") and not path.exists():
        path = Path(os.path.expanduser(argument[1:]))
        listed = [*read_list(path, path.parent)]
        if not listed:
            raise DataError(f"{path}: names no file; expected one path a line")
        yield from (_Found(entry, _below(path.parent, entry)) for entry in listed)
        return
    if camera := CAMERA.fullmatch(argument):
        yield _Found(Path(argument), PurePath(f"camera_{camera[1]}"), int(camera[1]))
        return
    if stream := STREAM.fullmatch(argument):
        if not stream[1].strip("/"):  # all that is there may be a password
            raise DataError(
                "an INPUT is a stream's address without a host; expected one such as "
                "rtsp://NAME:PASSWORD@HOST/PATH; write what comes after the last '@'"
            )
        yield _Found(Path(stream[1]), PurePath("stream_" + re.sub(r"\W+", "_", stream[1])), argument)
        return
    named = next((place for place in (path, *path.parents) if place.exists()), path)
    pattern = path.relative_to(named)
    is_glob = glob.has_magic(str(pattern))
    matches = _matches(named, pattern) if is_glob else [path] if path.exists() else []
    if not matches:
        finding = "no file matches" if is_glob else "no such file or folder"
        raise DataError(f"{argument}: {finding}; expected images, videos or folders; check the spelling")
    found = [entry for match in matches for entry in _at(match)]
    if not found:
        endings = ", ".join(ENDINGS)
        raise DataError(f"{argument}: no image or video in it; expected {endings} files; check the path")
    # A shell that expands a glob names the outputs of earlier runs too, and their folders.
    yield from (entry for entry in found if not is_output(entry.path, named))


def _matches(folder: Path, pattern: Path) -> list[Path]:
    """What matches a glob in a folder; `**` enters each once, where Python's follows links that lead back."""
    parts = pattern.parts
    if "**" not in parts:
        return [folder / match for match in sorted(glob.glob(str(pattern), root_dir=folder))]
    at = parts.index("**")
    rest = Path(*parts[at + 1 :]) if parts[at + 1 :] else Path("*")
    starts = _matches(folder, Path(*parts[:at])) if at else [folder]
    places = [place for start in starts if start.is_dir() for place, _ in walk_once(start)]
    found = sorted({match for place in places for match in _matches(place, rest)})
    # It matches the folders on the way too, also where a file tells them apart.
    return [path for path in found if path.is_file()] or found


def _below(folder: Path, path: Path) -> PurePath:
    below = PurePath(os.path.relpath(os.path.abspath(path), os.path.abspath(folder)))
    # `link/..` is not the folder of the link: outputs must not leave theirs where the file itself does not.
    return below if ".." not in below.parts else path.resolve().relative_to(folder.resolve())


def _at(path: Path) -> list[_Found]:
    """A file, or what is in a folder."""
    if not path.is_dir():
        return [_Found(path, PurePath(path.name))]
    if (path / DATASET_YAML).is_file():
        _refuse_data(path)
    files = files_below(path, (*ENDINGS, *OTHER_SUFFIXES))
    parents = {file.parent for file in files}
    for folder in sorted({above for parent in parents for above in (parent, *parent.parents)}):
        if folder.is_relative_to(path) and _is_data(folder):
            _refuse_data(folder)
    return [_Found(file, file.relative_to(path)) for file in files]


def _is_data(folder: Path) -> bool:
    """Whether a folder's `dataset.yaml` is of this package's: YOLO's labels are no pictures."""
    try:
        read_dataset_yaml(folder)
    except DataError:
        return False
    return True


def _refuse_data(folder: Path) -> NoReturn:
    raise DataError(
        f"{folder}: has a {DATASET_YAML}, and labels, which are pictures too; expected a folder of images "
        "alone; name that one in it"
    )


def _named(found: list[_Found]) -> list[Input]:
    """Give each input the shortest spelling that no other has, or its whole path."""
    names: dict[_Found, PurePath] = {}
    taken: set[str] = set()
    for spellings in zip(*(entry.spellings() for entry in found), strict=True):
        rest = {
            # Capitals do not tell files apart everywhere.
            entry: str(spelling).casefold()
            for entry, spelling in zip(found, spellings, strict=True)
            if entry not in names
        }
        counts = Counter(rest.values())
        for entry, spelling in zip(found, spellings, strict=True):
            if entry in rest and counts[rest[entry]] == 1 and rest[entry] not in taken:
                names[entry] = spelling
        taken |= set(rest.values())
    return [Input(entry.path, names.get(entry, entry.whole), entry.source) for entry in found]
