"""Scores as a table: what `train` and `evaluate` end with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from fornet_keras.cli.screen import show_table
from fornet_keras.evaluation.tables import class_table, four_digits, official_table

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.evaluation.evaluate import Scores


def show_scores(scores: Scores, title: str) -> None:
    """Print each class's scores, the means, and how long it took."""
    matrix = scores.matrix
    show_table(title, *class_table(scores))
    click.echo(
        f"mIoU            {four_digits(matrix.miou)}   "
        "(mean over the classes in the labels or the predictions)"
    )
    if scores.thin:
        click.echo(f"thin classes    {four_digits(scores.thin_miou)}   (mIoU of {', '.join(scores.thin)})")
    if scores.bands:
        bands = ", ".join(f"{four_digits(band.miou)} at {radius} px" for radius, band in scores.bands.items())
        click.echo(f"near borders    {bands}   (mIoU where another class is that near)")
    if scores.boundary:
        click.echo(
            f"boundary F      {four_digits(scores.boundary.mean)}   "
            f"(mean over the classes of the outlines' F-score, {scores.boundary.radius} px off at most)"
        )
    click.echo(f"pixel accuracy  {four_digits(matrix.pixel_accuracy)}")
    if scores.num_regions:
        refined = f"{100 * scores.refined_share:.3g}%"
        click.echo(
            f"error coverage  {four_digits(scores.error_coverage)}   "
            f"(of the coarse path's wrong pixels, in the {refined} of regions that were refined)"
        )
    reading = 1000 * scores.read_seconds / scores.num_images
    inference = "–" if math.isnan(scores.milliseconds) else f"{scores.milliseconds:.1f} ms"
    click.echo(f"speed           reading {reading:.1f} ms, inference {inference} an image")


def show_official_scores(found: dict[str, Any]) -> None:
    """Print the Cityscapes benchmark's scores, which `OfficialScores.as_json` returns."""
    show_table("As cityscapesScripts scores it", *official_table(found))
