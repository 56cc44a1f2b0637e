"""Text files from strangers, of which no more is read than they may hold."""

from pathlib import Path

from pydantic import ValidationError

from fornet_keras.errors import DataError, os_reason


def read_text(path: Path, most: int) -> str:
    """Read a file of UTF-8, with or without a byte order mark.

    Args:
        path: a file; a device or a pipe has no end.
        most: bytes that it may hold.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it holds more, or is not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "not a file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content.decode("utf-8-sig")


def read_bounded(path: Path, most: int, expected: str) -> str:
    """`read_text` of a file of the user's data.

    Raises:
        DataError: it cannot be read; one line, which says what was `expected`.
    """
    try:
        return read_text(path, most)
    except (OSError, ValueError) as error:
        fix = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check the path"
        raise DataError(f"{path}: cannot be read ({os_reason(error)}); expected {expected}; {fix}") from error


def first_finding(error: ValidationError) -> str:
    """Where in a file the first of pydantic's findings is, and what it is."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
