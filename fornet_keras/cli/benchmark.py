"""`benchmark`: what a prediction costs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Model, Shares, Size, backend_option, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import counting, show_table

NAME_WIDTH = 14  # with it, the table fits a terminal of 80 columns


@click.command(
    cls=Command,
    short_help="Time models and exported models in one run.",
    examples=[
        "benchmark runs/city --size 512x1024 --top-k 0.1,0.25,0.5,1",
        "benchmark runs/city phone serving/city/1 --json times.json",
    ],
)
@click.argument("models", nargs=-1, required=True, type=Model(), metavar="MODEL|ARTIFACT...")
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
    type=Shares(),
    default=(),
    help="Shares of the regions at which a MODEL is timed. Otherwise its own.",
)
@click.option("--repeats", type=click.IntRange(1), default=20, show_default=True, help="Rounds.")
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of LiteRT, ONNX Runtime and OpenVINO, alike."
)
@json_option
def benchmark(
    models: tuple[Path, ...],
    backend: str | None,
    size: tuple[int, int],
    top_k: tuple[float, ...],
    repeats: int,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Time predictions of MODELs in Keras and of exported ARTIFACTs in their runtimes, one image a call.

    All are timed in turn, so that what else the machine does falls on all of them alike. The artifact's
    files are checked against its manifest first.
    """
    start_backend(backend)
    from fornet_keras.benchmark import WARM_UP, candidates, measure

    found = candidates(models, size, top_k, threads)
    with counting("timing", WARM_UP + repeats) as advance:
        rows = measure(found, repeats, advance)
    write_json(json_file, rows)
    heads = ("", "runtime", "top-k", "ms", "p95", "MB", "same labels")
    for size in dict.fromkeys(tuple(row["size"]) for row in rows):
        title = f"One image of {size[0]}x{size[1]} a call, median of {repeats}"
        show_table(title, heads, (_cells(row) for row in rows if tuple(row["size"]) == size))


def _cells(row: dict[str, Any]) -> list[str]:
    name = row["name"]
    return [
        name if len(name) <= NAME_WIDTH else f"…{name[1 - NAME_WIDTH :]}",
        f"{row['runtime'].removeprefix('keras ')} {row['precision']}",
        f"{row['top_k']:g}",
        f"{row['median_ms']:.1f}",
        f"{row['p95_ms']:.1f}",
        f"{row['megabytes']:.1f}",
        "–" if row["label_agreement"] is None else f"{row['label_agreement']:.1%}",
    ]
