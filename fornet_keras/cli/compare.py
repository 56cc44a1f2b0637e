"""`compare`: several runs side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Named, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import show_table
from fornet_keras.errors import listed
from fornet_keras.evaluation.compare import (
    Difference,
    Result,
    difference,
    over_seeds,
    read_result,
    score_table,
    settings_table,
)

SHOWN = 5
"""Images that differ most, a line each."""


@click.command(
    cls=Command,
    short_help="Runs side by side: settings, scores, differences.",
    examples=[
        "compare runs/camvid runs/camvid_dice",
        "compare s_scores.json nano_scores.json --json both.json",
    ],
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=Named(path_type=Path))
@json_option
def compare(runs: tuple[Path, ...], json_file: Path | None) -> None:
    """Put the scores of several RUNs side by side, and how far other images could move each difference.

    Other seeds may move it further: train several.

    A RUN is the folder of one that has ended, or a file of `evaluate --json`. The first is what the others
    are compared with.
    """
    if len(runs) < 2:
        raise click.UsageError(f"{runs[0]} alone has nothing beside it; name another RUN")
    results = [read_result(path) for path in runs]
    first, changes = results[0], [difference(result, results[0]) for result in results[1:]]
    heads, rows = settings_table(results)
    write_json(
        json_file,
        {
            "settings": {key: values for key, *values in rows},
            "scores": {result.name: result.scores for result in results},
            "against": first.name,
            "differences": {
                result.name: asdict(change) if change else None
                for result, change in zip(results[1:], changes, strict=True)
            },
        },
    )
    if rows:
        show_table("Settings that differ", heads, rows)
    show_table("Scores", *score_table(results))
    for names, scores in over_seeds(results):
        spread = f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}"
        click.echo(f"{len(names)} seeds ({', '.join(names)}): mIoU {spread} (mean, standard deviation)")
    for result, change in zip(results[1:], changes, strict=True):
        _show(result, first, change)
    for result in results:
        if result.knows_images:
            click.echo(
                f"note: {result.name} has learnt from images that are scored, or from a model that has: its "
                "scores say nothing about other images"
            )


def _show(result: Result, first: Result, change: Difference | None) -> None:
    names = f"{result.name} and {first.name}"
    if change is None:
        ours, theirs = result.scores["iou"].keys(), first.scores["iou"].keys()
        others = ", ".join(
            f"{run.name} alone has {listed(sorted(alone))}"
            for run, alone in ((result, ours - theirs), (first, theirs - ours))
            if alone
        )
        reason = f"do not score the same classes: {others}" if others else "have no images in common"
        click.echo(f"{names} {reason}")
        return
    if change.interval is None:
        verdict = "too few images to tell"
    else:
        low, high = change.interval
        verdict = f"95% between {low:+.4f} and {high:+.4f}: "
        verdict += "told apart" if low > 0 or high < 0 else "not told apart"
    click.echo(
        f"{result.name} against {first.name}: {change.mean:+.4f} mIoU an image in the mean of "
        f"{len(change.by_image)}, {verdict}"
    )
    if result.settings["scored.data"] != first.settings["scored.data"]:
        click.echo(
            f"note: {names} were scored in {result.root} and {first.root}: images paired by their names"
        )
    for path, value in sorted(change.by_image.items(), key=lambda item: -abs(item[1]))[:SHOWN]:
        if value:
            click.echo(f"  {value:+.4f}  {path}")
