"""`summary`: what a network costs."""

from __future__ import annotations

from pathlib import Path

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Size, backend_option, json_option, set_option, top_k_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import show_table
from fornet_keras.config import read_config
from fornet_keras.data import camvid, cityscapes
from fornet_keras.model_description import find_model_json, read_description
from fornet_keras.shipped import CONFIGS, find_model

NUM_CLASSES = {"cityscapes": cityscapes.TABLE.num_classes, "camvid": camvid.TABLE.num_classes}


@click.command(
    cls=Command,
    short_help="Parameters and multiply-accumulates by part.",
    examples=[
        "summary cityscapes --size 1024x2048 --top-k 0.25",
        "summary runs/camvid --size 360x480",
    ],
)
@click.argument("model", metavar="MODEL|CONFIG")
@click.option(
    "--size",
    type=Size(),
    default="1024x2048",
    show_default=True,
    help="Height and width of the image.",
)
@backend_option
@top_k_option
@set_option
@click.option(
    "--num-classes",
    type=click.IntRange(2, 255),
    metavar="N",
    help="Classes of a CONFIG's network. Default: those of its data's format.",
)
@json_option
def summary(
    model: str,
    size: tuple[int, int],
    backend: str | None,
    top_k: float | None,
    overrides: tuple[str, ...],
    num_classes: int | None,
    json_file: Path | None,
) -> None:
    """Count parameters and multiply-accumulates of MODEL, or of the network that CONFIG describes.

    A multiply-accumulate (MAC) is two floating-point operations.
    """
    config = read_config(model, overrides) if _is_config(model) else None
    folder = find_model(model) if config is None else Path()
    if (num_classes or overrides) and config is None:
        option = "--num-classes" if num_classes else "--set"
        raise click.UsageError(f"{option} is for a CONFIG (.yaml): a MODEL has its own classes and settings")
    if config and config.data.format not in NUM_CLASSES and not num_classes:
        raise click.UsageError(f"{model} does not say how many classes its data has: add --num-classes N")
    if config is None:
        read_description(folder)  # it may be no model: known before a backend starts
    start_backend(backend)
    from fornet_keras.model_folder import load_model
    from fornet_keras.summary import summarize
    from fornet_keras.training.build import build_model

    if config:
        network = build_model(config, num_classes or NUM_CLASSES[config.data.format], begins=False)
    else:
        network = load_model(folder)[0]
    costs = summarize(network, size, top_k)
    write_json(json_file, costs)
    parts = {**costs["by_part"], "all": costs}
    height, width = size
    rows = [
        (part, f"{cost['parameters'] / 1e6:.3f}", f"{cost['macs'] / 1e9:.2f}") for part, cost in parts.items()
    ]
    columns = ("part", "M parameters", f"G multiply-accumulates at {height}x{width}")
    show_table(
        f"{model}, {network.num_classes} classes, top-k {costs['top_k']:g}", columns, rows, footer=True
    )
    click.echo(f"With every region refined (top-k 1): {costs['dense_macs'] / 1e9:.2f} G multiply-accumulates")
    if costs["refined_share"] > 2 * costs["top_k"]:
        click.echo(
            f"note: {height}x{width} has so few regions of {network.region_size} pixels that "
            f"{costs['refined_share']:.0%} are refined: at least one always is"
        )


def _is_config(name: str) -> bool:
    """Whether a name is a configuration's file, or a shipped one's; a model of that name wins."""
    is_shipped = (CONFIGS / f"{name}.yaml").is_file() and not find_model_json(Path(name)).is_file()
    return is_shipped or name.endswith((".yaml", ".yml"))
