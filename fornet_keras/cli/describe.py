"""`data describe`: a `dataset.yaml` for labelled images, and some of them set apart for validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fornet_keras.cli.group import Command
from fornet_keras.cli.make_data import check_command, val_command
from fornet_keras.cli.options import Number, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import ERRORS
from fornet_keras.data import cityscapes
from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.description import DATASET_YAML, FolderDescription, read_dataset_yaml
from fornet_keras.errors import ModelError, listed, one_line
from fornet_keras.model_description import label_table, read_description
from fornet_keras.shipped import find_model

_TOO_FEW = 10  # images to validate on: their scores say little


@click.command(
    cls=Command,
    short_help="Draft a dataset.yaml, set images apart for validation.",
    examples=[
        "data describe my_street",
        "data describe my_street --val 0.2",
        "data describe kitti --classes cityscapes --val 0.2",
    ],
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
@click.option(
    "--classes",
    metavar="cityscapes|MODEL",
    help="These classes, with their colours, instead of those found: Cityscapes', by label ids or train ids, "
    "whichever the labels hold, or those of a run, a saved or a shipped model.",
)
@json_option
def describe(folder: Path, share: float | None, classes: str | None, json_file: Path | None) -> None:
    """Write a draft of DIR/dataset.yaml for labelled images of your own.

    One that is there stays; --val sets its lists, images and labels.
    """
    from fornet_keras.data.split_lists import STRETCHES, split_off

    path = folder / DATASET_YAML
    result: dict[str, Any] = {"output": path, "splits": []}
    others: list[str] = []
    if share is None or classes or not path.exists():
        result["splits"], others = _draft(folder, classes)
    if share is not None and len(result["splits"]) > 1:
        click.echo("note: --val is not used, there are splits already", err=True)
    elif share is not None:
        images = split_off(folder, share)
        counts = {part: len(found) for part, found in images.items()}
        others = [other.replace("{split}", "".join(result["splits"])).strip("/") for other in others]
        result |= {"splits": ["train", "val"], "images": counts}
        names = one_line(listed([image.relative_to(folder).as_posix() for image in images["unlabelled"]]))
        left = f"; {counts['unlabelled']} without a label are in neither: {names}" if names else ""
        click.echo(
            f"{folder / 'train.txt'}: {counts['train']} images; val.txt: {counts['val']}, the ends of "
            f"{min(STRETCHES, counts['val'])} stretch(es) of the names in order{left}"
        )
        if counts["val"] < _TOO_FEW:
            fix = "label more, or remove train.txt and val.txt and give --val a larger share"
            few = f"too few to choose the best epoch by or to compare models; {fix}"
            click.echo(f"note: fewer than {_TOO_FEW} images validate: {few}", err=True)
    click.echo(_places(read_dataset_yaml(folder), others, result["splits"]))
    write_json(json_file, result)
    if len(result["splits"]) > 1:
        then = f"then {check_command(folder, result['splits'])}"
    else:
        then = f"and set a fifth of the images apart for validation: {val_command(folder)}"
    click.echo(f"{'look through' if classes else 'correct'} it, {then}")


def _draft(folder: Path, classes: str | None) -> tuple[list[str], list[str]]:
    """Write `dataset.yaml` and say its classes; the names of the splits, and where else labels may lie."""
    from fornet_keras.data.describe import write_draft
    from fornet_keras.data.found_classes import may_be_cityscapes

    given = _classes_of(classes) if classes else None
    with ERRORS.status("reading labels …"):
        source, splits, description, others = write_draft(folder, given)
    number = f"{len(description.classes)} classes"
    what = f"{number} of {classes}, by" if classes else f"a draft of {number}, from"
    click.echo(f"{folder / DATASET_YAML}: {what} {one_line(source)}")
    if may_be_cityscapes(description.table()):
        fix = f"to have its classes remove {DATASET_YAML}, then add --classes cityscapes"
        click.echo(f"note: the labels may be Cityscapes'; {fix}", err=True)
    return splits, others


def _places(description: FolderDescription, others: Sequence[str], splits: Sequence[str]) -> str:
    labels = ", not ".join([description.labels, *others])
    lists = f"; lists: {description.lists}" if description.lists else ""
    found = f"; splits: {', '.join(splits)}" if splits else ""
    return f"images: {description.images}; labels: {labels}{lists}{found}"


def _classes_of(name: str) -> LabelTable:
    if name == "cityscapes":
        return cityscapes.TABLE
    try:
        folder = find_model(name)
    except ModelError as error:
        raise click.UsageError(f"--classes {error}, or cityscapes") from error
    return label_table(read_description(folder).classes)
