"""TensorBoard event files on every backend: Keras' own callback would need TensorFlow."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter


class EventLog:
    """Writes scalars and pictures into a folder that `tensorboard --logdir` shows.

    Args:
        folder: path of the folder, made if needed; nothing is in it before something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _records(self) -> RecordWriter:
        # Not tensorboard's EventFileWriter: on a full disk its thread prints a traceback and its error is
        # TensorFlow's, which it loads on every backend.
        self._folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names.
        path = self._folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        records = RecordWriter(path.open("wb"))
        first = Event(wall_time=time.time(), file_version="brain.Event:2")
        records.write(first.SerializeToString())
        return records

    def settings(self, values: Mapping[str, Any]) -> None:
        """Show what a run was told beside others' in TensorBoard's HParams; None is left out."""
        told = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in values.items()
            if value is not None
        }
        self._add(hparams_pb(told, trial_id=str(self._folder)).value[0], 0)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one number to the curve `tag`."""
        self._add(Summary.Value(tag=tag, simple_value=float(value)), step)

    def picture(self, tag: str, picture: NDArray[np.uint8], step: int) -> None:
        """Add an RGB uint8 `(height, width, 3)` picture to the series `tag`."""
        _, encoded = cv2.imencode(".png", picture[..., ::-1])
        height, width, channels = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded.tobytes()
        )
        self._add(Summary.Value(tag=tag, image=image), step)

    def forget_from(self, step: int) -> None:
        """Make TensorBoard drop what an interrupted run has logged from `step` on: it comes again."""
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def flush(self) -> None:
        """Bring everything to disk."""
        self._records.flush()

    def close(self) -> None:
        """Flush, and end the file."""
        self._records.close()

    def _add(self, value: Summary.Value, step: int) -> None:
        self._write(Event(step=step, summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
