"""Pictures of a run that a person can look through: what went in, how it went, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.evaluation.charts import save_class_bars, save_confusion_matrix
from fornet_keras.evaluation.evaluate import Scores
from fornet_keras.prediction.pictures import COMPARED, colorize, headed, side_by_side, with_legend


def save_first_batches(path: Path, batches: TrainingBatches, count: int = 2) -> None:
    """Draw the first training batches as the network sees them: up to eight images, and below each its label.

    Args:
        path: the picture's file.
        batches: the run's batches.
        count: number of batches.
    """
    table = batches.dataset.table
    rows: list[list[NDArray[np.uint8]]] = []
    for step in range(min(count, batches.steps_per_epoch)):
        images, labels = (array[:8] for array in batches.batch(0, step))
        rows.append(list(images))
        rows.append([colorize(label, table) for label in labels])
    Image.fromarray(with_legend(side_by_side(rows), table)).save(path)


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the losses and the validation scores over the epochs.

    Args:
        path: the picture's file.
        rows: one mapping an epoch, with the columns of `log.csv`.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for axes, names in (
        (losses, ("loss", "logits_loss", "coarse_loss", "selector_loss")),
        (scores, ("val_miou", "val_pixel_accuracy", "val_error_coverage")),
    ):
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else "", label=name)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("")
    scores.set_ylim(0, 1)
    figure.savefig(path, dpi=100)


def save_pictures(
    folder: Path,
    table: LabelTable,
    rows: Sequence[Mapping[str, Any]],
    scores: Scores,
    pictures: Sequence[NDArray[np.uint8]],
) -> None:
    """Write all pictures that follow a run into `folder`; `pictures`, of the validation, below each other."""
    save_curves(folder / "curves.png", rows)
    save_confusion_matrix(folder / "confusion_matrix.png", scores)
    save_class_bars(folder / "classes.png", scores, table)
    below_each_other = headed(side_by_side([[picture] for picture in pictures]), COMPARED)
    Image.fromarray(with_legend(below_each_other, table)).save(folder / "val.png")
