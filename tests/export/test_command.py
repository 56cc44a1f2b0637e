"""The command `export`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import pytest

from fornet_keras.errors import ExportError
from tests.cli.conftest import config, data, model, only_line, run
from tests.export.conftest import TABLE, scenes
from tests.model.folders import edit
from tests.untraced import untraced_reference

__all__ = ["config", "data", "model", "run"]

ROOT = Path(__file__).parents[2]
EVERY_OUTPUT = ("--importance", "--logits")  # the proof then needs no second artifact


def test_the_command_from_any_backend(network: Any, tmp_path: Path) -> None:
    """JAX is asked for; TensorFlow exports; the proof is taken on the user's images."""
    from fornet_keras.model_folder import save_model

    save_model(network, TABLE, tmp_path / "model")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(scenes(3)):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image[..., ::-1])
    options = [
        "--format",
        "litert",
        "--size",
        "96x160",
        "--calibration",
        tmp_path / "images",
        "--top-k",
        "0.5",
        *EVERY_OUTPUT,
    ]
    paths = ["--output", tmp_path / "phone", "--json", tmp_path / "result.json"]
    command = [sys.executable, "cli.py", "export", tmp_path / "model", *options, *paths]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "result.json").read_text())
    manifest = json.loads((tmp_path / "phone" / "manifest.json").read_text())
    assert result == {"artifact": str(tmp_path / "phone"), **manifest}
    assert (manifest["top_k"], manifest["size"]) == (0.5, [96, 160])
    weights = json.loads((tmp_path / "model" / "model.json").read_text())["sha256"]
    assert manifest["source"] == {"model": "model", "weights_sha256": weights}
    assert manifest["proof"]["images"] == "3 images, of images"
    assert "100.0000%" in done.stdout
    commands = ("predict {} IMAGE --output phone_predicted --overlay", "benchmark {}", "serve {}")
    lines = [f"  python cli.py {command}".format(tmp_path / "phone") for command in commands]
    assert done.stdout.splitlines()[-4:] == ["Next:", *lines]


@untraced_reference()
def test_the_command_writes_an_artifact_for_each_ratio(run: Any, network: Any, tmp_path: Path) -> None:
    from fornet_keras.artifacts.manifest import read_manifest
    from fornet_keras.model_folder import save_model

    save_model(network, TABLE, tmp_path / "model")
    edit(tmp_path / "model", lambda description: description.update(short_side=64))
    options = ("--format", "onnx", "--size", "96x160", "--top-k", "0.5,1,0.5", *EVERY_OUTPUT)
    paths = ("--output", tmp_path / "ratios", "--json", tmp_path / "result.json")
    result = run("export", tmp_path / "model", *options, *paths)
    assert (result.exit_code, "--size 64x112 fits" in only_line(result.stderr)) == (0, True)
    folders = [tmp_path / "ratios" / name for name in ("top_k_0.5", "top_k_1")]
    assert f"predict {folders[0]} IMAGE --output ratios_top_k_0.5_predicted --overlay\n" in result.stdout
    assert sorted((tmp_path / "ratios").iterdir()) == folders
    manifests = [read_manifest(folder) for folder in folders]
    assert [(manifest.top_k, manifest.short_side) for manifest in manifests] == [(0.5, 64), (1, 64)]
    found = json.loads((tmp_path / "result.json").read_text())["artifacts"]
    assert [artifact["artifact"] for artifact in found] == [str(folder) for folder in folders]
    result = run("export", tmp_path / "model", *options, *paths)
    assert "is there already; choose another --output" in only_line(result.stderr)


