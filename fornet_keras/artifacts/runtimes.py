"""An exported model in its own runtime, as a function from images to outputs. Keras is not imported."""

from __future__ import annotations

import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import FILES, MANIFEST, OUTPUTS, Manifest
from fornet_keras.errors import ExportError, is_out_of_memory, reason
from fornet_keras.version import installed

LITERT_FILE = FILES["litert"][0]
ONNX_FILE = FILES["onnx"][0]
OPENVINO_FILE = FILES["openvino"][0]
CUDA = "CUDAExecutionProvider"
DEFAULT = "serving_default"
"""The signature of a SavedModel, or of LiteRT, that takes pixels."""
ENCODED = "serving_encoded"
"""The signature of a SavedModel that takes JPEG or PNG files."""

RUNTIME_PACKAGES = {
    "saved_model": ("tensorflow", "tensorflow"),
    "litert": ("ai_edge_litert", "fornet_keras[litert]"),
    "onnx": ("onnxruntime", "fornet_keras[onnx]"),
    "openvino": ("openvino", "fornet_keras[openvino]"),
}
"""Format → the package that runs it, and what to install for it."""

DEVICES = ("cpu", "gpu")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Where a container on Linux finds its share of the machine's time: microseconds, and of how many."""

Run = Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]
"""From images uint8 `(batch, height, width, 3)` to the outputs by name."""


def open_runtime(folder: Path, format: str, threads: int | None = None, device: str = "cpu") -> Run:
    """Load an exported model.

    Args:
        folder: what `export` has written.
        format: one of the export formats.
        threads: threads of the runtime; None takes every core, or what a container may have of them. A
            SavedModel has TensorFlow's.
        device: of `DEVICES`; gpu is CUDA in ONNX Runtime, and OpenVINO's.

    Raises:
        ExportError: the package that runs it is missing or cannot load it, or it has no such device here.
    """
    if device == "gpu" and format not in ("onnx", "openvino"):
        raise ExportError(
            f"{folder}: --device gpu is not of {format}; expected an onnx or openvino artifact; leave it out"
            + ", and TensorFlow takes a GPU that it finds" * (format == "saved_model")
        )
    threads = threads or allowed_cores()
    package, requirement = RUNTIME_PACKAGES[format]
    if find_spec(package) is None:
        raise ExportError(f"{folder}: needs the package {package}: pip install '{requirement}'")
    openers: dict[str, Callable[[], Run]] = {
        "saved_model": lambda: _saved_model(folder),
        "litert": lambda: _litert(folder / LITERT_FILE, threads),
        "onnx": lambda: open_onnx(folder / ONNX_FILE, threads, device),
        "openvino": lambda: _openvino(folder / OPENVINO_FILE, threads, device),
    }
    try:
        return openers[format]()
    except ExportError:
        raise
    except Exception as error:  # each runtime has its own, and a broken package any
        if of_the_machine(error):
            raise
        raise ExportError(
            f"{folder}: {with_version(package)} cannot load it ({reason(error)}); expected a version like "
            "the one that it was exported with (manifest.json); install that, or export it again"
        ) from error


def open_artifact(folder: Path, manifest: Manifest, threads: int | None = None, device: str = "cpu") -> Run:
    """`open_runtime`, and a black image, which shows whether the manifest is of this model.

    Raises:
        ExportError: as there, or the model does not take or give what the manifest says.
    """
    run = open_runtime(folder, manifest.format, threads, device)
    expected = {"label_ids": manifest.size, **{x.name: x.shape[1:] for x in manifest.outputs}}
    try:
        outputs = run(np.zeros((1, *manifest.size, 3), np.uint8))
        found = {name: value.shape[1:] for name, value in outputs.items() if name in expected}
        finding = "" if found == expected else f"gives {found}, and not {expected}"
    except ExportError:
        raise
    except Exception as error:
        if of_the_machine(error):
            raise
        finding = f"does not take {manifest.size[0]}x{manifest.size[1]} pixels: {reason(error)}"
    if finding:
        raise ExportError(
            f"{folder / MANIFEST}: is not of the model beside it, which {finding}; expected what "
            "`export` has written with it; copy the whole folder, or export it again"
        )
    return run


def with_version(package: str) -> str:
    """The name of a package, and its version where it is installed under that name."""
    return f"{package} {installed(package) or ''}".strip()  # onnxruntime-gpu has another name


def of_the_machine(error: Exception) -> bool:
    """Whether memory or a disk is amiss, and no package; TensorFlow's own `OSError`s have no number."""
    return is_out_of_memory(error) or isinstance(error, OSError) and error.errno is not None


def usable_cores() -> int:
    """The cores that this process may use."""
    return allowed_cores() or _cores()


