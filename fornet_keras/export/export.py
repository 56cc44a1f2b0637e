"""From a model to an artifact that runs elsewhere, written only after it was run and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import OUTPUTS, Manifest, Source, Tensor, file_sums, write_manifest
from fornet_keras.artifacts.runtimes import (
    LITERT_FILE,
    Run,
    of_the_machine,
    open_encoded,
    open_runtime,
    open_tf_lite,
)
from fornet_keras.atomic import put_in_place, unnamed_folder
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ExportError, reason
from fornet_keras.export import formats
from fornet_keras.export.deployment import deployment_model
from fornet_keras.export.formats import ExportSpec
from fornet_keras.export.proof import Proof, as_jpeg, prove, prove_jpeg
from fornet_keras.export.reference import ProofImages, Reference
from fornet_keras.export.target import check_target, expected_packages
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
    choose = partial(check_target, output, spec.format, spec.precision, spec.size, bool(spec.calibration))
    with _float32(), unnamed_folder(choose()) as writing, TemporaryDirectory() as twin:
        reference = Reference(model, spec.size, images)
        if "int8" in spec.precision:
            model = _without_winograd(model)
        formats.write(model, spec, writing)
        folders = [writing]
        if set(OUTPUTS) - set(spec.outputs):
            # The same once more with every output: what the artifact does not show is compared too.
            formats.write(model, replace(spec, outputs=OUTPUTS), Path(twin))
            folders.insert(0, Path(twin))
        proof = _prove(folders, spec, reference)
        manifest = _manifest(model, table, writing, spec, proof, source)
        write_manifest(manifest, writing)
        # Once more: meanwhile another export may have added the version that was the next.
        folder = put_in_place(writing, choose)
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


def _without_winograd(model: FoRNet) -> FoRNet:
    """The same network for eight bits, which are too few for Winograd's transforms."""
    plain = model.with_top_k(model.top_k)
    plain.get_layer("branch").winograd = False
    return plain


def _prove(folders: Sequence[Path], spec: ExportSpec, reference: Reference) -> Proof:
    """The proof in the format's own runtime: of the last folder, and for what it does not give of the first.

    Of LiteRT also in the interpreter of TensorFlow, of a SavedModel also through its other signature.
    """
    batches = (1, 2) if spec.batch is None else (spec.batch,)

    def proof(open_folder: Callable[[Path], Run]) -> Proof:
        return prove(_together(folders, open_folder, spec), reference, batches, spec.precision)

    if spec.format == "litert":
        proof(lambda folder: open_tf_lite(folder / LITERT_FILE))
    if spec.format == "saved_model":
        proof(open_encoded)
        files = _together(folders[-1:], partial(open_encoded, encode=as_jpeg), spec)
        pixels = _together(folders[-1:], partial(open_runtime, format=spec.format), spec)
        prove_jpeg(files, pixels, reference.images, spec.precision)
    return proof(partial(open_runtime, format=spec.format))


def _together(folders: Sequence[Path], open_folder: Callable[[Path], Run], spec: ExportSpec) -> Run:
    """Exported models as one that gives the outputs of all, of one name the last one's."""
    with _runtime_failure_told(spec):
        runs = [open_folder(folder) for folder in folders]

    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with _runtime_failure_told(spec):
            return {name: value for one in runs for name, value in one(images).items()}

    return run


@contextmanager
def _runtime_failure_told(spec: ExportSpec) -> Iterator[None]:
    """One line where a runtime fails; its own names a folder that will be gone."""
    try:
        yield
    except Exception as error:  # each runtime has its own
        if of_the_machine(error):
            raise
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise ExportError(
            f"{spec.format} in {spec.precision}: its runtime cannot run what was written ({reason(cause)}); "
            f"nothing is written; {expected_packages(spec.format)}"
        ) from error


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
