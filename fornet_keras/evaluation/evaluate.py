"""Score a model on a data set: every label at its own size, every pixel counted once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE, Dataset, Sample
from fornet_keras.data.images import image_size
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import resize_nearest, shrunk_size
from fornet_keras.errors import ModelError
from fornet_keras.evaluation.borders import BoundaryScore, border_band
from fornet_keras.losses import STRIDE
from fornet_keras.metrics import ConfusionMatrix, mean_of_known
from fornet_keras.prediction.protocol import Prediction, Predicts

if TYPE_CHECKING:  # it imports Keras
    from fornet_keras.model import FoRNet


@dataclass
class Scores:
    """What `evaluate` found.

    Args:
        class_names: one name a class.
        top_k: share of the regions that was corrected.
        matrix: the confusion matrix of the final prediction.
        images_with: int64 `(classes,)`, images whose label has the class.
        num_images: images scored.
        coarse_errors: pixels that the coarse path got wrong, at stride 4.
        covered_errors: those of them that lie in kept regions.
        num_regions: regions of all images; 0 where the predictor does not tell them.
        num_refined: those of them that were kept: more than the model's share where windows overlap.
        read_seconds: time spent reading all images and labels.
        predict_seconds: of each image for which nothing was compiled.
        bands: radius in pixels → confusion matrix of the pixels with another class that near.
        boundary: precision and recall of the outlines, or None where they were not scored.
        thin: names of the classes that are thin structures.
        short_side: pixels to which the shorter side of larger images was brought down, or None.
        image_miou: of each image by its file, the mean IoU of the classes in its label or its prediction.
    """

    class_names: tuple[str, ...]
    top_k: float
    matrix: ConfusionMatrix
    images_with: NDArray[np.int64]
    num_images: int = 0
    coarse_errors: int = 0
    covered_errors: int = 0
    num_regions: int = 0
    num_refined: int = 0
    read_seconds: float = 0.0
    predict_seconds: list[float] = field(default_factory=list)
    bands: dict[int, ConfusionMatrix] = field(default_factory=dict)
    boundary: BoundaryScore | None = None
    thin: tuple[str, ...] = ()
    short_side: int | None = None
    image_miou: dict[Path, float] = field(default_factory=dict)

    @property
    def error_coverage(self) -> float:
        """Share of the coarse path's wrong pixels that lie in the kept regions, 0…1."""
        return self.covered_errors / self.coarse_errors if self.coarse_errors else float("nan")

    @property
    def refined_share(self) -> float:
        """Share of the regions that was refined in at least one look at the image, 0…1."""
        return self.num_refined / self.num_regions if self.num_regions else float("nan")

    @property
    def thin_miou(self) -> float:
        """Mean IoU of the thin classes that occur, 0…1; NaN without any."""
        return mean_of_known(self.matrix.iou[[name in self.thin for name in self.class_names]])

    @property
    def milliseconds(self) -> float:
        """Median time of a prediction, in milliseconds; NaN where each was compiled for."""
        return 1000 * float(np.median(self.predict_seconds)) if self.predict_seconds else float("nan")

    def as_json(self) -> dict[str, Any]:
        """A mapping for `json.dump`: scores 0…1, None where there was nothing to score; absolute paths."""
        return {
            "miou": _none_if_nan(self.matrix.miou),
            "iou": self._by_class(self.matrix.iou),
            # Not `precision`, which in `evaluate --json` is an exported model's.
            "precision_by_class": self._by_class(self.matrix.precision),
            "recall_by_class": self._by_class(self.matrix.recall),
            "f1_by_class": self._by_class(self.matrix.f1),
            "pixel_accuracy": _none_if_nan(self.matrix.pixel_accuracy),
            "thin_miou": _none_if_nan(self.thin_miou),
            "band_miou": {str(radius): _none_if_nan(band.miou) for radius, band in self.bands.items()},
            "band_iou": {str(radius): self._by_class(band.iou) for radius, band in self.bands.items()},
            "boundary_f": _none_if_nan(self.boundary.mean if self.boundary else float("nan")),
            "boundary_f_by_class": self._by_class(self.boundary.f_score) if self.boundary else None,
            "error_coverage": _none_if_nan(self.error_coverage),
            "top_k": self.top_k,
            "refined_share": _none_if_nan(self.refined_share),
            "short_side": self.short_side,
            "num_images": self.num_images,
            "milliseconds": _none_if_nan(self.milliseconds),
            "confusion_matrix": self.matrix.counts.tolist(),
            "image_miou": {
                os.path.abspath(path): _none_if_nan(miou) for path, miou in self.image_miou.items()
            },
        }

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {name: _none_if_nan(value) for name, value in zip(self.class_names, values, strict=True)}


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def evaluate(
    predictor: Predicts | FoRNet,
    dataset: Dataset,
    on_image: Callable[[Sample, NDArray[np.uint8], NDArray[np.uint8], Prediction], None] | None = None,
    bands: Sequence[int] = (),
    boundary_radius: int | None = None,
) -> Scores:
    """Score a model on every sample of a data set.

    Args:
        predictor: a `FoRNet`, a `Predictor` or a `ViewsPredictor`, which bring larger images down to their
            `short_side`, or an `ArtifactPredictor`; labels are scored at their own size all the same.
        dataset: a `Dataset` with the model's classes, whose samples all have labels, each its own, as
            `data check` looks.
        on_image: called after each image as `on_image(sample, image, label, prediction)`, or None. Images
            of one size come after each other, so that a backend compiles once for each size.
        bands: radii in pixels of the bands around label borders that are scored by themselves.
        boundary_radius: how far in pixels an outline may be off; None does not score outlines.

    Returns:
        `fornet_keras.evaluation.evaluate.Scores`: the confusion `matrix`, with its `miou` and the classes'
        `iou`, `precision`, `recall` and `f1`, `error_coverage`, `refined_share` and `thin_miou`, all 0…1, and
        `milliseconds`; NaN where there was nothing to score. `as_json()` has these and the rest as a mapping.

    Raises:
        DataError: a file cannot be used.
        ModelError: the data have another number of classes than the model.
    """
    if hasattr(predictor, "predict_image"):  # a network, which gives no labels by itself
        from fornet_keras.prediction.predictor import Predictor

        predictor = Predictor(predictor)
    table = dataset.table
    if predictor.num_classes != table.num_classes:
        raise ModelError(
            f"{dataset.name} has {table.num_classes} classes ({', '.join(table.names)}) and the model "
            f"{predictor.num_classes}; expected as many, with the same meaning; "
            "score on data with the classes that the model has learnt"
        )
    scores = Scores(
        class_names=table.names,
        top_k=predictor.top_k,
        matrix=ConfusionMatrix(table.num_classes),
        images_with=np.zeros(table.num_classes, dtype=np.int64),
        bands={radius: ConfusionMatrix(table.num_classes) for radius in bands},
        boundary=BoundaryScore(table.num_classes, boundary_radius) if boundary_radius else None,
        thin=table.thin,
        short_side=predictor.short_side,
        image_miou=dict.fromkeys((sample.image for sample in dataset.samples), float("nan")),
    )
    for sample in by_size(dataset, predictor.short_side):
        started = time.perf_counter()
        image, label = read_sample(sample, table)
        compiled, read = predictor.compiled, time.perf_counter()
        prediction = predictor(image)
        if predictor.compiled == compiled:
            scores.predict_seconds.append(time.perf_counter() - read)
        scores.read_seconds += read - started
        scores.num_images += 1
        scores.image_miou[sample.image] = _add(scores.matrix, label, prediction["label_ids"])
        if scores.boundary:
            scores.boundary.add(label, prediction["label_ids"])
        for radius, band in scores.bands.items():
            near = border_band(label, radius)
            band.add(label[near], prediction["label_ids"][near])
        present = np.unique(label)
        scores.images_with[present[present != IGNORE]] += 1
        if "coarse_label_ids" in prediction:  # which an artifact does not give
            seen_size = shrunk_size(label.shape, scores.short_side)
            errors, covered = coarse_errors(resize_nearest(label, seen_size), prediction)
            scores.coarse_errors += errors
            scores.covered_errors += covered
            scores.num_regions += prediction["kept"].size
            scores.num_refined += int(prediction["kept"].sum())
        if on_image is not None:
            on_image(sample, image, label, prediction)
    return scores


