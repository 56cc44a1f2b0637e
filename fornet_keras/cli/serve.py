"""`serve`: a small server over exported models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Named, device_option, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import OUTPUT
from fornet_keras.errors import ServingError


@click.command(
    cls=Command,
    short_help="Serve exported models: a page in the browser, REST and metrics.",
    examples=["serve phone", "serve ratios --port 9000 --queue 32"],
)
@click.argument(
    "artifacts",
    nargs=-1,
    required=True,
    type=Named(path_type=Path),
    metavar="ARTIFACT...",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 lets the network in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Requests at a time; one more is told to come back.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of the runtimes. Default: every usable core."
)
@device_option
@json_option
def serve(
    artifacts: tuple[Path, ...],
    host: str,
    port: int,
    queue: int,
    threads: int | None,
    device: str,
    json_file: Path | None,
) -> None:
    """Serve ARTIFACTs that `export` has written for LiteRT, ONNX or OpenVINO; Keras is not loaded.

    Artifacts of several top-k become a dial on the page. --json writes the address once it listens. There
    is no password and no TLS: before the network is let in, put a proxy in front.
    """
    for package in ("starlette", "uvicorn", "prometheus_client"):
        if find_spec(package) is None:
            raise ServingError(f"serve needs the package {package}: pip install 'fornet_keras[serve]'")
    from fornet_keras.serving.app import Service
    from fornet_keras.serving.artifacts import open_artifacts
    from fornet_keras.serving.server import listen, run_server

    with listen(host, port) as listening:
        with OUTPUT.status("loading …"):
            service = Service(open_artifacts(artifacts, threads, device), queue)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listening.getsockname()[1]}"
        write_json(json_file, {"address": address, "models": list(service.artifacts)})
        click.echo(f"{', '.join(service.artifacts)}: {address} (Ctrl-C ends it)")
        run_server(service, listening)
    click.echo("stopped")
