"""TensorBoard event files on every backend: Keras' own callback would need TensorFlow."""

from __future__ import annotations

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
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class EventLog:
    """Writes scalars and pictures into a folder that `tensorboard --logdir` shows.

    Args:
        folder: path of the folder, made if needed; nothing is in it before something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _writer(self) -> EventFileWriter:
        return EventFileWriter(str(self._folder))

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
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))
        )

    def flush(self) -> None:
        """Bring everything to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush, and end the file."""
        self._writer.close()

    def _add(self, value: Summary.Value, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
        self._writer.add_event(event)
