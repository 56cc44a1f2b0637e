"""The options that several commands have, and the types of their values."""

from __future__ import annotations

import math
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from fornet_keras.artifacts.runtimes import DEVICES
from fornet_keras.backend_choice import BACKENDS
from fornet_keras.cli.models import require_one
from fornet_keras.shipped import find_config, find_model


class Number(click.FloatRange):
    """A finite number in a range; click's own lets NaN through."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number


class Numbers(click.ParamType):
    """Such numbers, with commas between them."""

    def __init__(self, name: str, one: Number) -> None:
        self.name = name
        self.one = one

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self.one.convert(part, param, ctx) for part in value.split(","))


SHARE = Number(0, 1, min_open=True)
SHARES = Numbers("R,R,...", SHARE)


class Size(click.ParamType):
    """Height and width in pixels, as in 1024x2048."""

    name = "HxW"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name  # click would write it in capitals

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


class Named(click.Path):
    """A path that is not empty, which would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("is empty; expected a path; look whether a variable in its place is set", param, ctx)
        return super().convert(value, param, ctx)


class Place(Named):
    """What a command writes, where it can be written as far as the command's beginning can tell.

    `~` is the home folder, which shells do not replace in `--json=~/x`.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.path.expanduser(value)).absolute()
        folder = path if path.is_dir() else next(above for above in path.parents if above.exists())
        is_made = path.is_dir() or not path.exists() or (path.is_file() and not path.is_symlink())
        if is_made and not (folder.is_dir() and os.access(folder, os.W_OK)):
            state = "no permission to write in it" if folder.is_dir() else "is a file"
            self.fail(f"{folder}: {state}; expected a folder to write in; choose another", param, ctx)
        return super().convert(os.path.expanduser(value), param, ctx)


READ_AGAIN = {
    "result.json": "config.yaml",
    "model.json": "weights.safetensors",
    "manifest.json": "manifest.json",
    "settings.json": "sources.json",
    "sources.json": "settings.json",
}
"""What a run, a model, an exported one and predictions have, by what is beside it there."""


class JsonFile(Place):
    """A file for JSON, which takes the place of no other kind of file, and of none that commands read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("-", "/dev/stdout"):
            self.fail(f"{value}: there the command says other things; expected a FILE to write", param, ctx)
        path = super().convert(value, param, ctx)
        file = Path(os.path.realpath(path))
        if file.is_file() and file.stat().st_size and file.suffix.lower() != ".json":
            # An INPUT, after --json taken for a flag.
            finding = "is there already and is no .json; expected the FILE to write"
            self.fail(f"{path}: {finding}; name one that ends in .json, or remove it", param, ctx)
        beside = READ_AGAIN.get(file.name)
        if beside and file.is_file() and file.with_name(beside).is_file():
            finding = "is there already, and other commands read it; expected the FILE to write"
            self.fail(f"{path}: {finding}; name another", param, ctx)
        return path


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
    help="Change one setting, such as data.short_side=360. Can be given several times.",
)

on_error_option = click.option(
    "--on-error",
    type=click.Choice(("fail", "skip")),
    help="What becomes of images and labels with a problem. Default: the configuration's data.on_error.",
)

data_option = click.option(
    "--data",
    "data_folder",
    type=Named(path_type=Path),
    metavar="DIR",
    help="Folder of the data, in the place of the configuration's data.root.",
)

folder_option = partial(click.option, type=Place(file_okay=False, path_type=Path), metavar="DIR")
"""An option that takes a folder, which need not exist."""

split_option = click.option(
    "--split",
    metavar="NAME",
    help="The images of this split, such as valid. Default: the configuration's data.val_split.",
)

top_k_option = click.option(
    "--top-k",
    type=SHARE,
    metavar="R",
    help="Share of the regions that is refined. Default: the model's own.",
)

device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Where an exported model runs; gpu works with ONNX (CUDA) and OpenVINO artifacts.",
)

NO_DEVICE = (
    "--device is for exported models; leave it out. Keras uses the GPU that its --backend finds: "
    "CUDA_VISIBLE_DEVICES picks one (-1: the CPU); KERAS_TORCH_DEVICE=cpu turns an Apple GPU off"
)
"""What is said where a model in Keras is given a device."""

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Write again what is there, also with other settings."
)


json_option = click.option(
    "--json",
    "json_file",
    type=JsonFile(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the result as JSON.",
)
