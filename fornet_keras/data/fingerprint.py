"""Whether a data set is still the one that something was made from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from fornet_keras.data.dataset import Dataset


def fingerprint(dataset: Dataset, version: int) -> str:
    """16 characters that change when a file's name, size or time of change does, or a class.

    Args:
        dataset: the samples; their content is not read.
        version: of what is made from them.
    """
    table = dataset.table
    samples = [
        (os.path.abspath(path), *file_state(path), sample.label_holds_train_ids)
        for sample in dataset.samples
        for path in (sample.image, sample.label)
        if path
    ]
    classes = (table.names, *table.meaning())
    content = (version, dataset.name, dataset.split, classes, samples)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def images_of(dataset: Dataset) -> dict[str, Any]:
    """How many images a data set has, and a SHA-256 of their names and order, wherever it lies."""
    names = (sample.image.relative_to(dataset.root).as_posix() for sample in dataset.samples)
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    return {"images": len(dataset), "sha256": digest.hexdigest()}


def file_state(path: Path) -> tuple[int, int]:
    """A file's size in bytes and time of change in nanoseconds; -1 where there is none."""
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns
