"""Text files from strangers, of which no more is read than they may hold."""

from pathlib import Path

from pydantic import ValidationError


class TooLargeError(ValueError):
    """A file holds more than it may."""


def read_text(path: Path, most: int) -> str:
    """Read a file of UTF-8, with or without a byte order mark.

    Args:
        path: a file; a device or a pipe has no end.
        most: bytes that it may hold.

    Raises:
        OSError: it cannot be read, or is no file.
        TooLargeError: it holds more.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "not a file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise TooLargeError(f"{path}: more than {most:,} bytes")
    return content.decode("utf-8-sig")


def first_finding(error: ValidationError) -> str:
    """Where in a file the first of pydantic's findings is, and what it is."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
