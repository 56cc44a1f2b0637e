"""A model on disk: `model.json`, which is validated, and `weights.safetensors`, which holds only arrays.

Nothing in the folder is ever executed: the network is rebuilt from plain numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import ValidationError
from safetensors.numpy import save

from fornet_keras.atomic import checksum, replaced_folder
from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.library import LibraryBackbone
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.data.dataset import LabelTable
from fornet_keras.empty_build import NetworkTooLarge, empty_build
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_description import (
    MODEL_JSON,
    Architecture,
    ClassEntry,
    Description,
    Library,
    class_entries,
    find_model_json,
    label_table,
    read_description,
)
from fornet_keras.shipped import find_model
from fornet_keras.version import __version__
from fornet_keras.weights_file import MAX_NUMBERS, WEIGHTS, Arrays, read_weights

SPARE_ARRAYS = 1000
SPARE_NUMBERS = 1_000_000
"""What a network may have beyond its weights file: seeds and metrics, and enough to name the weight amiss."""

OF_RESIDUAL = {"widths", "depths", "stem_filters", "stem_depth"}
"""What describes a `ResidualBackbone`."""

LEFT_BEHIND = (
    *(".DS_Store", "._*", ".directory", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints"),
    *(".*.sw?", ".~lock.*", ".nfs*", ".fuse_hidden*"),
)
"""What looking at a folder leaves in it: nothing to keep, and no reason for a training to end."""

MISMATCH = (
    "the two files belong to different models; copy the whole folder again, or load it with the version that "
    "wrote it"
)


def save_model(model: FoRNet, table: LabelTable, folder: Path, half: bool = False) -> None:
    """Write a model and its classes into `folder`, replacing what was there only when all is written.

    Args:
        model: a `FoRNet` with one of the backbones of `fornet_keras.backbones`.
        table: the `LabelTable` it was trained with. The values of label files in it are not kept.
        folder: path of the folder.
        half: store the weights as float16, in half the space; they are float32 again when loaded.

    Raises:
        ModelError: the table has another number of classes than the model, the backbone is none of the
            package's or is built from more than plain values, the model, one of its weights or a name of a
            class is too large, a weight is not finite, or the folder holds other files or is a file.
        TypeError: `table` is something else, such as a list of names.
    """
    if not isinstance(table, LabelTable):
        raise TypeError(f"table must be a LabelTable, of names, colors and train_ids; received {table!r:.80}")
    folder = Path(folder)
    require_savable(model)
    _require_nothing_lost(folder)
    if table.num_classes != model.num_classes:
        raise ModelError(
            f"{folder}: the model has {model.num_classes} classes but the label table {table.num_classes}; "
            "save it with the table it was trained with"
        )
    architecture, classes = _described(model, table, folder)
    arrays = _arrays(model, folder, half)
    with replaced_folder(folder) as writing:
        (writing / WEIGHTS).write_bytes(save(arrays))
        description = Description(
            fornet_keras=__version__,
            architecture=architecture,
            classes=classes,
            short_side=model.short_side,
            sha256=checksum(writing / WEIGHTS),
        )
        absent: dict[str, Any] = {"architecture": {name for name, value in architecture if value is None}}
        absent |= {} if model.short_side else {"short_side": True}
        text = description.model_dump_json(indent=2, exclude=absent)
        (writing / MODEL_JSON).write_text(text + "\n", encoding="utf-8", newline="\n")


def require_savable(model: FoRNet) -> None:
    """Refuse a model that `load_model` would.

    Raises:
        ModelError: it has too many parameters.
    """
    if model.count_params() > MAX_NUMBERS:
        raise ModelError(
            f"the network has {model.count_params():,} parameters; expected at most {MAX_NUMBERS:,}; "
            "take a smaller backbone, or fewer channels"
        )


def _require_nothing_lost(folder: Path) -> None:
    """Refuse to replace more than a model, hidden files such as `.git` included."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ModelError(f"{folder}: is a file, which would be lost; name a new folder")
    nothing_lost = (MODEL_JSON, WEIGHTS, *LEFT_BEHIND)
    if others := sorted(path.name for path in folder.iterdir() if not any(map(path.match, nothing_lost))):
        raise ModelError(
            f"{folder}: holds more than a model ({others[0]}), which would be lost; move that out of it, or "
            "name a new folder in it"
        )


