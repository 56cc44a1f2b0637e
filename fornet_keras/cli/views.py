"""The options that say how an image is looked at, and the predictor that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fornet_keras.cli.backend import native_messages_dropped
from fornet_keras.cli.options import Number, Numbers, Size, top_k_option
from fornet_keras.cli.screen import ERRORS
from fornet_keras.model_description import read_description
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.protocol import ShowsImportance
from fornet_keras.shipped import shown

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.model import FoRNet


class ShortSide(click.IntRange):
    """Pixels, at least 32, or 0."""

    def _describe_range(self) -> str:
        return "0 or x>=32"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if str(value).strip() == "0" else super().convert(value, param, ctx)


OPTIONS = (
    top_k_option,
    click.option(
        "--budget-ms",
        type=Number(0, min_open=True),
        metavar="MS",
        help="Measure here, by some 200 predictions, and refine as many regions as a prediction of so "
        "many milliseconds allows, of the first image's size.",
    ),
    click.option(
        "--window",
        type=Size(),
        help="Sliding window: predict windows of this size, a multiple of the region size, and blend where "
        "they overlap, for images that are too large for the memory. Images keep their own size then, unless "
        "--short-side is given.",
    ),
    click.option("--flip", is_flag=True, help="Average with the prediction of the image mirrored."),
    click.option(
        "--scales",
        type=Numbers("S,S,...", Number(0.1, 4)),
        default=(),
        help="Test-time augmentation: average with predictions at these scales. Its own, 1, always counts.",
    ),
    click.option(
        "--short-side",
        type=ShortSide(min=32),
        metavar="PIXELS",
        help="Bring the shorter side of larger images down to this before predicting; 0 predicts each at its "
        "own size. What comes out has the image's own size. Default: the model's own, near that of the "
        "images it has learnt from.",
    ),
)


@dataclass(frozen=True)
class InferenceOptions:
    """How an image is looked at: the values of `OPTIONS`, by their names.

    Raises:
        click.UsageError: they contradict each other.
    """

    top_k: float | None = None
    budget_ms: float | None = None
    window: tuple[int, int] | None = None
    flip: bool = False
    scales: tuple[float, ...] = ()
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.budget_ms is None:
            return
        if self.top_k is not None:
            raise click.UsageError("--budget-ms chooses the top-k: give one of the two")
        if self.has_views:
            raise click.UsageError(
                "--budget-ms times one look at an image: leave out --window, --flip and --scales"
            )

    @property
    def has_views(self) -> bool:
        """Whether an image is looked at more than once, or in windows."""
        return bool(self.window or self.flip or self.scales)

    def given(self) -> dict[str, bool]:
        """Name of each option → whether it was given."""
        return {field.name: getattr(self, field.name) != field.default for field in fields(self)}

    def resolved(self, model: Path) -> InferenceOptions:
        """With the model's own shorter side, which is said, where none was asked for; 0 for none.

        Raises:
            ModelError: the model does not say, because it is damaged.
        """
        if self.window or self.short_side is not None:
            return replace(self, short_side=self.short_side or 0)
        own = read_description(model).short_side
        if own:
            click.echo(
                f"larger images are brought down to a shorter side of {own} pixels, at which {shown(model)} "
                "has learnt; --short-side 0 leaves them as they are",
                err=True,
            )
        return replace(self, short_side=own or 0)

    def top_k_within(self, model: Path, size: tuple[int, int]) -> float | None:
        """The top-k asked for, or the one that the budget allows for images of this height and width.

        Raises:
            FoRNetError: the budget is too small.
        """
        if self.budget_ms is None:
            return self.top_k
        from fornet_keras.benchmark.budget import fit_budget

        with ERRORS.status("measuring ten shares of the regions by some 200 predictions …"):
            found, milliseconds = fit_budget(model, size, self.budget_ms, self.short_side or 0)
        ERRORS.print(f"top-k {found:g}: {milliseconds:.1f} ms at {size[0]}x{size[1]} here")
        return found

    def predictor(self, network: FoRNet) -> ShowsImportance:
        """The predictor that is asked for.

        Raises:
            click.UsageError: the model cannot take such windows.
        """
        from fornet_keras.prediction.predictor import Predictor
        from fornet_keras.prediction.views import ViewsPredictor

        if not self.has_views:
            return Predictor(network, self.short_side)
        side, window = network.region_size, self.window
        if window and any(length < side or length % side for length in window):
            raise click.UsageError(
                f"--window is {window[0]}x{window[1]}; expected multiples of {side}, the model's region size"
            )
        scales = tuple(sorted({1.0, *self.scales}))
        return ViewsPredictor(network, window, flip=self.flip, scales=scales, short_side=self.short_side)


def inference_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `OPTIONS`, whose values it gets as `options`."""

    @wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        given = {field.name: values.pop(field.name) for field in fields(InferenceOptions)}
        return command(*args, options=InferenceOptions(**given), **values)

    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def artifact_predictor(model: Path, asked: Mapping[str, object], device: str = "cpu") -> ArtifactPredictor:
    """An exported model, where none of the options `asked` is given, which it cannot follow.

    Raises:
        click.UsageError: one is.
        ExportError: the folder is not whole, or the runtime has no such device.
    """
    if given := [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]:
        raise click.UsageError(f"{', '.join(given)}: an exported model has its own runtime, size and top-k")
    with native_messages_dropped():
        predictor = ArtifactPredictor(model, device=device)
    size = "x".join(map(str, predictor.manifest.size))
    click.echo(f"note: the exported model takes {size} pixels; others are letterboxed to that", err=True)
    return predictor
