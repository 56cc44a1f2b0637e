"""`weights.safetensors`, a model's arrays: read as a stranger's, before any of them reaches a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fornet_keras.atomic import checksum
from fornet_keras.errors import ModelError
from fornet_keras.model_description import MODEL_JSON

WEIGHTS = "weights.safetensors"
MAX_HEADER_BYTES = 1_000_000
MAX_NUMBERS = 32_000_000
"""Seven times those of `m`: a file in which so many float32 have no room is refused unread."""
MAX_WEIGHTS_BYTES = 8 + MAX_HEADER_BYTES + 4 * MAX_NUMBERS
DTYPES = ("float16", "float32")
"""What `save_model` writes."""

Arrays = dict[str, NDArray[Any]]


def read_weights(path: Path, sha256: str) -> Arrays:
    """Read the weights that belong to a description.

    Args:
        path: the file.
        sha256: its checksum in hexadecimal digits, as the description says.

    Raises:
        ModelError: the file is missing, another one, too large, not a safetensors file, or holds anything but
            finite numbers.
    """
    if not path.is_file():
        raise ModelError(f"{path.parent}: no {WEIGHTS} beside {MODEL_JSON}; copy the whole folder again")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{path}: larger than {MAX_WEIGHTS_BYTES:,} bytes; expected a model's weights")
    if checksum(path) != sha256:
        raise ModelError(f"{path}: its SHA-256 is not the one in {MODEL_JSON}; copy the whole folder again")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise ModelError(
                f"{path}: not a safetensors file (no header of up to {MAX_HEADER_BYTES:,} bytes)"
            )
    try:
        arrays = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from None
    _require_weights(path, arrays)
    return arrays


def _require_weights(path: Path, arrays: Arrays) -> None:
    if (numbers := sum(array.size for array in arrays.values())) > MAX_NUMBERS:
        raise ModelError(f"{path}: {numbers:,} numbers; expected at most {MAX_NUMBERS:,}, a model's weights")
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ModelError(
                f"{path}: '{name}' is {array.dtype.name}; expected {', '.join(DTYPES)}; "
                "save the model again with save_model"
            )
        if not np.isfinite(array).all():
            raise ModelError(f"{path}: '{name}' is not finite; train the model again")
