"""`benchmark`: what a prediction costs here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from fornet_keras.artifacts.manifest import is_artifact, read_manifest
from fornet_keras.backend_choice import BACKENDS, SHARED_GPU, choose_backend
from fornet_keras.benchmark.peers import PEERS
from fornet_keras.cli.backend import native_messages_dropped, start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.learnt import trained_on
from fornet_keras.cli.models import exported_in, note_size, require_classes
from fornet_keras.cli.options import (
    NO_DEVICE,
    SHARES,
    Configuration,
    Size,
    backend_option,
    data_option,
    device_option,
    json_option,
    split_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import OUTPUT, counting, show_table
from fornet_keras.cli.settings import read_settings, validation_data
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.sizes import require_runnable
from fornet_keras.errors import ModelError
from fornet_keras.model_description import label_table, read_description
from fornet_keras.shipped import find_model, shown

NAME_WIDTH = 10  # with it and the short words, none is broken on a terminal of 80 columns
SHORT = {
    "float32": "f32",
    "float16": "f16",
    "dynamic_int8": "dyn8",
    "keras tensorflow": "tf",
    "keras jax": "jax",
    "keras torch": "torch",
}


def _each(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[Path, ...]:
    """The models, and of a folder of exported ones each."""
    folders = [find_model(name) for name in names]
    return tuple(path for folder in folders for path in exported_in(folder) or [folder])


@click.command(
    cls=Command,
    short_help="Time models and exported models in one run.",
    examples=[
        "benchmark runs/city --size 512x1024 --top-k 0.1,0.25,0.5,1",
        "benchmark runs/city phone serving/city/1 --memory --json times.json",
        "benchmark runs/city --also jax --also torch --top-k 0.25,1",
        "benchmark phone --against deeplabv3plus_mobilenetv3 --against segformer_b0",
    ],
    memory_advice="give a smaller --size",
)
@click.argument("models", nargs=-1, required=True, callback=_each, metavar="MODEL|ARTIFACT...")
@backend_option
@click.option(
    "--size",
    type=Size(),
    default="512x1024",
    show_default=True,
    help="Image size of a MODEL; an artifact has its own.",
)
@click.option(
    "--top-k",
    type=SHARES,
    default=(),
    help="Shares of the regions at which a MODEL is timed. Default: its own.",
)
@click.option("--repeats", type=click.IntRange(1), default=20, show_default=True, help="Rounds.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of LiteRT, ONNX Runtime, OpenVINO, and PyTorch of --against; Keras and a SavedModel have "
    "their backend's. Default: every usable core.",
)
@device_option
@click.option(
    "--also",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="Also time each MODEL in this backend of Keras, in a process of its own.",
)
@click.option(
    "--against",
    type=click.Choice(list(PEERS)),
    multiple=True,
    help="Also time a known network, with random weights and 19 classes, in each runtime that is installed.",
)
@click.option(
    "--memory",
    is_flag=True,
    help="Also measure the most memory that a process holds which imports what it needs, opens the model and "
    "predicts: the machine's and not a GPU's; not of --also and --against.",
)
@click.option(
    "--config",
    "config_file",
    type=Configuration(),
    help="Time on an image of this configuration's validation data instead of a made-up street scene, and "
    "score mIoU on all of it, images brought to that size, each label at its own.",
)
@data_option
@split_option
@json_option
@click.pass_context
def benchmark(
    context: click.Context,
    models: tuple[Path, ...],
    backend: str | None,
    size: tuple[int, int],
    top_k: tuple[float, ...],
    repeats: int,
    threads: int | None,
    device: str,
    also: tuple[str, ...],
    against: tuple[str, ...],
    memory: bool,
    config_file: Path | None,
    data_folder: Path | None,
    split: str | None,
    json_file: Path | None,
) -> None:
    """Time predictions of MODELs in Keras and of exported ARTIFACTs in their runtimes, one image a call.

    All are timed in turn, so that what else the machine does falls on all of them alike; of a folder of
    several artifacts, which `export` writes for several top-k, each is. The artifact's files are checked
    against its manifest first. In the table, ms is the median and p95 what 95 % of the calls stay below,
    ratio is to the first row of the same size, MB is on disk, and same is the share of pixels with Keras'
    label in the export's proof. Where anything runs on a GPU, each row says on what.
    """
    _require_fit(context, models, device, threads, against)
    require_runnable(size)
    dataset = validation_data(config_file, data_folder, split)
    learnt = _notes(models, config_file, data_folder, dataset, size) if config_file and dataset else {}
    for name, value in SHARED_GPU.items():  # several may be timed on it, some in processes of their own
        os.environ.setdefault(name, value)
    start_backend(backend)
    from fornet_keras.benchmark.candidates import candidates
    from fornet_keras.benchmark.measure import CPU, WARM_UP, benchmark_image, measure, score
    from fornet_keras.benchmark.memory import peak_megabytes

    others = [choose_backend(name).backend for name in dict.fromkeys(also)]
    others = [name for name in others if name != os.environ["KERAS_BACKEND"]]
    with native_messages_dropped() as terminal, Console(file=terminal).status("preparing …"):
        found = candidates(models, size, top_k, threads, against, others, device)
    with counting("timing", WARM_UP + repeats) as advance:
        rows = measure(found, repeats, advance, dataset)
    with counting("memory and scores", len(found)) as advance:
        for row, candidate in zip(rows, found, strict=True):
            row["peak_megabytes"] = None
            if memory:
                image = benchmark_image(candidate.size, dataset)
                with native_messages_dropped():
                    row["peak_megabytes"] = peak_megabytes(candidate.make, image)
            row["miou"] = score(candidate, dataset) if dataset else None
            row["trained_on_it"] = learnt.get(row["name"])
            advance()
    devices = any(row["device"] != CPU for row in rows)
    heads = ["", "runtime", *["device"] * devices, "top-k", "ms", "p95", "ratio", "img/s", "MB", "same"]
    heads += ["peak MB"] * memory + ["mIoU"] * bool(dataset)
    for size in dict.fromkeys(tuple(row["size"]) for row in rows):
        title = f"One image of {size[0]}x{size[1]} a call, median of {repeats}"
        shown_rows = (row for row in rows if tuple(row["size"]) == size)
        show_table(title, heads, (_cells(row, devices, memory, bool(dataset)) for row in shown_rows))
    write_json(json_file, rows)


def _require_fit(
    context: click.Context, models: Sequence[Path], device: str, threads: int | None, against: Sequence[str]
) -> None:
    """Refuse options that nothing which is timed can take."""
    if device != "cpu" and against:
        raise click.UsageError("--against is timed on the CPU; leave --device out")
    if device != "cpu" and not any(map(is_artifact, models)):
        raise click.UsageError(NO_DEVICE)
    if threads and not against and not any(map(is_artifact, models)):
        raise click.UsageError("--threads is for exported models and --against; leave it out")
    if all(map(is_artifact, models)):
        source = {name: context.get_parameter_source(name) for name in ("backend", "size", "top_k", "also")}
        given = [name.replace("_", "-") for name in source if source[name] is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(
                f"--{', --'.join(given)}: of a MODEL in Keras, and here are exported models only"
            )


def _notes(
    models: Sequence[Path],
    config_file: Path,
    data_folder: Path | None,
    dataset: Dataset,
    size: tuple[int, int],
) -> dict[str, bool | None]:
    """Say what must be said of each model's mIoU; return whether it was trained on the images."""
    data, found = read_settings(config_file, data_folder).data, {}
    for model in models:
        if not is_artifact(model):
            note_size(model, size)
        found[str(model)], note = trained_on(model, config_file, data, dataset)
        note = _classes_note(model, dataset) or note.replace("note:", f"note: {shown(model)}:", 1)
        if note:
            click.echo(note, err=True)
    return found


