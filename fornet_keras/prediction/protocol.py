"""What whatever predicts images has in common."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Prediction = dict[str, NDArray[Any]]
"""What a `Predictor` returns; of an `ArtifactPredictor` the label ids, and importance where it gives that."""


class Predicts(Protocol):
    """Whatever can be scored: a `Predictor`, a `ViewsPredictor`, an `ArtifactPredictor` or another."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    @property
    def short_side(self) -> int | None:
        """Pixels to which it brings the shorter side of larger images down, or None."""

    @property
    def top_k(self) -> float:
        """Share of the regions that is corrected."""

    @property
    def compiled(self) -> int:
        """How often a function was compiled."""

    def __call__(self, image: NDArray[Any]) -> Prediction:
        """Predict one image, with labels of its own size."""


class ShowsImportance(Predicts, Protocol):
    """One that draws the importance which it predicts, where it does."""

    def importance_map(self, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
        """The image under a heat map of the importance that was predicted for it."""
