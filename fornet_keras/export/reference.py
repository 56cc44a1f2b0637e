"""What Keras finds in the images of a proof, which an exported model has to find too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import OUTPUTS
from fornet_keras.data.sizes import Window, resize_nearest
from fornet_keras.export.deployment import deployment_model
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model import FoRNet

Outputs = dict[str, NDArray[Any]]
"""Of one image, by name."""

MOST_LOGITS = 4
"""Images whose logits are kept to be compared: of one they may be a gigabyte."""


@dataclass(frozen=True)
class ProofImages:
    """What a proof is taken on.

    Args:
        source: where the images come from, in words.
        images: uint8 `(height, width, 3)`, of the exported size.
        windows: of each image, the rows and columns that are the photograph.
        labels: of each image, train ids at the photograph's own size; None without labels.
    """

    source: str
    images: Sequence[NDArray[np.uint8]]
    windows: Sequence[Window]
    labels: Sequence[NDArray[np.uint8]] | None = None


class Reference:
    """What Keras finds in the images: at the model's top-k, at 1, and with the coarse path alone.

    Args:
        model: a `FoRNet`.
        size: height and width of the images.
        images: what the proof is taken on.
    """

    def __init__(self, model: FoRNet, size: tuple[int, int], images: ProofImages) -> None:
        self.images = images
        self.num_classes = model.num_classes
        self.region_size = model.region_size
        self.at_top_k = self._outputs(deployment_model(model, size, OUTPUTS, batch=1))
        self.at_1 = self._outputs(deployment_model(model.with_top_k(1.0), size, OUTPUTS[:1], batch=1))
        self.coarse = self._outputs(deployment_model(_without_branch(model), size, OUTPUTS[:1], batch=1))

    def _outputs(self, deployed: Any) -> list[Outputs]:
        found = []
        for number, image in enumerate(self.images.images):
            outputs = deployed.predict_on_batch(image[None])
            if number >= MOST_LOGITS:
                outputs.pop("logits", None)
            found.append({name: np.asarray(value)[0] for name, value in outputs.items()})
        return found

    def miou(self, outputs: Sequence[Outputs]) -> float | None:
        """MIoU of the label ids at each label's own size, 0…1; None without labels."""
        if self.images.labels is None:
            return None
        matrix = ConfusionMatrix(self.num_classes)
        for label, window, found in zip(self.images.labels, self.images.windows, outputs, strict=True):
            matrix.add(label, resize_nearest(found["label_ids"][window], label.shape))
        return matrix.miou


def _without_branch(model: FoRNet) -> FoRNet:
    """The same network with no corrections."""
    coarse = model.with_top_k(model.top_k)
    for weight in coarse.get_layer("branch").project.weights:
        weight.assign(ops.zeros_like(weight))
    return coarse
