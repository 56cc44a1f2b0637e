"""Scores as the heads and rows of tables, for a terminal and for a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.evaluation.evaluate import Scores

Table = tuple[Sequence[str], list[tuple[str, ...]]]
"""Heads, and the cells of each row."""


def class_table(scores: Scores) -> Table:
    """How often each class occurs, and how well it was found."""
    matrix = scores.matrix
    rows = zip(
        scores.class_names,
        (f"{count:,}" for count in scores.images_with),
        (f"{count:,}" for count in matrix.counts.sum(axis=1)),
        *(map(four_digits, values) for values in (matrix.iou, matrix.precision, matrix.recall, matrix.f1)),
        strict=True,
    )
    return ("class", "images", "pixels", "IoU", "precision", "recall", "F1"), list(rows)


def curve_table(curve: Sequence[Scores]) -> Table:
    """What the same model scores at several shares of the regions, one a row."""
    rows = [
        (
            f"{scores.top_k:g}",
            four_digits(scores.matrix.miou),
            *(four_digits(band.miou) for band in scores.bands.values()),
            four_digits(scores.thin_miou),
            four_digits(scores.error_coverage),
            "–" if math.isnan(scores.milliseconds) else f"{scores.milliseconds:.1f}",
        )
        for scores in curve
    ]
    bands = [f"{radius} px" for radius in curve[0].bands]
    return ("top-k", "mIoU", *bands, "thin", "coverage", "ms"), rows


def official_table(found: Mapping[str, Any]) -> Table:
    """The Cityscapes benchmark's scores: of categories, of classes with instances, and the means.

    Args:
        found: what `OfficialScores.as_json` returns.
    """
    rows = [
        (name, found[f"{kind}Scores"][name], instances)
        for kind in ("category", "class")
        for name, instances in found[f"{kind}InstScores"].items()
        if name != "void" and (kind == "category" or instances is not None)
    ]
    for kind in ("Categories", "Classes"):
        means = (found[f"averageScore{which}{kind}"] for which in ("", "Inst"))
        rows.append((f"all {kind.lower()}", *means))
    return ("category or class", "IoU", "iIoU"), [
        (name, four_digits(iou), four_digits(inst)) for name, iou, inst in rows
    ]


def four_digits(value: float | None) -> str:
    """A score with four digits; a dash where there was nothing to score."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
