"""A model on disk: `model.json`, which is validated, and `weights.safetensors`, which holds only arrays.

Nothing in the folder is ever executed: the network is rebuilt from plain numbers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fornet_keras.atomic import replaced_folder
from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.library import LibraryBackbone
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.data.dataset import LabelTable
from fornet_keras.empty_build import NetworkTooLarge, empty_build
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_description import (
    DESCRIPTION,
    Architecture,
    Description,
    Library,
    class_entries,
    find_description,
)
from fornet_keras.shipped import find_model
from fornet_keras.version import __version__

WEIGHTS = "weights.safetensors"
MAX_DESCRIPTION_BYTES = 1_000_000
MAX_HEADER_BYTES = 1_000_000
MAX_WEIGHTS_BYTES = 128_000_000
"""Thirty-two million float32 numbers, seven times those of `m`: what is larger is refused unread."""
SPARE_ARRAYS = 1000
SPARE_NUMBERS = 1_000_000
"""What a network may have beyond its weights file: seeds and metrics, and enough to name the weight amiss."""

OF_RESIDUAL = {"widths", "depths", "stem_filters", "stem_depth"}
"""What describes a `ResidualBackbone`."""

MISMATCH = "the two files belong to different models; copy the whole folder again"

Arrays = dict[str, NDArray[Any]]


def save_model(model: FoRNet, table: LabelTable, folder: Path, half: bool = False) -> None:
    """Write a model and its classes into `folder`, replacing what was there only when all is written.

    Args:
        model: a `FoRNet` with one of the backbones of `fornet_keras.backbones`.
        table: the `LabelTable` it was trained with.
        folder: path of the folder.
        half: store the weights as float16, in half the space; they are float32 again when loaded.

    Raises:
        ModelError: the table has another number of classes than the model, the backbone is none of the
            package's or is built from more than plain values, the model or one of its weights is too large,
            or the folder holds other files.
    """
    folder = Path(folder)
    require_savable(model)
    if others := _other_files(folder):
        raise ModelError(
            f"{folder}: holds more than a model ({others[0]}), which would be lost; name a new folder in it"
        )
    if table.num_classes != model.num_classes:
        raise ModelError(
            f"{folder}: the model has {model.num_classes} classes but the label table {table.num_classes}; "
            "save it with the table it was trained with"
        )
    architecture = _architecture(model, folder)
    arrays = _arrays(model, folder, half)
    with replaced_folder(folder) as writing:
        (writing / WEIGHTS).write_bytes(save(arrays))
        description = Description(
            fornet_keras=__version__,
            architecture=architecture,
            classes=class_entries(table),
            sha256=_sha256(writing / WEIGHTS),
        )
        absent = {name for name, value in architecture if value is None}
        text = description.model_dump_json(indent=2, exclude={"architecture": absent})
        (writing / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def require_savable(model: FoRNet) -> None:
    """Refuse a model that `load_model` would.

    Raises:
        ModelError: it has too many parameters.
    """
    most = MAX_WEIGHTS_BYTES // 4
    if model.count_params() > most:
        raise ModelError(
            f"the network has {model.count_params():,} parameters; expected at most {most:,}; "
            "take a smaller backbone, or fewer channels"
        )


def _other_files(folder: Path) -> list[str]:
    """What is in a folder beside a model; hidden files, as a file browser leaves, are nothing to keep."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name not in (DESCRIPTION, WEIGHTS) and not name.startswith(".")]


def _arrays(model: FoRNet, folder: Path, half: bool) -> Arrays:
    arrays = {name: np.asarray(weight) for name, weight in named_weights(model).items()}
    if not half:
        return arrays
    for name, array in arrays.items():
        if np.abs(array).max() > np.finfo(np.float16).max:
            raise ModelError(f"{folder}: '{name}' is too large for float16; save it without half")
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def load_model(folder: str | Path, top_k: float | None = None) -> tuple[FoRNet, LabelTable]:
    """Read a model and its classes.

    Args:
        folder: what `save_model` wrote, a run folder, whose `best` model is taken, or the name of a shipped
            model.
        top_k: share of the regions corrected at inference, in (0, 1]; None keeps the model's own.

    Returns:
        A `FoRNet` and its `LabelTable`.

    Raises:
        ModelError: the folder is missing, incomplete, damaged or not of this package.
        ValueError: `top_k` is outside (0, 1].
    """
    folder = find_description(find_model(folder)).parent
    description = _read_description(folder)
    weights = _read_weights(folder, description)
    changes = {} if top_k is None else {"top_k": top_k}
    model = _build(folder / WEIGHTS, description.architecture, weights, changes)
    for name, weight in named_weights(model).items():
        weight.assign(weights[name].astype("float32"))
    return model, description.table()


