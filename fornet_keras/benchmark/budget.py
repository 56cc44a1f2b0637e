"""How many regions a budget of milliseconds allows on this machine."""

from __future__ import annotations

from pathlib import Path

from fornet_keras.benchmark.candidates import candidates
from fornet_keras.benchmark.measure import measure
from fornet_keras.errors import FoRNetError

BUDGET_RATIOS = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0)
BUDGET_ROUNDS = 7


def fit_budget(
    folder: Path, size: tuple[int, int], milliseconds: float, short_side: int = 0
) -> tuple[float, float]:
    """The largest share of the regions that this machine refines within a budget.

    Args:
        folder: a model.
        size: height and width of the images in pixels.
        milliseconds: most that a prediction may take, bringing the image down and its labels up included;
            the median counts.
        short_side: pixels to which the shorter side of larger images is brought down; 0 takes their own size.

    Returns:
        The share, of `BUDGET_RATIOS`, and the milliseconds that a prediction took at it.

    Raises:
        FoRNetError: even the smallest share takes longer.
    """
    found = candidates([folder], size, BUDGET_RATIOS, None, short_side=short_side)
    [least] = measure(found[:1], BUDGET_ROUNDS, lambda: None)
    if least["median_ms"] > milliseconds:
        raise FoRNetError(
            f"a budget of {milliseconds:g} ms is too small: at {size[0]}x{size[1]} this model takes "
            f"{least['median_ms']:.1f} ms here with {BUDGET_RATIOS[0]:.0%} of the regions; "
            "allow more, or take smaller images or a smaller preset"
        )
    rows = measure(found, BUDGET_ROUNDS, lambda: None)
    best = [least, *(row for row in rows[1:] if row["median_ms"] <= milliseconds)][-1]
    return best["top_k"], best["median_ms"]
