"""Fine-tuning: a network begins with the weights of another, and with what that knows of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from pydantic import ValidationError

from fornet_keras.bounded_text import first_finding
from fornet_keras.config.model import ModelConfig
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ModelError, listed
from fornet_keras.model import FoRNet
from fornet_keras.model_description import Library, read_description
from fornet_keras.model_folder import OF_RESIDUAL, load_model, named_weights
from fornet_keras.shipped import find_model, shown

OF_FORNET = ("context_filters", "branch_filters", "scales")
SIZES = ("preset", "backbone", *OF_RESIDUAL, *OF_FORNET)
"""Settings of the network that its weights have a say in."""

LISTED = 8
"""So many classes are named in a line, and then no more."""


def sized_as_weights(options: ModelConfig) -> ModelConfig:
    """The same settings, in which sizes that are null are those of the model in `weights`.

    With a preset of its own, or without `weights`, they are left to that preset, or to `s`.

    Raises:
        ModelError: that model cannot be read, its backbone is a library's, which must be named, or another
            than the one that the settings size, or it has sizes that no configuration may have.
    """
    if options.preset or not options.weights:
        return options.model_copy(update={"preset": options.preset or "s"})
    folder = find_model(options.weights)
    architecture = read_description(folder).architecture
    backbone = options.backbone or architecture.backbone
    if isinstance(backbone, Library):
        raise ModelError(
            f"{shown(folder)}: has a backbone of {backbone.library}; expected its preset, or the folder of "
            "that, in model.backbone; name it there"
        )
    own = [name for name in OF_RESIDUAL if getattr(options, name) is not None]
    if own and backbone and not options.backbone:
        raise ModelError(
            f"model.{own[0]} sizes a preset's own backbone, and {shown(folder)} has {backbone}; leave "
            f"model.{own[0]} out, or begin with other model.weights"
        )
    sizes = {*OF_FORNET, *(() if backbone else OF_RESIDUAL)}
    found = {name: getattr(architecture, name) for name in sizes if getattr(options, name) is None}
    found |= {"preset": "s", "backbone": backbone}
    try:
        return ModelConfig.model_validate(options.model_dump() | found)
    except ValidationError as error:
        raise ModelError(
            f"{shown(folder)}: {first_finding(error)}; expected a network that a configuration may describe"
        ) from error


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
        known_as: from names of its classes to those by which the saved model knows them, where it does not by
            their own.

    Returns:
        A line that says which classes are known, and with which regions and at which size the saved model has
        learnt if with others.

    Raises:
        ModelError: the table has another number of classes than the model, or the saved model cannot be read,
            or is another network.
        ConfigError: `known_as` has a class that the one or the other lacks.

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
    table.require(known_as, "model.known_as")
    by_other = {name: theirs for name, theirs in known_as.items() if name not in known.names}
    known.require(by_other.values(), "model.known_as", where)
    named = {name: by_other.get(name, name) for name in table.names}
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
                f"{where}: '{name}' is {None if found is None else found.shape}; expected {value.shape}; "
                "set model.preset, sizes and model.backbone, but a library's, to null: the network is then "
                "as large as that"
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
    if source.region_size != model.region_size:
        line += f"; it has learnt with regions of {source.region_size} pixels (model.region_size)"
    if source.short_side not in (None, model.short_side):
        line += f"; it has learnt at a shorter side of {source.short_side} pixels (data.short_side)"
    return line


def _parts(model: FoRNet, positions: Sequence[int]) -> dict[str, Any]:
    """The weights with an entry for each class, by name: where the entries of some classes are.

    With them, of what the Selector sees, the features before the classes and the entropy after them.
    """
    first = model.context_filters
    seen = [*range(first), *(first + position for position in positions), first + model.num_classes]
    heads = (model.get_layer("coarse_logits"), model.get_layer("branch").project)
    parts = {weight.path: np.s_[..., positions] for layer in heads for weight in layer.weights}
    return parts | {model.get_layer("selector").reduce.kernel.path: np.s_[..., seen, :]}
