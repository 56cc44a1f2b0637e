"""Predict with an exported model, in its own runtime: without Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import read_manifest
from fornet_keras.artifacts.runtimes import Run, open_runtime
from fornet_keras.data.sizes import brought_back, letterboxed


class ArtifactPredictor:
    """Gives the label ids of images, which are letterboxed to the one size that the model was exported for.

    Args:
        folder: what `export` has written; its files must have their SHA-256 sums.
        threads: threads of the runtime; None takes every core.
        device: of `artifacts.runtimes.DEVICES`.
        run: what computes in the place of the runtime, such as a server; of the folder, `manifest.json` is
            then enough.

    Raises:
        ExportError: the folder is not whole, or the runtime has no such device.
    """

    def __init__(
        self, folder: Path, threads: int | None = None, device: str = "cpu", run: Run | None = None
    ) -> None:
        manifest = read_manifest(folder, with_files=run is None)
        self.table = manifest.table()
        self.num_classes = self.table.num_classes
        self.short_side = None  # its own size is all it takes
        self.size, self.precision = manifest.size, manifest.precision
        self.top_k = manifest.top_k
        self.region_size = 0  # it does not say which regions it refines
        self.compiled = 0  # a runtime may prepare itself in its first call
        self._run = run or open_runtime(folder, manifest.format, threads, device)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Predict one image, uint8 RGB `(height, width, 3)`: `label_ids`, uint8 `(height, width)`."""
        fitted, window = letterboxed(image, self.size)
        label_ids = self._run(fitted[None])["label_ids"][0].astype(np.uint8)
        self.compiled = 1
        return {"label_ids": brought_back(label_ids[window], image.shape[:2])}
