"""`train`: a network from a configuration."""

from __future__ import annotations

from pathlib import Path

import click

from fornet_keras.cli.backend import start_backend
from fornet_keras.cli.group import Command
from fornet_keras.cli.options import backend_option, config_option, data_option, json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.scores import show_scores
from fornet_keras.cli.screen import ERRORS
from fornet_keras.cli.settings import read_settings
from fornet_keras.errors import RunInterrupted


@click.command(
    cls=Command,
    short_help="Train a network, into a run folder.",
    examples=[
        "train --config configs/synthetic.yaml --data city --output runs/city",
        "train --config configs/camvid.yaml --data DIR --backend jax --set training.epochs=5",
        "train --config runs/city/config.yaml --output runs/city --resume",
    ],
)
@config_option
@backend_option
@data_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run folder, new or empty. Otherwise runs/ and the configuration's name.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, such as training.epochs=5. Can be given several times.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in the run folder, step for step as if it had never stopped.",
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
    resume: bool,
    json_file: Path | None,
) -> None:
    """Train a network and leave a run folder with models, curves and pictures."""
    config = read_settings(config_file, data_folder, overrides)
    run_folder = output or Path("runs") / config_file.stem
    start_backend(backend, reads_batches=True)
    import keras

    from fornet_keras.training.train import train as run

    program = context.find_root().command_path
    try:
        result, scores = run(config, run_folder, ERRORS, resume)
    except RunInterrupted as stopped:
        command = f"{program} train --config {run_folder / 'config.yaml'} --output {run_folder} --resume"
        raise RunInterrupted(
            f"{stopped}; continue with: {command} --backend {keras.backend.backend()}", stopped.signal_number
        ) from None
    write_json(json_file, result)
    show_scores(scores, f"Best model (epoch {result['best_epoch']}) on {config.data.val_split}")
    click.echo(
        f"\nThe run is in {run_folder}, {result['seconds']:.0f} s. Next:\n"
        f"  {program} evaluate {run_folder} --config {run_folder / 'config.yaml'} --top-k 0.25\n"
        f"  {program} predict {run_folder} IMAGE --output pictures --overlay --importance"
    )
