"""Scores as a table: what `train` and `evaluate` end with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    if scores.boundary:
        click.echo(
            f"boundary F      {_score(scores.boundary.mean)}   "
            f"(mean over the classes of the outlines' F-score, {scores.boundary.radius} px off at most)"
        )
    click.echo(f"pixel accuracy  {_score(matrix.pixel_accuracy)}")
    click.echo(
        f"error coverage  {_score(scores.error_coverage)}   "
        f"(of the coarse path's wrong pixels, in the {scores.top_k:.0%} of regions that were refined)"
    )
    reading = 1000 * scores.read_seconds / scores.num_images
    inference = "–" if math.isnan(scores.milliseconds) else f"{scores.milliseconds:.1f} ms"
    click.echo(f"speed           reading {reading:.1f} ms, inference {inference} an image")


def show_learnt(split: str) -> None:
    """Say that the scores are of images that the model was trained on."""
    click.echo(f"note: the model was trained on {split}: these scores say nothing about other images")


def show_curve(curve: Sequence[Scores]) -> None:
    """Print what the same model scores at several shares of the regions; nothing for none."""
    if not curve:
        return
    rows = [
        (
            f"{scores.top_k:g}",
            _score(scores.matrix.miou),
            *(_score(band.miou) for band in scores.bands.values()),
            _score(scores.thin_miou),
            _score(scores.error_coverage),
            f"{scores.milliseconds:.1f}",
        )
        for scores in curve
    ]
    bands = [f"{radius} px" for radius in curve[0].bands]
    heads = ("top-k", "mIoU", *bands, "thin", "coverage", "ms")
    show_table("At each share of the regions", heads, rows)


def show_official_scores(found: dict[str, Any]) -> None:
    """Print the Cityscapes benchmark's scores: of each category, and the means over categories and classes.

    Args:
        found: what `OfficialScores.as_json` returns.
    """
    rows = [
        [name, _score(iou), _score(found["categoryInstScores"][name])]
        for name, iou in found["categoryScores"].items()
        if name != "void"
    ]
    for name, kind in (("all categories", "Categories"), ("all classes", "Classes")):
        means = (found[f"averageScore{which}{kind}"] for which in ("", "Inst"))
        rows.append([name, *map(_score, means)])
    show_table("As cityscapesScripts scores it", ("category", "IoU", "iIoU"), rows)
    if found["averageScoreInstClasses"] is None:
        click.echo("iIoU needs the *_instanceIds.png files beside the labels, or there are no instances")


def _score(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
