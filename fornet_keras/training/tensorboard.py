"""TensorBoard event files on every backend: Keras' own callback would need TensorFlow."""

import time

import cv2
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class EventLog:
    """Writes scalars and pictures into a folder that `tensorboard --logdir` shows.

    Args:
        folder: path of the folder, made if needed.
    """

    def __init__(self, folder):
        self._writer = EventFileWriter(str(folder))

    def scalar(self, tag, value, step):
        """Add one number to the curve `tag`."""
        self._add(Summary.Value(tag=tag, simple_value=float(value)), step)

    def picture(self, tag, picture, step):
        """Add an RGB uint8 `(height, width, 3)` picture to the series `tag`."""
        _, encoded = cv2.imencode(".png", picture[..., ::-1])
        height, width, channels = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded.tobytes()
        )
        self._add(Summary.Value(tag=tag, image=image), step)

    def flush(self):
        """Bring everything to disk."""
        self._writer.flush()

    def close(self):
        """Flush, and end the file."""
        self._writer.close()

    def _add(self, value, step):
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
        self._writer.add_event(event)