def _build(path: Path, architecture: Architecture, weights: Arrays, changes: dict[str, float]) -> FoRNet:
    """The network that is described, refused while it still takes no memory if its weights are others."""
    arguments = architecture.model_dump(exclude={"backbone", *OF_RESIDUAL}) | changes
    numbers = sum(array.size for array in weights.values())
    try:
        with empty_build(len(weights) + SPARE_ARRAYS, numbers + SPARE_NUMBERS):
            model = FoRNet(backbone=_backbone(architecture), **arguments)
            _compare(path, model, weights)
    except NetworkTooLarge:
        raise ModelError(
            f"{path}: {numbers:,} numbers, but {DESCRIPTION} describes a network of more; {MISMATCH}"
        ) from None
    return model


def _compare(path: Path, model: FoRNet, weights: Arrays) -> None:
    expected = {name: tuple(weight.shape) for name, weight in named_weights(model).items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = min(dict(expected.items() ^ found.items()))
        raise ModelError(
            f"{path}: '{name}' is {found.get(name)} but {DESCRIPTION} describes {expected.get(name)}; "
            f"{MISMATCH}"
        )


def named_weights(model: FoRNet) -> dict[str, keras.Variable]:
    """The weights by the names that they have on disk; a library's, whose names may change, by number."""
    backbone = model.backbone
    numbered = enumerate(backbone.weights if isinstance(backbone, LibraryBackbone) else ())
    names = {id(weight): f"backbone/{number}" for number, weight in numbered}
    return {names.get(id(weight), weight.path): weight for weight in model.weights}


def _architecture(model: FoRNet, folder: Path) -> Architecture:
    fields = Architecture.model_fields.keys() - {"backbone", *OF_RESIDUAL}
    values = {name: getattr(model, name) for name in fields}
    backbone = model.backbone
    if isinstance(backbone, ResidualBackbone):
        try:
            return Architecture(**{name: getattr(backbone, name) for name in OF_RESIDUAL}, **values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(f"{folder}: the model cannot be saved: {where}: {first['msg']}") from None
    if isinstance(backbone, EfficientNetLite0):
        return Architecture(backbone="efficientnet_lite0", **values)
    if not isinstance(backbone, LibraryBackbone):
        raise ModelError(
            f"{folder}: a {type(backbone).__name__} cannot be saved; use a backbone of fornet_keras.backbones"
        )
    try:
        # Through JSON, which makes lists of tuples, as they are when they are read.
        plain = json.loads(json.dumps({name: getattr(backbone, name) for name in Library.model_fields}))
        library = Library.model_validate(plain)
    except (TypeError, ValueError):
        raise ModelError(
            f"{folder}: {backbone.class_name} cannot be saved: it is not built from numbers, strings and "
            "lists alone; take another backbone"
        ) from None
    return Architecture(backbone=library, **values)


def _backbone(architecture: Architecture) -> keras.Model:
    """The backbone that is described, with random weights."""
    if architecture.backbone is None:
        return ResidualBackbone(**architecture.model_dump(include=OF_RESIDUAL), name="backbone")
    if isinstance(architecture.backbone, Library):
        return LibraryBackbone(**architecture.backbone.model_dump(), name="backbone")
    return EfficientNetLite0(name="backbone")


def _read_description(folder: Path) -> Description:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError(f"{folder}: no {DESCRIPTION} in it; expected a run folder or a saved model's folder")
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ModelError(f"{path}: larger than {MAX_DESCRIPTION_BYTES} bytes; expected a model's description")
    try:
        return Description.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{path}: {where}: {first['msg']}; expected what `train` writes") from None


def _read_weights(folder: Path, description: Description) -> Arrays:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: no {WEIGHTS} beside {DESCRIPTION}; copy the whole folder again")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{path}: larger than {MAX_WEIGHTS_BYTES:,} bytes; expected a model's weights")
    if _sha256(path) != description.sha256:
        raise ModelError(f"{path}: its SHA-256 is not the one in {DESCRIPTION}; copy the whole folder again")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise ModelError(
                f"{path}: not a safetensors file (no header of up to {MAX_HEADER_BYTES:,} bytes)"
            )
    try:
        return load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
