"""`request`: pictures from a model that TensorFlow Serving runs."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from fornet_keras.artifacts.manifest import Manifest, read_manifest
from fornet_keras.artifacts.runtimes import Run
from fornet_keras.cli.backend import native_messages_dropped
from fornet_keras.cli.group import Command
from fornet_keras.cli.models import weights_mark
from fornet_keras.cli.options import Named, folder_option, json_option, overwrite_option
from fornet_keras.cli.predict import end_prediction
from fornet_keras.cli.screen import tracking
from fornet_keras.errors import DataError, ServingError
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.folder import FolderPrediction
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.shipped import shown


@click.command(
    cls=Command,
    short_help="Ask a running TensorFlow Serving for label ids.",
    examples=["request serving/city/1 street.jpg --server localhost:8500 --output pictures"],
)
@click.argument("artifact", type=Named(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--server", metavar="HOST:PORT", help="Default: localhost:8500, or with --rest localhost:8501.")
@click.option("--name", metavar="NAME", help="Model at the server. Default: the name of ARTIFACT's parent.")
@click.option("--rest", is_flag=True, help="Use REST in the place of gRPC.")
@folder_option("--output", required=True, help="Folder of the label PNGs.")
@overwrite_option
@json_option
@click.pass_context
def request(
    context: click.Context,
    artifact: Path,
    images: tuple[str, ...],
    server: str | None,
    name: str | None,
    rest: bool,
    output: Path,
    overwrite: bool,
    json_file: Path | None,
) -> None:
    """Predict images at a TensorFlow Serving that runs ARTIFACT, a SavedModel that `export` has written.

    Of ARTIFACT, manifest.json is enough here: it says which size the images are letterboxed to and what
    colours the classes have. Where its folder is a version's, that version is asked. What is written, kept
    and listed is as with `predict`. A server that stops answering ends the command; given again, it goes on
    where it was. What `serve` runs needs no client but curl.
    """
    if re.match("https?:", str(artifact)):
        raise click.UsageError(
            f"{artifact} is no folder: expected the artifact that a TensorFlow Serving runs, whose address "
            "--server is; what `serve` runs is asked with curl (docs/export.md)"
        )
    manifest = read_manifest(artifact, with_files=False)
    _require_fit(artifact, manifest, rest)
    usual = "localhost:8501" if rest else "localhost:8500"
    server = usual if server is None else server
    address = re.fullmatch(r"(?:[^\s:/@\[\]]+|\[[^\s/@\[\]]+\]):([0-9]{1,5})", server)
    if not address or not 0 < int(address[1]) < 2**16:
        raise ServingError(f"--server '{server}': is not HOST:PORT; expected for example {usual}")
    found = find_inputs(images, output)
    for entry in found:
        if entry.is_video:
            raise DataError(f"{entry.path}: is a video or camera; expected images; predict it with `predict`")
    name = name or Path(os.path.abspath(artifact)).parent.name
    predictor = ArtifactPredictor(artifact, run=_asking(server, name, artifact, rest))
    settings = {"model": shown(artifact), "weights": weights_mark(artifact), "top_k": predictor.top_k}
    settings |= {"served": name}
    with tracking() as track:
        prediction = FolderPrediction(
            predictor, predictor.table, output, overwrite=overwrite, track=track, settings=settings
        )
        outcomes = prediction(found)
    end_prediction(context, artifact, prediction, outcomes, json_file)


def _require_fit(artifact: Path, manifest: Manifest, rest: bool) -> None:
    if manifest.format != "saved_model":
        raise ServingError(
            f"{artifact}: is written for {manifest.format}, which TensorFlow Serving does not run; expected "
            "a SavedModel, of `export --format saved_model`"
        )
    if rest and "logits" in {tensor.name for tensor in manifest.outputs}:
        raise ServingError(
            f"{artifact}: gives logits, which REST would send along as text, hundreds of megabytes an image; "
            "expected label ids; leave --rest out, or export it again without --logits"
        )


def _asking(server: str, name: str, artifact: Path, rest: bool) -> Run:
    """The artifact as the server runs it."""
    if not rest:
        with native_messages_dropped(), suppress(ImportError):  # the client says what is missing
            import_module("tensorflow")
    from fornet_keras.serving import client

    ask = client.request_rest if rest else client.request_grpc
    folder = Path(os.path.abspath(artifact)).name
    version = int(folder) if folder.isdecimal() and int(folder) < 2**63 else None
    return lambda images: {"label_ids": ask(server, name, images, version)}
