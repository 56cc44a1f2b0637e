"""From a model to an artifact that runs elsewhere, written only after it was run and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from fornet_keras.artifacts.manifest import (
    Format,
    Manifest,
    Precision,
    Source,
    Tensor,
    file_sums,
    is_artifact,
    write_manifest,
)
from fornet_keras.artifacts.runtimes import LITERT_FILE, open_encoded, open_runtime, open_tf_lite
from fornet_keras.atomic import new_folder
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ExportError
from fornet_keras.export import formats
from fornet_keras.export.deployment import OUTPUTS, deployment_model
from fornet_keras.export.formats import ExportSpec
from fornet_keras.export.proof import Proof, ProofImages, Reference, prove
from fornet_keras.export.warmup import write_warmup
from fornet_keras.model import FoRNet
from fornet_keras.model_description import class_entries
from fornet_keras.version import installed

EXPORT_PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "tf2onnx", "onnxruntime", "openvino", "nncf")


def export_model(
    model: FoRNet,
    table: LabelTable,
    output: Path,
    spec: ExportSpec,
    images: ProofImages,
    source: Source | None = None,
) -> tuple[Path, Manifest]:
    """Write a model in another format, and prove that it is the same model. On the TensorFlow backend only.

    Args:
        model: a `FoRNet`; its `top_k` is the artifact's.
        table: its classes.
        output: a folder that does not exist yet; of a SavedModel, the folder of its numbered versions, to
            which one is added.
        spec: what is to be written.
        images: what the proof is taken on, of the same size.
        source: which model it is, for the manifest.

    Returns:
        The folder of the artifact, and its manifest.

    Raises:
        ExportError: it cannot be written here, or it is not the same model; nothing is left behind.
        DataError: the size is too large.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            "an export needs the TensorFlow backend; use the command `export`, or KERAS_BACKEND=tensorflow"
        )
    folder = check_target(output, spec.format, spec.precision, spec.size, bool(spec.calibration))
    with _float32(), new_folder(folder) as writing:
        reference = Reference(model, spec.size, images)
        if "int8" in spec.precision:
            model = _without_winograd(model)
        formats.write(model, spec, writing)
        proof = _prove(writing, spec, reference)
        if set(OUTPUTS) - set(spec.outputs):
            # The same once more with every output: what the artifact does not show is compared too.
            with TemporaryDirectory() as name:
                formats.write(model, replace(spec, outputs=OUTPUTS), Path(name))
                twin = _prove(Path(name), spec, reference)
            proof = proof.with_unseen(twin)
        if spec.format == "saved_model":
            write_warmup(writing, spec.size)
        manifest = _manifest(model, table, writing, spec, proof, source)
        write_manifest(manifest, writing)
    return folder, manifest


@contextmanager
def _float32() -> Iterator[None]:
    """No TF32, in which a GPU else computes the Keras of the proof: no float32 artifact agrees with that."""
    import tensorflow as tf

    settings = tf.config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(before)


def check_target(
    output: Path, format: Format, precision: Precision, size: tuple[int, int], calibrated: bool
) -> Path:
    """Where the artifact of an `export_model` with these arguments will be, before anything is computed.

    Raises:
        ExportError: it cannot be written there, or not in that form.
        DataError: the size is too large.
    """
    formats.check_format(format, precision, calibrated, size)
    for path in (output, *output.parents):
        if path.is_file() or path.is_symlink() and not path.exists():
            state = "is a file" if path.is_file() else "is a link to nothing"
            raise ExportError(f"{path}: {state}; expected a folder or none yet; choose another --output")
    if format != "saved_model":
        if output.exists():
            raise ExportError(f"{output}: is there already; choose another --output, or remove it")
        return output
    if is_artifact(output):
        fix = f"take {output.parent}" if output.name.isdecimal() else "choose another --output"
        raise ExportError(f"{output}: is an exported model; expected the folder of its versions; {fix}")
    taken = [int(path.name) for path in output.glob("[0-9]*") if path.name.isdecimal()]
    return output / str(max(taken, default=0) + 1)


def _without_winograd(model: FoRNet) -> FoRNet:
    """The same network for eight bits, which are too few for Winograd's transforms."""
    plain = model.with_top_k(model.top_k)
    plain.get_layer("branch").winograd = False
    return plain


def _prove(folder: Path, spec: ExportSpec, reference: Reference) -> Proof:
    """The proof in the format's own runtime.

    Of LiteRT also in the interpreter of TensorFlow, of a SavedModel also through its other signature.
    """
    batches = (1, 2) if spec.batch is None else (spec.batch,)
    if spec.format == "litert":
        prove(open_tf_lite(folder / LITERT_FILE), reference, batches, spec.precision)
    if spec.format == "saved_model":
        prove(open_encoded(folder), reference, batches, spec.precision)
    return prove(open_runtime(folder, spec.format), reference, batches, spec.precision)


def _manifest(
    model: FoRNet, table: LabelTable, folder: Path, spec: ExportSpec, proof: Proof, source: Source | None
) -> Manifest:
    deployed = deployment_model(model, spec.size, spec.outputs, spec.batch)
    tensors = {name: (x.dtype, tuple(x.shape)) for name, x in deployed.output.items()}
    return Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=source,
        format=spec.format,
        precision=spec.precision,
        size=spec.size,
        top_k=model.top_k,
        region_size=model.region_size,
        short_side=model.short_side,
        inputs=(Tensor(name="image", dtype="uint8", shape=tuple(deployed.input.shape)),),
        outputs=tuple(Tensor(name=n, dtype=dtype, shape=shape) for n, (dtype, shape) in tensors.items()),
        classes=class_entries(table),
        versions=export_versions(),
        proof=proof,
        sha256=file_sums(folder),
    )


def export_versions() -> dict[str, str]:
    """The installed versions of what an export is made with."""
    found = {package: installed(package) for package in ("fornet_keras", *EXPORT_PACKAGES)}
    return {package: version for package, version in found.items() if version}


def as_json(folder: Path, manifest: Manifest) -> dict[str, object]:
    """The result for `--json`."""
    return {"artifact": str(folder), **json.loads(manifest.model_dump_json())}
