"""Knowledge distillation: what another network predicts is learnt beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from fornet_keras.atomic import checksum
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_description import find_model_json
from fornet_keras.model_folder import load_model


def load_teacher(folder: Path, table: LabelTable) -> FoRNet:
    """A saved model that knows the classes of the data.

    Raises:
        ModelError: the model cannot be read, or has other classes.
    """
    teacher, known = load_model(folder)
    if known.names != table.names:
        raise ModelError(
            f"{folder}: a teacher with the classes {', '.join(known.names)}; expected those of the data, "
            f"{', '.join(table.names)}; set loss.teacher to a model that was trained on the same classes"
        )
    return teacher


class TeacherState:
    """Which teacher a run has learnt from: it goes on with no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        described = find_model_json(folder)
        # Once, for the run learns from what it has loaded, whatever becomes of the folder: a SHA-256 that
        # changes with the weights, None where it is gone.
        self._state = {"sha256": checksum(described) if described.is_file() else None}

    @property
    def state(self) -> dict[str, Any]:
        """What a run that goes on must still know."""
        return self._state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if state == self._state:
            return
        finding = "not the teacher that the run has learnt from, or changed since"
        if not self._state["sha256"]:
            finding = "no such model; expected the teacher that the run has learnt from"
        raise ConfigError(
            f"{self.folder}: {finding}; put that one back, set loss.teacher to where it is now, or begin a "
            "new run with another --output"
        )


def learn_from(model: keras.Model, teacher: keras.Model) -> None:
    """Let a compiled model learn what a teacher predicts for each batch; its loss says how much of it.

    The teacher sees the same pixels, changed colours and all, which is what makes it worth the time
    (arXiv 2106.05237). It does not learn, and is no part of the model: nothing of it is saved.
    """
    teacher.trainable = False
    own = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any) -> Any:
        logits = ops.cast(teacher(x, training=False)["logits"], "float32")
        soft_targets = ops.stop_gradient(ops.softmax(logits, axis=-1))
        return own(x, y, {**y_pred, "soft_targets": soft_targets}, *rest, **named)

    model.compute_loss = compute_loss
