"""What makes a data set: `data synthesize`, `data rasterize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fornet_keras.cli.group import Command
from fornet_keras.cli.options import Place, Size, folder_option, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import ERRORS, counting, quoted
from fornet_keras.data.coco_file import Coco
from fornet_keras.errors import listed, one_line

TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev", "test")


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
        part = {"split": name, "images": len(found.images), "left_out": found.undrawable()}
        result["splits"].append(part)
    write_json(json_file, result)
    for part in result["splits"]:
        drawn = f"{part['images']} labels of {len(result['classes'])} classes"
        click.echo(f"{drawn} in split '{part['split']}': {output}")
        if left_out := part["left_out"]:
            ids = one_line(listed(left_out))
            click.echo(f"annotations left out, without a polygon or a mask: {len(left_out)} (id {ids})")
    splits = find_splits(output, read_dataset_yaml(output))
    if len(splits) > 1:
        click.echo(f"next {check_command(output, splits)}")
    else:
        other = "" if _is_yolo(source) else "the other split with --split, or "
        click.echo(f"next: {other}a fifth of this one for validation: {val_command(output)}")


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


def val_command(folder: Path) -> str:
    """`data describe` that has some of the images validate."""
    return f"{_program()} data describe {quoted(folder)} --val 0.2"


def check_command(folder: Path, splits: Sequence[str]) -> str:
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
