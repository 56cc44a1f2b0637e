"""`evaluate`: score a model on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fornet_keras.artifacts.manifest import is_artifact
from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.budget import top_k_within
from fornet_keras.cli.group import Command
from fornet_keras.cli.models import has_learnt_from, require_classes, short_side_of
from fornet_keras.cli.options import (
    Configuration,
    Shares,
    backend_option,
    budget_option,
    data_option,
    json_option,
    model_argument,
    on_error_option,
    short_side_option,
    top_k_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.scores import learnt_note, show_curve, show_official_scores, show_scores
from fornet_keras.cli.screen import ERRORS, counting
from fornet_keras.cli.settings import look_through_to_use, read_settings
from fornet_keras.cli.views import make_predictor, views_options
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.data.images import image_size
from fornet_keras.data.sizes import shrunk_size
from fornet_keras.data.sources import open_split
from fornet_keras.errors import DataError
from fornet_keras.model_description import read_description
from fornet_keras.prediction.submission import require_own_places, save_label_values
from fornet_keras.shipped import shown

if TYPE_CHECKING:  # they import Keras
    from fornet_keras.evaluation.cityscapes import LabelFiles
    from fornet_keras.evaluation.evaluate import Scores
    from fornet_keras.prediction.predictor import Predictor
    from fornet_keras.prediction.views import ViewsPredictor

BANDS = (1, 3, 5)
"""Radii in pixels of the bands around label borders."""

BOUNDARY_RADIUS = 3
"""How many pixels an outline may be off in the boundary F-score."""


@click.command(
    cls=Command,
    short_help="Score a model on a data set.",
    examples=[
        "evaluate runs/city --report report",
        "evaluate runs/cityscapes --config configs/cityscapes.yaml --data DIR --split test --submission sent",
        "evaluate runs/camvid --config configs/camvid.yaml --data DIR --curve 0.1,0.5,1",
    ],
)
@model_argument
@click.option(
    "--config",
    "config_file",
    type=Configuration(),
    help="YAML configuration that says what data to score on. Default: that of MODEL's own training.",
)
@backend_option
@data_option
@click.option(
    "--split", metavar="NAME", help="What to score on. Default: the configuration's data.val_split."
)
@on_error_option
@top_k_option
@budget_option
@views_options
@short_side_option
@click.option(
    "--curve",
    type=Shares(),
    default=(),
    help="Also score at these shares of the regions, in the same run, beside --top-k's.",
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write a page with the scores, charts and the ten worst images.",
)
@click.option(
    "--save-predictions",
    "save_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write each prediction as a PNG of the data's own label values, with a palette.",
)
@click.option(
    "--submission",
    "submission_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write what Cityscapes' test server takes: one-channel PNGs of label ids at native size.",
)
@json_option
def evaluate(
    model: Path,
    config_file: Path | None,
    backend: str | None,
    data_folder: Path | None,
    split: str | None,
    on_error: str | None,
    top_k: float | None,
    budget_ms: float | None,
    window: tuple[int, int] | None,
    flip: bool,
    scales: tuple[float, ...],
    short_side: int | None,
    curve: tuple[float, ...],
    report_folder: Path | None,
    save_folder: Path | None,
    submission_folder: Path | None,
    json_file: Path | None,
) -> None:
    """Score MODEL on whole images, each label at its own size.

    MODEL is a run folder, a saved model's folder, or the name of a shipped model. On data in the layout of
    Cityscapes also the benchmark's own scores, as cityscapesScripts gives them.
    """
    if is_artifact(model):
        raise click.UsageError(
            f"{model} is an exported model; expected a run or a saved model: "
            f"`benchmark {model} --config {config_file or 'FILE'}` scores an exported one, at its own size"
        )
    config_file = config_file or _own_config(model)
    config = read_settings(config_file, data_folder, [f"data.on_error={on_error}"] if on_error else [])
    if submission_folder:
        _require_fit_for_submission(config.data.format, config_file, submission_folder, save_folder)
    dataset = look_through_to_use(open_split(config.data, split or config.data.val_split), config)
    for wanted in filter(None, (save_folder, submission_folder)):
        require_own_places(wanted, dataset)
    start_backend(backend)
    from fornet_keras.evaluation.cityscapes import find_label_files
    from fornet_keras.evaluation.report import save_report
    from fornet_keras.model_folder import load_model

    short_side = short_side_of(model, 0 if window and short_side is None else short_side)
    views = bool(window or flip or scales)
    top_k = top_k_within(
        budget_ms, top_k, views, model, lambda: shrunk_size(image_size(dataset.samples[0].image), short_side)
    )
    network, table = load_model(model, top_k)
    require_classes(model, table, dataset)
    predictor = make_predictor(network, window, flip, scales)
    label_files = find_label_files(dataset)
    scores, official = _score(predictor, dataset, short_side, label_files, save_folder, submission_folder)
    points = [scores] if curve else []
    for share in set(curve) - {scores.top_k}:
        other = make_predictor(network.with_top_k(share), window, flip, scales)
        points.append(_score(other, dataset, short_side)[0])
    points.sort(key=lambda point: point.top_k)
    learnt = has_learnt_from(model, config.data, dataset.split)
    found = {"model": model, "data": dataset.root, "split": dataset.split, "trained_on_it": learnt}
    found |= scores.as_json() | ({"cityscapes": official} if official else {})
    found |= {"curve": [point.as_json() for point in points]} if curve else {}
    title = f"{shown(model)} on {dataset.name} {dataset.split}"
    title += f", shorter side {short_side} px at most" if short_side else ""
    note = learnt_note(dataset.split) if learnt else ""
    try:
        write_json(json_file, found)
    finally:  # what took hours is not lost to a full disk
        _show(title, note, scores, official, points)
    if report_folder:
        page = save_report(
            report_folder, title, dataset, predictor, network.region_size, scores, points, note, official
        )
        click.echo(f"report: {page}")
    for kind, folder in (("predictions", save_folder), ("submission", submission_folder)):
        if folder:
            click.echo(f"{kind}: {folder}")


def _own_config(model: Path) -> Path:
    for place in (model, model.parent):  # a run, a shipped model; a run's `best`
        if (file := place / "config.yaml").is_file():
            return file
    read_description(model)  # or it is no model, which is then the finding
    raise click.UsageError(f"Missing option '--config': {model} has no config.yaml of its own")


def _show(
    title: str, note: str, scores: Scores, official: dict[str, Any] | None, points: Sequence[Scores]
) -> None:
    show_scores(scores, title)
    if note:
        click.echo(note)
    if official:
        show_official_scores(official)
    show_curve(points)


def _require_fit_for_submission(
    data_format: str, config_file: Path, submission_folder: Path, save_folder: Path | None
) -> None:
    if save_folder and save_folder.resolve() == submission_folder.resolve():
        raise click.UsageError("--save-predictions and --submission write the same files: two folders")
    if data_format != "cityscapes":
        raise click.UsageError(
            f"--submission is of data in the layout of Cityscapes; {config_file} has data.format "
            f"{data_format}: --save-predictions DIR writes its label values"
        )


def _score(
    predictor: Predictor | ViewsPredictor,
    dataset: Dataset,
    short_side: int | None,
    label_files: Mapping[Sample, LabelFiles] | None = None,
    save_folder: Path | None = None,
    submission_folder: Path | None = None,
) -> tuple[Scores, dict[str, Any] | None]:
    """The scores, and those that are Cityscapes' own where its label files are given."""
    from fornet_keras.evaluation.cityscapes import OfficialScores
    from fornet_keras.evaluation.evaluate import evaluate as score

    official = OfficialScores() if label_files else None
    with counting("evaluating", len(dataset)) as advance:

        def on_image(sample: Sample, image: Any, label: Any, prediction: Mapping[str, Any]) -> None:
            nonlocal official
            if save_folder:
                save_label_values(save_folder, dataset, sample, prediction["label_ids"])
            if submission_folder:
                save_label_values(submission_folder, dataset, sample, prediction["label_ids"], palette=False)
            if label_files and official:
                try:
                    official.add(label_files[sample], prediction["label_ids"])
                except DataError as error:  # of a file that our own scores do without
                    official = None
                    ERRORS.print(f"note: without the scores of cityscapesScripts: {error}")
            advance()

        scores = score(predictor, dataset, on_image, BANDS, BOUNDARY_RADIUS, short_side)
    return scores, official.as_json() if official else None
