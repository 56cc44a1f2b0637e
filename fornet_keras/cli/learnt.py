"""Whether a model has learnt from the images that it is scored on."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fornet_keras.artifacts.manifest import is_artifact, read_manifest
from fornet_keras.config import Config, DataConfig, read_config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.sources import open_split, shared_note
from fornet_keras.errors import ConfigError, DataError, ModelError
from fornet_keras.model_description import config_beside, read_description
from fornet_keras.shipped import SHIPPED, shown


def learnt_note(split: str) -> str:
    """What must be said of scores of images that the model was trained on."""
    return f"note: the model was trained on {split}: these scores say nothing about other images"


def taught_note(config: Config, data: DataConfig, split: str) -> str | None:
    """A line where a model with which another begins, or which teaches it, was trained on what is scored.

    Args:
        config: of the model that is scored: its `model.weights` and `loss.teacher`, and those of their own
            configurations. Only whole paths are followed: those of a shipped model lay elsewhere.
        data: where the images are that it is scored on.
        split: which they are.
    """
    seen: set[str] = set()
    learners = [config]
    for learner in learners:  # which grows by those that it has learnt from
        for name in filter(None, (learner.model.weights, learner.loss.teacher)):
            if name in seen or not os.path.isabs(name) or not (own := _read(config_beside(Path(name)))):
                continue
            if _trained_on_split(own.data, data, split):
                return (
                    f"note: {shown(Path(name))} was trained on {split}, and the model learns from it: scores "
                    f"of {split} say nothing about other images"
                )
            seen.add(name)
            learners.append(own)
    return None


def trained_on(model: Path, config_file: Path, data: DataConfig, dataset: Dataset) -> tuple[bool | None, str]:
    """Whether a model was trained on some of the images that are scored, and what must be said of that.

    Args:
        model: a model's folder, or an exported model's.
        config_file: what says which data are scored: of an exported model it may be that of its own run.
        data: where `dataset` was opened.
        dataset: the images that are scored.

    Returns:
        None where it is not known; and a line, which is empty where it was not.
    """
    config = _own_config(model, config_file)
    if config is None:
        return None, _unknown("no configuration of its training is beside it")
    trained = config.data
    if _trained_on_split(trained, data, dataset.split):
        return True, learnt_note(dataset.split)
    if note := taught_note(config, data, dataset.split):
        return True, note
    if trained.root is None and trained.format != data.format:  # a shipped model's data, in another layout?
        return None, ""
    is_here = _may_be(trained, data)
    elsewhere = None, _unknown(f"it has learnt from {trained.root}, these are in {data.root}")
    if not is_here and trained.trains_on(dataset.split):  # of which this may be a copy
        return elsewhere
    there = trained if trained.root else trained.model_copy(update={"root": data.root})
    try:
        # Not by open_split: what was left out of training may be gone since, and it would miss that.
        whole = open_split(there, there.train_split)
        learnt = [x for x in whole.samples if not x.image.name.startswith(tuple(there.exclude))]
        note = shared_note(there, replace(whole, samples=tuple(learnt)), dataset)
    except DataError:
        return (False, "") if is_here else elsewhere
    return bool(note), note or ""


def _unknown(why: str) -> str:
    return f"note: it is not known whether the model was trained on these images: {why}"


def _own_config(model: Path, config_file: Path) -> Config | None:
    """The configuration that a model has learnt with, of an exported one that of the model it was made of."""
    places = [model]
    if is_artifact(model) and (source := read_manifest(model, with_files=False).source):
        for place in (config_file.parent, *SHIPPED.glob("*/")):
            with suppress(ModelError):
                if read_description(place).sha256 == source.weights_sha256:
                    places.append(place)
    return next(filter(None, (_read(config_beside(place)) for place in places)), None)


def _read(config_file: Path | None) -> Config | None:
    with suppress(ConfigError):  # another program's
        return read_config(config_file) if config_file else None
    return None


def _trained_on_split(trained: DataConfig, data: DataConfig, split: str) -> bool:
    return trained.format == data.format and _may_be(trained, data) and trained.trains_on(split)


def _may_be(trained: DataConfig, data: DataConfig) -> bool:
    """Whether a model has learnt in the folder of `data`. A shipped one does not say where its data lay."""
    return trained.root is None or _real(trained.root) == _real(data.root or "")


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))