def by_size(dataset: Dataset, short_side: int | None) -> list[Sample]:
    """The samples in the order of the sizes at which they are predicted, those of one size in their own."""
    return sorted(dataset.samples, key=lambda sample: shrunk_size(image_size(sample.image), short_side))


def _add(matrix: ConfusionMatrix, label: NDArray[np.uint8], label_ids: NDArray[np.uint8]) -> float:
    """Add an image to a matrix; return the mIoU of the image alone, NaN where all of it is void."""
    alone = ConfusionMatrix(len(matrix.counts))
    alone.add(label, label_ids)
    matrix.counts += alone.counts
    return alone.miou


def coarse_errors(label: NDArray[np.uint8], prediction: Prediction) -> tuple[int, int]:
    """The pixels that the coarse path gets wrong, at its stride, and how many of them lie in kept regions.

    Args:
        label: train ids, of the size at which the image was predicted.
        prediction: what a `Predictor` gave for it.
    """
    coarse, kept = prediction["coarse_label_ids"], prediction["kept"]
    label = label[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    height, width = label.shape
    wrong = (coarse[:height, :width] != label) & (label != IGNORE)
    cells = coarse.shape[0] // kept.shape[0]
    covered = np.repeat(np.repeat(kept, cells, axis=0), cells, axis=1)[:height, :width]
    return int(wrong.sum()), int((wrong & covered).sum())
