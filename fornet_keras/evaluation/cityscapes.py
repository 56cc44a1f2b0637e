"""The Cityscapes benchmark's own scores, as cityscapesScripts computes them, from one pass over the data.

Class and category IoU from the matrix of the 34 label ids; iIoU, in which every instance counts as much as
one of average size, so that near cars do not hide what becomes of the far ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.cityscapes import LABEL_IDS, TABLE
from fornet_keras.data.dataset import IGNORE, Dataset, Sample
from fornet_keras.data.label_files import read_instances, read_label
from fornet_keras.errors import DataError

NUM_LABELS = 34

_CATEGORIES = {  # name → its label ids
    "void": range(0, 7),
    "flat": range(7, 11),
    "construction": range(11, 17),
    "object": range(17, 21),
    "nature": range(21, 23),
    "sky": range(23, 24),
    "human": range(24, 26),
    "vehicle": range(26, 34),
}
_IGNORED_NAMES = {
    0: "unlabeled",
    1: "ego vehicle",
    2: "rectification border",
    3: "out of roi",
    4: "static",
    5: "dynamic",
    6: "ground",
    9: "parking",
    10: "rail track",
    14: "guard rail",
    15: "bridge",
    16: "tunnel",
    18: "polegroup",
    29: "caravan",
    30: "trailer",
}
_NAMES = _IGNORED_NAMES | dict(zip(LABEL_IDS, TABLE.names, strict=True))

# Mean pixels of an instance in the training set: the benchmark's constants.
_INSTANCE_PIXELS = {
    24: 3462.4756337644,
    25: 3930.4788056518,
    26: 12794.0202738185,
    27: 27855.1264367816,
    28: 35732.1511111111,
    31: 67583.7075812274,
    32: 6298.7200839748,
    33: 4672.3249222261,
}
_SCORED = np.isin(np.arange(NUM_LABELS), LABEL_IDS)
_TO_LABEL_ID = np.array(LABEL_IDS, np.uint8)


class LabelFiles(NamedTuple):
    """Where the benchmark's two label files of a frame are, if they are there."""

    label_ids: Path
    instances: Path


def find_label_files(dataset: Dataset) -> dict[Sample, LabelFiles]:
    """Each frame's files; empty where the data are not Cityscapes or no frame has its label ids."""
    found = {}
    for sample in dataset.samples if dataset.table is TABLE else ():
        if sample.label is None:
            return {}
        frame = sample.label.name.rpartition("_")[0]
        found[sample] = LabelFiles(
            *(sample.label.with_name(f"{frame}_{kind}.png") for kind in ("labelIds", "instanceIds"))
        )
    return found if any(files.label_ids.is_file() for files in found.values()) else {}


