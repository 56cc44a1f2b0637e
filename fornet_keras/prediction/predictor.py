"""Predictor: label ids of whole images, at the image's own size, without full-size logits leaving Keras."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fornet_keras.data.images import as_rgb
from fornet_keras.data.sizes import shrunk
from fornet_keras.model_arguments import warn_of_nearly_black
from fornet_keras.prediction.enlarge import enlarged_label_ids
from fornet_keras.prediction.label_ids import LabelIds, UpsampledLabelIds
from fornet_keras.prediction.pictures import importance_map

MAX_SIZES = 8
"""Image sizes whose compiled functions are kept: each takes megabytes, and a folder may hold any number."""


def label_ids(model: keras.Model, static_shapes: bool = False) -> keras.KerasTensor:
    """The label ids of a `FoRNet`'s images, `(batch, height, width)`, as an output to build a model of.

    Args:
        model: a `FoRNet`.
        static_shapes: whether no shape may depend on what the image shows; takes longer.
    """
    upsample = model.get_layer("logits")
    if static_shapes:
        return LabelIds(name="label_ids")(upsample.output)
    return UpsampledLabelIds(upsample.scale, name="label_ids")(upsample.input)


class PerSize:
    """A model's outputs for images of any size, each size through a compiled function of its own.

    At a second size TensorFlow would trace again with height and width unknown, on which the number of
    regions depends. Threads take turns.

    Args:
        model: a functional model of one image input.
        turn: the lock of all that predict with the same weights, which JAX takes away meanwhile.
        max_sizes: sizes whose functions are kept; of one more, the one that was used longest ago goes.
    """

    def __init__(self, model: keras.Model, turn: threading.Lock, max_sizes: int = MAX_SIZES) -> None:
        self._model = model
        self._max_sizes = max_sizes
        # XLA takes twice the time of TensorFlow's own kernels on a CPU, and JAX is nothing without it.
        self._model.compile(jit_compile=keras.backend.backend() == "jax")
        self._functions: dict[tuple[int, ...], Any] = {}
        self.compiled = 0
        self._turn = turn

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The outputs by name, for images `(batch, height, width, 3)`."""
        with self._turn:
            size = batch.shape
            self.compiled += size not in self._functions
            self._model.predict_function = self._functions.pop(size, None)  # None: Keras makes a new one
            outputs = self._model.predict_on_batch(batch)
            self._functions[size] = self._model.predict_function
            if len(self._functions) > self._max_sizes:
                self._functions.pop(next(iter(self._functions)))
        return {name: np.asarray(output) for name, output in outputs.items()}


def chosen_short_side(own: int | None, asked: int | None) -> int | None:
    """Pixels to which the shorter side of larger images is brought down; None leaves them as they are.

    Args:
        own: what a model has learnt at.
        asked: what is to be taken instead, 0 for each image's own size; None takes `own`.

    Raises:
        ValueError: a number below 0.
    """
    if asked is None:
        return own
    if asked < 0:
        raise ValueError(f"short_side must be pixels, or 0 for the image's own; received {asked}")
    return asked or None


class Predictor:
    """Predicts with a `FoRNet`, whose weights it shares: it follows their training. Threads may share it.

    Args:
        model: a `FoRNet`.
        short_side: pixels to which the shorter side of a larger image is brought down before it is predicted;
            None takes the model's own `short_side`, 0 each image at its own size.

    Raises:
        TypeError: `model` is something else, such as the folder of one.
        ValueError: a shorter side below 0.

    Example:
        >>> from fornet_keras.model import FoRNet
        >>> predict = Predictor(FoRNet.from_preset("nano", num_classes=11))
        >>> predict(np.zeros((90, 120, 3), "uint8"))["label_ids"].shape
        (90, 120)
    """

    def __init__(self, model: keras.Model, short_side: int | None = None) -> None:
        if not hasattr(model, "predict_image"):
            raise TypeError(f"model must be a FoRNet, as load_model(…)[0] is; received {model!r:.80}")
        self.short_side = chosen_short_side(model.short_side, short_side)
        self.num_classes = model.num_classes
        self.top_k = model.top_k
        self.region_size = model.region_size
        outputs = {
            "coarse_label_ids": LabelIds(name="coarse_label_ids")(model.output["coarse_logits"]),
            "importance": model.output["importance"],
            "kept": model.output["kept"],
        }
        upsample = model.get_layer("logits")
        self._stride = upsample.scale
        self._predict, self._to_enlarge = (
            PerSize(keras.Model(model.input, labels | outputs), model._turn)
            for labels in ({"label_ids": label_ids(model)}, {"cells": upsample.input[0]})
        )

    @property
    def compiled(self) -> int:
        """How often a function was compiled, for a size that was new or long unused."""
        return self._predict.compiled + self._to_enlarge.compiled

    def __call__(
        self, image: Path | str | Image.Image | ArrayLike, short_side: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Predict one image.

        Args:
            image: path of an image file, an image of Pillow's, which is turned as its EXIF says, or an RGB
                array `(height, width, 3)`, uint8 or float, 0…255.
            short_side: for this image in the place of the predictor's own.

        Returns:
            dict of NumPy arrays: `label_ids` uint8 `(height, width)`; `coarse_label_ids` uint8, the coarse
            path's, at stride 4 and padded to whole regions; `importance` float32 `(rows, columns)`, 0…1, the
            expected share of wrong pixels of each region; `kept` bool `(rows, columns)`. All but the first
            are of the image as it was brought down. `label_ids` are positions in the classes (Cityscapes'
            train ids), not the values of a data set's label files.

        Raises:
            DataError: the file cannot be read.
            ValueError: an array of another shape, or a shorter side below 0.
        """
        image = as_rgb(image)
        warn_of_nearly_black(image)
        seen = shrunk(image, chosen_short_side(self.short_side, short_side))
        size, seen_size = image.shape[:2], seen.shape[:2]
        predict = self._predict if seen_size == size else self._to_enlarge
        outputs = {name: output[0] for name, output in predict(seen[None]).items()}
        if seen_size != size:
            outputs["label_ids"] = enlarged_label_ids(outputs["cells"], self._stride, seen_size, size)
        return {
            "label_ids": outputs["label_ids"].astype(np.uint8),
            "coarse_label_ids": outputs["coarse_label_ids"].astype(np.uint8),
            "importance": 1 / (1 + np.exp(-outputs["importance"])),
            "kept": outputs["kept"] > 0.5,
        }

    def importance_map(
        self,
        image: NDArray[np.uint8],
        prediction: dict[str, NDArray[Any]],
        short_side: int | None = None,
    ) -> NDArray[np.uint8]:
        """The image under a heat map of the importance that was predicted for it, kept regions framed.

        Args:
            image: what was predicted, uint8 RGB `(height, width, 3)`.
            prediction: what the call returned.
            short_side: as it was given to the call.
        """
        hard = prediction["importance"], prediction["kept"]
        seen_side = chosen_short_side(self.short_side, short_side)
        return importance_map(image, *hard, self.region_size, seen_side)
