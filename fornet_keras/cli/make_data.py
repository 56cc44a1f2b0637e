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
from fornet_keras.data.coco_file import Coco
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
        click.echo(f"correct it, then {_check_command(folder, result['splits'])}")
    else:
        click.echo(f"correct it, and set a fifth of the images apart for validation: {_val_command(folder)}")


@click.command(
    cls=Command,
    short_help="Labels from annotations of COCO, YOLO or LabelMe.",
    examples=[
        "data rasterize annotations/train.json --images photos --output my_street --split train",
        "data rasterize yolo/data.yaml --output my_street",
        "data rasterize labelme/train --output my_street --split train",
    ],
)
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="ANNOTATIONS")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that the file names in COCO's JSON are relative to; for COCO alone.",
)
@folder_option(
    "--output", required=True, help="Folder of the data, which may have other splits of the same classes."
)
@click.option(
    "--split",
    metavar="NAME",
    help="What these images are called, by default train; of YOLO the split that alone is drawn.",
)
@json_option
def rasterize(
    source: Path, images: Path | None, output: Path, split: str | None, json_file: Path | None
) -> None:
    """Draw annotations into labels, with links to the images and a dataset.yaml.

    ANNOTATIONS is COCO's JSON (its polygons and RLE masks; give --images), or a folder of LabelMe's JSON
    files, each once for each split; or the data.yaml of YOLO's segmentation, all splits of which are drawn.
    What no annotation covers is the class background, value 0.
    """
    from fornet_keras.data import coco
    from fornet_keras.data.description import read_dataset_yaml
    from fornet_keras.data.folder import find_splits

    if json_file and json_file.exists() and source.resolve() in json_file.resolve().parents:
        raise click.UsageError(f"--json {json_file}: lies among the annotations; expected a FILE to write")
    with ERRORS.status("reading annotations …"):
        parts = _read(source, images, output, split)
        for name, (found, folder) in parts.items():
            coco.require_drawable(found, folder, output, name)
    result: dict[str, Any] = {"output": output, "splits": []}
    for name, (found, folder) in parts.items():
        with counting("drawing", len(found.images)) as advance:
            result["classes"] = coco.rasterize(found, folder, output, name, advance)
        left_out = found.undrawable()
        result["splits"].append({"split": name, "images": len(found.images), "left_out": left_out})
        drawn = f"{len(found.images)} labels of {len(result['classes'])} classes"
        click.echo(f"{drawn} in split '{name}': {output}")
        if left_out:
            ids = one_line(listed(left_out))
            click.echo(f"annotations left out, without a polygon or a mask: {len(left_out)} (id {ids})")
    write_json(json_file, result)
    splits = find_splits(output, read_dataset_yaml(output))
    if len(splits) > 1:
        click.echo(f"next {_check_command(output, splits)}")
    else:
        other = "" if _is_yolo(source) else "the other split with --split, or "
        click.echo(f"next: {other}a fifth of this one for validation: {_val_command(output)}")


def _is_yolo(source: Path) -> bool:
    return source.suffix.lower() in (".yaml", ".yml") and not source.is_dir()


def _read(source: Path, images: Path | None, output: Path, split: str | None) -> dict[str, tuple[Coco, Path]]:
    """The annotations of each split, and the folder that the file names in them are relative to."""
    from fornet_keras.data.coco import drawn_classes
    from fornet_keras.data.coco_file import read_annotations
    from fornet_keras.data.labelme_file import read_labelme
    from fornet_keras.data.yolo_file import read_yolo

    if images and (_is_yolo(source) or source.is_dir()):
        raise click.UsageError(f"--images is for COCO: {source} says where its images are; leave it out")
    if _is_yolo(source):
        found, notes = read_yolo(source)
        if split and split not in found:
            raise click.UsageError(f"--split {split}: {source} has {listed([*found])}; name one of them")
        for note in notes:
            click.echo(f"note: {one_line(note)}", err=True)
        return {split: found[split]} if split else found
    if source.is_dir():
        inside = [name for name in (*TRAIN_NAMES, *VAL_NAMES) if (source / name).is_dir()]
        if len(inside) > 1:
            each = f"{source / inside[0]} --split {inside[0]}"
            raise click.UsageError(
                f"{source} holds {listed(inside)}, splits that would be one; draw each: {each}"
            )
        return {split or "train": (read_labelme(source, drawn_classes(output)), source)}
    if not images:
        what = f"the folder of the images that {source} names"
        raise click.UsageError(f"Missing option '--images': {what}; add --images DIR")
    return {split or "train": (read_annotations(source, images), images)}


def _val_command(folder: Path) -> str:
    return f"{_program()} data describe {quoted(folder)} --val 0.2"


def _check_command(folder: Path, splits: Sequence[str]) -> str:
    """`data check` with the splits that train and validate, where they are not called train and val.

    For `finetune`, which is for streets, and the word for other pictures.
    """
    lower = {split.lower(): split for split in splits}
    val = next((lower[name] for name in VAL_NAMES if name in lower), splits[-1])
    others = [split for split in splits if split != val]
    train = next((lower[name] for name in TRAIN_NAMES if name in lower), "+".join(others))
    chosen = [f"data.train_split={train}"] * (train != "train") + [f"data.val_split={val}"] * (val != "val")
    settings = "".join(f" --set {quoted(Path(setting))}" for setting in chosen)
    command = f"{_program()} data check --config finetune --data {quoted(folder)}{settings}"
    return f"(--config folder for pictures that are not of streets): {command}"


def _program() -> str:
    return click.get_current_context().find_root().command_path
