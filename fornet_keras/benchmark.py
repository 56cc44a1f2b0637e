"""What a prediction costs on this machine: models in Keras, and exported ones in their runtimes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.errors import BudgetError
from fornet_keras.export.manifest import MANIFEST, read_manifest
from fornet_keras.export.runtimes import open_runtime
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.predictor import Predictor

WARM_UP = 2
BUDGET_RATIOS = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0)
BUDGET_ROUNDS = 7


@dataclass(frozen=True)
class Candidate:
    """Something that predicts one image.

    Args:
        name: what the user called it.
        runtime: the Keras backend, or the runtime of an exported model.
        precision: number format.
        size: height and width of the images in pixels.
        top_k: share of the regions that is refined.
        megabytes: on disk, 10⁶ bytes.
        label_agreement: with Keras, from the proof of an exported model; None for Keras itself.
        run: predicts one uint8 image `(height, width, 3)`.
    """

    name: str
    runtime: str
    precision: str
    size: tuple[int, int]
    top_k: float
    megabytes: float
    label_agreement: float | None
    run: Callable[[NDArray[np.uint8]], Any]


def candidates(
    folders: Sequence[Path], size: tuple[int, int], top_k: Sequence[float], threads: int | None
) -> list[Candidate]:
    """Load what is to be timed.

    Args:
        folders: models, and exported models.
        size: of the images of a model; an exported one has its own.
        top_k: shares that a model is timed at, none for its own; an exported one has its own.
        threads: threads of an exported model's runtime; None leaves it to the runtime.

    Raises:
        ExportError, ModelError: a folder is neither, or damaged.
    """
    found: list[Candidate] = []
    for folder in folders:
        if (folder / MANIFEST).exists():
            found.append(_exported(folder, threads))
        else:
            found += _in_keras(folder, size, top_k)
    return found


def _exported(folder: Path, threads: int | None) -> Candidate:
    manifest = read_manifest(folder)
    run = open_runtime(folder, manifest.format, threads)
    return Candidate(
        str(folder),
        manifest.format,
        manifest.precision,
        manifest.size,
        manifest.top_k,
        _megabytes(folder),
        manifest.proof.at_top_k[0].label_agreement,
        lambda image: run(image[None]),
    )


def _in_keras(folder: Path, size: tuple[int, int], top_k: Sequence[float]) -> Iterator[Candidate]:
    for share in top_k or (None,):
        model, _ = load_model(folder, share)
        backend = f"keras {keras.backend.backend()}"
        megabytes = _megabytes(folder / "best" if (folder / "best").is_dir() else folder)
        yield Candidate(str(folder), backend, "float32", size, model.top_k, megabytes, None, Predictor(model))


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(found: Sequence[Candidate], repeats: int, on_round: Callable[[], None]) -> list[dict[str, Any]]:
    """Time all candidates in turn, so that what else the machine does falls on all of them alike.

    Args:
        found: what is timed.
        repeats: rounds.
        on_round: called after each round.

    Returns:
        One row a candidate, ready for JSON; the figures are of one image a call.
    """
    random = np.random.default_rng(0)
    images = {size: random.integers(0, 256, (*size, 3), np.uint8) for size in {c.size for c in found}}
    milliseconds: list[list[float]] = [[] for _ in found]
    for number in range(WARM_UP + repeats):
        for candidate, times in zip(found, milliseconds, strict=True):
            started = time.perf_counter()
            candidate.run(images[candidate.size])
            if number >= WARM_UP:
                times.append(1000 * (time.perf_counter() - started))
        on_round()
    return [_row(candidate, times) for candidate, times in zip(found, milliseconds, strict=True)]


def fit_budget(folder: Path, size: tuple[int, int], milliseconds: float) -> tuple[float, float]:
    """The largest share of the regions that this machine refines within a budget.

    Args:
        folder: a model.
        size: height and width of the images in pixels.
        milliseconds: most that a prediction may take; the median counts.

    Returns:
        The share, of `BUDGET_RATIOS`, and the milliseconds that a prediction took at it.

    Raises:
        BudgetError: even the smallest share takes longer.
    """
    rows = measure(candidates([folder], size, BUDGET_RATIOS, None), BUDGET_ROUNDS, lambda: None)
    within = [row for row in rows if row["median_ms"] <= milliseconds]
    if not within:
        raise BudgetError(
            f"a budget of {milliseconds:g} ms is too small: at {size[0]}x{size[1]} this model takes "
            f"{rows[0]['median_ms']:.1f} ms here with {BUDGET_RATIOS[0]:.0%} of the regions; "
            "allow more, or take smaller images or a smaller preset"
        )
    best = within[-1]
    return best["top_k"], best["median_ms"]


def _row(candidate: Candidate, milliseconds: Sequence[float]) -> dict[str, Any]:
    median = float(np.median(milliseconds))
    return {
        "name": candidate.name,
        "runtime": candidate.runtime,
        "precision": candidate.precision,
        "size": list(candidate.size),
        "top_k": candidate.top_k,
        "median_ms": median,
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "images_per_second": 1000 / median,
        "megabytes": candidate.megabytes,
        "label_agreement": candidate.label_agreement,
    }
