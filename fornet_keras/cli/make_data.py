"""What makes a data set or the description of one: `data synthesize`, `data describe`, `data rasterize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Number, Place, Size, folder_option, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import ERRORS, counting, quoted
from fornet_keras.data.description import DATASET_YAML
from fornet_keras.errors import listed, one_line

TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev", "test")

_TOO_FEW = 10  # images to validate on: their scores say little


@click.command(
    cls=Command,
    short_help="Made-up street scenes.",
    examples=["data synthesize --output city --train 160 --val 40 --size 256x512"],
)
@click.option(
    "--output", type=Place(path_type=Path), required=True, metavar="DIR", help="New or empty folder."
)
@click.option(
    "--train",
    "num_train",
    type=click.IntRange(min=1),
    default=160,
    show_default=True,
    metavar="N",
    help="Training scenes.",
)
@click.option(
    "--val",
    "num_val",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    metavar="N",
    help="Validation scenes.",
)
@click.option(
    "--size",
    type=Size(),
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


@click.command(
    cls=Command,
    short_help="Draft a dataset.yaml, set images apart for validation.",
    examples=["data describe my_street", "data describe my_street --val 0.2"],
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option(
    "--val",
    "share",
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Where there is one split or none: this share of the labelled images validates, the others train, "
    "as train.txt and val.txt then say. The images in the order of their names are cut into five stretches "
    "and the end of each validates, since frames of a drive that lie next to each other look alike.",
)
@json_option
def describe(folder: Path, share: float | None, json_file: Path | None) -> None:
    """Write a draft of DIR/dataset.yaml for labelled images of your own.

    One that is there stays; --val sets its lists, images and labels.
    """
    from fornet_keras.data.describe import write_draft
    from fornet_keras.data.split_lists import STRETCHES, split_off

    path = folder / DATASET_YAML
    result: dict[str, Any] = {"output": path}
    if share is None or not path.exists():
        with ERRORS.status("reading labels …"):
            source, result["splits"], description = write_draft(folder)
        splits = f"; splits: {', '.join(result['splits'])}" if result["splits"] else ""
        click.echo(f"{path}: a draft of {len(description.classes)} classes, from {one_line(source)}{splits}")
    if share is not None and len(result.get("splits", ())) > 1:
        click.echo("note: --val is not used, there are splits already", err=True)
    elif share is not None:
        images = split_off(folder, share)
        counts = {part: len(found) for part, found in images.items()}
        result |= {"splits": ["train", "val"], "images": counts}
        names = one_line(listed([image.relative_to(folder).as_posix() for image in images["unlabelled"]]))
        left = f"; {counts['unlabelled']} without a label are in neither: {names}" if names else ""
        click.echo(
            f"{folder / 'train.txt'}: {counts['train']} images; val.txt: {counts['val']}, the ends of "
            f"{min(STRETCHES, counts['val'])} stretch(es) of the names in order{left}"
        )
        if counts["val"] < _TOO_FEW:
            fix = "label more, or give --val a larger share"
            few = f"too few to choose the best epoch by or to compare models; {fix}"
            click.echo(f"note: fewer than {_TOO_FEW} images validate: {few}", err=True)
    write_json(json_file, result)
    if len(result["splits"]) > 1:
        click.echo(f"correct it, then: {_check_command(folder, result['splits'])}")
    else:
        click.echo(f"correct it, and set a fifth of the images apart for validation: {_val_command(folder)}")


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
@folder_option(
    "--output", required=True, help="Folder of the data, which may have other splits of the same classes."
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
    from fornet_keras.data.coco_file import read_annotations
    from fornet_keras.data.description import read_dataset_yaml
    from fornet_keras.data.folder import find_splits

    found = read_annotations(annotations)
    with counting("drawing", len(found.images)) as advance:
        names = coco.rasterize(found, images, output, split, advance)
    result = {"output": output, "split": split, "images": len(found.images), "classes": names}
    left_out = found.undrawable()
    write_json(json_file, result | {"left_out": left_out})
    click.echo(f"{len(found.images)} labels of {len(names)} classes in split '{split}': {output}")
    if left_out:
        ids = listed(left_out)
        click.echo(f"annotations left out, without a polygon or a mask: {len(left_out)} (id {ids})")
    splits = find_splits(output, read_dataset_yaml(output))
    if len(splits) > 1:
        click.echo(f"next: {_check_command(output, splits)}")
    else:
        click.echo(
            f"next: the other split's file with --split, or a fifth of this one: {_val_command(output)}"
        )


def _val_command(folder: Path) -> str:
    return f"{_program()} data describe {quoted(folder)} --val 0.2"


def _check_command(folder: Path, splits: Sequence[str]) -> str:
    """`data check` with the splits that train and validate, where they are not called train and val."""
    lower = {split.lower(): split for split in splits}
    val = next((lower[name] for name in VAL_NAMES if name in lower), splits[-1])
    others = [split for split in splits if split != val]
    train = next((lower[name] for name in TRAIN_NAMES if name in lower), "+".join(others))
    chosen = [f"data.train_split={train}"] * (train != "train") + [f"data.val_split={val}"] * (val != "val")
    settings = "".join(f" --set {quoted(Path(setting))}" for setting in chosen)
    return f"{_program()} data check --config finetune --data {quoted(folder)}{settings}"


def _program() -> str:
    return click.get_current_context().find_root().command_path
