"""What a MODEL argument names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import click

from fornet_keras.artifacts.manifest import MANIFEST, artifacts_in, is_artifact
from fornet_keras.atomic import checksum
from fornet_keras.data.dataset import Dataset, LabelTable
from fornet_keras.data.description import DATASET_YAML
from fornet_keras.errors import ModelError, listed
from fornet_keras.model_description import config_beside, find_model_json, read_description
from fornet_keras.shipped import shown


def exported_in(folder: Path) -> list[Path]:
    """The exported models in a folder, one a ratio or a version; none where it is a model or a run itself."""
    return [] if find_model_json(folder).is_file() else artifacts_in(folder)


def require_one(folder: Path) -> Path:
    """The folder itself, unless it holds exported models.

    Raises:
        ModelError: it does.
    """
    exported = [path.name for path in exported_in(folder)]
    if exported:
        one, state, other = folder / exported[0], "holds an exported model", ""
        if len(exported) > 1:
            state, other = f"holds several exported models ({', '.join(exported)})", " or another of them"
        raise ModelError(f"{folder}: {state}; expected one model itself; take {one}{other}")
    return folder


def weights_mark(folder: Path) -> str:
    """The beginning of a SHA-256 that changes with a model's weights."""
    described = next((path for path in (folder / MANIFEST, find_model_json(folder)) if path.is_file()), None)
    return checksum(described)[:16] if described else "none"


def own_config(folder: Path) -> Path:
    """The configuration that a model has learnt with, beside it.

    Raises:
        click.UsageError: there is none.
        ModelError: the folder is no model.
    """
    if file := config_beside(folder):
        return file
    if is_artifact(folder):
        advice = "take that of the run that it was exported from, RUN/config.yaml"
    else:
        read_description(folder)  # or it is no model, which is then the finding
        advice = "name the one with its data"
    raise click.UsageError(f"Missing option '--config': {folder} has no config.yaml of its own; {advice}")


def note_size(folder: Path, size: tuple[int, int]) -> None:
    """Say which size fits a model that has learnt at another one; there it is silently worse than `predict`.

    Raises:
        ModelError: the model does not say, because it is damaged.
    """
    description = read_description(folder)
    learnt, side = description.short_side, description.architecture.region_size
    if learnt is None or round(min(size) / learnt, 1) == 1:
        return
    height, width = size
    factor = min(size) / learnt
    longer = max(learnt, side * round(max(size) / factor / side))
    fitting = (learnt, longer) if height <= width else (longer, learnt)
    click.echo(
        f"note: {shown(folder)} has learnt at a shorter side of {learnt} pixels; {height}x{width} shows "
        f"it everything {factor:.2g} times as large; --size {fitting[0]}x{fitting[1]} fits",
        err=True,
    )


def require_classes(folder: Path, table: LabelTable, dataset: Dataset) -> None:
    """Refuse to score a model on data with other classes.

    Raises:
        ModelError: the names or their order differ.
    """
    ours, theirs = table.names, dataset.table.names
    if ours != theirs:
        pairs = enumerate(zip_longest(ours, theirs, fillvalue="missing"))
        at, (mine, yours) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
        raise ModelError(
            f"{folder}: the model's {len(ours)} classes ({', '.join(ours)}) are not the {len(theirs)} of "
            f"{dataset.name} ({', '.join(theirs)}): class {at} is {mine} there and {yours} here; expected "
            "the same, in the same order; use the configuration of the data that the model was trained on"
            f"{_or_renamed(ours, theirs) if (dataset.root / DATASET_YAML).is_file() else ''}"
        )


def _or_renamed(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """What may be done in `dataset.yaml` about other classes than the model's."""
    if len(ours) != len(theirs):
        return f", or describe yours as its {len(ours)} in another {DATASET_YAML} (docs/scoring.md)"
    renamed = {yours: mine for mine, yours in zip(ours, theirs, strict=True) if mine != yours}
    if renamed.keys().isdisjoint(renamed.values()):
        pairs = listed([f"{yours} to {mine}" for yours, mine in renamed.items()])
        return f", or, if they mean the same, rename in {DATASET_YAML}: {pairs}"
    return f", or name and order them so in {DATASET_YAML}, each with the value that it has"
