"""The network as it is deployed: raw images in, label ids out, nothing left to do for the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fornet_keras.model import FoRNet
from fornet_keras.prediction.predictor import LabelIds

OUTPUTS = ("label_ids", "logits", "importance", "kept")


def deployment_model(
    model: FoRNet,
    size: tuple[int, int],
    outputs: Sequence[str],
    batch: int | None,
    dtype: str = "uint8",
    split: bool = False,
) -> keras.Model:
    """A model of one image size, which shares its weights with `model`.

    Args:
        model: a `FoRNet`.
        size: height and width of the images in pixels.
        outputs: names of `OUTPUTS`.
        batch: images a call; None takes any number.
        dtype: of the image; 0…255 in either.
        split: find `label_ids` column by column of each cell; the same labels to float32 rounding, and in
            OpenVINO less than half the time of upsampling all classes first.

    Returns:
        A model from `image` `(batch, height, width, 3)` to a dict with, as asked: `label_ids` uint8
        `(batch, height, width)`; `logits` float32 `(batch, height, width, classes)`; `importance` float32
        `(batch, rows, columns)`, 0…1, the expected share of wrong pixels of each region; `kept` uint8
        `(batch, rows, columns)`, 1 for a region that was refined.
    """
    image = keras.Input(batch_shape=(batch, *size, 3), dtype=dtype, name="image")
    upsample = model.get_layer("logits")
    cells = {"cells": upsample.input[0]} if split else {}
    found = keras.Model(model.input, {**model.output, **cells})(image)
    every = {
        "label_ids": lambda: (
            _label_ids_by_column(found["cells"], upsample.scale, size)
            if split
            else ops.cast(LabelIds()(found["logits"]), "uint8")
        ),
        "logits": lambda: keras.layers.Identity(dtype="float32", name="logits_out")(found["logits"]),
        "importance": lambda: keras.layers.Activation("sigmoid", dtype="float32")(found["importance"]),
        "kept": lambda: ops.cast(found["kept"] > 0.5, "uint8"),
    }
    return keras.Model(image, {name: every[name]() for name in outputs})


def _label_ids_by_column(cells: Any, scale: int, size: tuple[int, int]) -> Any:
    """What `UpsampleToImage` and `LabelIds` give together, without logits of the whole image at once."""
    _, height, width, _ = cells.shape
    rows = ops.image.resize(ops.cast(cells, "float32"), (height * scale, width), interpolation="bilinear")
    padded = ops.pad(rows, [[0, 0], [0, 0], [1, 1], [0, 0]], mode="symmetric")
    columns = []
    for number in range(scale):
        # From the centre of a cell to that of its pixel, in cells.
        offset = (number + 0.5) / scale - 0.5
        first, weight = int(offset >= 0), offset % 1
        left, right = (padded[:, :, start : start + width] for start in (first, first + 1))
        columns.append(LabelIds()(left * (1 - weight) + right * weight))
    labels = ops.reshape(ops.stack(columns, axis=-1), (-1, height * scale, width * scale))
    return ops.cast(labels[:, : size[0], : size[1]], "uint8")
