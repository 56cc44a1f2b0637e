"""`request`: pictures from a model that TensorFlow Serving runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from fornet_keras.cli.backend import native_messages_dropped
from fornet_keras.cli.group import FAILED, Command
from fornet_keras.cli.options import json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import tracking
from fornet_keras.errors import DataError, ServingError, one_line
from fornet_keras.prediction.inputs import SETTINGS, Input, find_inputs


@click.command(
    cls=Command,
    short_help="Ask a running TensorFlow Serving for label ids.",
    examples=["request serving/city/1 street.jpg --server localhost:8500 --output pictures"],
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--server", metavar="HOST:PORT", help="Default: localhost:8500, or with --rest localhost:8501.")
@click.option("--name", metavar="NAME", help="Model at the server. Default: the name of ARTIFACT's parent.")
@click.option("--rest", is_flag=True, help="Use REST in the place of gRPC.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the label PNGs.",
)
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
    json_file: Path | None,
) -> None:
    """Predict images at a server that runs ARTIFACT, a SavedModel that `export` has written.

    Its manifest says which size the images are letterboxed to and what colours the classes have; where its
    folder is a version's, that version is asked. Of each image, NAME_labels.png holds the class ids at the
    image's own size. An image that cannot be read is passed over and listed at the end, with exit code 1, as
    is the one at which the server stops answering, which is the last.
    """
    from fornet_keras.artifacts.manifest import read_manifest
    from fornet_keras.data.images import read_image
    from fornet_keras.data.sizes import brought_back, letterboxed
    from fornet_keras.prediction.files import write_labels
    from fornet_keras.prediction.pictures import palette
    from fornet_keras.serving.client import request_grpc, request_rest

    if not rest:
        with native_messages_dropped(), suppress(ImportError):  # the client says what is missing
            import_module("tensorflow")
    manifest = read_manifest(artifact)
    if manifest.format != "saved_model":
        raise ServingError(
            f"{artifact}: is written for {manifest.format}, which TensorFlow Serving does not run; expected "
            "a SavedModel, of `export --format saved_model`"
        )
    colors = palette(manifest.table())
    ask, usual = (request_rest, "localhost:8501") if rest else (request_grpc, "localhost:8500")
    server, folder = server or usual, artifact.absolute()
    if "/" in server:
        raise ServingError(f"--server {server}: is not HOST:PORT; expected for example {usual}")
    version = int(folder.name) if folder.name.isdecimal() else None
    found = _find_images(images, output)
    written: list[Path] = []
    failed: list[str] = []
    with tracking() as track:
        for entry in track(found, len(found), "asking"):
            try:
                image = read_image(entry.path)
            except DataError as error:
                failed.append(str(error))
                continue
            fitting, window = letterboxed(image, manifest.size)
            try:
                labels = ask(server, name or folder.parent.name, fitting[None], version)[0]
            except ServingError as error:
                if not written and not failed:
                    raise
                failed.append(one_line(f"{entry.path}: {error}; the images after it were not asked for"))
                break
            written.append(output / f"{entry.name}_labels.png")
            write_labels(written[-1], brought_back(labels[window], image.shape[:2]), colors)
    write_json(json_file, {"server": server, "written": written, "failed": failed})
    click.echo(f"{len(written)} predicted: {output}")
    if failed:
        lines = [f"Error: {len(failed)} of {len(found)} images failed:", *(f"  {line}" for line in failed)]
        click.echo("\n".join(lines), err=True)
        context.exit(FAILED)


def _find_images(images: Sequence[str], output: Path) -> list[Input]:
    """The images that are named, where they can be asked for into that folder."""
    if (output / SETTINGS).exists():
        raise DataError(
            f"{output}: holds a {SETTINGS}, by which `predict` knows its own label maps again; expected a "
            "folder that `predict` has not written; choose another --output"
        )
    found = find_inputs(images, output)
    for entry in found:
        if entry.is_video:
            raise DataError(f"{entry.path}: is a video or camera; expected images; predict it with `predict`")
    return found
