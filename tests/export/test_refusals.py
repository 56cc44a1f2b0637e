"""What export refuses, or cannot do: one line, and nothing left behind."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fornet_keras.errors import DataError, ExportError
from tests.export.conftest import TABLE


def test_int8_needs_images(export: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8 needs images like those it will see; .* --calibration"):
        export("litert", "int8", calibration=())
    assert not (tmp_path / "artifact").exists()


def test_a_precision_that_the_format_does_not_have(export: Callable[..., Any]) -> None:
    with pytest.raises(ExportError, match="onnx cannot be written in float16; expected one of float32, int8"):
        export("onnx", "float16")


@pytest.mark.parametrize(
    ("format", "package"), [("litert", "ai_edge_litert"), ("onnx", "tf2onnx"), ("openvino", "nncf")]
)
def test_a_missing_package_names_the_extra(
    export: Callable[..., Any], format: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.export.target.find_spec", lambda name: None if name == package else 1)
    with pytest.raises(
        ExportError, match=rf"needs the package {package}: pip install 'fornet_keras\[{format}\]'"
    ):
        export(format)


def test_a_folder_that_is_there_is_left_alone(export: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with pytest.raises(ExportError, match="is there already; choose another --output"):
        export("litert")


def test_a_changed_artifact_is_refused(artifact: Callable[..., Any], tmp_path: Path) -> None:
    from fornet_keras.artifacts.manifest import read_manifest

    folder = shutil.copytree(artifact("litert", "float32")[0], tmp_path / "changed")
    content = bytearray((folder / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.tflite").write_bytes(content)
    with pytest.raises(ExportError, match=r"model.tflite: not the one that was exported \(SHA-256\)"):
        read_manifest(folder)


def test_what_lies_beside_an_artifact_is_not_read(
    artifact: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of TensorRT takes as long to read at each start as it is large."""
    from fornet_keras.artifacts import manifest

    folder = shutil.copytree(artifact("litert", "float32")[0], tmp_path / "phone")
    (folder / "engine.plan").write_bytes(b"gigabytes")
    monkeypatch.setattr(manifest, "checksum", read := Mock(wraps=manifest.checksum))
    manifest.read_manifest(folder)
    assert [call.args[0].name for call in read.call_args_list] == ["model.tflite"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": {}}, "no SHA-256 of model.onnx; expected what `export` writes"),
        ({"format": "litert"}, "no SHA-256 of model.tflite; expected what `export` writes"),
        ({"size": [32, 32]}, r"size \[32, 32\] is not that of the one input; expected what"),
        ({"size": [0, 160]}, "size.0: Input should be greater than 0; expected what"),
        ({"top_k": 2}, "top_k: Input should be less than or equal to 1; expected what"),
        ({"proof": {"tolerance": {"regions": 0.99}}}, "proof.tolerance.* writes now; export it again$"),
        ({"classes": []}, "classes: Tuple should have at least 2 items after validation"),
        (
            {"classes": [{"name": "a", "color": [0, 0, 999]}] * 2},
            "classes.0.color.2: Input should be less than",
        ),
        ({"classes": [{"name": "a\x1b", "color": [0, 0, 0]}] * 2}, "classes.0.name: String should match"),
    ],
)
def test_a_changed_manifest_is_refused(
    artifact: Callable[..., Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    from fornet_keras.artifacts.manifest import read_manifest

    copy = shutil.copytree(artifact("onnx", "float32")[0], tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ExportError, match=message):
        read_manifest(copy)


def test_a_converter_that_fails_is_said_in_a_line(
    export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.export import formats

    monkeypatch.setattr(formats, "write_onnx", Mock(side_effect=KeyError("Relu7\nand more")))
    expected = r"^onnx in float32: the converter failed \(.*Relu7.*here are tensorflow \d.*, tf2onnx \d"
    with pytest.raises(ExportError, match=expected):
        export("onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("/x/variables/variables.data-00000-of-00001; No space left on device"),  # TensorFlow's
    ],
)
def test_a_full_disk_is_no_converters_fault(
    error: Exception, export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.export import formats

    monkeypatch.setattr(formats, "write_onnx", Mock(side_effect=error))
    with pytest.raises(OSError, match="No space left on device") as found:
        export("onnx", output=tmp_path / "new" / "artifact")
    assert found.value.filename in (None, str(tmp_path / "new" / "artifact"))
    assert list(tmp_path.iterdir()) == []


def test_another_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.export.export import export_model

    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(ExportError, match="needs the TensorFlow backend; use the command `export`, or KERAS"):
        export_model(Mock(), TABLE, tmp_path / "out", Mock(), Mock())


def test_a_size_that_is_too_large(export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.data.sizes.MAX_RUN_PIXELS", 1000)
    with pytest.raises(DataError, match="96x160: too large to be run; expected at most 1,000 pixels"):
        export("onnx")
