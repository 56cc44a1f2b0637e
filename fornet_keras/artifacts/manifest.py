"""What an exported model is, beside it as `manifest.json`: how to call it, and what was proven."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from fornet_keras.atomic import checksum, write_text
from fornet_keras.bounded_text import first_finding
from fornet_keras.errors import ExportError
from fornet_keras.model_description import ClassEntry, Strict
from fornet_keras.shipped import require_whole_artifact

MANIFEST = "manifest.json"
MAX_BYTES = 1_000_000

FILES = {
    "saved_model": ("saved_model.pb",),
    "litert": ("model.tflite",),
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
}
"""Format → the files below the artifact's folder without which there is no model."""

Format = Literal["saved_model", "litert", "onnx", "openvino"]
Precision = Literal["float32", "float16", "dynamic_int8", "int8"]
OUTPUTS = ("label_ids", "logits", "importance", "kept")
"""What an artifact can give."""


class Tensor(Strict):
    """An input or output: its name, its type, and its shape, in which None is any number."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Check(Strict):
    """One comparison of the exported model with Keras, over all images.

    What is not a photograph, the grey around a letterboxed one, does not count in the shares.

    Args:
        batch: images a call.
        label_agreement: share of the pixels with the same label, 0…1.
        refined_regions: regions that are refined, by the one of the two that refines more.
        refined_agreement: share of those that both refine, 0…1.
        importance_difference: by how much importance differs, in the mean, as a share of Keras' mean.
        largest_logit_difference: in the first four images, away from regions that only one of both refines.
        logit_label_agreement: share of the pixels in which the largest of the logits is that of Keras' label.
        miou: of the exported model, each label at its own size, 0…1; None without labels.
        miou_keras: of Keras, on the same images.
    """

    batch: int
    label_agreement: float
    refined_regions: int
    refined_agreement: float
    importance_difference: float
    largest_logit_difference: float
    logit_label_agreement: float
    miou: float | None = None
    miou_keras: float | None = None


class Tolerance(Strict):
    """How far an exported model may be from Keras.

    Args:
        labels: smallest share of pixels with the same label, and of those with the same largest logit.
        refined: smallest share of the refined regions that both refine.
        importance: largest difference of importance, as a share of Keras'.
        logits: largest difference of a logit; None where rounding makes it meaningless.
        miou: largest loss of mIoU, where labels are given.
    """

    labels: float
    refined: float
    importance: float
    logits: float | None
    miou: float


class Proof(Strict):
    """How the exported model compares with Keras.

    An artifact that does not give every output is written once more with all of them, and what it does not
    show itself is taken from that second one.

    Args:
        tolerance: what was demanded.
        images: where the images came from, and how many they are.
        at_top_k: both at the model's top-k.
        keras_at_1: label agreement of Keras at a top-k of 1 with Keras at the model's own.
        exported_at_1: label agreement of Keras at a top-k of 1 with the exported model: one that had lost
            its mask would refine every region, and be nearer to this one than to `at_top_k`. None where
            Keras' own labels are so few others that nothing can be told from them.
        keras_coarse, exported_coarse: the same with Keras' coarse path alone, which one that had lost its
            branch would be nearer to.
    """

    tolerance: Tolerance
    images: str
    at_top_k: tuple[Check, ...] = Field(min_length=1)
    keras_at_1: float
    exported_at_1: float | None
    keras_coarse: float
    exported_coarse: float | None


class Source(Strict):
    """The model that was exported: the name of its folder, and the SHA-256 of its weights."""

    model: str
    weights_sha256: str


class Manifest(Strict):
    """The content of `manifest.json`.

    The output `label_ids` are positions in `classes` (Cityscapes' train ids), not the values of a data set's
    label files.
    """

    task: Literal["semantic segmentation"] = "semantic segmentation"
    created: str = Field(description="UTC, ISO 8601")
    source: Source | None = None
    format: Format
    precision: Precision
    size: tuple[PositiveInt, PositiveInt]
    top_k: float = Field(gt=0, le=1)
    region_size: int = Field(ge=16, le=1024, description="edge of a region in pixels")
    short_side: int | None = Field(
        None, ge=1, le=65535, description="of the images that the model has learnt from, in pixels"
    )
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    classes: tuple[ClassEntry, ...] = Field(min_length=2, max_length=255, description="by train id")
    versions: dict[str, str]
    proof: Proof
    sha256: dict[str, str] = Field(description="file, relative to the manifest → SHA-256")

    @model_validator(mode="after")
    def _size_is_the_input_s(self) -> Manifest:
        if [tensor.shape[1:3] for tensor in self.inputs] != [self.size]:
            raise ValueError(f"size {list(self.size)} is not that of the one input")
        return self


def is_artifact(folder: Path) -> bool:
    """Whether a folder is what `export` has written."""
    return (folder / MANIFEST).is_file()


def artifacts_in(folder: Path) -> list[Path]:
    """The artifacts in a folder, sorted, as `export` writes one a top-k; none where it is one itself.

    Hidden ones are not among them: `export` is writing there, or was killed.
    """
    return [] if is_artifact(folder) else sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))


def file_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the manifest, by relative path."""
    return {name: checksum(path) for name, path in _files(folder).items()}


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path for path in paths}


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json`."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path, *, with_files: bool = True) -> Manifest:
    """Read the manifest of an exported model, and check its files, unless they are where it runs.

    Raises:
        ExportError: there is none, it is not one, or a file is not what it says.
        ModelError: it is a file of an exported model.
    """
    path = folder / MANIFEST
    if not is_artifact(folder):
        require_whole_artifact(folder)
        state = f"no {MANIFEST} in it" if folder.is_dir() else "no such folder"
        state = "is a file" if folder.is_file() else state
        raise ExportError(
            f"{folder}: {state}; expected a folder that `export` has written; export the model first"
        )
    if path.stat().st_size > MAX_BYTES:
        raise ExportError(f"{path}: larger than {MAX_BYTES} bytes; expected what `export` writes")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ExportError(
            f"{path}: {first_finding(error)}; expected what `export` writes now; export it again"
        ) from None
    missing = [name for name in FILES[manifest.format] if name not in manifest.sha256]
    if missing:
        raise ExportError(
            f"{path}: no SHA-256 of {missing[0]}; expected what `export` writes; export it again"
        )
    if with_files:
        _require_files(folder, manifest)
    return manifest


def _require_files(folder: Path, manifest: Manifest) -> None:
    there = _files(folder)  # of which only the manifest's are read: gigabytes may lie beside them
    for name, expected in manifest.sha256.items():
        if name not in there or checksum(there[name]) != expected:
            state = "not the one that was exported (SHA-256)" if name in there else "missing"
            raise ExportError(f"{folder / name}: {state}; export it again or copy the whole folder")
