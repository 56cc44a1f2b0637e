"""Exported models, ready to answer: an image in, labels at its own size out. Keras is not imported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import Manifest, artifacts_in, read_manifest
from fornet_keras.artifacts.runtimes import Run, open_runtime
from fornet_keras.data.sizes import Window, brought_back, letterboxed
from fornet_keras.errors import ServingError

FORMATS = ("litert", "onnx", "openvino")


@dataclass(frozen=True)
class Found:
    """What an artifact finds in an image.

    Args:
        labels: uint8 `(height, width)`, at the image's own size.
        fitted: the image letterboxed to the artifact's size, uint8 `(height, width, 3)`.
        window: the rows and columns of `fitted` that are the image.
        outputs: of the artifact, without the batch axis.
        milliseconds: what the artifact took.
    """

    labels: NDArray[np.uint8]
    fitted: NDArray[np.uint8]
    window: Window
    outputs: dict[str, NDArray[Any]]
    milliseconds: float


@dataclass(frozen=True)
class Artifact:
    """An exported model in its runtime; for one thread at a time.

    Args:
        name: of its folder.
        manifest: what it is.
        run: runs it.
    """

    name: str
    manifest: Manifest
    run: Run

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Letterbox an image to the artifact's size, run it, and bring the labels back to the image's size.

        Args:
            image: RGB uint8 `(height, width, 3)` of any size.
        """
        fitted, window = letterboxed(image, self.manifest.size)
        started = time.perf_counter()
        outputs = {name: value[0] for name, value in self.run(fitted[None]).items()}
        milliseconds = 1000 * (time.perf_counter() - started)
        labels = brought_back(outputs["label_ids"][window], image.shape[:2])
        return Found(labels, fitted, window, outputs, milliseconds)

    def described(self) -> dict[str, Any]:
        """What a client may want to know, ready for JSON."""
        manifest = self.manifest
        outputs = [tensor.name for tensor in manifest.outputs]
        kept = ("source", "format", "precision", "size", "top_k", "region_size", "classes")
        return {"name": self.name, **manifest.model_dump(include=set(kept)), "outputs": outputs}


def open_artifacts(
    folders: Sequence[Path], threads: int | None = None, device: str = "cpu"
) -> dict[str, Artifact]:
    """Check, load and run once what `export` has written; by name, in order of their top-k.

    Args:
        folders: each an artifact, or a folder of artifacts, which `export` writes for several top-k.
        threads: threads of each runtime; None takes every core.
        device: of `artifacts.runtimes.DEVICES`.

    Raises:
        ExportError: a folder is no artifact, its files are not its manifest's, or a package or the device is
            missing.
        ServingError: a SavedModel, or two artifacts of one name.
    """
    found: dict[str, Artifact] = {}
    for folder in folders:
        for path in artifacts_in(folder) or [folder]:
            artifact = _open(path, threads, device)
            if artifact.name in found:
                raise ServingError(f"{path}: a second artifact of that name; rename one of the folders")
            found[artifact.name] = artifact
    return dict(sorted(found.items(), key=lambda entry: entry[1].manifest.top_k))


def _open(folder: Path, threads: int | None, device: str) -> Artifact:
    manifest = read_manifest(folder)
    if manifest.format not in FORMATS:
        raise ServingError(
            f"{folder}: is a SavedModel, which TensorFlow Serving runs (deploy/README.md); "
            f"expected one of {', '.join(FORMATS)}"
        )
    run = open_runtime(folder, manifest.format, threads, device)
    artifact = Artifact(folder.absolute().name, manifest, run)
    artifact.find(np.zeros((*manifest.size, 3), np.uint8))
    return artifact
