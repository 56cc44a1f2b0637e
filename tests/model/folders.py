"""Model folders for tests: what they hold, and ways to spoil them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from fornet_keras.atomic import checksum
from fornet_keras.data.dataset import LabelTable

TABLE = LabelTable(
    names=("road", "pole", "sky"),
    colors=((128, 64, 128), (153, 153, 153), (70, 130, 180)),
    train_ids={7: 0, 17: 1, 23: 2},
    thin=("pole",),
)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change `model.json`."""
    path = folder / "model.json"
    description = json.loads(path.read_text("utf-8"))
    change(description)
    path.write_text(json.dumps(description), "utf-8")


def rewrite_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Change the weights, with a checksum that fits: what a different model's file would look like."""
    path = folder / "weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    edit(folder, lambda description: description.update(sha256=checksum(path)))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder's parent, by path: nothing else may lie beside the model."""
    parent = folder.parent
    return {str(path.relative_to(parent)): path.read_bytes() for path in parent.rglob("*") if path.is_file()}


def set_architecture(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda description: description["architecture"].update(values)
