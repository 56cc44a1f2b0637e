"""Predict with an exported model, in its own runtime: without Keras."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import MANIFEST, read_manifest
from fornet_keras.artifacts.runtimes import Run, open_artifact
from fornet_keras.data.sizes import Window, letterboxed, regions_in, resize_nearest, stretched
from fornet_keras.errors import ExportError
from fornet_keras.model_description import label_table
from fornet_keras.prediction.pictures import importance_map


@dataclass(frozen=True)
class Found:
    """What an exported model finds in an image.

    Args:
        label_ids: uint8 `(height, width)`, at the image's own size.
        window: the rows and columns of the letterboxed image that hold the image.
        outputs: of the model, without the batch axis.
        milliseconds: what the model took.
    """

    label_ids: NDArray[np.uint8]
    window: Window
    outputs: dict[str, NDArray[Any]]
    milliseconds: float


class ArtifactPredictor:
    """Gives the label ids of images, which are letterboxed to the one size that the model was exported for.

    For one thread at a time.

    Args:
        folder: what `export` has written; its files must have their SHA-256 sums.
        threads: threads of the runtime; None takes every core, or what a container may have of them.
        device: of `artifacts.runtimes.DEVICES`.
        run: what computes in the place of the runtime, such as a server; of the folder, `manifest.json` is
            then enough.

    Raises:
        ExportError: the folder is not whole, its manifest is another model's, or the runtime has no such
            device.
    """

    def __init__(
        self, folder: Path, threads: int | None = None, device: str = "cpu", run: Run | None = None
    ) -> None:
        self.folder = folder
        self.name = Path(os.path.abspath(folder)).name  # also of ".."
        self.manifest = manifest = read_manifest(folder, with_files=run is None)
        self.table = label_table(manifest.classes)
        self.num_classes = self.table.num_classes
        self.short_side = None  # its own size is all it takes
        self.top_k = manifest.top_k
        self.gives_importance = {"importance", "kept"} <= {output.name for output in manifest.outputs}
        self.compiled = 0  # a runtime may prepare itself in its first call
        self._run = run or open_artifact(folder, manifest, threads, device)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Predict one image, uint8 RGB `(height, width, 3)`.

        Returns:
            `label_ids`, uint8 `(height, width)`; and where `run` gives them, of the regions of the image
            as it is letterboxed, `importance`, float32 `(rows, columns)`, and `kept`, uint8.
        """
        found = self.find(image)
        hard = {name: value for name, value in found.outputs.items() if name in ("importance", "kept")}
        return {"label_ids": found.label_ids, **hard}

    def importance_map(
        self, image: NDArray[np.uint8], prediction: dict[str, NDArray[Any]]
    ) -> NDArray[np.uint8]:
        """The image under a heat map of the importance that was predicted for it, kept regions framed."""
        fitted, window = letterboxed(image, self.manifest.size)
        edge = self.manifest.region_size
        seen = regions_in(window, edge)
        hard = np.zeros_like(prediction["importance"])  # of the grey around the photograph
        hard[seen] = prediction["importance"][seen]
        picture = importance_map(fitted, hard, prediction["kept"] > 0, edge)[window]
        return stretched(picture, image.shape[:2])

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Letterbox one image to the model's size, run it, and bring the labels back to the image's size.

        Raises:
            ExportError: it gives label ids of which the manifest has no class.
        """
        fitted, window = letterboxed(image, self.manifest.size)
        started = time.perf_counter()
        outputs = {name: value[0] for name, value in self._run(fitted[None]).items()}
        milliseconds = 1000 * (time.perf_counter() - started)
        self.compiled = 1
        seen = outputs["label_ids"][window]
        if (largest := int(seen.max())) >= self.num_classes:
            raise ExportError(
                f"{self.folder}: label id {largest} was given, and {MANIFEST} has {self.num_classes} "
                "classes; expected the manifest of the model that runs; copy the whole folder, or export it "
                "again"
            )
        label_ids = resize_nearest(seen.astype(np.uint8), image.shape[:2])
        return Found(label_ids, window, outputs, milliseconds)
