"""`evaluate`: score a model on a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fornet_keras.artifacts.manifest import is_artifact
from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.learnt import trained_on
from fornet_keras.cli.models import own_config, require_classes
from fornet_keras.cli.options import (
    SHARES,
    Configuration,
    backend_option,
    data_option,
    folder_option,
    json_option,
    model_argument,
    on_error_option,
    split_option,
)
from fornet_keras.cli.predictions import PredictionFolders
from fornet_keras.cli.result import write_json
from fornet_keras.cli.scores import show_official_scores, show_scores
from fornet_keras.cli.screen import ERRORS, counting, show_table
from fornet_keras.cli.settings import read_settings
from fornet_keras.cli.views import InferenceOptions, artifact_predictor, inference_options
from fornet_keras.config import Config
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.data.images import image_size
from fornet_keras.data.scan import look_through
from fornet_keras.data.sources import open_split
from fornet_keras.errors import DataError
from fornet_keras.evaluation.tables import curve_table
from fornet_keras.model_description import label_table, read_description
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.protocol import Prediction, ShowsImportance
from fornet_keras.shipped import shown

if TYPE_CHECKING:  # they import Keras
    from fornet_keras.evaluation.cityscapes import LabelFiles, OfficialScores
    from fornet_keras.evaluation.evaluate import Scores

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
        "evaluate phone_int8 --config configs/camvid.yaml --data DIR",
    ],
    memory_advice="give a small --window or a smaller --short-side (an exported model: export it smaller)",
)
@model_argument
@click.option(
    "--config",
    "config_file",
    type=Configuration(),
    help="YAML configuration that says what data to score on. Default: that of MODEL's own training; an "
    "exported model needs it.",
)
@backend_option
@data_option
@split_option
@on_error_option
@inference_options
@click.option(
    "--curve",
    type=SHARES,
    default=(),
    help="Also score at these shares of the regions, in the same run, beside --top-k's.",
)
@folder_option(
    "--report", "report_folder", help="Also write a page with the scores, charts and the ten worst images."
)
@folder_option(
    "--save-predictions",
    "save_folder",
    help="Also write each prediction as a PNG of the data's own label values, with a palette; of images "
    "without any label these alone.",
)
@folder_option(
    "--submission",
    "submission_folder",
    help="Also write what the test server takes: one-channel PNGs of Cityscapes' label ids at native size.",
)
@json_option
def evaluate(
    model: Path,
    config_file: Path | None,
    backend: str | None,
    data_folder: Path | None,
    split: str | None,
    on_error: str | None,
    options: InferenceOptions,
    curve: tuple[float, ...],
    report_folder: Path | None,
    save_folder: Path | None,
    submission_folder: Path | None,
    json_file: Path | None,
) -> None:
    """Score MODEL on whole images, each label at its own size.

    MODEL is a run folder, a saved model's folder, the name of a shipped model, or an exported model. On data
    in the layout of Cityscapes also the benchmark's own scores, as cityscapesScripts gives them.
    """
    exported = None
    if is_artifact(model):
        exported = artifact_predictor(model, {"backend": backend, **options.given(), "curve": curve})
    table = exported.table if exported else label_table(read_description(model).classes)
    config_file = config_file or own_config(model)
    config = read_settings(config_file, data_folder, [f"data.on_error={on_error}"] if on_error else [])
    folders = PredictionFolders(save_folder, submission_folder)
    folders.require_fit(config.data.format, config_file)
    unscored = bool(folders) and not (curve or report_folder or json_file)
    whole = open_split(config.data, split or config.data.val_split)
    require_classes(model, table, whole)
    dataset, skipped = _usable(whole, config, submission_folder is not None, unscored)
    trained_on_it, note = trained_on(model, config_file, config.data, dataset)
    folders.require_own_places(dataset)
    start_backend(backend)
    from fornet_keras.evaluation.cityscapes import find_label_files
    from fornet_keras.evaluation.report import require_own_report, save_report

    if report_folder:
        require_own_report(report_folder)
    predictors: Iterator[ShowsImportance]
    predictors = iter((exported,)) if exported else _predictors(model, dataset, options, curve)
    predictor = next(predictors)
    label_files = find_label_files(dataset)
    if not any(sample.label for sample in dataset.samples):
        folders.write_all(dataset, predictor)
        return folders.show()
    scores, official = _score(predictor, dataset, label_files, folders)
    points = [scores] if curve else []
    points += [_score(other, dataset)[0] for other in predictors]
    points.sort(key=lambda point: point.top_k)
    found: dict[str, Any] = {"model": os.path.abspath(model), "data": os.path.abspath(dataset.root)}
    found |= {"split": dataset.split, "trained_on_it": trained_on_it, "skipped": skipped}
    found |= {"flip": options.flip, "scales": options.scales, "window": options.window}
    found |= _as_json(scores, official, exported, points)
    title = _title(f"{shown(model)} on {dataset.name} {dataset.split}", scores, options, skipped)
    try:
        write_json(json_file, found)
    finally:  # what took hours is not lost to a full disk
        _show(title, note, scores, official, points)
    if report_folder:
        with ERRORS.status("writing the report …"):
            page = save_report(report_folder, title, dataset, predictor, scores, points, note, official)
        click.echo(f"report: {page}")
    folders.show()


def _usable(whole: Dataset, config: Config, submitted: bool, unscored: bool) -> tuple[Dataset, int]:
    """The images of a split that are scored, and how many are left out.

    Of what is `submitted` none may be, and labels may be all void; what is `unscored` needs no labels.

    Raises:
        DataError: the data cannot be used, or images are left out of what is submitted.
    """
    # The labels of a benchmark's test split are its server's.
    may_be_void = submitted if any(sample.label for sample in whole.samples) else unscored
    dataset, _ = look_through(whole, config, counting, ERRORS.print, may_be_void)
    skipped = len(whole) - len(dataset)
    if submitted and skipped:
        raise DataError(
            f"{dataset.root}: {skipped} of {len(whole)} images of '{dataset.split}' are left out; expected a "
            "prediction of each, or the server refuses the submission; mend them, or leave --submission out"
        )
    return dataset, skipped


def _predictors(
    model: Path, dataset: Dataset, options: InferenceOptions, curve: Sequence[float]
) -> Iterator[ShowsImportance]:
    """The predictor that is asked for, then one for each further share of the curve."""
    from fornet_keras.model_folder import load_model

    options = options.resolved(model)
    network, _ = load_model(model, options.top_k_within(model, image_size(dataset.samples[0].image)))
    yield options.predictor(network)
    for share in set(curve) - {network.top_k}:
        yield options.predictor(network.with_top_k(share))


def _title(begin: str, scores: Scores, options: InferenceOptions, skipped: int) -> str:
    """With all that makes the scores other than those of one look at each image."""
    parts = [begin]
    parts += [f"shorter side {scores.short_side} px at most"] if scores.short_side else []
    parts += [f"windows of {options.window[0]}x{options.window[1]}"] if options.window else []
    parts += [f"also at scale {scale:g}" for scale in options.scales]
    parts += ["also mirrored"] if options.flip else []
    parts += [f"without {skipped} of {skipped + scores.num_images} images"] if skipped else []
    return ", ".join(parts)


def _as_json(
    scores: Scores,
    official: dict[str, Any] | None,
    exported: ArtifactPredictor | None,
    points: Sequence[Scores],
) -> dict[str, Any]:
    """The scores for `--json`, and what there is beside them."""
    found = scores.as_json() | ({"cityscapes": official} if official else {})
    if exported:
        manifest = exported.manifest
        found |= {"runtime": manifest.format, "size": manifest.size, "precision": manifest.precision}
    else:
        found["runtime"] = f"keras {os.environ['KERAS_BACKEND']}"
    return found | ({"curve": [point.as_json() for point in points]} if points else {})


def _show(
    title: str, note: str, scores: Scores, official: dict[str, Any] | None, points: Sequence[Scores]
) -> None:
    show_scores(scores, title)
    if note:
        click.echo(note)
    if official:
        show_official_scores(official)
    if points:
        show_table("At each share of the regions", *curve_table(points))


def _score(
    predictor: ShowsImportance,
    dataset: Dataset,
    label_files: Mapping[Sample, LabelFiles] | None = None,
    folders: PredictionFolders | None = None,
) -> tuple[Scores, dict[str, Any] | None]:
    """The scores, and those that are Cityscapes' own where its label files are given."""
    from fornet_keras.evaluation.cityscapes import OfficialScores
    from fornet_keras.evaluation.evaluate import evaluate as score

    official = OfficialScores() if label_files else None
    with counting("evaluating", len(dataset)) as advance:

        def on_image(sample: Sample, image: Any, label: Any, prediction: Prediction) -> None:
            nonlocal official
            if folders:
                folders.write(dataset, sample, prediction)
            if label_files and official:
                try:
                    official.add(label_files[sample], prediction["label_ids"])
                except DataError as error:  # of a file that our own scores do without
                    official = None
                    ERRORS.print(f"note: without the scores of cityscapesScripts: {error}")
            advance()

        scores = score(predictor, dataset, on_image, BANDS, BOUNDARY_RADIUS)
    return scores, _as_benchmark(official, scores) if official else None


def _as_benchmark(official: OfficialScores, scores: Scores) -> dict[str, Any]:
    """The scores that are Cityscapes' own; say what is missing in them, or wrong."""
    found = official.as_json()
    if official.missing:
        ERRORS.print(f"note: without iIoU: {official.missing}: no such file")
    if (official.scored != scores.matrix.counts).any():
        ERRORS.print(
            "note: cityscapesScripts' scores are of other labels than ours: *_labelIds.png and "
            "*_labelTrainIds.png do not hold the same labels; make the latter anew"
        )
    return found
