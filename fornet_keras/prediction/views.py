"""Several views of an image, windows of it, mirrored and scaled, whose class probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fornet_keras.data.images import as_rgb
from fornet_keras.data.sizes import shrunk
from fornet_keras.prediction.enlarge import enlarged_label_ids
from fornet_keras.prediction.label_ids import LabelIds
from fornet_keras.prediction.pictures import importance_map
from fornet_keras.prediction.predictor import MAX_SIZES, PerSize, chosen_short_side

Floats = NDArray[np.float32]


class ViewsPredictor:
    """Predicts as a `Predictor` does, from more than one look at the image.

    Windows that overlap are blended: a pixel's weight falls towards the edges of a window. Probabilities are
    kept for one row of windows at a time, so that memory grows with the width of an image and not with its
    height, but those of an image that is brought down are kept whole. Importance, kept regions and
    coarse labels are those of the windows themselves, not mirrored and not scaled.

    Args:
        model: a `FoRNet`.
        window: height and width of the windows in pixels, multiples of the region size; None looks at the
            whole image.
        overlap: share of a window that the next one covers too, 0…0.5.
        flip: look at each window mirrored, too.
        scales: sizes at which each window is looked at, 1 being its own.
        short_side: as of a `Predictor`; None takes the model's own, but with windows each image's own size.

    Raises:
        ValueError: a window that is no multiple of the region size, or another value outside its range.

    Reference: test-time augmentation as in DeepLab (arXiv 1606.00915).
    """

    def __init__(
        self,
        model: keras.Model,
        window: tuple[int, int] | None = None,
        overlap: float = 0.25,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        short_side: int | None = None,
    ) -> None:
        if window and any(side < model.region_size or side % model.region_size for side in window):
            raise ValueError(
                f"window must be multiples of the region size {model.region_size}; received {window}"
            )
        if not 0 <= overlap <= 0.5:
            raise ValueError(f"overlap must be in 0…0.5; received {overlap}")
        if 1 not in scales or min(scales) <= 0:
            raise ValueError(f"scales must be numbers > 0, and 1 among them; received {scales}")
        short_side = 0 if window and short_side is None else short_side
        self.short_side = chosen_short_side(model.short_side, short_side)
        self.num_classes = model.num_classes
        self.top_k = model.top_k
        self.region_size = model.region_size
        self.window = window
        self.overlap = overlap
        self.flip = flip
        self.scales = tuple(scales)
        outputs = {
            "probabilities": keras.layers.Softmax(dtype="float32", name="probabilities")(
                model.output["logits"]
            ),
            "coarse_label_ids": LabelIds(name="coarse_label_ids")(model.output["coarse_logits"]),
            "importance": model.output["importance"],
            "kept": model.output["kept"],
        }
        self._predict = PerSize(keras.Model(model.input, outputs), model._turn, MAX_SIZES * len(self.scales))

    @property
    def compiled(self) -> int:
        """How often a function was compiled, for a size that was new or long unused."""
        return self._predict.compiled

    def __call__(self, image: Path | str | Image.Image | ArrayLike) -> dict[str, NDArray[Any]]:
        """Predict one image: argument and result are those of `Predictor`."""
        image = as_rgb(image)
        size = image.shape[:2]
        image = shrunk(image, self.short_side)
        seen_size = height, width = image.shape[:2]
        rows, columns = (-(-side // self.region_size) for side in seen_size)
        cells = self.region_size // 4
        found = {
            "coarse_label_ids": np.empty((rows * cells, columns * cells), np.uint8),
            "importance": np.zeros((rows, columns), np.float32),
            "kept": np.zeros((rows, columns), bool),
        }
        window = self.window or (rows * self.region_size, columns * self.region_size)
        tops, lefts = (self._starts(side, length) for side, length in zip(seen_size, window, strict=True))
        decided: list[NDArray[Any]] = []
        band: Floats | None = None
        for top, following in zip(tops, [*tops[1:], height], strict=True):
            band = self._add_row(image, found, band, top, lefts, window)
            # What no window below touches is decided, and its probabilities are let go: all but those of an
            # image that was brought down, which is small.
            done = min(following, height) - top
            decided.append(band[:done] if seen_size != size else band[:done].argmax(-1).astype(np.uint8))
            band = band[done:]
        labels = np.concatenate(decided)
        if seen_size != size:
            # Between logarithms, as between logits, the border is where the classes are as likely.
            labels += 1e-30
            labels = enlarged_label_ids(np.log(labels, out=labels), 1, seen_size, size)
        return found | {"label_ids": labels}

    def importance_map(
        self, image: NDArray[np.uint8], prediction: dict[str, NDArray[Any]]
    ) -> NDArray[np.uint8]:
        """As of `Predictor`."""
        hard = prediction["importance"], prediction["kept"]
        return importance_map(image, *hard, self.region_size, self.short_side)

    def _starts(self, side: int, length: int) -> list[int]:
        """Where windows begin: at regions' borders, evenly spread, the last one at the image's end."""
        regions, long = -(-side // self.region_size), length // self.region_size
        if regions <= long:
            return [0]
        step = max(1, int(long * (1 - self.overlap)))
        count = -(-(regions - long) // step) + 1
        return [int(start) * self.region_size for start in np.linspace(0, regions - long, count).round()]

    def _add_row(
        self,
        image: NDArray[Any],
        found: dict[str, NDArray[Any]],
        band: Floats | None,
        top: int,
        lefts: Sequence[int],
        window: tuple[int, int],
    ) -> Floats:
        """The weighted probabilities from `top` down: those of `band`, and those of a row of windows."""
        height, width = image.shape[:2]
        bottom = min(top + window[0], height)
        total: Floats | None = None
        for left in lefts:
            right = min(left + window[1], width)
            probabilities, regions = self._look(image[top:bottom, left:right])
            if total is None:
                total = np.zeros((bottom - top, width, probabilities.shape[-1]), np.float32)
            total[:, left:right] += probabilities * _tent(bottom - top, right - left)
            self._add_regions(found, regions, top // self.region_size, left // self.region_size)
        assert total is not None
        if band is not None:
            total[: len(band)] += band
        return total

    def _look(self, tile: NDArray[Any]) -> tuple[Floats, dict[str, NDArray[Any]]]:
        """The sum of the probabilities over all views, and the outputs of the plain one."""
        height, width = tile.shape[:2]
        total = np.zeros(1, np.float32)
        plain: dict[str, NDArray[Any]] = {}
        for scale in self.scales:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            view = tile if scale == 1 else cv2.resize(tile, size, interpolation=cv2.INTER_LINEAR)
            for mirrored in (False, True)[: 1 + self.flip]:
                seen = view[:, ::-1] if mirrored else view
                outputs = {name: output[0] for name, output in self._predict(seen[None]).items()}
                probabilities = outputs["probabilities"][:, :: -1 if mirrored else 1]
                if scale == 1 and not mirrored:
                    plain = outputs
                elif scale != 1:
                    probabilities = _resized(probabilities, height, width)
                total = total + probabilities
        return total, plain

    def _add_regions(
        self, found: dict[str, NDArray[Any]], regions: dict[str, NDArray[Any]], row: int, column: int
    ) -> None:
        """Put a window's regions into the image's; where windows overlap, the more important wins."""
        rows, columns = regions["importance"].shape
        here = np.s_[row : row + rows, column : column + columns]
        importance = 1 / (1 + np.exp(-regions["importance"]))
        found["importance"][here] = np.maximum(found["importance"][here], importance)
        found["kept"][here] |= regions["kept"] > 0.5
        cells = self.region_size // 4
        rows, columns = regions["coarse_label_ids"].shape
        top, left = row * cells, column * cells
        found["coarse_label_ids"][top : top + rows, left : left + columns] = regions["coarse_label_ids"]


def _resized(probabilities: Floats, height: int, width: int) -> Floats:
    """A map of any number of classes at another size: OpenCV 5 takes 128 channels at most."""
    classes = probabilities.shape[-1]
    parts = np.array_split(probabilities, -(-classes // 128), axis=-1)
    resized = [
        cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR)
        for part in parts
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in resized], axis=-1)


def _tent(height: int, width: int) -> Floats:
    """Weights `(height, width, 1)` of a window's pixels, 1 in the middle and small at the edges."""
    sides = (
        np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / (side / 2) for side in (height, width)
    )
    rows, columns = (np.asarray(side, np.float32) for side in sides)
    return (rows[:, None] * columns)[..., None]
