"""The options that several commands have, and the types of their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from fornet_keras.artifacts.runtimes import DEVICES
from fornet_keras.cli.models import require_one
from fornet_keras.doctor import BACKENDS
from fornet_keras.shipped import find_config, find_model


class Share(click.ParamType):
    """A number in (0, 1]."""

    name = "R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        if not 0 < share <= 1:
            self.fail(
                f"{value} is not a share of the regions; expected a number above 0 and up to 1, such as 0.25",
                param,
                ctx,
            )
        return share


class Shares(click.ParamType):
    """Numbers in (0, 1], with commas between them."""

    name = "R,R,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(Share().convert(part, param, ctx) for part in value.split(","))


class Size(click.ParamType):
    """Height and width in pixels, as in 1024x2048."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        sides = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", value.strip().lower())
        if not sides:
            self.fail(
                f"{value} is not a size; expected HEIGHTxWIDTH in pixels, such as 1024x2048", param, ctx
            )
        return int(sides[1]), int(sides[2])


class ShortSide(click.IntRange):
    """Pixels, at least 32, or 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if str(value).strip() == "0" else super().convert(value, param, ctx)


class Model(click.ParamType):
    """A folder with a model, or the name of a shipped one."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return require_one(find_model(str(value)))


class Configuration(click.ParamType):
    """A configuration's file, or the name of a shipped one."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return find_config(str(value))


model_argument = click.argument("model", type=Model())

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    metavar="NAME",
    help="tensorflow, jax or torch. Default: KERAS_BACKEND, ~/.keras/keras.json, or the first installed.",
)

config_option = click.option(
    "--config",
    "config_file",
    type=Configuration(),
    required=True,
    help="YAML configuration, or the name of one that is shipped, such as synthetic.",
)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, such as training.epochs=5. Can be given several times.",
)

on_error_option = click.option(
    "--on-error",
    type=click.Choice(("fail", "skip")),
    help="What becomes of images and labels with a problem. Default: the configuration's data.on_error.",
)

data_option = click.option(
    "--data",
    "data_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the data, in the place of the configuration's data.root.",
)

split_option = click.option(
    "--split",
    metavar="NAME",
    help="The images of this split, such as valid. Default: the configuration's data.val_split.",
)

top_k_option = click.option(
    "--top-k",
    type=Share(),
    help="Share of the regions that is refined, above 0 and up to 1. Default: the model's own.",
)

short_side_option = click.option(
    "--short-side",
    type=ShortSide(min=32),
    metavar="PIXELS",
    help="Bring the shorter side of larger images down to this before predicting; 0 predicts each at its own "
    "size. What comes out has the image's own size. Default: the model's own, near that of the images it has "
    "learnt from.",
)

budget_option = click.option(
    "--budget-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="Measure here, and refine as many regions as a prediction of so many milliseconds allows.",
)

device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Where an exported model runs; gpu is of ONNX (CUDA) and OpenVINO.",
)

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Write again what is there, also with other settings."
)

json_option = click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the result as JSON.",
)
