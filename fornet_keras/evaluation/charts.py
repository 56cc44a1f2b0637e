"""Scores as pictures: the confusion matrix, each class's IoU, and what each share of the regions gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from fornet_keras.data.dataset import LabelTable
from fornet_keras.evaluation.evaluate import Scores

_as_it_is_written = matplotlib.rc_context({"text.parse_math": False})  # a class may be called $x$


@_as_it_is_written
def save_confusion_matrix(path: Path, scores: Scores) -> None:
    """Draw which class is taken for which: each row (a true class) sums to 100 %."""
    counts = scores.matrix.counts
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3 + 0.45 * len(shares)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            color = "white" if share > 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
    ticks = range(len(shares))
    axes.set_xticks(ticks, scores.class_names, rotation=60, ha="right")
    axes.set_yticks(ticks, scores.class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (rows sum to 100 %)")
    figure.savefig(path, dpi=100)


@_as_it_is_written
def save_class_bars(path: Path, scores: Scores, table: LabelTable) -> None:
    """Draw each class's IoU, in its colour, and its share of the scored pixels."""
    pixels = scores.matrix.counts.sum(axis=1)
    shares = 100 * pixels / max(pixels.sum(), 1)
    figure = Figure(figsize=(10, 1.5 + 0.3 * table.num_classes), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = [tuple(channel / 255 for channel in color) for color in table.colors]
    left.barh(table.names, np.nan_to_num(scores.matrix.iou), color=colors)
    left.axvline(scores.matrix.miou, color="black", linewidth=1)
    left.set_title(f"mIoU {scores.matrix.miou:.3f} (line)", fontsize=10)
    left.set_xlim(0, 1)
    left.set_xlabel("IoU")
    left.invert_yaxis()
    right.barh(table.names, shares, color=colors)
    right.set_xscale("log")
    is_wide = pixels.max() > 1000 * min(pixels[pixels > 0], default=1)
    right.xaxis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5)))
    right.xaxis.set_major_formatter("{x:g}")  # the usual ones write formulas, which are not read here
    right.xaxis.set_minor_formatter("")
    right.set_xlabel("share of the pixels, %")
    figure.savefig(path, dpi=100)


@_as_it_is_written
def save_curve(path: Path, curve: Sequence[Scores]) -> None:
    """Draw mIoU, error coverage and time over the share of the regions that is refined.

    Args:
        path: the picture's file.
        curve: the same model's scores, by rising `top_k`.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    shares = [scores.top_k for scores in curve]
    lines = {
        "mIoU": [scores.matrix.miou for scores in curve],
        "error coverage": [scores.error_coverage for scores in curve],
        "milliseconds an image, here": [scores.milliseconds for scores in curve],
    }
    for axes, (name, values) in zip(figure.subplots(1, 3), lines.items(), strict=True):
        axes.plot(shares, values, marker="o", clip_on=False, zorder=3)
        axes.set_xlabel("share of the regions refined")
        axes.set_title(name)
        axes.set_xlim(0, 1.05)
        axes.grid(alpha=0.3)
        if name.startswith("milli"):
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    figure.savefig(path, dpi=100)
