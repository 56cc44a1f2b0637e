"""`evaluate`: score a model on a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.budget import top_k_within
from fornet_keras.cli.group import Command
from fornet_keras.cli.models import require_classes
from fornet_keras.cli.options import (
    backend_option,
    budget_option,
    config_option,
    data_option,
    json_option,
    model_argument,
    top_k_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.scores import show_official_scores, show_scores
from fornet_keras.cli.screen import counting
from fornet_keras.cli.settings import look_through, read_settings
from fornet_keras.data.dataset import Sample
from fornet_keras.data.images import image_size
from fornet_keras.data.sources import open_split

BANDS = (1, 3, 5)
"""Radii in pixels of the bands around label borders."""


@click.command(
    cls=Command,
    short_help="Score a model on a data set.",
    examples=[
        "evaluate runs/city --config configs/synthetic.yaml --data city",
        "evaluate runs/cityscapes --config configs/cityscapes.yaml --data DIR --save-predictions submission",
        "evaluate runs/camvid --config configs/camvid.yaml --data DIR --top-k 0.1 --json scores.json",
    ],
)
@model_argument
@config_option
@backend_option
@data_option
@click.option(
    "--split", metavar="NAME", help="What to score on. Otherwise the configuration's data.val_split."
)
@top_k_option
@budget_option
@click.option(
    "--save-predictions",
    "save_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write each prediction as a PNG of the data's own label values, which is what Cityscapes' "
    "test server takes.",
)
@json_option
def evaluate(
    model: Path,
    config_file: Path,
    backend: str | None,
    data_folder: Path | None,
    split: str | None,
    top_k: float | None,
    budget_ms: float | None,
    save_folder: Path | None,
    json_file: Path | None,
) -> None:
    """Score MODEL on whole images, each label at its own size.

    MODEL is a run folder, a saved model's folder, or the name of a shipped model. On data in the layout of
    Cityscapes also the benchmark's own scores, as cityscapesScripts gives them.
    """
    config = read_settings(config_file, data_folder)
    dataset = open_split(config.data, split or config.data.val_split)
    look_through(dataset).raise_if_bad()
    start_backend(backend)
    from fornet_keras.evaluation.cityscapes import OfficialScores, find_label_files
    from fornet_keras.evaluation.evaluate import evaluate as score
    from fornet_keras.model_folder import load_model
    from fornet_keras.prediction.predictor import Predictor
    from fornet_keras.prediction.submission import save_label_values

    top_k = top_k_within(budget_ms, top_k, model, lambda: image_size(dataset.samples[0].image))
    network, table = load_model(model, top_k)
    require_classes(model, table, dataset)
    label_files = find_label_files(dataset)
    official = OfficialScores()
    with counting("evaluating", len(dataset)) as advance:

        def on_image(sample: Sample, image: Any, label: Any, prediction: Mapping[str, Any]) -> None:
            if save_folder:
                save_label_values(save_folder, dataset, sample, prediction["label_ids"])
            if label_files:
                official.add(label_files[sample], prediction["label_ids"])
            advance()

        scores = score(Predictor(network), dataset, on_image, bands=BANDS)
    found = {"model": model, "data": dataset.root, "split": dataset.split, **scores.as_json()}
    if label_files:
        found["cityscapes"] = official.as_json()
    write_json(json_file, found)
    show_scores(scores, f"{model} on {dataset.name} {dataset.split}")
    if label_files:
        show_official_scores(found["cityscapes"])
