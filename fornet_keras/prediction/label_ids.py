"""What decides, as layers: from logits to the class with the highest one."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


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
    """What `UpsampleToImage` and then `LabelIds` give, without logits of the whole image.

    Four cells next to each other with the same class on top have it on top of every pixel between them, so
    only pixels whose four cells differ are computed: a tenth of a street scene. How many there are depends on
    the image, and so do shapes inside; on JAX, whose shapes are fixed, every pixel is computed, one block of
    pixels after another. The labels are the same to float32 rounding; TensorFlow's on a GPU, to that of TF32.

    Args:
        scale: pixels of the image a cell of the logits, in each direction.

    Input shape: logits `(batch, height, width, classes)`, at most 255 classes, and the image
        `(batch, rows, columns, channels)`, which gives only its size.

    Output shape: uint8 `(batch, rows, columns)`.
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        logits, image = inputs
        logits = ops.pad(ops.cast(logits, "float32"), [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
        decide = self._every_pixel if keras.backend.backend() == "jax" else self._where_cells_differ
        return decide(logits)[:, : image.shape[1], : image.shape[2]]

    def _where_cells_differ(self, padded: Any) -> Any:
        """Labels of the image, and of more at the bottom and right, from cells with one more on each side."""
        scale = self.scale
        _, rows, columns, classes = padded.shape
        highest = _highest(padded)
        first, *others = (highest[:, y : rows - 1 + y, x : columns - 1 + x] for y in (0, 1) for x in (0, 1))
        differ = sum(ops.cast(ops.not_equal(first, other), "int32") for other in others)
        differ = ops.pad(differ, [[0, 0], [0, 1], [0, 1]])  # numbered like the cells: by the upper left one
        squares = ops.cast(ops.nonzero(ops.reshape(differ, (-1,)))[0], "int32")

        corners = ops.expand_dims(squares, 1) + ops.convert_to_tensor([0, 1, columns, columns + 1], "int32")
        corners = ops.take(ops.reshape(padded, (-1, classes)), corners, axis=0)
        # Classes before pixels: OpenVINO then compares many pixels at a time.
        between = ops.matmul(ops.transpose(corners, (0, 2, 1)), ops.convert_to_tensor(self._weights()))
        found = ops.cast(_highest(between, axis=1), "uint8")

        # Rows of a square's pixels: one for each class, then those that were found; and which one each has.
        alike = np.repeat(np.arange(classes, dtype="uint8")[:, None], scale * scale, axis=1)
        number = classes + ops.arange(ops.shape(squares)[0], dtype="int32")
        which = ops.scatter_update(ops.reshape(highest, (-1,)), ops.expand_dims(squares, 1), number)
        labels = ops.take(ops.concatenate([ops.convert_to_tensor(alike), found], axis=0), which, axis=0)
        labels = ops.transpose(ops.reshape(labels, (-1, rows, columns, scale, scale)), (0, 1, 3, 2, 4))
        labels = ops.reshape(labels, (-1, rows * scale, columns * scale))
        start = scale - scale // 2  # a square begins at the centre of the cell that was added
        return labels[:, start:, start:]

    def _weights(self) -> NDArray[np.float32]:
        """Shares of a square's corners in its pixels, `(4, scale * scale)`, both row by row."""
        offsets = (np.arange(self.scale) + self.scale // 2 + 0.5) / self.scale - 0.5
        shares = np.stack([1 - offsets, offsets]).astype("float32")
        return np.kron(shares, shares)

    def _every_pixel(self, padded: Any) -> Any:
        """Labels of the cells, from cells with one more on each side."""
        height, width = (n - 2 for n in padded.shape[1:3])
        # XLA finds few large maximums in a quarter of the time of many.
        rows = ops.stack(list(self._between(padded, height, axis=1)), axis=2)
        rows = ops.reshape(rows, (-1, height * self.scale, *padded.shape[2:]))
        found = ops.stack([_highest(x) for x in self._between(rows, width, axis=2)], axis=-1)
        return ops.cast(ops.reshape(found, (-1, height * self.scale, width * self.scale)), "uint8")

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
        return keras.KerasTensor(inputs[1].shape[:-1], "uint8")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def _highest(logits: Any, axis: int = -1) -> Any:
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.argmax(logits, axis=axis), "int32")
    import tensorflow as tf

    # ops.argmax tells -0.0 from 0.0, which takes as long again and is not among LiteRT's operations.
    return tf.argmax(logits, axis=axis, output_type=tf.int32)
