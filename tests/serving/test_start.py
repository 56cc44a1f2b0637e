"""What `serve` begins with, and what it refuses to."""

import re
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from shutil import copytree
from unittest.mock import Mock

import pytest

from fornet_keras.artifacts.manifest import read_manifest
from fornet_keras.errors import ExportError, ServingError
from fornet_keras.serving.artifacts import open_artifacts
from fornet_keras.serving.server import listen
from tests.cli.conftest import only_line, run
from tests.serving.conftest import ROOT
from tests.test_architecture import TREES, at_import_time, imports

DOCKERFILE = ROOT / "deploy" / "Dockerfile"

__all__ = ["run"]


def test_what_is_not_served(ratios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServingError, match="a second artifact of that name; rename one"):
        open_artifacts([ratios, ratios / "k1"])
    with pytest.raises(ExportError, match="no manifest.json in it; expected a folder that `export`"):
        open_artifacts([tmp_path])
    with pytest.raises(ExportError, match="fornet_s_camvid: no such folder; .*; export the model first$"):
        open_artifacts([Path("fornet_s_camvid")])
    monkeypatch.setattr("fornet_keras.artifacts.runtimes.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"k1: needs the package onnxruntime: pip install .*\[onnx\]"):
        open_artifacts([ratios / "k1"])


def test_the_docker_image_has_what_serve_imports() -> None:
    """Its list stands in the place of the package's own, which asks for TensorFlow."""
    code = "import sys, fornet_keras.cli, fornet_keras.serving.server; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [name.partition(".")[2] for name in run.stdout.split() if name.startswith("fornet_keras")]
    found = {name for module in loaded for name in imports(module, at_import_time(TREES[module]))}
    roots = {name.partition(".")[0] for name in found} - {*sys.stdlib_module_names, "fornet_keras"}
    roots -= {"h11", "pydantic_core"}  # which uvicorn and pydantic ask for
    names = {"cv2": "opencv-python-headless", "PIL": "pillow", "ruamel": "ruamel.yaml"}
    packages = {names.get(root, root).replace("_", "-") for root in roots}
    [listed] = re.findall(r"RUN pip install --no-cache-dir \\\n((?: .*\n)+)", DOCKERFILE.read_text("utf-8"))
    assert {*listed.replace("\\", "").split()} == packages | {"onnxruntime"}


def test_what_an_artifact_does_not_give_is_proven_too(ratios: Path) -> None:
    manifest = read_manifest(ratios / "phone")
    assert [(x.name, x.dtype) for x in manifest.outputs] == [("label_ids", "uint8")]
    (check,) = manifest.proof.at_top_k
    assert check.refined_agreement == 1
    assert check.largest_logit_difference < 0.01


def test_the_queue_is_as_long_as_asked_for(run, ratios: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    run_server = Mock()
    monkeypatch.setattr("fornet_keras.serving.server.run_server", run_server)
    assert run("serve", ratios / "k1", "--port", 0, "--queue", 3).exit_code == 0
    assert run_server.call_args.args[0].queue == 3


def test_an_artifact_within_an_artifact_does_not_hide_it(ratios: Path, tmp_path: Path) -> None:
    copytree(ratios / "k1", tmp_path / "outer")
    copytree(ratios / "k1", tmp_path / "outer" / "inner")
    assert list(open_artifacts([tmp_path / "outer"])) == ["outer"]
    assert list(open_artifacts([tmp_path / "outer" / "inner" / ".."])) == ["outer"], "as it is called"


def test_an_artifact_that_is_being_written_is_not_served(ratios: Path, tmp_path: Path) -> None:
    for name in ("k1", ".0123.writing"):
        copytree(ratios / "k1", tmp_path / name)
    assert list(open_artifacts([tmp_path])) == ["k1"]


def test_a_changed_artifact_a_saved_model_and_a_taken_port(run, ratios: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (ratios / "k1").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = (copy / "manifest.json").read_text()
    as_saved_model = manifest.replace('"onnx"', '"saved_model"', 1).replace("model.onnx", "saved_model.pb")
    (copy / "manifest.json").write_text(as_saved_model)
    (copy / "model.onnx").rename(copy / "saved_model.pb")
    result = run("serve", __file__, "--port", "0")
    assert (result.exit_code, "is a file; expected a folder" in only_line(result.stderr)) == (1, True)
    result = run("serve", "fornet_s_camvid", "--port", "0")
    assert (result.exit_code, "no such folder; expected" in only_line(result.stderr)) == (1, True)
    result = run("serve", copy, "--port", "0")
    assert result.exit_code == 1
    assert "is a SavedModel, which TensorFlow Serving runs" in only_line(result.stderr)
    (copy / "manifest.json").write_text(manifest)
    (copy / "model.onnx").write_bytes(b"another")
    result = run("serve", copy, "--port", "0")
    assert (result.exit_code, "(SHA-256)" in only_line(result.stderr)) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", ratios, "--port", taken.getsockname()[1])
    assert result.exit_code == 1
    assert "cannot listen there (Address already in use); choose another" in only_line(result.stderr)


def test_a_gpu_that_is_not_there(  # type: ignore[no-untyped-def]
    run, ratios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    predict = ("predict", ratios / "k1", ROOT / "docs" / "city.png", "--output", tmp_path / "out")
    for command in (("serve", ratios, "--port", 0), predict, ("benchmark", ratios / "k1")):
        result = run(*command, "--device", "gpu")
        assert result.exit_code == 1
        assert "Error: --device gpu: ONNX Runtime has " in only_line(result.stderr)


@pytest.mark.parametrize(
    ("host", "message"),
    [("", "an empty --host means every address"), ("nosuch.invalid", r"cannot listen there \(Name or servi")],
)
def test_an_address_that_cannot_be_had(host: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "create_server", Mock(side_effect=unknown))
    with pytest.raises(ServingError, match=message):
        listen(host, 0)


@pytest.mark.parametrize("host", ["bücher..de", "\u200b"])
def test_an_address_that_is_no_name(host: str) -> None:
    with pytest.raises(ServingError, match=r"cannot listen there \(.+\); choose another --host or --port"):
        listen(host, 0)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_names_the_extra(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    serve = import_module("fornet_keras.cli.serve")

    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == package else name)
    result = run("serve", tmp_path)
    assert result.exit_code == 1
    line = f"Error: serve needs the package {package}: pip install 'fornet_keras[serve]'"
    assert only_line(result.stderr) == line
