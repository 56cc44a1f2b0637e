"""The options that look at an image more than once, and the predictor that a command's options ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from fornet_keras.cli.backend import native_messages_dropped
from fornet_keras.cli.options import Size
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.predicts import Predicts

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.model import FoRNet


class Scales(click.ParamType):
    """Numbers in 0.1…4, with commas between them."""

    name = "S,S,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            scales = tuple(float(part) for part in value.split(","))
        except ValueError:
            scales = ()
        if not scales or not all(0.1 <= scale <= 4 for scale in scales):
            self.fail(
                f"{value} is no list of scales; expected numbers in 0.1…4, such as 0.75,1.25", param, ctx
            )
        return scales


class Views(TypedDict):
    """Values of `--window`, `--flip` and `--scales`."""

    window: tuple[int, int] | None
    flip: bool
    scales: tuple[float, ...]


def views_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--window`, `--flip` and `--scales`."""
    for option in (
        click.option(
            "--scales",
            type=Scales(),
            default=(),
            help="Also look at the image at these scales, and average. Its own, 1, always counts.",
        ),
        click.option("--flip", is_flag=True, help="Also look at the image mirrored, and average."),
        click.option(
            "--window",
            type=Size(),
            help="Predict windows of this size, a multiple of the region size, and blend where they overlap: "
            "for images that are too large for the memory. Images keep their own size then, unless "
            "--short-side is given.",
        ),
    ):
        command = option(command)
    return command


def make_predictor(
    network: FoRNet,
    window: tuple[int, int] | None,
    flip: bool,
    scales: tuple[float, ...],
    short_side: int | None,
) -> Predicts:
    """The predictor that the options ask for; without a shorter side, of images at their own size.

    Raises:
        click.UsageError: the model cannot take such windows.
    """
    from fornet_keras.prediction.predictor import Predictor
    from fornet_keras.prediction.views import ViewsPredictor

    if not (window or flip or scales):
        return Predictor(network, short_side or 0)
    side = network.region_size
    if window and any(length < side or length % side for length in window):
        raise click.UsageError(
            f"--window is {window[0]}x{window[1]}; expected multiples of {side}, the model's region size"
        )
    scales = tuple(sorted({1.0, *scales}))
    return ViewsPredictor(network, window, flip=flip, scales=scales, short_side=short_side or 0)


def open_artifact(model: Path, asked: Mapping[str, object], device: str = "cpu") -> ArtifactPredictor:
    """An exported model, where none of the options `asked` is given, which it cannot follow.

    Raises:
        click.UsageError: one is.
        ExportError: the folder is not whole, or the runtime has no such device.
    """
    if given := [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]:
        raise click.UsageError(
            f"{', '.join(given)}: an exported model has its own runtime, size and top-k, and gives labels "
            "alone"
        )
    with native_messages_dropped():
        predictor = ArtifactPredictor(model, device=device)
    size = "x".join(map(str, predictor.manifest.size))
    click.echo(f"note: the exported model takes {size} pixels; others are letterboxed to that", err=True)
    return predictor
