"""What can be written here, and where: known before Keras is loaded and anything is computed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fornet_keras.artifacts.manifest import Format, Precision, is_artifact
from fornet_keras.artifacts.runtimes import with_version
from fornet_keras.data.sizes import require_runnable
from fornet_keras.errors import ExportError

PRECISIONS = {
    "saved_model": ("float32",),
    "litert": ("float32", "float16", "dynamic_int8", "int8"),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "float16", "int8"),
}
"""Format → the precisions it can be written in."""

NEEDS = {
    "saved_model": (),
    "litert": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
}
"""Format → the packages that it needs beside TensorFlow; the extra that installs them has its name."""


def check_target(
    output: Path, format: Format, precision: Precision, size: tuple[int, int], calibrated: bool
) -> Path:
    """Where the artifact of an `export_model` with these arguments will be, as things are now.

    Args:
        output: a folder that does not exist yet; of a SavedModel, the folder of its numbered versions.
        format: one of the export formats.
        precision: one of the format's.
        size: height and width of the images in pixels.
        calibrated: whether there are images to calibrate with.

    Raises:
        ExportError: it cannot be written there, or not in that form: the precision is not one of the
            format's, a package or the calibration images are missing.
        DataError: the size is too large.
    """
    _check_format(format, precision, calibrated, size)
    for path in (output, *output.parents):
        if path.is_file() or path.is_symlink() and not path.exists():
            state = "is a file" if path.is_file() else "is a link to nothing"
            raise ExportError(f"{path}: {state}; expected a folder or none yet; choose another --output")
    if format != "saved_model":
        if output.exists():
            raise ExportError(f"{output}: is there already; choose another --output, or remove it")
        return output
    expected, whole = "expected the folder of its versions", output.absolute()
    if whole.name.isdecimal():  # a version of none, which TensorFlow Serving would take for the newest
        raise ExportError(f"{output}: is named as a version of a model; {expected}; take {whole.parent}")
    if is_artifact(output):
        raise ExportError(f"{output}: is an exported model; {expected}; choose another --output")
    taken = [int(path.name) for path in output.glob("[0-9]*") if path.name.isdecimal()]
    return output / str(max(taken, default=0) + 1)


def _check_format(name: Format, precision: Precision, calibrated: bool, size: tuple[int, int]) -> None:
    require_runnable(size)
    if precision not in PRECISIONS[name]:
        raise ExportError(
            f"{name} cannot be written in {precision}; expected one of {', '.join(PRECISIONS[name])}"
        )
    for package in NEEDS[name]:
        if find_spec(package) is None:
            raise ExportError(f"{name} needs the package {package}: pip install 'fornet_keras[{name}]'")
    if precision == "int8" and not calibrated:
        raise ExportError("int8 needs images like those it will see; name their folder with --calibration")


def expected_packages(name: Format) -> str:
    """The end of a line about a converter or a runtime that failed."""
    packages = ", ".join(map(with_version, ("tensorflow", *NEEDS[name])))
    return (
        f"expected packages that fit together, and here are {packages}; install them again, or take another "
        "--format"
    )
