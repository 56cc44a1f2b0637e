"""The top-k that fits a budget of time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from fornet_keras.cli.screen import ERRORS


def top_k_within(
    budget_ms: float | None,
    top_k: float | None,
    views: bool,
    model: Path,
    size_of_images: Callable[[], tuple[int, int]],
    short_side: int | None,
) -> float | None:
    """What `--budget-ms` and `--top-k` ask for, of which one at most may be given.

    Args:
        budget_ms: value of `--budget-ms`.
        top_k: value of `--top-k`.
        views: whether `--window`, `--flip` or `--scales` is given.
        model: a model's folder.
        size_of_images: gives the height and width of the images in pixels, where they are needed.
        short_side: pixels to which larger ones are brought down, or None.

    Raises:
        BudgetError: the budget is too small.
    """
    if budget_ms is None:
        return top_k
    if top_k is not None:
        raise click.UsageError("--budget-ms chooses the top-k: give one of the two")
    if views:
        raise click.UsageError(
            "--budget-ms times one look at an image: leave out --window, --flip and --scales"
        )
    from fornet_keras.benchmark.budget import fit_budget

    size = size_of_images()
    with ERRORS.status("measuring …"):
        found, milliseconds = fit_budget(model, size, budget_ms, short_side)
    ERRORS.print(f"top-k {found:g}: {milliseconds:.1f} ms at {size[0]}x{size[1]} here")
    return found
