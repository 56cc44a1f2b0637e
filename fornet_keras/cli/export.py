"""`export`: a model for phones and servers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from fornet_keras.artifacts.manifest import Format, Manifest, Precision, Source
from fornet_keras.atomic import new_folder
from fornet_keras.cli.backend import native_messages_dropped, start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.models import note_size, require_classes
from fornet_keras.cli.options import (
    SHARES,
    Configuration,
    Place,
    Size,
    data_option,
    json_option,
    model_argument,
    split_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import OUTPUT, quoted, show_table
from fornet_keras.cli.settings import validation_data
from fornet_keras.errors import ExportError, one_line
from fornet_keras.export.target import check_target
from fornet_keras.model_description import read_description

if TYPE_CHECKING:
    from fornet_keras.model import FoRNet

FORMATS = get_args(Format)
PRECISIONS = get_args(Precision)


@click.command(
    cls=Command,
    short_help="Write a model for phones and servers, and prove it.",
    examples=[
        "export runs/city --format litert --size 256x512 --output phone",
        "export runs/city --format litert --precision int8 --size 256x512 --calibration IMAGES --output i8",
        "export runs/city --format onnx --size 256x512 --top-k 0.1,0.25,0.5,1 --importance --output ratios",
        "export runs/city --format onnx --static --size 256x512 --output jetson",
        "export runs/city --format saved_model --size 256x512 --top-k 0.25 --output serving/city",
    ],
    memory_advice="give a smaller --size",
)
@model_argument
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="What is written.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Number format; not every format has each.",
)
@click.option(
    "--size",
    type=Size(),
    required=True,
    help="Size of the images, such as 360x640; best near that of the images it has learnt from.",
)
@click.option(
    "--top-k",
    type=SHARES,
    default=(),
    help="Share of the regions that is refined; with several, one artifact each in --output. "
    "Default: the model's own.",
)
@click.option(
    "--output",
    type=Place(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the artifact, which must not exist; a SavedModel becomes the next version in it.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder of images, without labels, like those it will see: int8 is calibrated on up to 64 of them, "
    "and unless --config is given the proof is taken on 4 others.",
)
@click.option(
    "--config",
    "config_file",
    type=Configuration(),
    help="Take the proof on up to 16 labelled images of this configuration, a run's own too: it then has the "
    "change in mIoU.",
)
@data_option
@split_option
@click.option(
    "--static",
    is_flag=True,
    help="One image a call and every shape known, as TensorRT wants its ONNX; slower on a CPU.",
)
@click.option("--logits", is_flag=True, help="The artifact also gives the logits.")
@click.option("--importance", is_flag=True, help="The artifact also gives importance and kept regions.")
@json_option
def export(
    model: Path,
    format_name: Format,
    precision: Precision,
    size: tuple[int, int],
    top_k: tuple[float, ...],
    output: Path,
    calibration: Path | None,
    config_file: Path | None,
    data_folder: Path | None,
    split: str | None,
    static: bool,
    logits: bool,
    importance: bool,
    json_file: Path | None,
) -> None:
    """Write MODEL for another runtime; raw RGB images in, label ids out.

    The artifact is loaded in its own runtime and compared with Keras before it is there; without
    --calibration or --config on made-up street scenes. manifest.json beside it says how to call it and what
    was proven.
    """
    if find_spec("tensorflow") is None:
        raise ExportError("export needs TensorFlow, whatever trained the model; pip install tensorflow")
    if static and format_name != "onnx":
        raise click.UsageError("--static needs --format onnx; LiteRT's graph always is, the others' never")
    check_target(output, format_name, precision, size, calibration is not None)
    shares = _folders(output, top_k)
    weights = read_description(model).sha256
    dataset = validation_data(config_file, data_folder, split)
    start_backend("tensorflow")
    from fornet_keras.export.export import export_model
    from fornet_keras.export.formats import ExportSpec
    from fornet_keras.export.images import export_images
    from fornet_keras.model_folder import load_model

    network, table = load_model(model, top_k[0] if top_k else None)
    if read_description(model).sha256 != weights:
        raise ExportError(
            f"{model}: has other weights than a moment ago; expected one model; export it again"
        )
    name = next(part for part in reversed(model.resolve().parts) if part not in ("best", "last"))
    source = Source(model=one_line(name), weights_sha256=weights)
    note_size(model, size)
    if dataset:
        require_classes(model, table, dataset)
    outputs = ("label_ids", *["logits"] * logits, *["importance", "kept"] * importance)
    images, proof = export_images(calibration, dataset, size, precision == "int8")
    spec = ExportSpec(format_name, size, precision, outputs, images, static)

    def write(network: FoRNet, folder: Path) -> tuple[Path, Manifest]:
        working = f"writing and proving {format_name} at top-k {network.top_k:g} …"
        with native_messages_dropped(), OUTPUT.status(working):
            return export_model(network, table, folder, spec, proof, source)

    if len(top_k) < 2:
        written = [write(network, output)]
    else:
        written = []
        with new_folder(output) as writing:
            for below, share in shares.items():
                folder, manifest = write(network.with_top_k(share), writing / below)
                written.append((output / folder.relative_to(writing), manifest))
    for folder, manifest in written:
        _show(folder, manifest)
    _tell_next(output, [folder for folder, _ in written], format_name)
    results = [{"artifact": folder, **manifest.model_dump(mode="json")} for folder, manifest in written]
    write_json(json_file, {"artifacts": results} if len(top_k) > 1 else results[0])


def _folders(output: Path, top_k: Sequence[float]) -> dict[str, float]:
    """The share of each folder that is written below the output, where there are several."""
    if len(top_k) > 1 and output.exists():
        raise ExportError(f"{output}: is there already; choose another --output, or remove it")
    shares = {f"top_k_{share:g}": share for share in top_k}
    if len(shares) < len(set(top_k)):
        raise ExportError(
            f"--top-k {','.join(map(str, top_k))}: two of them would be one folder of {', '.join(shares)}; "
            "expected shares that differ in six digits; leave one out"
        )
    return shares


def _tell_next(output: Path, artifacts: Sequence[Path], format_name: Format) -> None:
    """Say which commands use what was written."""
    program = click.get_current_context().find_root().command_path
    first, *_ = names = [quoted(folder) for folder in artifacts]
    # A folder of pictures holds one model's: with the number of a SavedModel's version, or a ratio, below.
    which = "_".join((output.absolute().name, *artifacts[0].relative_to(output).parts))
    commands = [
        f"{program} predict {first} IMAGE --output {quoted(Path(f'{which}_predicted'))} --overlay",
        f"{program} benchmark {' '.join(names)}",
    ]
    if format_name != "saved_model":
        commands.append(f"{program} serve {' '.join(names)}")
    elif artifacts[0].parent == Path("deploy/models/city"):  # what the settings in deploy/ look for
        commands.append("docker compose --file deploy/compose.yaml up")
        commands.append(f"{program} request {first} IMAGE --output {quoted(Path(f'{which}_served'))}")
    click.echo("\n  ".join(["Next:", *commands]))


def _show(folder: Path, manifest: Manifest) -> None:
    """What the proof found."""
    proof = manifest.proof
    rows = [
        [
            f"batch {check.batch}",
            f"{check.label_agreement:.4%}",
            f"{check.refined_agreement:.2%}",
            f"{check.importance_difference:.2%}",
            f"{check.largest_logit_difference:.1e}",
            "–" if check.miou is None else f"{check.miou:.4f} ({check.miou_keras:.4f})",
        ]
        for check in proof.at_top_k
    ]
    headings = ("same labels", "same refined regions", "importance differs by", "logits differ by")
    show_table(f"{folder}: compared with Keras on {proof.images}", ("", *headings, "mIoU (Keras)"), rows)
    if proof.exported_coarse is None:
        click.echo(
            "On these images Keras gives nearly the same labels without the branch: they cannot show whether "
            "the artifact has it; name others with --calibration or --config"
        )
