"""Start the backend that a command computes with."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TextIO

from rich.console import Console

from fornet_keras.backend_choice import choose_backend
from fornet_keras.errors import FoRNetError, reason

# Keras and TensorFlow import them where they are installed, for what no command uses: a third of the start.
UNUSED = ("sklearn", "pandas", "matplotlib")


def start_backend(asked: str | None, reads_batches: bool = False) -> None:
    """Choose the backend and import Keras with it, without its start-up messages.

    Args:
        asked: the value of `--backend`.
        reads_batches: the command will import TensorFlow for tf.data and TensorBoard on any backend.

    Raises:
        FoRNetError: the backend is not installed or cannot be imported.
    """
    backend = choose_backend(asked).backend
    os.environ["KERAS_BACKEND"] = backend
    starting = f"starting {backend} …"
    with native_messages_dropped() as terminal, Console(file=terminal).status(starting), _without(UNUSED):
        _import_keras(backend)
        if reads_batches:
            with suppress(ImportError):  # without it, batches are read without it
                import_module("tensorflow")
    import keras

    # Whatever a keras.json of other projects says.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


def _import_keras(backend: str) -> None:
    try:
        import_module("keras")
    except (ImportError, ValueError) as error:  # the second, of a keras.json, or of another build of NumPy
        raise FoRNetError(
            f"backend '{backend}' cannot be imported ({reason(error)}); install it again, correct "
            "the user's keras.json, or see what `doctor` says"
        ) from error


@contextmanager
def _without(packages: Iterable[str]) -> Iterator[None]:
    """Within the block these packages seem not to be installed, but for those that are imported already."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: Python then says ImportError
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def native_messages_dropped() -> Iterator[TextIO]:
    """Drop what is written to standard error, also past Python; hand out a file that still writes to it.

    TensorFlow's libraries write some messages while they are loaded, before they look at any setting, also in
    processes that begin in the block. `TF_CPP_MIN_LOG_LEVEL=0` in the environment shows all of them.
    """
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0"
    if quiet:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # below, each machine without a GPU gets an error about it
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w") as terminal, open(os.devnull, "w") as nowhere:
        if quiet:
            os.dup2(nowhere.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(terminal.fileno(), 2)
