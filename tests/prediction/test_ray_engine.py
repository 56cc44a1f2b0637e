"""An exported model, by itself and in Ray's processes: the same files, each written once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any
from unittest.mock import MagicMock, Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.artifacts.manifest import MANIFEST
from fornet_keras.artifacts.runtimes import open_runtime
from fornet_keras.errors import FoRNetError
from fornet_keras.prediction import ray_engine
from fornet_keras.prediction.folder import FolderPrediction
from fornet_keras.prediction.inputs import Input, find_inputs
from fornet_keras.prediction.predictor import Predictor
from tests.cli.conftest import Run, only_line
from tests.cli.conftest import run as run_command
from tests.cli.test_usage import ROOT
from tests.model.tiny import images, randomize, tiny_model
from tests.serving.conftest import SIZE, ratios

TOP_K = 0.25

__all__ = ["ratios", "run_command"]


@pytest.fixture
def artifact(ratios: Path) -> Path:
    return ratios / f"k{TOP_K:g}"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Seven images, one of them broken and one of another size."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(7):
        Image.fromarray(np.roll(images(*SIZE)[0], 9 * index, 1)).save(folder / f"{index}.png")
    (folder / "3.png").write_bytes(b"")
    Image.new("RGB", (32, 32)).save(folder / "5.png")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("[!l]*.png")}


def test_ray_writes_and_says_what_the_plain_command_does(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    frames = Path(os.path.relpath(frames))
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'fornet_keras[ray]'")
    plain, ray = tmp_path / "plain", tmp_path / "ray"
    expected = run_command("predict", artifact, frames, "--output", plain)
    assert expected.exit_code == 1
    note = "note: the exported model takes 64x96 pixels; others are letterboxed to that\n"
    assert expected.stderr.startswith(f"{note}Error: 1 of 7 inputs failed:\n  {frames}/3.png: is empty")

    shutil.copytree(plain, ray)  # as a run that was stopped after its first image
    for path in [*ray.glob("[1-9]_labels.png")]:
        path.unlink()
    kept = contents(ray)
    command = [sys.executable, "cli.py", "predict", artifact, frames, "--output", ray, "--engine", "ray"]
    found = subprocess.run([*map(str, command), "--overlay"], cwd=ROOT, capture_output=True, text=True)
    ours = [line for line in found.stderr.splitlines(keepends=True) if not line.startswith("[2")]
    assert (found.returncode, "".join(ours)) == (1, expected.stderr), "but for what Ray's core logs itself"
    assert found.stdout == f"6 predicted: {ray}\n"
    for name, (content, _) in contents(plain).items():
        assert (ray / name).read_bytes() == content, name
    assert contents(ray)["0_labels.png"] == kept["0_labels.png"], "what was there is not written again"


def test_the_exported_model_gives_the_labels_of_the_network(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path
) -> None:
    run_command("predict", artifact, frames / "0.png", "--output", tmp_path / "out")
    expected = randomize(tiny_model(TOP_K)).predict_image(frames / "0.png")["label_ids"]
    with Image.open(tmp_path / "out" / "0_labels.png") as found:
        assert np.mean(np.asarray(found) == expected) > 0.999


def test_another_size_is_letterboxed_and_the_labels_brought_back(
    run_command: Run, artifact: Path, tmp_path: Path
) -> None:
    large = images(200, 150)[0]
    Image.fromarray(large).save(tmp_path / "large.png")
    result = run_command("predict", artifact, tmp_path / "large.png", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    fitted = np.full((*SIZE, 3), 127, np.uint8)
    fitted[:, 24:72] = cv2.resize(large, (48, 64), interpolation=cv2.INTER_AREA)
    expected = randomize(tiny_model(TOP_K)).predict_image(fitted)["label_ids"][:, 24:72].copy()
    expected = cv2.resize(expected, (150, 200), interpolation=cv2.INTER_NEAREST_EXACT)
    with Image.open(tmp_path / "out" / "large_labels.png") as found:
        assert np.mean(np.asarray(found) == expected) > 0.999


def test_the_exported_model_shows_its_importance(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path
) -> None:
    command = ("predict", artifact, frames / "0.png", "--importance", "--output", tmp_path / "out")
    assert run_command(*command).exit_code == 0
    network, image = Predictor(randomize(tiny_model(TOP_K))), images(*SIZE)[0]
    expected = network.importance_map(image, network(image))
    with Image.open(tmp_path / "out" / "0_importance.png") as found:
        assert np.abs(np.asarray(found).astype(int) - expected).mean() < 1


def test_an_exported_model_without_importance_is_refused(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(artifact, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["outputs"] = [x for x in manifest["outputs"] if x["name"] != "importance"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    result = run_command("predict", copy, frames, "--importance", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "does not give it; export the model again with --importance" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_runtime_says_while_it_loads_is_dropped(
    run_command: Run,
    artifact: Path,
    frames: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def open_loudly(folder: Path, *rest: object) -> Any:
        os.write(2, b"I0000 oneDNN custom operations are on.\n")
        return open_runtime(folder, "onnx")

    monkeypatch.setattr("fornet_keras.artifacts.runtimes.open_runtime", open_loudly)
    result = run_command("predict", artifact, frames / "0.png", "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "oneDNN" not in capfd.readouterr().err


def test_a_tampered_artifact_is_not_run(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(artifact, tmp_path / "copy")
    (copy / "model.onnx").write_bytes(b"another")
    result = run_command("predict", copy, frames, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "model.onnx: not the one that was exported (SHA-256)" in only_line(result.stderr)


def test_what_an_exported_model_cannot_do(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path
) -> None:
    for option in (
        ("--flip",),
        ("--top-k", 0.5),
        ("--short-side", 48),
        ("--short-side", 0),
        ("--backend", "jax"),
    ):
        result = run_command("predict", artifact, frames, "--output", tmp_path / "out", *option)
        assert result.exit_code == 2
        assert f"{option[0]}: an exported model has its own runtime, size and top-k\n" in result.stderr
    result = run_command("predict", artifact, frames, "--output", tmp_path / "out", "--workers", 2)
    assert (result.exit_code, "--workers needs --engine ray" in result.stderr) == (2, True)
    on_a_gpu = ("--engine", "ray", "--device", "gpu")
    result = run_command("predict", artifact, frames, "--output", tmp_path / "out", *on_a_gpu)
    assert (result.exit_code, "--engine ray predicts on the CPU" in result.stderr) == (2, True)
    result = run_command("predict", frames, frames, "--output", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "--engine ray takes an exported model; write one with `export`" in result.stderr
    result = run_command("predict", artifact, "camera:0", "--output", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "--engine ray reads files alone; leave it out for a camera or a stream" in result.stderr


def test_the_cores_of_this_process_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, ray = MagicMock(), MagicMock()
    ray.exceptions.RayError = RuntimeError
    ray.data.from_items.return_value = rows
    monkeypatch.setattr(ray_engine, "_start", lambda workers: ray)
    monkeypatch.setattr(ray_engine, "usable_cores", lambda: 6)
    prediction = Mock(output=tmp_path, kinds=["labels"], settings={})
    frames = [Input(tmp_path / "a.png", PurePath("a"))]
    with pytest.raises(FoRNetError, match="Ray gave no answer for 1 of 1 inputs"):
        ray_engine.predict_with_ray(tmp_path, prediction, frames, 2, lambda *_: [])
    assert rows.map.call_args.kwargs["fn_constructor_args"][1] == 3


def test_a_worker_places_nothing_in_a_folder_of_other_settings(artifact: Path, frames: Path) -> None:
    output, settings = frames.with_name("out"), {"weights": "mine"}
    worker = ray_engine._Worker(str(artifact), 1, str(output), ["labels"], False, settings)
    row = {"path": str(frames / "0.png"), "name": "0", "number": 0}
    predictor = worker.predict.predictor
    for theirs in (settings, {"weights": "theirs"}):
        other = FolderPrediction(predictor, predictor.table, output, settings=theirs, overwrite=True)
        other.begin(find_inputs([row["path"]], output))
        if theirs == settings:
            assert worker(row)["status"] == "written"
    with pytest.raises(FoRNetError, match="weights is theirs there and mine here"):
        worker(row)


def test_the_workers_see_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    ray = MagicMock()
    for name, module in (("ray", ray), ("ray.data", ray.data)):
        monkeypatch.setitem(sys.modules, name, module)
    ray_engine._start(2)
    assert ray.init.call_args.kwargs["runtime_env"]["env_vars"]["CUDA_VISIBLE_DEVICES"] == "-1"


def test_without_ray(
    run_command: Run, artifact: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be overwritten is still there."""
    command = ("predict", artifact, frames / "0.png", "--output", tmp_path / "out", "--overwrite")
    assert run_command(*command).exit_code == 0
    (tmp_path / "out" / "settings.json").unlink()
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "needs Ray Data" in run_command(*command, "--engine", "ray").stderr
    assert (tmp_path / "out" / "0_labels.png").is_file()
    with pytest.raises(FoRNetError, match=r"needs Ray Data, which is not installed; pip install"):
        ray_engine._start(2)
