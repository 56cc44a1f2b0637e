"""`predict`: pictures of what a model sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click
from click.core import ParameterSource

from fornet_keras.artifacts.manifest import is_artifact
from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import FAILED, Command
from fornet_keras.cli.models import weights_mark
from fornet_keras.cli.options import (
    NO_DEVICE,
    backend_option,
    device_option,
    folder_option,
    json_option,
    model_argument,
    overwrite_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import tracking
from fornet_keras.cli.views import InferenceOptions, artifact_predictor, inference_options
from fornet_keras.errors import ModelError
from fornet_keras.prediction.folder import FolderPrediction, Outcome
from fornet_keras.prediction.inputs import Input, find_inputs
from fornet_keras.prediction.outputs import (
    VIDEO_ENDING,
    output_names,
    recorded_settings,
    recorded_sources,
)
from fornet_keras.prediction.protocol import ShowsImportance
from fornet_keras.prediction.ray_engine import predict_with_ray
from fornet_keras.prediction.video import first_size
from fornet_keras.shipped import shown


@click.command(
    cls=Command,
    short_help="Predict images, folders, globs and videos.",
    examples=[
        "predict runs/city street.jpg --output pictures --overlay --importance",
        "predict fornet_s_camvid photo.jpg --output pictures --overlay",
        'predict runs/camvid frames "more/*.png" drive.mp4 camera:0 --output pictures --top-k 0.25',
        "predict exported/onnx @frames.txt --output pictures --engine ray --workers 8",
    ],
    memory_advice="give a small --window or a smaller --short-side (an exported model: export it smaller)",
)
@model_argument
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@folder_option("--output", default="predicted", show_default=True, help="Folder of the pictures.")
@backend_option
@inference_options
@device_option
@click.option("--overlay", is_flag=True, help="Also write the image under its class colours.")
@click.option(
    "--importance",
    is_flag=True,
    help="Also write how hard each region looks (lighter is harder), the refined ones framed in white.",
)
@click.option(
    "--engine",
    type=click.Choice(("here", "ray")),
    default="here",
    show_default=True,
    help="ray predicts with an exported model in several processes, through Ray Data.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Processes of --engine ray.",
)
@click.option(
    "--on-error",
    type=click.Choice(("fail", "skip")),
    default="fail",
    show_default=True,
    help="Files that cannot be used are passed over and listed at the end; with fail that is exit code 1. An "
    "INPUT that names nothing is refused at once.",
)
@overwrite_option
@json_option
@click.pass_context
def predict(
    context: click.Context,
    model: Path,
    inputs: tuple[str, ...],
    output: Path,
    backend: str | None,
    options: InferenceOptions,
    device: str,
    overlay: bool,
    importance: bool,
    engine: str,
    workers: int,
    on_error: str,
    overwrite: bool,
    json_file: Path | None,
) -> None:
    """Predict images, folders, globs and videos with MODEL.

    MODEL is a run folder, a saved model's folder, the name of a shipped model, or an exported model. INPUT is
    also @LIST, a text file of paths below its own folder, camera:0, or the address of a stream, rtsp://… or
    http://…; the last two are recorded until Ctrl-C. Of each image, NAME_labels.png holds the class ids (a
    palette shows their colours); of each video, NAME_overlay.mp4; legend.png names the colours. What is there
    is kept, if it was made with the same settings, which are in settings.json.
    """
    found = find_inputs(inputs, output)
    if engine == "ray":
        _require_fit_for_ray(model, found, device)
    elif context.get_parameter_source("workers") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--workers needs --engine ray")
    settings = {"model": shown(model), "weights": weights_mark(model), **asdict(options)}
    predictor: ShowsImportance
    if is_artifact(model):
        predictor = artifact_predictor(model, {"backend": backend, **options.given()}, device)
        table = predictor.table
        if importance and not predictor.gives_importance:
            raise click.UsageError(
                f"--importance: {shown(model)} does not give it; export the model again with --importance"
            )
    elif device != "cpu":
        raise click.UsageError(NO_DEVICE)
    else:
        options = options.resolved(model)  # which also finds out, before a backend starts, that it is none
        start_backend(backend)
        from fornet_keras.model_folder import load_model

        size = first_size(found) if options.budget_ms else (0, 0)
        settings |= {
            "budget_size": size if options.budget_ms else None,
            "short_side": options.short_side or None,
        }
        recorded = None if overwrite else _recorded_top_k(output, settings, size)
        network, table = load_model(model, recorded or options.top_k_within(model, size))
        if weights_mark(model) != settings["weights"]:  # a training goes on
            raise ModelError(
                f"{model}: has other weights than a moment ago; expected one model; predict again"
            )
        predictor = options.predictor(network)
    kinds = ["labels", *["overlay"] * overlay, *["importance"] * importance]
    if importance and any(entry.is_video for entry in found):
        click.echo("note: of videos only the overlay is written, not the importance", err=True)
    settings |= {"top_k": predictor.top_k}
    with tracking() as track:
        prediction = FolderPrediction(predictor, table, output, kinds, overwrite, track, settings)
        if engine == "ray":
            outcomes = predict_with_ray(model, prediction, found, workers, track)
        else:
            outcomes = prediction(found)
    end_prediction(context, model, prediction, outcomes, json_file, on_error)


def _require_fit_for_ray(model: Path, inputs: Sequence[Input], device: str) -> None:
    if not is_artifact(model):
        raise click.UsageError("--engine ray takes an exported model; write one with `export`")
    if device != "cpu":
        raise click.UsageError("--engine ray predicts on the CPU; leave --device out")
    if any(entry.is_live for entry in inputs):
        raise click.UsageError("--engine ray reads files alone; leave it out for a camera or a stream")


def _recorded_top_k(output: Path, settings: Mapping[str, object], size: tuple[int, int]) -> float | None:
    """Of predictions with the same budget that are to go on: measured again, it might be another."""
    found = recorded_settings(output)
    same = all(found.get(key) == settings[key] for key in ("budget_ms", "weights", "short_side"))
    same = same and found.get("budget_size") == list(size)
    top_k = found.get("top_k")
    if not (settings["budget_ms"] and same and isinstance(top_k, float) and 0 < top_k <= 1):
        return None
    names = (name for key in recorded_sources(output) for name in output_names(key))
    if not any((output / name).exists() for name in names):
        return None
    click.echo(f"top-k {top_k:g}: as it was measured for what is in {output}", err=True)
    return top_k


def end_prediction(
    context: click.Context,
    model: Path,
    prediction: FolderPrediction,
    outcomes: Sequence[Outcome],
    json_file: Path | None,
    on_error: str = "fail",
) -> None:
    """Write and say what became of the inputs; failed ones make the exit code 1, unless they are skipped."""
    counts: Counter[str] = Counter(outcome.status for outcome in outcomes)
    milliseconds = 1000 * median(prediction.seconds) if prediction.seconds else None
    result = {"model": model, "top_k": prediction.predictor.top_k, "output": prediction.output}
    result |= {"classes": prediction.table.names, "milliseconds": milliseconds}
    result |= {status: counts[status] for status in ("written", "kept", "failed")}
    try:
        write_json(json_file, result | {"inputs": [asdict(outcome) for outcome in outcomes]})
    finally:  # what failed is known, wherever the file cannot be written
        _tell(prediction.output, outcomes, counts, on_error, milliseconds)
    if counts["failed"] and on_error == "fail":
        context.exit(FAILED)


def _tell(
    output: Path,
    outcomes: Sequence[Outcome],
    counts: Counter[str],
    on_error: str,
    milliseconds: float | None,
) -> None:
    """Say how many inputs were predicted and how fast, and what was wrong with the others."""
    has_video = any(file.name.endswith(VIDEO_ENDING) for one in outcomes for file in one.files.values())
    each = "image or frame" if has_video else "image"
    speed = f", {milliseconds:.1f} ms an {each}" if milliseconds else ""
    kept = f", {counts['kept']} kept (they were there; --overwrite writes them again)"
    for note in (note for outcome in outcomes for note in outcome.notes):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{counts['written']} predicted{speed}{kept if counts['kept'] else ''}: {output}")
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        begin, end = ("Error: ", "failed") if on_error == "fail" else ("", "skipped")
        click.echo(f"{begin}{len(failed)} of {len(outcomes)} inputs {end}:", err=True)
        click.echo("\n".join(f"  {error}" for error in failed), err=True)