def _classes_note(model: Path, dataset: Dataset) -> str | None:
    """A line where a model has other classes than the data, and so no mIoU."""
    described = read_manifest(model, with_files=False) if is_artifact(model) else read_description(model)
    try:
        require_classes(Path(shown(model)), label_table(described.classes), dataset)
    except ModelError as error:
        return f"note: without mIoU: {error}"
    return None


def _cells(row: dict[str, Any], devices: bool, memory: bool, scored: bool) -> list[str]:
    name = shown(Path(row["name"]))
    narrow = OUTPUT.is_terminal and OUTPUT.width < 100
    return [
        f"…{name[1 - NAME_WIDTH :]}" if narrow and len(name) > NAME_WIDTH else name,
        " ".join(SHORT.get(word, word) for word in (row["runtime"], row["precision"])),
        *[row["device"].split()[0] if narrow else row["device"]] * devices,
        _or_dash(row["top_k"], "g"),
        _milliseconds(row["median_ms"]),
        _milliseconds(row["p95_ms"]),
        f"{row['ratio_to_first']:.2f}",
        f"{row['images_per_second']:.1f}",
        f"{row['megabytes']:.1f}",
        _or_dash(row["label_agreement"], ".1%"),
        *[_or_dash(row["peak_megabytes"], ".0f")] * memory,
        *[_or_dash(row["miou"], ".3f")] * scored,
    ]


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
