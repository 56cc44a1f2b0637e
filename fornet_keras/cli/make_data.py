"""What makes a data set or the description of one: `data synthesize`, `data describe`, `data rasterize`."""

from __future__ import annotations

from pathlib import Path

import click

from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Size, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import counting, quoted
from fornet_keras.data.description import DESCRIPTION_FILE

MAX_SCENES = 1_000_000  # of a split: that of data/synthetic/city.py, which takes long to import


@click.command(
    cls=Command,
    short_help="Made-up street scenes.",
    examples=["data synthesize --output city --train 160 --val 40 --size 256x512"],
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New or empty folder."
)
@click.option(
    "--train",
    "num_train",
    type=click.IntRange(1, MAX_SCENES),
    default=160,
    show_default=True,
    metavar="N",
    help="Training scenes.",
)
@click.option(
    "--val",
    "num_val",
    type=click.IntRange(1, MAX_SCENES),
    default=40,
    show_default=True,
    metavar="N",
    help="Validation scenes.",
)
@click.option(
    "--size",
    type=Size(),
    metavar="HxW",
    default="256x512",
    show_default=True,
    help="Height and width in pixels.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Another one gives another city.",
)
@json_option
def synthesize(
    output: Path, num_train: int, num_val: int, size: tuple[int, int], seed: int, json_file: Path | None
) -> None:
    """Write made-up street scenes with their labels, in the layout of Cityscapes."""
    from fornet_keras.data.synthetic import write_city

    with counting("drawing", num_train + num_val) as advance:
        write_city(output, num_train, num_val, size, seed, advance)
    result = {"output": output, "train": num_train, "val": num_val, "size": size, "seed": seed}
    write_json(json_file, result)
    click.echo(f"{num_train} training and {num_val} validation scenes: {output}")


@click.command(cls=Command, short_help="Draft a dataset.yaml.", examples=["data describe my_street"])
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@json_option
def describe(folder: Path, json_file: Path | None) -> None:
    """Write a draft of DIR/dataset.yaml for labelled images of your own; one that is there stays."""
    from fornet_keras.data.describe import write_draft

    source, splits, description = write_draft(folder)
    write_json(json_file, {"output": folder / DESCRIPTION_FILE, "splits": splits})
    click.echo(
        f"{folder / DESCRIPTION_FILE}: a draft of {len(description.classes)} classes, from {source}; "
        f"splits: {', '.join(splits)}"
    )
    program = click.get_current_context().find_root().command_path
    click.echo(f"correct it, then: {program} data check --config folder --data {quoted(folder)}")


@click.command(
    cls=Command,
    short_help="Labels from COCO annotations.",
    examples=["data rasterize annotations/train.json --images photos --output my_street --split train"],
)
@click.argument("annotations", type=click.Path(path_type=Path), metavar="JSON")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder that the file names in JSON are relative to.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the data, which may have other splits of the same classes.",
)
@click.option(
    "--split", default="train", show_default=True, metavar="NAME", help="What these images are called."
)
@json_option
def rasterize(annotations: Path, images: Path, output: Path, split: str, json_file: Path | None) -> None:
    """Draw polygons and RLE masks of COCO into labels, with links to the images and a dataset.yaml.

    Once for each split; what no annotation covers is the class background, value 0.
    """
    from fornet_keras.data import coco

    found = coco.read_annotations(annotations)
    with counting("drawing", len(found.images)) as advance:
        names = coco.rasterize(found, images, output, split, advance)
    write_json(json_file, {"output": output, "split": split, "images": len(found.images), "classes": names})
    click.echo(f"{len(found.images)} labels of {len(names)} classes in split '{split}': {output}")
    program = click.get_current_context().find_root().command_path
    check = f"{program} data check --config folder --data {quoted(output)}"
    click.echo(f"next: the other split's file with --split, then: {check}")
