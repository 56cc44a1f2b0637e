"""Scores as a table: what `train` and `evaluate` end with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from fornet_keras.cli.screen import show_table

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.evaluation.evaluate import Scores


def show_scores(scores: Scores, title: str) -> None:
    """Print each class's scores, the means, and how long it took."""
    matrix = scores.matrix
    rows = zip(
        scores.class_names,
        (f"{count:,}" for count in scores.images_with),
        (f"{count:,}" for count in matrix.counts.sum(axis=1)),
        (_score(value) for value in matrix.iou),
        (_score(value) for value in matrix.accuracy),
        strict=True,
    )
    show_table(title, ("class", "images", "pixels", "IoU", "accuracy"), rows)
    click.echo(
        f"mIoU            {_score(matrix.miou)}   (mean over the classes in the labels or the predictions)"
    )
    if scores.thin:
        click.echo(f"thin classes    {_score(scores.thin_miou)}   (mIoU of {', '.join(scores.thin)})")
    if scores.bands:
        bands = ", ".join(f"{_score(band.miou)} at {radius} px" for radius, band in scores.bands.items())
        click.echo(f"near borders    {bands}   (mIoU where another class is that near)")
    click.echo(f"pixel accuracy  {_score(matrix.pixel_accuracy)}")
    click.echo(
        f"error coverage  {_score(scores.error_coverage)}   "
        f"(of the coarse path's wrong pixels, in the {scores.top_k:.0%} of regions that were refined)"
    )
    reading = 1000 * scores.read_seconds / scores.num_images
    inference = "–" if math.isnan(scores.milliseconds) else f"{scores.milliseconds:.1f} ms"
    click.echo(f"speed           reading {reading:.1f} ms, inference {inference} an image")


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
