"""The arrays in a `.pth` file of PyTorch's older format, without PyTorch; nothing in it is run."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fornet_keras.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor(NamedTuple):
    """Where a tensor lies: the key of its storage, the first element, its shape and steps in elements."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]


def _tensor(storage: str, offset: int, shape: tuple[int, ...], steps: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, steps)


class _Unpickler(pickle.Unpickler):
    """Knows the names that a dict of tensors is made of, and refuses all others."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a dict of tensors")

    def persistent_load(self, identity: Any) -> str:
        _, dtype, key, *_ = identity
        self.dtypes[key] = dtype
        return str(key)


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dict of float32 and int64 tensors as `torch.save` wrote it before PyTorch 1.6.

    Args:
        path: the file.

    Returns:
        One array a name, in the file's order.

    Raises:
        ModelError: the file is missing, of another format, or holds anything but tensors.
    """
    try:
        with path.open("rb") as file:
            if _Unpickler(file).load() != MAGIC:
                raise pickle.UnpicklingError("it does not begin as one")
            _Unpickler(file).load(), _Unpickler(file).load()  # versions
            content = _Unpickler(file)
            tensors = content.load()
            storages = {}
            for key in _Unpickler(file).load():
                size = int.from_bytes(file.read(8), "little")
                dtype = content.dtypes[key]
                storages[key] = np.frombuffer(file.read(size * dtype.itemsize), dtype)
        return {name: _array(storages[tensor.storage], tensor) for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle fails in as many ways as there are objects
        raise ModelError(f"{path}: not a file of tensors ({error}); install its package again") from None


def _array(storage: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    last = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.steps, strict=True))
    if min((tensor.offset, *tensor.steps)) < 0 or tensor.offset + last >= len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [step * storage.itemsize for step in tensor.steps]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
