"""Predict many images with Ray Data: an exported model in each of several processes, here or on a cluster."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from fornet_keras.artifacts.runtimes import usable_cores
from fornet_keras.errors import FoRNetError, one_line
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.folder import FolderPrediction, Outcome, Track
from fornet_keras.prediction.inputs import Input


class _Worker:
    """A process with its own model; all write into one folder, each input's files whole or not at all."""

    def __init__(
        self,
        artifact: str,
        threads: int,
        output: str,
        kinds: Sequence[str],
        overwrite: bool,
        settings: Mapping[str, Any],
    ) -> None:
        predictor = ArtifactPredictor(Path(artifact), threads)
        self.predict = FolderPrediction(
            predictor, predictor.table, Path(output), kinds, overwrite, settings=settings
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        outcome = self.predict.one(Input(Path(row["path"]), PurePath(row["name"])))
        return {
            "number": row["number"],
            "status": outcome.status,
            "kinds": [*outcome.files],
            "files": [str(file) for file in outcome.files.values()],
            "error": outcome.error or "",
            "notes": [*outcome.notes],
        }


def predict_with_ray(
    artifact: Path, prediction: FolderPrediction, inputs: Sequence[Input], workers: int, track: Track
) -> list[Outcome]:
    """What `prediction(inputs)` returns and writes, from several processes.

    With `RAY_ADDRESS` in the environment they are those of that cluster, which must see the same files.
    Every input is one row and is predicted once; a run that was stopped goes on where it was, since what is
    written is kept.

    Args:
        artifact: folder of the exported model.
        prediction: of the same model.
        inputs: the images and videos.
        workers: processes.
        track: shows the progress.

    Raises:
        FoRNetError: Ray is not installed, a worker failed, or an input was lost.
        DataError: as `prediction(inputs)`.
    """
    ray = _start(workers)
    try:
        prediction.begin(inputs)  # not before Ray is here: what is to be overwritten goes
        rows = [
            {"number": number, "path": os.path.abspath(entry.path), "name": str(entry.name)}
            for number, entry in enumerate(inputs)
        ]
        arguments = (
            os.path.abspath(artifact),
            max(1, usable_cores() // workers),
            os.path.abspath(prediction.output),
            [*prediction.kinds],
            prediction.overwrite,
            {**prediction.settings},
        )
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), 16 * workers))
        data = data.map(_Worker, fn_constructor_args=arguments, concurrency=workers)
        found: dict[int, Outcome] = {}
        for row in track(data.iter_rows(), len(inputs), "images"):
            entry = inputs[row["number"]]
            names = [prediction.output / os.path.relpath(file, arguments[2]) for file in row["files"]]
            files = dict(zip(row["kinds"], names, strict=True))
            places = one_line(rows[row["number"]]["path"]), one_line(str(entry.path))
            error, *notes = (text.replace(*places, 1) for text in (row["error"], *row["notes"]))
            found[row["number"]] = Outcome(entry.path, row["status"], files, error or None, tuple(notes))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FoRNetError(
            f"Ray: {reason}; mend that and start the command again: it goes on where it is"
        ) from None
    finally:
        ray.shutdown()
    if len(found) != len(inputs):
        lost = len(inputs) - len(found)
        raise FoRNetError(f"Ray gave no answer for {lost} of {len(inputs)} inputs; start the command again")
    return [found[number] for number in range(len(inputs))]


def _start(workers: int) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise FoRNetError(
            "--engine ray needs Ray Data, which is not installed; pip install 'fornet_keras[ray]'"
        ) from None
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    # No GPU: TensorFlow would take it for a SavedModel, in each worker all of its memory.
    variables = {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    options: dict[str, Any] = {"runtime_env": {"env_vars": variables}}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"num_cpus": workers + 1, "include_dashboard": False}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    before = signal.getsignal(signal.SIGTERM)
    ray.init(logging_level="ERROR", log_to_driver=False, **options)
    with suppress(ValueError):  # not the main thread, in which Ray has not taken the signal for itself
        signal.signal(signal.SIGTERM, before)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray
