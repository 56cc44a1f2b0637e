"""`data`: make a data set, look through one, or decode it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.describe import describe
from fornet_keras.cli.group import FAILED, Group
from fornet_keras.cli.make_data import rasterize, synthesize
from fornet_keras.cli.options import config_option, data_option, folder_option, json_option, set_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import ERRORS, counting, quoted, show_table
from fornet_keras.cli.settings import read_settings
from fornet_keras.config import DataConfig
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.label_form import palette_problem
from fornet_keras.data.scan import look_through, scan, usable
from fornet_keras.data.scan_report import ScanReport
from fornet_keras.data.sources import alone_notes, open_split, palette_note, shared_note, unlisted_note
from fornet_keras.errors import DataError, listed

_split_option = click.option(
    "--split",
    metavar="NAME",
    help="This split, such as test, in the place of those that the configuration names.",
)


@click.group(
    cls=Group,
    examples=["data synthesize --output city", "data check --config configs/synthetic.yaml --data city"],
)
def data() -> None:
    """Make a data set, look through one, or decode it."""


for _command in (synthesize, describe, rasterize):
    data.add_command(_command)


@data.command(
    short_help="Count the classes, list what is wrong.",
    examples=["data check --config configs/camvid.yaml --data DIR"],
)
@config_option
@data_option
@_split_option
@set_option
@json_option
@click.pass_context
def check(
    context: click.Context,
    config_file: Path,
    data_folder: Path | None,
    split: str | None,
    overrides: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Read every label of the splits that train and validate, count the classes, and list what is wrong."""
    config = read_settings(config_file, data_folder, overrides)
    splits = [split] if split else [config.data.train_split, config.data.val_split]
    datasets = [_open(config.data, name) for name in splits]
    reports = [_scan(dataset, config.training.workers) for dataset in datasets]
    write_json(json_file, {"splits": [asdict(report) for report in reports]})
    _show(reports)
    trains = [report.split == config.data.train_split for report in reports]
    absent_notes = map(ScanReport.absent_note, reports, trains)
    for note in filter(None, (reports[0].names_note(), *absent_notes)):
        click.echo(note)
    if not split:
        crop_note = reports[0].crop_note(config.augment.crop, config.data.short_side)
        side_note = reports[0].side_note(config.data.short_side)
        for note in filter(None, (crop_note, side_note)):
            click.echo(note)
        if config.data.trains_on(scored := config.data.val_split):
            click.echo(f"note: '{scored}' trains too: its scores will say nothing about other images")
    used = _used(config.data, datasets[0]) if split else datasets[:1]
    shared_notes = [shared_note(config.data, each, datasets[-1]) for each in used]
    of_labels = [note for dataset in datasets for note in alone_notes(dataset, config.data.format)]
    for dataset, report in zip(datasets, reports, strict=True):
        of_labels += filter(None, [palette_note(dataset, config.data.format, report.palette)])
    for note in filter(None, (*shared_notes, *of_labels, unlisted_note(datasets[0], config.data.format))):
        click.echo(note)
    problems = map(ScanReport.void_problem, reports, trains)
    of_palettes = palette_problem({report.split: report.palette for report in reports}, datasets[0].table)
    found = [*filter(None, (*problems, of_palettes))]
    for problem in found:
        click.echo(problem)
    if found or any(report.problems for report in reports):
        context.exit(FAILED)


