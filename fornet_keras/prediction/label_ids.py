"""Layers that decide: from logits to the class with the highest one."""

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fornet_keras")
class LabelIds(keras.layers.Layer):
    """The class with the highest logit.

    Input shape: `(…, classes)`.

    Output shape: int32 `(…)`.
    """

    def __init__(self, **kwargs: Any) -> None:
        # float32, or a mixed policy would round the logits before they are compared.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, logits: Any) -> Any:
        return _highest(logits)

    def compute_output_spec(self, logits: Any) -> Any:
        return keras.KerasTensor(logits.shape[:-1], "int32")


@keras.saving.register_keras_serializable("fornet_keras")
class UpsampledLabelIds(keras.layers.Layer):
    """What `UpsampleToImage` and then `LabelIds` give, without logits of the whole image at once.

    Each of the pixels inside the cells is decided by itself. The labels are the same to float32 rounding;
    OpenVINO and XLA on a CPU take less than half the time, TensorFlow and LiteRT take more.

    Args:
        scale: pixels of the image a cell of the logits, in each direction.

    Input shape: logits `(batch, height, width, classes)` and the image `(batch, rows, columns, channels)`,
        which gives only its size.

    Output shape: int32 `(batch, rows, columns)`.
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        logits, image = inputs
        _, height, width, _ = logits.shape
        logits = ops.pad(ops.cast(logits, "float32"), [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
        rows = list(self._between(logits, height, axis=1))
        if keras.backend.backend() == "jax":  # XLA finds few large maximums in a quarter of the time of many
            rows = [ops.reshape(ops.stack(rows, axis=2), (-1, height * self.scale, *logits.shape[2:]))]
        found = [ops.stack([_highest(x) for x in self._between(row, width, axis=2)], axis=-1) for row in rows]
        labels = ops.reshape(ops.stack(found, axis=2), (-1, height * self.scale, width * self.scale))
        return labels[:, : image.shape[1], : image.shape[2]]

    def _between(self, padded: Any, count: int, axis: int) -> Iterator[Any]:
        """One map for each pixel inside the cells along an axis, from cells with one more at both ends."""
        for number in range(self.scale):
            # From the centre of a cell to that of its pixel, in cells.
            offset = (number + 0.5) / self.scale - 0.5
            first, weight = int(offset >= 0), offset % 1
            before, after = (
                padded[:, start : start + count] if axis == 1 else padded[:, :, start : start + count]
                for start in (first, first + 1)
            )
            yield before * (1 - weight) + after * weight

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs[1].shape[:-1], "int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def _highest(logits: Any) -> Any:
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    import tensorflow as tf

    # ops.argmax tells -0.0 from 0.0, which takes as long again and is not among LiteRT's operations.
    return tf.argmax(logits, axis=-1, output_type=tf.int32)