class OfficialScores:
    """Collects frames, and gives the scores that cityscapesScripts gives for them.

    Reference: `evalPixelLevelSemanticLabeling` of cityscapesScripts (Cordts et al., CVPR 2016).

    Attributes:
        matrix: int64 `(34, 34)`, pixels by their label id and the predicted one.
        missing: the first file of instances that is not there, without which no frame's count; or None.
    """

    def __init__(self) -> None:
        self.matrix = np.zeros((NUM_LABELS, NUM_LABELS), np.int64)
        self.missing: Path | None = None
        # Weighted pixels of the instances of each label id: found, and missed; then by category.
        self._found, self._missed, self._found_category, self._missed_category = np.zeros((4, NUM_LABELS))

    def add(self, files: LabelFiles, prediction: NDArray[np.uint8]) -> None:
        """Count one frame.

        Args:
            files: its label files.
            prediction: uint8 train ids `(height, width)`, of the label's own size.

        Raises:
            DataError: a file cannot be used, is of another size, or has label ids that there are not; nothing
                of the frame is counted.
        """
        label = read_label(files.label_ids).astype(np.int64)
        _require_size(files.label_ids, label, prediction)
        label[label == IGNORE] = 0  # a licence plate, whose id of -1 8-bit tools write as 255: ignored
        if label.max() >= NUM_LABELS:
            raise DataError(
                f"{files.label_ids}: has the value {label.max()}; expected label ids, 0 to {NUM_LABELS - 1} "
                "or 255; take the file of the data set"
            )
        instances = None
        if not (self.missing or files.instances.is_file()):
            self.missing = files.instances
        if not self.missing:
            instances = read_instances(files.instances)
            _require_size(files.instances, instances, prediction)
        predicted = _TO_LABEL_ID[prediction].astype(np.int64)
        pairs = np.bincount((NUM_LABELS * label + predicted).ravel(), minlength=NUM_LABELS**2)
        self.matrix += pairs.reshape(NUM_LABELS, NUM_LABELS)
        if instances is not None:
            self._add_instances(instances, predicted)

    def _add_instances(self, instances: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        inside = instances > 1000  # a smaller value is a label id: a group, or no instance
        ids, which, sizes = np.unique(instances[inside], return_inverse=True, return_counts=True)
        predicted = predicted[inside]
        for index, (label_id, size) in enumerate(zip((ids // 1000).tolist(), sizes.tolist(), strict=True)):
            if label_id not in _INSTANCE_PIXELS:
                continue
            inside_it = predicted[which == index]
            category = next(ids for ids in _CATEGORIES.values() if label_id in ids)
            weight = _INSTANCE_PIXELS[label_id] / size
            found = int((inside_it == label_id).sum())
            found_category = int(np.isin(inside_it, category).sum())
            self._found[label_id] += weight * found
            self._missed[label_id] += weight * (size - found)
            self._found_category[label_id] += weight * found_category
            self._missed_category[label_id] += weight * (size - found_category)

    @property
    def scored(self) -> NDArray[np.int64]:
        """Pixels by their true class and the predicted one, `(19, 19)`, as our own scores count them."""
        return self.matrix[np.ix_(LABEL_IDS, LABEL_IDS)]

    def as_json(self) -> dict[str, Any]:
        """The mapping that cityscapesScripts writes, with None where it has NaN."""
        every = range(NUM_LABELS)
        classes = {_NAMES[i]: self._iou([i]) for i in every}
        categories = {name: self._iou(ids) for name, ids in _CATEGORIES.items()}
        class_instances = {_NAMES[i]: self._instance_iou([i], self._found, self._missed) for i in every}
        category_instances = {
            name: self._instance_iou(ids, self._found_category, self._missed_category)
            for name, ids in _CATEGORIES.items()
        }
        total = self.matrix.sum()
        return {
            "confMatrix": self.matrix.tolist(),
            "priors": {_NAMES[i]: float(self.matrix[i].sum() / total) if total else None for i in every},
            "labels": {_NAMES[i]: i for i in every},
            "classScores": classes,
            "classInstScores": class_instances,
            "categoryScores": categories,
            "categoryInstScores": category_instances,
            "averageScoreClasses": _mean(classes),
            "averageScoreInstClasses": _mean(class_instances),
            "averageScoreCategories": _mean(categories),
            "averageScoreInstCategories": _mean(category_instances),
        }

    def _iou(self, ids: list[int] | range) -> float | None:
        scored = [i for i in ids if _SCORED[i]]
        true = self.matrix[np.ix_(scored, scored)].sum()
        missed = self.matrix[scored].sum() - true
        return _ratio(true, true + missed + self._wrong(scored, ids))

    def _instance_iou(
        self, ids: list[int] | range, found: NDArray[np.float64], missed: NDArray[np.float64]
    ) -> float | None:
        if self.missing or not any(i in _INSTANCE_PIXELS for i in ids):
            return None
        true, false = found[ids].sum(), missed[ids].sum()
        return _ratio(true, true + false + self._wrong(ids, ids))

    def _wrong(self, predicted: list[int] | range, ids: list[int] | range) -> int:
        """Pixels predicted as one of `predicted` whose true label is scored and not among `ids`."""
        others = _SCORED & ~np.isin(np.arange(NUM_LABELS), ids)
        return int(self.matrix[others][:, predicted].sum())


def _require_size(path: Path, found: NDArray[np.int64], prediction: NDArray[np.uint8]) -> None:
    if found.shape != prediction.shape:
        ours, scored = ("x".join(map(str, shape)) for shape in (found.shape, prediction.shape))
        raise DataError(
            f"{path}: has {ours} pixels; expected the {scored} of the label that is scored; resize it too, "
            "or remove it"
        )


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(scores: dict[str, float | None]) -> float | None:
    known = [score for score in scores.values() if score is not None]
    return float(np.mean(known)) if known else None
