"""The exported models that are served, each ready to answer. Keras is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fornet_keras.artifacts.manifest import artifacts_in, read_manifest
from fornet_keras.errors import ServingError
from fornet_keras.prediction.artifact import ArtifactPredictor

FORMATS = ("litert", "onnx", "openvino")


def open_artifacts(
    folders: Sequence[Path], threads: int | None = None, device: str = "cpu"
) -> dict[str, ArtifactPredictor]:
    """Check, load and run once what `export` has written; by name, in order of their top-k.

    Args:
        folders: each an artifact, or a folder of artifacts, which `export` writes for several top-k.
        threads: threads of each runtime; None takes every core, or what a container may have of them.
        device: of `artifacts.runtimes.DEVICES`.

    Raises:
        ExportError: a folder is no artifact, its files or its model are not its manifest's, or a package or
            the device is missing.
        ServingError: a SavedModel, or two artifacts of one name.
    """
    found: dict[str, ArtifactPredictor] = {}
    for folder in folders:
        for path in artifacts_in(folder) or [folder]:
            artifact = _open(path, threads, device)
            if artifact.name in found:
                raise ServingError(f"{path}: a second artifact of that name; rename one of the folders")
            found[artifact.name] = artifact
    return dict(sorted(found.items(), key=lambda entry: entry[1].manifest.top_k))


def _open(folder: Path, threads: int | None, device: str) -> ArtifactPredictor:
    if read_manifest(folder, with_files=False).format not in FORMATS:
        raise ServingError(
            f"{folder}: is a SavedModel, which TensorFlow Serving runs (deploy/README.md); "
            f"expected one of {', '.join(FORMATS)}"
        )
    return ArtifactPredictor(folder, threads, device)