def allowed_cores() -> int | None:
    """How many cores' time a container may take, which no runtime looks at; None where it limits nothing."""
    try:
        time, period = CPU_MAX.read_text().split()
        allowed = math.ceil(int(time) / int(period))
    except (OSError, ValueError):  # none, or "max"
        return None
    return allowed if allowed < _cores() else None


def _cores() -> int:
    # Not on macOS and Windows.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _saved_model(folder: Path) -> Run:
    keras = sys.modules.get("keras")  # before TensorFlow, which imports it
    import tensorflow as tf

    if keras and keras.backend.backend() != "tensorflow":
        # Else TensorFlow takes the GPU's memory from the backend that Keras computes with.
        with suppress(RuntimeError):  # it has it already
            tf.config.set_visible_devices([], "GPU")
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[DEFAULT]

    def run(images: NDArray[np.uint8], _owner: Any = loaded) -> dict[str, NDArray[Any]]:
        return {name: x.numpy() for name, x in signature(image=tf.constant(images)).items()}

    return run


def open_encoded(folder: Path, encode: Callable[[NDArray[np.uint8]], bytes] | None = None) -> Run:
    """Load a SavedModel through its other signature: images travel to it as files, PNG if not told."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[ENCODED]
    encode = encode or (lambda image: tf.io.encode_png(image).numpy())

    def run(images: NDArray[np.uint8], _owner: Any = loaded) -> dict[str, NDArray[Any]]:
        files = tf.constant([encode(image) for image in images])
        return {name: x.numpy() for name, x in signature(encoded=files).items()}

    return run


def _litert(path: Path, threads: int | None) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    # Without a number it takes one thread, and the other runtimes take every core.
    interpreter = Interpreter(str(path), num_threads=threads or usable_cores())
    runner = interpreter.get_signature_runner(DEFAULT)
    return lambda images: dict(runner(image=images))


def open_tf_lite(path: Path) -> Run:
    """Load a LiteRT model in the interpreter that TensorFlow brings, which many phones' code still uses."""
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will leave TensorFlow, which is why both are tried
        interpreter = tf.lite.Interpreter(str(path), num_threads=usable_cores())
    runner = interpreter.get_signature_runner(DEFAULT)
    return lambda images: dict(runner(image=images))


def open_onnx(path: Path, threads: int | None, device: str = "cpu") -> Run:
    """Load an ONNX model in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "gpu":
        with redirect_stdout(io.StringIO()) as printed:
            onnxruntime.preload_dlls()  # pip's CUDA and cuDNN, where it would not look by itself
        _require_gpu("ONNX Runtime", onnxruntime.get_available_providers(), CUDA, "onnxruntime-gpu")
        providers.insert(0, (CUDA, {"use_tf32": "0"}))  # as below: else not the float32 that was proven
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    if device == "gpu":  # without CUDA's libraries it says so in its log, and takes the CPU
        missing = printed.getvalue().partition("\n")[0]
        needs = "CUDA and cuDNN as it wants them" + f" ({missing})" * bool(missing)
        _require_gpu("ONNX Runtime", session.get_providers(), CUDA, needs)
        session.disable_fallback()  # nor may it go on with the CPU later
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def _openvino(path: Path, threads: int | None, device: str) -> Run:
    openvino = import_openvino()
    core = openvino.Core()
    settings = openvino_settings(threads)
    if device == "gpu":
        # Of several, each has its number: GPU.0.
        found = [name.partition(".")[0] for name in core.available_devices]
        _require_gpu("OpenVINO", found, "GPU", "the driver of one that it can use")
        settings = openvino_settings(threads=None)  # which are the CPU's
    model = core.read_model(str(path))
    names = [next(n for n in OUTPUTS if n in output.get_names()) for output in model.outputs]
    compiled: dict[int, Any] = {}

    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        batch = len(images)
        if batch not in compiled:
            # One program for each number of images: a tenth quicker than one for any.
            model.reshape(images.shape)
            try:
                compiled[batch] = core.compile_model(model, device.upper(), settings)
            except Exception as error:
                if of_the_machine(error):
                    raise
                raise ExportError(
                    f"{path}: OpenVINO cannot compile it for {device} ({reason(error)}); expected one "
                    "that has all its operators; leave --device out"
                ) from error
        found = compiled[batch](images)
        return {name: np.array(found[number]) for number, name in enumerate(names)}

    return run


def _require_gpu(runtime: str, found: Sequence[str], expected: str, needs: str) -> None:
    if expected not in found:
        raise ExportError(
            f"--device gpu: {runtime} has {', '.join(found)}; expected {expected}; install {needs}, "
            "or leave it out"
        )


def import_openvino() -> Any:
    """OpenVINO without the package by which it reports imports and conversions to Google Analytics."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: as if not installed
    import openvino

    return openvino


def openvino_settings(threads: int | None) -> dict[str, Any]:
    """Settings of OpenVINO that compute in float32."""
    # Else it computes in bfloat16 where the processor can, and the proof would be of something else.
    return {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
