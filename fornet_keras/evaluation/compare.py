"""Runs side by side: the settings that differ, the scores, and how sure their differences are."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fornet_keras.atomic import last_complete
from fornet_keras.bounded_text import read_text
from fornet_keras.config.reader import read_config
from fornet_keras.errors import ConfigError, DataError
from fornet_keras.evaluation.tables import Table, four_digits
from fornet_keras.model_description import config_beside

MAX_BYTES = 200_000_000
DRAWS = 2_000
"""Bootstrap samples of the images."""
MIN_IMAGES = 10
"""Of fewer the bootstrap's interval is far too narrow: of two without a difference it tells half apart."""
HOW = ("size", "precision", "runtime", "flip", "scales", "window", "skipped")
"""What a file of `evaluate --json` says of how it was scored, beside the scores."""


class _Compared(BaseModel):
    """What is looked at of the scores, and of what is beside them in their file, where there is more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    miou: float | None
    iou: dict[str, float | None]
    image_miou: dict[str, float | None] = {}
    band_miou: dict[str, float | None] | None = None
    thin_miou: float | None = None
    boundary_f: float | None = None
    pixel_accuracy: float | None = None
    error_coverage: float | None = None
    data: Annotated[str, Field(pattern="^[^\0]*$")] | None = None
    parameters: float | None = None
    seconds: float | None = None
    epochs: float | None = None


@dataclass(frozen=True)
class Result:
    """What one run has come to.

    Args:
        name: as the user gave it.
        scores: what `Scores.as_json` returned.
        settings: every key of the run's configuration with its value, and how it was scored.
        root: the folder of the data.
        run: what `result.json` says of the run itself; empty for a file of `evaluate --json`.
        knows_images: whether it has learnt from the images that are scored, or from a model that has.
    """

    name: str
    scores: dict[str, Any]
    settings: dict[str, Any]
    root: str
    run: dict[str, Any]
    knows_images: bool

    def image_miou(self) -> dict[str, float]:
        """The mIoU of each image with something to score, by its path below the data's folder."""
        known = self.scores.get("image_miou", {}).items()
        return {os.path.relpath(path, self.root): miou for path, miou in known if miou is not None}


@dataclass(frozen=True)
class Difference:
    """By how much one result is better than another, image by image, in mean IoU.

    Args:
        mean: over the images.
        interval: where 95 % of the bootstrap's means are; None of fewer than `MIN_IMAGES` images.
        by_image: by the path below the data's folder.
    """

    mean: float
    interval: tuple[float, float] | None
    by_image: dict[str, float]


def read_result(path: Path) -> Result:
    """The result of a run folder, or the file that `evaluate --json` wrote.

    Raises:
        DataError: there is none, or it is not such a file.
    """
    if not last_complete(path).exists():
        raise DataError(
            f"{path}: no such file or folder; expected a run, or a file of `evaluate --json`; check it"
        )
    file = last_complete(path) / "result.json" if path.is_dir() else path
    try:
        found = json.loads(read_text(file, MAX_BYTES), parse_constant=_no_number)
        scores = found.get("val", found)
        folder = path if path.is_dir() else Path(found["model"])
        _Compared.model_validate({**found, **scores})
        config = config_beside(folder)
    except FileNotFoundError as error:
        expected = "a run that has ended, or a file of `evaluate --json`"
        raise DataError(f"{file}: no such file; expected {expected}; end it with `train --resume`") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        expected = "what `train` or `evaluate --json` has written"
        raise DataError(f"{file}: cannot be read as scores; expected {expected}; write it again") from error
    try:
        own = read_config(config) if config else None
    except ConfigError:  # another program's
        own = None
    settings = own.by_key() if own else {}
    split = found.get("split", settings.get("data.val_split"))
    settings |= {f"scored.{key}": scores.get(key) for key in ("top_k", "short_side", "num_images")}
    settings |= {f"scored.{key}": found[key] for key in HOW if key in found}
    root = found.get("data") or settings.get("data.root") or ""
    settings |= {"scored.split": split, "scored.data": os.path.realpath(root)}
    is_run = "val" in found
    is_learnt = bool(is_run and own and own.data.trains_on(own.data.val_split))
    knows_images = bool(found.get("trained_on_it")) or is_learnt
    return Result(str(path), scores, settings, root, found if is_run else {}, knows_images)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no score")


def settings_table(results: Sequence[Result]) -> Table:
    """The settings that are not the same in all, one a row; a dash for a result that does not say."""
    keys = dict.fromkeys(key for result in results for key in result.settings)
    rows = [
        (key, *(json.dumps(result.settings[key]) if key in result.settings else "–" for result in results))
        for key in keys
    ]
    return ("setting", *(result.name for result in results)), [
        row for row in rows if len({*row[1:]} - {"–"}) > 1
    ]


def score_table(results: Sequence[Result]) -> Table:
    """Means first, then the IoU of each class that any of them has, then what it took."""

    def row(head: str, values: list[Any]) -> tuple[str, ...]:
        return (head, *map(four_digits, values))

    def of(key: str) -> list[Any]:
        return [result.scores.get(key) for result in results]

    radii = dict.fromkeys(radius for result in results for radius in result.scores.get("band_miou") or {})
    classes = dict.fromkeys(name for result in results for name in result.scores["iou"])
    rows = [
        row("mIoU", of("miou")),
        row("thin classes", of("thin_miou")),
        *(
            row(f"near borders, {radius} px", [(bands or {}).get(radius) for bands in of("band_miou")])
            for radius in radii
        ),
        row("boundary F", of("boundary_f")),
        row("pixel accuracy", of("pixel_accuracy")),
        row("error coverage", of("error_coverage")),
        *(row(name, [iou.get(name) for iou in of("iou")]) for name in classes),
    ]
    rows = [cells for cells in rows if {*cells[1:]} != {"–"}]
    for head, key, unit in (
        ("M parameters", "parameters", 1e6),
        ("minutes", "seconds", 60),
        ("epochs", "epochs", 1),
    ):
        values = [result.run.get(key) for result in results]
        if any(values):
            rows.append((head, *("–" if value is None else f"{value / unit:.3g}" for value in values)))
    return ("", *(result.name for result in results)), rows


def difference(result: Result, baseline: Result) -> Difference | None:
    """By how much `result` found the images that both have better, with a 95 % interval.

    None without any, and where they score other classes, whose means are not of the same thing. The images
    are paired by their paths below the data's folder. The interval is of a bootstrap over them. Neighbouring
    frames of a drive are alike, so that it is narrower than one over streets would be.
    """
    ours, theirs = result.image_miou(), baseline.image_miou()
    by_image = {path: ours[path] - theirs[path] for path in ours if path in theirs}
    if not by_image or set(result.scores["iou"]) != set(baseline.scores["iou"]):
        return None
    values = np.array([*by_image.values()])
    if len(values) < MIN_IMAGES:
        return Difference(float(values.mean()), None, by_image)
    generator = np.random.default_rng(0)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(float(values.mean()), (float(low), float(high)), by_image)


def over_seeds(results: Sequence[Result]) -> list[tuple[list[str], list[float]]]:
    """The names and mIoU of runs that differ in `training.seed` alone, where there are several."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        same = {key: value for key, value in result.settings.items() if key != "training.seed"}
        if "training.seed" in result.settings and result.scores["miou"] is not None:
            groups.setdefault(json.dumps(same, sort_keys=True), []).append(result)
    return [
        ([result.name for result in group], [result.scores["miou"] for result in group])
        for group in groups.values()
        if 1 < len(group) == len({result.settings["training.seed"] for result in group})
    ]
