"""From a model to an artifact that runs elsewhere, written only after it was run and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from fornet_keras.artifacts.manifest import (
    Format,
    Manifest,
    Precision,
    Tensor,
    file_sums,
    write_manifest,
)
from fornet_keras.artifacts.runtimes import open_runtime, open_tf_lite
from fornet_keras.atomic import new_folder
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ExportError
from fornet_keras.export import formats
from fornet_keras.export.deployment import OUTPUTS, deployment_model
from fornet_keras.export.proof import Proof, ProofImages, Reference, prove
from fornet_keras.export.quantize import Images
from fornet_keras.export.warmup import write_warmup
from fornet_keras.model import FoRNet
from fornet_keras.model_description import class_entries

PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "tf2onnx", "onnxruntime", "openvino", "nncf")


def export_model(
    model: FoRNet,
    table: LabelTable,
    output: Path,
    format: Format,
    size: tuple[int, int],
    images: ProofImages,
    precision: Precision = "float32",
    outputs: Sequence[str] = ("label_ids",),
    calibration: Images = (),
) -> tuple[Path, Manifest]:
    """Write a model in another format, and prove that it is the same model. On the TensorFlow backend only.

    Args:
        model: a `FoRNet`; its `top_k` is the artifact's.
        table: its classes.
        output: a folder that does not exist yet; of a SavedModel, the folder of its numbered versions, to
            which one is added.
        format: a key of `formats.PRECISIONS`.
        size: height and width of the images in pixels.
        images: what the proof is taken on, of that size.
        precision: one of the format's.
        outputs: what the artifact gives, of `OUTPUTS`.
        calibration: images of that size for int8.

    Returns:
        The folder of the artifact, and its manifest.

    Raises:
        ExportError: it cannot be written here, or it is not the same model; nothing is left behind.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            "an export needs the TensorFlow backend; use the command `export`, or KERAS_BACKEND=tensorflow"
        )
    folder = check_target(output, format, precision, size, bool(calibration))
    batches = (1,) if format == "litert" else (1, 2)
    reference = Reference(model, size, images)
    if "int8" in precision:
        model = _without_winograd(model)
    with new_folder(folder) as writing:
        _write(model, size, outputs, writing, format, precision, calibration)
        proof = _prove(writing, format, reference, batches, precision)
        if set(OUTPUTS) - set(outputs):
            # The same once more with every output: what the artifact does not show is compared too.
            with TemporaryDirectory() as name:
                _write(model, size, OUTPUTS, Path(name), format, precision, calibration)
                twin = _prove(Path(name), format, reference, batches, precision)
            proof = proof.with_unseen(twin)
        if format == "saved_model":
            write_warmup(writing, images.images[0])
        manifest = _manifest(model, table, writing, format, precision, size, outputs, proof)
        write_manifest(manifest, writing)
    return folder, manifest


def check_target(
    output: Path, format: Format, precision: Precision, size: tuple[int, int], calibrated: bool
) -> Path:
    """Where the artifact of an `export_model` with these arguments will be, before anything is computed.

    Raises:
        ExportError: it cannot be written there, or not in that form.
    """
    formats.check_format(format, precision, calibrated, size)
    if format != "saved_model":
        if output.exists():
            raise ExportError(f"{output}: is there already; choose another --output, or remove it")
        return output
    taken = [int(path.name) for path in output.glob("[0-9]*") if path.name.isdecimal()]
    return output / str(max(taken, default=0) + 1)


def _write(
    model: FoRNet,
    size: tuple[int, int],
    outputs: Sequence[str],
    folder: Path,
    format: str,
    precision: str,
    calibration: Images,
) -> None:
    if format == "saved_model":
        formats.write_saved_model(model, size, outputs, folder)
    elif format == "litert":
        formats.write_litert(model, size, outputs, folder, precision, calibration)
    elif format == "onnx":
        formats.write_onnx(model, size, outputs, folder, precision, calibration)
    else:
        formats.write_openvino(model, size, outputs, folder, precision, calibration)


def _without_winograd(model: FoRNet) -> FoRNet:
    """The same network for eight bits, which are too few for Winograd's transforms."""
    plain = model.with_top_k(model.top_k)
    plain.get_layer("branch").winograd = False
    return plain


def _prove(folder: Path, format: str, reference: Reference, batches: Sequence[int], precision: str) -> Proof:
    """The proof in the format's own runtime; of LiteRT also in the interpreter of TensorFlow."""
    if format == "litert":
        prove(open_tf_lite(folder / formats.LITERT_FILE), reference, batches, precision)
    return prove(open_runtime(folder, format), reference, batches, precision)


def _manifest(
    model: FoRNet,
    table: LabelTable,
    folder: Path,
    format: Format,
    precision: Precision,
    size: tuple[int, int],
    outputs: Sequence[str],
    proof: Proof,
) -> Manifest:
    deployed = deployment_model(model, size, outputs, 1 if format == "litert" else None)
    tensors = {name: (x.dtype, tuple(x.shape)) for name, x in deployed.output.items()}
    return Manifest(
        format=format,
        precision=precision,
        size=size,
        top_k=model.top_k,
        region_size=model.region_size,
        inputs=(Tensor(name="image", dtype="uint8", shape=tuple(deployed.input.shape)),),
        outputs=tuple(Tensor(name=n, dtype=dtype, shape=shape) for n, (dtype, shape) in tensors.items()),
        classes=class_entries(table),
        versions=versions(),
        proof=proof,
        sha256=file_sums(folder),
    )


def versions() -> dict[str, str]:
    """The installed versions of what an export is made with."""
    found = {}
    for package in ("fornet_keras", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def as_json(folder: Path, manifest: Manifest) -> dict[str, object]:
    """The result for `--json`."""
    return {"artifact": str(folder), **json.loads(manifest.model_dump_json())}