def test_without_tensorflow(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.cli.export.find_spec", lambda name: None)
    options = ("--format", "onnx", "--size", "96x160", "--output", tmp_path / "out")
    result = run("export", tmp_path, *options)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith("Error: export needs TensorFlow, whatever trained the model; ")


def test_what_cannot_be_written_is_refused_at_once(run: Any, tmp_path: Path) -> None:
    """Before a scene of that size is drawn, and before the model or the data is looked at."""
    (tmp_path / "config.yaml").touch()
    options = (
        "export",
        tmp_path,
        "--format",
        "onnx",
        "--output",
        tmp_path,
        "--config",
        tmp_path / "config.yaml",
    )
    result = run(*options, "--size", "99999x99999")
    assert result.exit_code == 1 and "99999x99999: too large to be run" in only_line(result.stderr)
    size = ("--size", "64x96")
    result = run(*options, *size)
    assert result.exit_code == 1 and "is there already; choose another --output" in only_line(result.stderr)
    paths = ("--output", tmp_path / "new", "--top-k", "0.5,0.3,0.3000001")
    result = run("export", tmp_path, "--format", "onnx", "--size", "64x96", *paths)
    message = "0.5,0.3,0.3000001: two of them would be one folder of top_k_0.5, top_k_0.3; expected shares"
    assert result.exit_code == 1 and message in only_line(result.stderr)
    (tmp_path / "file").touch()
    of_versions = ("export", tmp_path, "--format", "saved_model", "--size", "64x96")
    result = run(*of_versions, "--output", tmp_path / "file")
    message = f"Error: {tmp_path}/file: is a file; expected a folder or none yet; choose another --output"
    assert (result.exit_code, only_line(result.stderr)) == (1, message)
    result = run(*of_versions, "--output", tmp_path / "file" / "city")
    assert (result.exit_code, f"{tmp_path}/file: is a file; expected a folder" in result.stderr) == (2, True)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for output in ("link", "link/city"):
        result = run(*of_versions, "--output", tmp_path / output)
        message = f"Error: {tmp_path}/link: is a link to nothing; expected a folder or none yet; choose an"
        assert (result.exit_code, only_line(result.stderr).startswith(message)) == (1, True)
    folder = tmp_path / "city" / "phone"
    message = f"is named as a version of a model; expected the folder of its versions; take {folder}"
    assert only_line(run(*of_versions, "--output", folder / "2").stderr).endswith(f"phone/2: {message}")
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    message = "is an exported model; expected the folder of its versions; choose another --output"
    assert only_line(run(*of_versions, "--output", folder).stderr) == f"Error: {folder}: {message}"
    (tmp_path / "empty").mkdir()
    no_model = run(
        "export", tmp_path / "empty", *options[2:4], "--output", tmp_path / "new", *options[6:], *size
    )
    assert "empty: no model.json in it; expected a run folder" in only_line(no_model.stderr)
    result = run(*of_versions, "--output", tmp_path, "--top-k", "0.5,1")
    assert result.exit_code == 1 and "is there already; choose another --output" in only_line(result.stderr)


def test_eight_bits_are_calibrated_on_the_users_images(
    run: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), scenes(1)[0])
    export_model = Mock(side_effect=ExportError("enough"))
    monkeypatch.setattr("fornet_keras.export.export.export_model", export_model)
    options = ("--format", "litert", "--precision", "int8", "--size", "64x96")
    paths = ("--calibration", tmp_path / "images", "--output", tmp_path / "phone")
    assert only_line(run("export", model, *options, *paths).stderr) == "Error: enough"
    spec = export_model.call_args.args[3]
    assert (spec.format, spec.precision, spec.size) == ("litert", "int8", (64, 96))
    assert [image.shape for image in spec.calibration] == [(64, 96, 3)]


def test_weights_that_are_replaced_meanwhile(
    run: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run that is still training: the manifest would name others than those exported."""
    from fornet_keras import model_folder

    def load_model(folder: Path, top_k: float | None) -> Any:
        edit(folder, lambda description: description.update(sha256="0" * 64))
        return Mock(), TABLE

    copy = shutil.copytree(model, tmp_path / "model")
    monkeypatch.setattr(model_folder, "load_model", load_model)
    result = run("export", copy, "--format", "onnx", "--size", "64x96", "--output", tmp_path / "out")
    assert "model: has other weights than a moment ago; expected one model" in only_line(result.stderr)


@untraced_reference()
def test_labels_give_the_change_in_miou(
    run: Any, model: Path, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.export.proof.FEWEST_TELLING", 10**9)
    options = ("export", model, "--format", "onnx", "--size", "64x96", *EVERY_OUTPUT)
    options = (*options, "--output", tmp_path / "out")
    assert "--data and --split need --config" in run(*options, "--data", data).stderr
    result = run(*options, "--config", config, "--data", data, "--split", "train")
    assert result.exit_code == 0, result.stderr
    assert "show whether the artifact has it; name others with --calibration or --config" in result.stdout
    proof = json.loads((tmp_path / "out" / "manifest.json").read_text())["proof"]
    assert proof["images"] == f"2 images, of {data.name}, split train"
    assert (proof["tolerance"]["labels"], proof["tolerance"]["miou"]) == (0.9995, 0.001)
    for check in proof["at_top_k"]:
        assert 0 < check["miou_keras"] < 1
        assert check["miou"] == pytest.approx(check["miou_keras"], abs=1e-3)
