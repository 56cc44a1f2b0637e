"""Fine-tuning: a network begins with the weights of another, and with what that knows of each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ModelError, listed
from fornet_keras.model import FoRNet
from fornet_keras.model_description import Architecture, Library, read_description
from fornet_keras.model_folder import load_model, named_weights
from fornet_keras.presets import PRESETS
from fornet_keras.shipped import find_model, shown

LISTED = 8
"""So many classes are named in a line, and then no more."""


def begin_with(
    model: FoRNet, table: LabelTable, folder: str | Path, known_as: Mapping[str, str] | None = None
) -> str:
    """Copy the weights of a saved model, those that belong to a class where both have one of its name.

    What belongs to a class that the saved model does not know stays as it is. Of a network with more residual
    blocks the model takes those that it has.

    Args:
        model: a `FoRNet`.
        table: its classes.
        folder: a saved model's folder, that of a run, or the name of a shipped model.
        known_as: from names of its classes to those that the saved model has for them, where they differ.

    Returns:
        A line that says which classes are known, and at which size the saved model has learnt if at another.

    Raises:
        ModelError: the table has another number of classes than the model, the saved model cannot be read, or
            is another network, or `known_as` has a class that the one or the other lacks.

    Example:
        >>> table = LabelTable(("road", "tram"), ((128, 64, 128), (0, 80, 100)), {0: 0, 1: 1})
        >>> model = FoRNet.from_preset("nano", num_classes=2, short_side=360)
        >>> begin_with(model, table, "fornet_nano_camvid")
        'begins with fornet_nano_camvid: 1 of 2 classes known (road), new: tram (it also knows sky, ...)'
    """
    if table.num_classes != model.num_classes:
        raise ModelError(
            f"the model has {model.num_classes} classes but the label table {table.num_classes}; expected as "
            f"many; build the model with num_classes={table.num_classes}, or take its own table"
        )
    source, known = load_model(folder)
    where = shown(find_model(folder))
    known_as = known_as or {}
    _require_classes(known_as, table.names, "the data")
    _require_classes(known_as.values(), known.names, where)
    named = {name: known_as.get(name, name) for name in table.names}
    shared = {name: theirs for name, theirs in named.items() if theirs in known.names}
    here = _parts(model, [*map(table.names.index, shared)])
    there = _parts(source, [*map(known.names.index, shared.values())])
    given = {name: ops.convert_to_numpy(weight) for name, weight in named_weights(source).items()}
    for name, weight in named_weights(model).items():
        value = np.array(ops.convert_to_numpy(weight))
        part, found = here.get(name, ...), given.get(name)
        taken = None if found is None else found[there.get(name, ...)]
        if taken is None or taken.shape != value[part].shape:
            raise ModelError(
                f"{where}: '{name}' is {None if found is None else found.shape}; expected {value.shape}; set "
                f"{_settings(read_description(find_model(folder)).architecture)}"
            )
        value[part] = taken
        weight.assign(value)
    new = [name for name in table.names if name not in shared]
    taken_as = [name if name == theirs else f"{name} as {theirs}" for name, theirs in shared.items()]
    line = f"begins with {where}: {len(shared)} of {table.num_classes} classes known"
    line += f" ({listed(taken_as, LISTED)})" if shared else ""
    line += f", new: {listed(new, LISTED)}" if new else ""
    if new and (others := [name for name in known.names if name not in shared.values()]):
        line += f" (it also knows {listed(others, LISTED)}; model.known_as says which are the same)"
    if source.short_side in (None, model.short_side):
        return line
    return f"{line}; it has learnt at a shorter side of {source.short_side} pixels (data.short_side)"


def _require_classes(names: Iterable[str], classes: Sequence[str], whose: str) -> None:
    for name in names:
        if name not in classes:
            raise ModelError(
                f"model.known_as: '{name}' is no class of {whose}; expected one of {', '.join(classes)}"
            )


def _settings(architecture: Architecture) -> str:
    """What to set for a network like this; by a preset's name where it has one's sizes."""
    backbone = architecture.backbone
    for name, preset in PRESETS.items():
        sizes = {key: value for key, value in preset.items() if key != "backbone"}
        sizes |= {} if backbone else preset["backbone"]
        same = all(getattr(architecture, key) == value for key, value in sizes.items())
        if same and not isinstance(backbone, Library):
            return f"model.preset={name} and model.backbone={backbone or 'null'}, as it has them"
    return "model.preset, its sizes and model.backbone to those of the model whose weights are taken"


def _parts(model: FoRNet, positions: Sequence[int]) -> dict[str, Any]:
    """The weights with an entry for each class, by name: where the entries of some classes are.

    With them, of what the Selector sees, the features before the classes and the entropy after them.
    """
    first = model.context_filters
    seen = [*range(first), *(first + position for position in positions), first + model.num_classes]
    heads = (model.get_layer("coarse_logits"), model.get_layer("branch").project)
    parts = {weight.path: np.s_[..., positions] for layer in heads for weight in layer.weights}
    return parts | {model.get_layer("selector").reduce.kernel.path: np.s_[..., seen, :]}