@data.command(
    short_help="Decode the training images once.",
    examples=["data cache --config configs/cityscapes.yaml --data DIR --output /scratch/decoded"],
)
@config_option
@data_option
@set_option
@folder_option("--output", required=True, help="Folder of the cache.")
@json_option
def cache(
    config_file: Path,
    data_folder: Path | None,
    overrides: tuple[str, ...],
    output: Path,
    json_file: Path | None,
) -> None:
    """Decode the training split once into memory-mapped files, for --set data.cache=DIR in training.

    Training does the same by itself where the folder has no decoded samples, or those of other files.
    """
    from fornet_keras.data.decoded import decoded_samples

    config = read_settings(config_file, data_folder, overrides)
    dataset = open_split(config.data, config.data.train_split, config.data.exclude)
    dataset, _ = look_through(dataset, config, counting, ERRORS.print)
    with counting("decoding", len(dataset)) as advance:
        decoded_samples(dataset, output, config.training.workers, click.echo, advance, config.data.short_side)
    write_json(json_file, {"output": output, "samples": len(dataset)})
    click.echo(
        f"{len(dataset)} decoded samples are in {output}; train with: --set data.cache={quoted(output)}"
    )


@data.command(
    short_help="See what the network sees.",
    examples=["data inspect --config configs/camvid.yaml --data DIR --output inspected"],
)
@config_option
@data_option
@_split_option
@set_option
@folder_option("--output", required=True, help="Folder of the picture.")
@click.option(
    "--batches",
    type=click.IntRange(1, 50),
    default=4,
    show_default=True,
    metavar="N",
    help="Number of training batches to draw, eight samples of each.",
)
@json_option
def inspect(
    config_file: Path,
    data_folder: Path | None,
    split: str | None,
    overrides: tuple[str, ...],
    output: Path,
    batches: int,
    json_file: Path | None,
) -> None:
    """Count a split's classes, and draw a first few batches with their labels, as training picks them."""
    config = read_settings(config_file, data_folder, overrides)
    dataset = _open(config.data, split or config.data.train_split)
    report = _scan(dataset, config.training.workers)
    dataset = usable(dataset, report, config.data.on_error, ERRORS.print)
    start_backend(None)
    from fornet_keras.data.pipeline import TrainingBatches
    from fornet_keras.training.report import save_first_batches

    _show([report])
    if note := report.crop_note(config.augment.crop, config.data.short_side):
        click.echo(note)
    output.mkdir(parents=True, exist_ok=True)
    picture = output / "training_samples.png"
    save_first_batches(picture, TrainingBatches.of_run(dataset, config), batches)
    write_json(json_file, {"picture": picture, "split": asdict(report)})
    click.echo(f"samples as the network sees them, each above its label: {picture}")


def _open(data: DataConfig, split: str) -> Dataset:
    """A split as a run has it."""
    return open_split(data, split, data.exclude if split == data.train_split else ())


def _scan(dataset: Dataset, workers: int) -> ScanReport:
    """What is in a split, all of it read."""
    with counting(f"looking through {dataset.split}") as on_sample:
        return scan(dataset, workers, on_sample)


def _used(data: DataConfig, scored: Dataset) -> Iterator[Dataset]:
    """What trains and what validates, as far as it is there: another split may lie alone.

    Without what another split has all of, as `trainval` has: it is meant.
    """
    splits = (data.train_split, data.val_split)
    for split in splits:
        with suppress(DataError):
            used = _open(data, split)
            if scored.split in splits or not {*used.samples} < {*scored.samples}:
                yield used


def _show(reports: Sequence[ScanReport]) -> None:
    columns = ["class"]
    cells = [[*reports[0].classes, "(void)"]]
    for report in reports:
        pixels = [*report.pixels, report.ignored_pixels]
        total = max(1, sum(pixels))
        columns += [f"{report.split} images", "of its pixels"]
        cells += [[*map(str, report.images_with_class), ""], [f"{count / total:.2%}" for count in pixels]]
    show_table(reports[0].name, columns, zip(*cells, strict=True), footer=True)
    for report in reports:
        sizes = [f"{height}x{width} ({images})" for height, width, images in report.sizes]
        click.echo(f"{report.split}: {report.summary()}; sizes (height x width): {listed(sizes) or 'none'}")
        for problem in report.problems:
            click.echo(f"  {problem}")
        for note in report.image_notes():
            click.echo(note)
