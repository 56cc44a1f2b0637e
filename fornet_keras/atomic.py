"""Files and folders that are there whole or not at all, whether killed or out of space."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # the last is macOS's
"""How a disk says that it knows no locks."""
_UNFINISHED = ".writing"
_RANDOM = "[0-9a-f]" * 32
"""What matches the names that are drawn here."""

Placing = AbstractContextManager[object]


@contextmanager
def written_whole(path: Path, placing: Placing | None = None) -> Iterator[Path]:
    """The temporary path to write to; it takes the place of `path` where the block ends without an error.

    Missing folders are made. The temporary file has the same suffix, which image and video writers look at.

    Args:
        path: the file.
        placing: is entered while the file takes its place; what it raises keeps the file from that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name: one made from path.name could exceed the length limit.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        with placing or nullcontext():
            temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename is None:  # as where a write fails
            error.filename = str(path)
        _name(error, temporary, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def unfinished_files(folder: Path, suffix: str) -> Iterator[Path]:
    """What `written_whole` has in the works in a folder, or what a killed process has left of it."""
    return folder.glob(f".{_RANDOM}{suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8; it is on the disk, and not only in the system's memory, when this returns.

    Args:
        path: the file.
        text: the whole content, whose lines end as they do here on all systems.

    Raises:
        OSError: it could not be written; an older file is as it was.
    """
    with written_whole(path) as temporary:
        temporary.write_bytes(text.encode())  # as text, Windows would end lines otherwise
        _sync(temporary)
    _sync(path.parent)


def checksum(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:  # not read as a whole: it may be any file
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Hand out an empty folder to be filled with files, which becomes `path` when the block ends well.

    Args:
        path: a folder that does not exist yet; its parents are made.

    Raises:
        OSError: something could not be written; nothing is left of it.
    """
    with unnamed_folder(path) as temporary:
        yield temporary
        put_in_place(temporary, lambda: path)


@contextmanager
def unnamed_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, which is gone after the block unless `put_in_place` is called in it."""
    # A random name: one made from path.name could exceed the length limit.
    temporary = path.with_name(f".{uuid.uuid4().hex}{_UNFINISHED}")
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as error:
        _name(error, temporary, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):  # it holds what was written
                parent.rmdir()


def put_in_place(folder: Path, choose: Callable[[], Path]) -> Path:
    """Bring an `unnamed_folder` to the disk, and let it become the path that is then chosen.

    Args:
        folder: it, complete.
        choose: gives a path beside it that does not exist; called when all else is done.

    Returns:
        That path.

    Raises:
        OSError: something could not be written.
    """
    _sync_all(folder)
    path = choose()
    folder.rename(path)
    _sync(path.parent)
    return path


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """As `new_folder`, but an older folder gives way to the new one when the block ends well.

    A folder cannot take the place of another in one step: `last_complete` finds the older one where a process
    was killed between the two.

    Args:
        path: the folder, which may exist, or a link to it, which stays one; its parents are made.

    Raises:
        OSError: something could not be written; the older folder is as it was.
    """
    path = path.resolve()
    aside = _aside(path)
    with unnamed_folder(path) as temporary:
        yield temporary
        _sync_all(temporary)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        try:
            temporary.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise
    _sync(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def last_complete(path: Path) -> Path:
    """A folder that `replaced_folder` writes, or the older one, where a killed process had moved it aside."""
    return path if path.exists() or not _aside(path).is_dir() else _aside(path)


def unfinished(parent: Path) -> list[Path]:
    """What other processes write below a folder, or what killed ones have left half-written."""
    return [*parent.glob(f".*{_UNFINISHED}")]


def remove_unfinished(parent: Path) -> None:
    """Remove what killed processes left half-written below a folder, where no other process writes now."""
    for left in unfinished(parent):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def locked(path: Path, blocking: bool = True, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """In the block, no other process is in one with the same lock file, which stays.

    The system takes the lock from a process that ends, however it does. On a disk that knows no locks, nobody
    is kept away.

    Args:
        path: the lock file; its folder is made where it is missing.
        blocking: wait until the lock is free.
        on_wait: called once before that, where it is not.

    Raises:
        filelock.Timeout: another process has it, and `blocking` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its other kind of lock would outlive a process that is killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if not blocking:
                raise
            on_wait()
            lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def _name(error: OSError, temporary: Path, path: Path) -> None:
    """Let an error name what was to be, and not what nobody has given a name."""
    if isinstance(error.filename, str):
        error.filename = error.filename.replace(str(temporary), str(path))


def _aside(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f".{path.name}.replaced")


def _sync_all(folder: Path) -> None:
    for written in (*folder.rglob("*"), folder):
        _sync(written)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's memory to the disk."""
    if path.is_dir():
        with suppress(OSError):  # Windows cannot open folders, and some file systems not sync them
            _fsync(path, os.O_RDONLY)
    else:
        # Windows syncs no file that is open to be read only; but a link may be to one that none may write.
        _fsync(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
