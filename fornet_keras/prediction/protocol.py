"""What whatever predicts images has in common."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

Prediction = dict[str, NDArray[Any]]
"""What a `Predictor` returns; of an `ArtifactPredictor` the label ids alone."""


class Predicts(Protocol):
    """A `Predictor`, a `ViewsPredictor`, an `ArtifactPredictor` or another."""

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
    def region_size(self) -> int:
        """Edge of a region in pixels; 0 where it gives no importance."""

    @property
    def compiled(self) -> int:
        """How often a function was compiled."""

    def __call__(self, image: NDArray[Any]) -> Prediction:
        """Predict one image, with labels of its own size."""