def _arrays(model: FoRNet, folder: Path, half: bool) -> Arrays:
    arrays = {}
    for name, weight in named_weights(model).items():
        array = np.asarray(weight, "float32", order="C")  # safetensors writes memory as it lies
        largest = np.abs(array).max()
        if not np.isfinite(largest):
            raise ModelError(f"{folder}: '{name}' is not finite; nothing is saved; train the model again")
        if half and largest > np.finfo(np.float16).max:
            raise ModelError(f"{folder}: '{name}' is too large for float16; save it without half")
        arrays[name] = array.astype(np.float16) if half else array
    return arrays


def load_model(folder: str | Path, top_k: float | None = None) -> tuple[FoRNet, LabelTable]:
    """Read a model and its classes.

    Args:
        folder: what `save_model` wrote, a run folder, whose `best` model is taken, or the name of a shipped
            model.
        top_k: share of the regions corrected at inference, in (0, 1]; None keeps the model's own.

    Returns:
        A `FoRNet` and its `LabelTable`, whose values are positions in the classes.

    Raises:
        ModelError: the folder is missing, incomplete, damaged or not of this package.
        ValueError: `top_k` is outside (0, 1].
    """
    folder = find_model_json(find_model(folder)).parent
    description = read_description(folder)
    weights = read_weights(folder / WEIGHTS, description.sha256)
    changes = {"short_side": description.short_side} | ({} if top_k is None else {"top_k": top_k})
    model = _build(folder / WEIGHTS, description.architecture, weights, changes)
    for name, weight in named_weights(model).items():
        weight.assign(weights[name].astype("float32"))
    return model, label_table(description.classes)


def _build(path: Path, architecture: Architecture, weights: Arrays, changes: dict[str, Any]) -> FoRNet:
    """The network that is described, refused while it still takes no memory if its weights are others."""
    arguments = architecture.model_dump(exclude={"backbone", *OF_RESIDUAL}) | changes
    numbers = sum(array.size for array in weights.values())

    def build() -> FoRNet:
        model = FoRNet(backbone=_backbone(architecture), **arguments)
        _compare(path, model, weights)
        return model

    try:
        return empty_build(build, len(weights) + SPARE_ARRAYS, numbers + SPARE_NUMBERS)
    except NetworkTooLarge:
        raise ModelError(
            f"{path}: {numbers:,} numbers, but {MODEL_JSON} describes a network of more; {MISMATCH}"
        ) from None


def _compare(path: Path, model: FoRNet, weights: Arrays) -> None:
    expected = {name: tuple(weight.shape) for name, weight in named_weights(model).items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = min(dict(expected.items() ^ found.items()))
        raise ModelError(
            f"{path}: '{name}' is {found.get(name)} but {MODEL_JSON} describes {expected.get(name)}; "
            f"{MISMATCH}"
        )


def named_weights(model: FoRNet) -> dict[str, keras.Variable]:
    """The weights by the names that they have on disk; a library's, whose names may change, by number."""
    backbone = model.backbone
    numbered = enumerate(backbone.weights if isinstance(backbone, LibraryBackbone) else ())
    names = {id(weight): f"backbone/{number}" for number, weight in numbered}
    return {names.get(id(weight), weight.path): weight for weight in model.weights}


def _described(model: FoRNet, table: LabelTable, folder: Path) -> tuple[Architecture, tuple[ClassEntry, ...]]:
    try:
        return _architecture(model, folder), class_entries(table)
    except ValidationError as error:
        first = error.errors()[0]
        where, value = ".".join(map(str, first["loc"])), first["input"]
        raise ModelError(
            f"{folder}: the model cannot be saved: {where} is {value!r}: {first['msg']}"
        ) from None


def _architecture(model: FoRNet, folder: Path) -> Architecture:
    fields = Architecture.model_fields.keys() - {"backbone", *OF_RESIDUAL}
    values = {name: getattr(model, name) for name in fields}
    backbone = model.backbone
    if isinstance(backbone, ResidualBackbone):
        return Architecture(**{name: getattr(backbone, name) for name in OF_RESIDUAL}, **values)
    if isinstance(backbone, EfficientNetLite0):
        return Architecture(backbone="efficientnet_lite0", **values)
    if not isinstance(backbone, LibraryBackbone):
        raise ModelError(
            f"{folder}: a {type(backbone).__name__} cannot be saved in a model folder; use a backbone of "
            "fornet_keras.backbones, or Keras' own model.save('NAME.keras'), which no command here reads"
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
