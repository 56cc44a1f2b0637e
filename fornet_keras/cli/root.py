"""The root command, and the way in from `cli.py` and the console script `fornet`."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import warnings
from contextlib import suppress
from multiprocessing import util

import click

from fornet_keras.cli.benchmark import benchmark
from fornet_keras.cli.compare import compare
from fornet_keras.cli.data import data
from fornet_keras.cli.doctor import doctor
from fornet_keras.cli.evaluate import evaluate
from fornet_keras.cli.export import export
from fornet_keras.cli.group import Group
from fornet_keras.cli.predict import predict
from fornet_keras.cli.request import request
from fornet_keras.cli.serve import serve
from fornet_keras.cli.summary import summary
from fornet_keras.cli.train import train
from fornet_keras.version import __version__


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=[
        "data synthesize --output city",
        "train --config configs/synthetic.yaml --data city --output runs/city",
        "predict runs/city city/leftImg8bit/val --output pictures --overlay",
    ],
)
@click.version_option(__version__, prog_name="fornet_keras", message="%(prog)s %(version)s")
def root() -> None:
    """FoR-Net: semantic segmentation that spends its computation on the hard regions of an image."""


for _command in (data, train, evaluate, compare, predict, export, serve, request, benchmark, summary, doctor):
    root.add_command(_command)


def main(program: str | None = None) -> None:
    """Run the command line and end the process.

    Args:
        program: what the user typed to get here, for usage and examples; None takes the script's name.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file on Windows may not know "×" or "–"
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None:  # closed: the next file that is opened would get what is written to it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if not sys.warnoptions:
        # What Keras and the backends say to developers. `python -W default cli.py …` shows it.
        warnings.simplefilter("ignore")
    try:
        root.main(prog_name=program)
    except SystemExit as end:
        if end.code:
            # What JAX is still computing, or tf.data reading, would crash the process while Python takes it
            # down, or be waited for without end.
            for child in multiprocessing.active_children():
                child.terminate()
            util._exit_function()  # type: ignore[attr-defined] # else it complains of leaked semaphores
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with suppress(OSError):
                    stream.flush()
            os._exit(int(end.code))
        raise
