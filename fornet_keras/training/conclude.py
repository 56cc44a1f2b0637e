"""The end of a run: its best model is scored, and its pictures and its result are written."""

from __future__ import annotations

import json
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fornet_keras.atomic import write_text
from fornet_keras.evaluation.evaluate import Scores
from fornet_keras.training.checkpointing import Checkpointing
from fornet_keras.training.report import save_pictures
from fornet_keras.training.run_folder import RESULT
from fornet_keras.training.run_log import RunLog
from fornet_keras.training.validation import Validation
from fornet_keras.version import __version__


def conclude(
    output: Path,
    device: str,
    validation: Validation,
    log: RunLog,
    saver: Checkpointing,
    parameters: int,
) -> tuple[dict[str, Any], Scores]:
    """Score the best model; write the pictures of the run and its result."""
    scores = validation.score_best()
    table = validation.dataset.table
    save_pictures(output / "pictures", table, log.rows, scores, validation.pictures)
    result = {
        "backend": keras.backend.backend(),
        "device": device,
        "versions": run_versions(),
        "epochs": len(log.rows),
        "steps": saver.step,
        "selector_epochs": validation.training.selector_epochs,
        "stopped_early": saver.step < saver.total_steps,
        "best_miou": scores.matrix.miou,
        "best_epoch": validation.best_epoch,
        "seconds": saver.seconds,
        "model": str(output / "best"),
        "parameters": parameters,
        "val": scores.as_json(),
    }
    write_text(output / RESULT, json.dumps(result, indent=2) + "\n")
    return result, scores


def run_versions() -> dict[str, str]:
    """Of what computes here: name → version."""
    backend = keras.backend.backend()
    return {
        "fornet_keras": __version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: import_module(backend).__version__,
        "numpy": np.__version__,
    }
