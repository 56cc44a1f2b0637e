"""`train`: a network from a configuration."""

from __future__ import annotations

from pathlib import Path

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.learnt import learnt_note, taught_note
from fornet_keras.cli.options import (
    Place,
    backend_option,
    config_option,
    data_option,
    json_option,
    on_error_option,
    set_option,
)
from fornet_keras.cli.result import write_json
from fornet_keras.cli.scores import show_scores
from fornet_keras.cli.screen import ERRORS, quoted, show_table
from fornet_keras.cli.settings import read_settings
from fornet_keras.config import Config
from fornet_keras.data.sources import require_split
from fornet_keras.errors import RunInterrupted
from fornet_keras.model_description import CONFIG
from fornet_keras.training.run_folder import is_run


@click.command(
    cls=Command,
    short_help="Train a network, into a run folder.",
    examples=[
        "train --config configs/synthetic.yaml --data city --output runs/city",
        "train --config configs/camvid.yaml --data DIR --backend jax --set training.epochs=100",
        "train --config runs/city/config.yaml --resume",
        "train --config configs/cityscapes.yaml --data DIR --dry-run",
    ],
    memory_advice="lower training.batch_size, augment.crop or data.short_side",
)
@config_option
@backend_option
@data_option
@click.option(
    "--output",
    type=Place(path_type=Path),
    metavar="DIR",
    help="Run folder, new or empty. Default: runs/ and the configuration's name; with a run's own "
    "config.yaml and --resume, the folder of that.",
)
@set_option
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    metavar="N",
    help="Spread each batch over N devices of this machine, with TensorFlow or JAX. With PyTorch, start N "
    "processes: torchrun --nproc-per-node N --no-python fornet train …",
)
@on_error_option
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in the run folder, step for step as if it had never stopped.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="A few steps of everything, nothing kept: what the run will take in time, memory and disk.",
)
@json_option
@click.pass_context
def train(
    context: click.Context,
    config_file: Path,
    backend: str | None,
    data_folder: Path | None,
    output: Path | None,
    overrides: tuple[str, ...],
    devices: int | None,
    on_error: str | None,
    resume: bool,
    dry_run: bool,
    json_file: Path | None,
) -> None:
    """Train a network and leave a run folder with models, curves and pictures."""
    if dry_run and resume:
        raise click.UsageError("--dry-run measures a whole run, not the rest of one; give --resume alone")
    if devices:
        overrides = (*overrides, f"training.devices={devices}")
    if on_error:
        overrides = (*overrides, f"data.on_error={on_error}")
    run_folder = output or _run_folder(config_file, resume or dry_run)
    config = read_settings(config_file, data_folder, overrides)
    for split in (config.data.train_split, config.data.val_split):
        require_split(config.data, split)
    start_backend(backend, reads_batches=True)
    import keras

    from fornet_keras.training.absolute_paths import with_absolute_paths
    from fornet_keras.training.devices import join_processes, leave_processes
    from fornet_keras.training.train import train as run

    processes = join_processes()
    taught = taught_note(with_absolute_paths(config), config.data, config.data.val_split)
    if taught and not processes.rank:
        ERRORS.print(taught, highlight=False)
    if dry_run:
        if processes.count > 1:
            raise click.UsageError("--dry-run measures one process; start it without the launcher")
        _show_estimate(config, json_file)
        return
    program, folder = context.find_root().command_path, quoted(run_folder)
    try:
        result, scores = run(config, run_folder, ERRORS, resume, processes)
    except RunInterrupted as stopped:
        command = f"{program} train --config {folder}/config.yaml --output {folder} --resume"
        raise RunInterrupted(
            f"{stopped}; continue with: {command} --backend {keras.backend.backend()}", stopped.signal_number
        ) from None
    leave_processes(processes)
    if processes.rank:
        return
    write_json(json_file, result)
    show_scores(scores, f"Best model (epoch {result['best_epoch']}) on {config.data.val_split}")
    if config.data.trains_on(config.data.val_split):
        click.echo(learnt_note(config.data.val_split))
    elif taught:
        click.echo(taught)
    pictures = quoted(Path(f"{run_folder.absolute().name}_predicted"))
    click.echo(
        f"\nThe run is in {run_folder}, {result['seconds']:.0f} s. Next:\n"
        f"  {program} evaluate {folder} --report {folder}/report\n"
        f"  {program} predict {folder} IMAGE --output {pictures} --overlay --importance"
    )


def _run_folder(config_file: Path, begins_none: bool) -> Path:
    """The folder of a run without --output: that of its own configuration, or one named after another.

    Raises:
        click.UsageError: a run's own, and a new one would begin, as where --resume is forgotten.
    """
    if config_file.name != CONFIG or not is_run(config_file.parent):
        return Path("runs") / config_file.stem
    if not begins_none:
        raise click.UsageError(
            f"{config_file} is that of a run; expected --resume, which goes on with it, or --output DIR, in "
            "which a new one begins"
        )
    return config_file.parent


def _show_estimate(config: Config, json_file: Path | None) -> None:
    from fornet_keras.training.dry_run import dry_run

    found = dry_run(config, ERRORS)
    write_json(json_file, found)
    minutes = found["seconds"] / 60
    time = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    rows = [
        ("time of the whole run", f"{time} ({found['steps']} steps, {config.training.epochs} epochs)"),
        ("a training step", f"{found['seconds_per_step']:.2f} s, {found['images_per_second']:.1f} images/s"),
        ("a validation image", f"{1000 * found['seconds_per_validation_image']:.0f} ms"),
    ]
    memory = {"peak memory": "peak_memory_bytes", "peak memory of the GPU": "device_memory_bytes"}
    rows += [(name, f"{found[key] / 1e9:.1f} GB") for name, key in memory.items() if found[key]]
    rows.append(("a checkpoint", f"{found['checkpoint_bytes'] / 1e6:.1f} MB"))
    show_table("Estimate", ("what", "it takes"), rows, numbers=False)
