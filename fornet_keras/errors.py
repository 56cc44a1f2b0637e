"""Errors that a user sees: one clear line with the finding, the expectation and the fix."""

import re
from collections.abc import Sequence

_OUT_OF_MEMORY = re.compile(
    "out of memory|resource_exhausted|OOM when|(can't|failed to) allocate|ALLOC(ATION)?_FAILED", re.I
)
"""How TensorFlow, JAX, PyTorch, CUDA, ONNX Runtime and OpenCV say it, each in an error of its own."""

_PLACE = re.compile(
    r"((Exception from|Check .* failed at) \S+:\d+:|\w+ input model|FrontEnd API failed with \w+:)$"
)
"""The lines that OpenVINO begins with, which say where it failed and not why."""


class FoRNetError(Exception):
    """Base of every error caused by a user's input; the command line prints it without a traceback.

    The message is one line that names the file or value, what was expected, and the fix.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""A text with what is not printable in it escaped: a file name may hold a line break or half a letter.

    Example:
        >>> one_line("two\nlines.png")
        'two\\nlines.png'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def listed(entries: Sequence[object], most: int = 5) -> str:
    """The first of some entries, with commas between them, and an ellipsis where there are more.

    Example:
        >>> listed(["pole", "car", "sky"], 2)
        'pole, car, …'
    """
    return ", ".join(map(str, entries[:most])) + (", …" if len(entries) > most else "")


def reason(error: Exception) -> str:
    r"""The first line of what an error of another package says, but those that only say where it failed.

    Example:
        >>> reason(RuntimeError("Check 'file' failed at src/model.cpp:84:\nIncorrect weights!\n"))
        'Incorrect weights!'
    """
    lines = [line for line in map(str.strip, str(error).splitlines()) if line and not _PLACE.match(line)]
    return lines[0] if lines else type(error).__name__


def os_reason(error: Exception) -> str:
    """What the system says of a file or an address, or Python before the system was asked."""
    return getattr(error, "strerror", None) or str(error)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python or of another package says that the memory is full.

    One of ours, or of a file, does not: it is of a server's own memory, or of a file "out of memory.png".
    """
    if isinstance(error, FoRNetError | OSError):
        return False
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def memory_reason(error: Exception) -> str:
    """The line of an error that says so: TensorFlow's comes after those that say where."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(_OUT_OF_MEMORY.search, lines), reason(error))


class ConfigError(FoRNetError):
    """A configuration file or a `--set` override cannot be used."""


class DataError(FoRNetError):
    """An image, a label or a data folder cannot be used."""


class ModelError(FoRNetError):
    """A model folder or file cannot be used, or does not fit the data."""


class TrainingError(FoRNetError):
    """A training run cannot go on."""


class RunInterrupted(FoRNetError):
    """A run was asked to stop; --resume continues from its last checkpoint, normally the step it stopped at.

    Args:
        message: one line.
        signal_number: the signal that asked; the command exits with 130 after Ctrl-C, else with 143.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class ExportError(FoRNetError):
    """A model cannot be exported, or an exported one is not what its manifest says."""


class ServingError(FoRNetError):
    """A server does not answer as it should."""
