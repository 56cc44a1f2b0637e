"""The network as it is deployed: raw images in, label ids out, nothing left to do for the caller."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from fornet_keras.model import FoRNet
from fornet_keras.prediction.predictor import label_ids


def deployment_model(
    model: FoRNet,
    size: tuple[int, int],
    outputs: Sequence[str],
    batch: int | None,
    dtype: str = "uint8",
    static_shapes: bool = False,
) -> keras.Model:
    """A model of one image size, which shares its weights with `model`.

    Args:
        model: a `FoRNet`.
        size: height and width of the images in pixels.
        outputs: names of `manifest.OUTPUTS`.
        batch: images a call; None takes any number.
        dtype: of the image; 0…255 in either.
        static_shapes: whether no shape may depend on what the image shows; `label_ids` take longer.

    Returns:
        A model from `image` `(batch, height, width, 3)` to a dict with, as asked: `label_ids` uint8
        `(batch, height, width)`; `logits` float32 `(batch, height, width, classes)`; `importance` float32
        `(batch, rows, columns)`, 0…1, the expected share of wrong pixels of each region; `kept` uint8
        `(batch, rows, columns)`, 1 for a region that was refined.
    """
    image = keras.Input(batch_shape=(batch, *size, 3), dtype=dtype, name="image")
    found = keras.Model(model.input, {**model.output, "label_ids": label_ids(model, static_shapes)})(image)
    every = {
        "label_ids": lambda: ops.cast(found["label_ids"], "uint8"),
        "logits": lambda: keras.layers.Identity(dtype="float32", name="logits_out")(found["logits"]),
        "importance": lambda: keras.layers.Activation("sigmoid", dtype="float32")(found["importance"]),
        "kept": lambda: ops.cast(found["kept"] > 0.5, "uint8"),
    }
    return keras.Model(image, {name: every[name]() for name in outputs})
