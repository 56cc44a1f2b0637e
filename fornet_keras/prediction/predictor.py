"""Predictor: label ids of whole images, at the image's own size, without full-size logits leaving Keras."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from fornet_keras.model import FoRNet

MAX_SIZES = 8
"""Image sizes whose compiled functions are kept: each takes megabytes, and a folder may hold any number."""


@keras.saving.register_keras_serializable("fornet_keras")
class LabelIds(keras.layers.Layer):
    """The class with the highest logit: `(…, classes)` to int32 `(…)`."""

    def __init__(self, **kwargs: Any) -> None:
        # float32, or a mixed policy would round the logits before they are compared.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, logits: Any) -> Any:
        if keras.backend.backend() != "tensorflow":
            return ops.cast(ops.argmax(logits, axis=-1), "int32")
        import tensorflow as tf

        # ops.argmax tells -0.0 from 0.0, which takes as long again and is not among LiteRT's operations.
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def compute_output_spec(self, logits: Any) -> Any:
        return keras.KerasTensor(logits.shape[:-1], "int32")


class Predictor:
    """Predicts with a `FoRNet`, whose weights it shares: it follows their training.

    Args:
        model: a `FoRNet`.

    Example:
        >>> from fornet_keras.model import FoRNet
        >>> predict = Predictor(FoRNet.from_preset("nano", num_classes=11))
        >>> predict(np.zeros((90, 120, 3), "uint8"))["label_ids"].shape
        (90, 120)
    """

    def __init__(self, model: FoRNet) -> None:
        self.top_k = model.top_k
        self.region_size = model.region_size
        outputs = {
            "label_ids": LabelIds(name="label_ids")(model.output["logits"]),
            "coarse_label_ids": LabelIds(name="coarse_label_ids")(model.output["coarse_logits"]),
            "importance": model.output["importance"],
            "kept": model.output["kept"],
        }
        self._model = keras.Model(model.input, outputs)
        # XLA takes twice the time of TensorFlow's own kernels on a CPU, and JAX is nothing without it.
        self._model.compile(jit_compile=keras.backend.backend() == "jax")
        self._functions: dict[tuple[int, ...], Any] = {}

    def __call__(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Predict one image.

        Args:
            image: RGB, uint8 or float, 0…255, `(height, width, 3)`.

        Returns:
            dict of NumPy arrays: `label_ids` uint8 `(height, width)`; `coarse_label_ids` uint8, the coarse
            path's, at stride 4 and padded to whole regions; `importance` float32 `(rows, columns)`, 0…1, the
            expected share of wrong pixels of each region; `kept` bool `(rows, columns)`.
        """
        outputs = self._predict(np.asarray(image)[None])
        label_ids, coarse, importance, kept = (
            np.asarray(outputs[name])[0] for name in ("label_ids", "coarse_label_ids", "importance", "kept")
        )
        return {
            "label_ids": label_ids.astype(np.uint8),
            "coarse_label_ids": coarse.astype(np.uint8),
            "importance": 1 / (1 + np.exp(-importance)),
            "kept": kept > 0.5,
        }

    def _predict(self, batch: NDArray[Any]) -> dict[str, Any]:
        """Outputs of the model, through a function of this size alone.

        At a second size TensorFlow would trace again with height and width unknown, on which the number of
        regions depends.
        """
        size = batch.shape[1:3]
        self._model.predict_function = self._functions.pop(size, None)  # None: Keras makes a new one
        outputs = self._model.predict_on_batch(batch)
        self._functions[size] = self._model.predict_function
        if len(self._functions) > MAX_SIZES:
            self._functions.pop(next(iter(self._functions)))
        return outputs
