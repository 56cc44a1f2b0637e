import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.cli.models import require_one
from fornet_keras.data.images import image_size
from fornet_keras.model_folder import load_model, save_model
from tests.cli.conftest import Run, only_line
from tests.cli.test_usage import ROOT
from tests.model.folders import edit
from tests.model.tiny import randomize
from tests.prediction.test_live import Camera


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.backend
def test_pictures_of_a_folder_and_what_became_of_each_file(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    images, output = data / "images", tmp_path / "out"
    Image.new("RGB", (50, 40)).save(images / "test" / "a.png")
    (images / "train" / "a.png").write_text("no picture")
    options = ("--output", output, "--overlay", "--importance", "--json", tmp_path / "result.json")
    result = run("predict", model, images, *options)
    assert result.exit_code == 1
    speed = re.fullmatch(f"3 predicted, (.*) ms an image: {output}\n", result.stdout)
    assert result.stderr.splitlines()[0] == "Error: 1 of 4 inputs failed:"
    assert result.stderr.splitlines()[1].startswith(f"  {images}/train/a.png: is not an image")
    kinds = ("importance", "labels", "overlay")
    names = [f"{name}_{kind}.png" for name in ("test/a", "test/b", "train/b") for kind in kinds]
    assert files(output) == sorted([".lock", "legend.png", "settings.json", "sources.json", *names])
    assert {image_size(output / name) for name in names[:3]} == {(40, 50)}
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["written"], found["kept"], found["failed"]) == (3, 0, 1)
    assert found["classes"] == ["water", "quay", "sky"]
    assert speed and speed[1] == f"{found['milliseconds']:.1f}", "of the two of one size"
    assert [entry["status"] for entry in found["inputs"]] == ["written", "written", "failed", "written"]


def test_second_run_keeps_what_is_there(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    command = ("predict", model, f"{data}/images/train/*.png", "--output", tmp_path / "out")
    assert run(*command).exit_code == 0
    (tmp_path / "out" / "b_labels.png").unlink()
    result = run(*command)
    assert result.exit_code == 0
    assert result.stdout.startswith("1 predicted, 1 kept (they were there; --overwrite writes them again)")
    again = run(*command, "--overwrite").stdout
    assert re.fullmatch(rf"2 predicted, \d+\.\d ms an image: {tmp_path / 'out'}\n", again)


def test_pictures_of_other_settings_are_not_mixed(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    command = ("predict", model, data / "images" / "test" / "a.png", "--output", tmp_path / "out")
    assert run(*command, "--top-k", 0.5).exit_code == 0
    assert run(*command, "--top-k", 0.5, "--overlay").exit_code == 0
    result = run(*command, "--top-k", 0.25, "--overlay")
    assert result.exit_code == 1
    message = "holds predictions made with other settings (top_k is 0.5 there and 0.25 here), 2 in all, "
    assert message in only_line(result.stderr)
    result = run(*command, "--top-k", 0.25, "--overwrite")
    assert result.exit_code == 1, "the overlay would stay"
    assert "a_overlay.png; choose another folder, or write them again too (--overlay" in result.stderr
    assert run(*command, "--top-k", 0.25, "--overwrite", "--overlay").exit_code == 0


def test_pictures_of_another_model_are_not_mixed(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model, tmp_path / "model")
    network, table = load_model(other)
    save_model(randomize(network, seed=5), table, other)
    command = (data / "images" / "test" / "a.png", "--output", tmp_path / "out")
    assert run("predict", model, *command).exit_code == 0
    assert "other settings (weights is " in only_line(run("predict", other, *command).stderr)
    shutil.rmtree(other)
    assert "1 kept" in run("predict", shutil.copytree(model, other), *command).stdout, "the same weights"


def test_pictures_of_another_image_are_not_taken_for_an_images_own(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    first, second = (data / "images" / split / "b.png" for split in ("train", "test"))
    command = ("predict", model, "--output", tmp_path / "out")
    assert run(*command, first).exit_code == 0
    result = run(*command, second)
    assert result.exit_code == 1
    assert f"out/b_labels.png: is there already, of {first}, and would be taken for" in only_line(
        result.stderr
    )
    Image.new("RGB", (50, 40)).save(first)
    assert "1 predicted" in run(*command, first).stdout, "changed in its place"
    assert image_size(tmp_path / "out" / "b_labels.png") == (40, 50)
    assert "1 kept" in run(*command, shutil.copy2(first, tmp_path / "b.png")).stdout, "the same, moved"
    assert "1 predicted" in run(*command, second, "--overwrite").stdout


def test_a_budget_goes_on_with_what_it_had_found(
    run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter((0.25, 0.5, 0.5, 0.5, 0.75, 0.3))
    monkeypatch.setattr("fornet_keras.benchmark.budget.fit_budget", lambda *_: (next(shares), 1.0))
    command = ("predict", model, data / "images" / "test", "--output", tmp_path / "out", "--budget-ms", 9)
    assert "2 predicted" in run(*command).stdout
    result = run(*command)
    assert (result.exit_code, "2 kept" in result.stdout) == (0, True)
    assert only_line(result.stderr) == f"top-k 0.25: as it was measured for what is in {tmp_path / 'out'}"
    Image.new("RGB", (128, 96)).save(tmp_path / "larger.png")
    result = run(*command[:2], tmp_path / "larger.png", *command[3:])
    assert result.exit_code == 1, "another size, another share"
    assert "top-k 0.5: 1.0 ms at 96x128 here\nError: " in result.stderr
    assert "(top_k is 0.25 there and 0.5 here)" in result.stderr
    assert run(*command[:-1], 8).exit_code == 1, "another budget, another share"
    assert "top_k is 0.25 there and 0.5 here" in run(*command, "--short-side", 32).stderr, "so with a size"
    result = run(*command, "--overwrite", "--json", tmp_path / "a.json")
    assert (result.exit_code, json.loads((tmp_path / "a.json").read_text())["top_k"]) == (0, 0.75), "anew"
    for path in (tmp_path / "out").glob("*_labels.png"):
        path.unlink()
    assert run(*command).stderr.startswith("top-k 0.3: 1.0 ms at 64x96 here"), "nothing is to go on"


def test_photographs_are_brought_down_to_the_size_that_the_model_has_learnt(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Mock(return_value=(0.5, 1.0))
    monkeypatch.setattr("fornet_keras.benchmark.budget.fit_budget", budget)
    learnt = shutil.copytree(model, tmp_path / "learnt")
    edit(learnt, lambda description: description.update(short_side=32))
    Image.effect_noise((160, 96), 90).convert("RGB").save(tmp_path / "a.png")
    labels = []
    for name, option in (("default", ()), ("own", ("--short-side", 0)), ("other", ("--short-side", 48))):
        command = ("predict", learnt, tmp_path / "a.png", "--output", tmp_path / name, "--budget-ms", 9)
        result = run(*command, *option)
        assert result.exit_code == 0, result.stderr
        assert ("shorter side of 32 pixels" in result.stderr) == (name == "default")
        labels.append((tmp_path / name / "a_labels.png").read_bytes())
        assert image_size(tmp_path / name / "a_labels.png") == (96, 160)
    assert [call.args[1:] for call in budget.call_args_list] == [
        ((96, 160), 9, short_side) for short_side in (32, 0, 48)
    ]
    assert labels[0] != labels[1]
    result = run("predict", learnt, tmp_path / "a.png", "--short-side", 16)
    assert (result.exit_code, "16 is not in the range 0 or x>=32" in result.stderr) == (2, True)


def test_several_exported_models_are_not_one(run: Run, tmp_path: Path) -> None:
    one = "holds an exported model; expected one model itself; take {}/top_k_0.25\n"
    two = "holds several exported models (top_k_0.25, top_k_1); expected one model itself; take {}/top"
    for ratio, message in (("top_k_0.25", one), ("top_k_1", two)):
        (tmp_path / "ratios" / ratio).mkdir(parents=True)
        (tmp_path / "ratios" / ratio / "manifest.json").touch()
        result = run("predict", tmp_path / "ratios", "a.png", "--output", tmp_path / "out")
        assert f"ratios: {message.format(tmp_path / 'ratios')}" in result.stderr
    (tmp_path / "ratios" / "best").mkdir()
    (tmp_path / "ratios" / "best" / "model.json").touch()
    assert require_one(tmp_path / "ratios") == tmp_path / "ratios", "a run, with what was exported of it"


def test_input_that_names_nothing_ends_before_anything_is_written(
    run: Run, model: Path, tmp_path: Path
) -> None:
    result = run("predict", model, tmp_path / "nowhere.png", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {tmp_path}/nowhere.png: no such file or folder")
    assert not (tmp_path / "out").exists()


def ctrl_c() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("stop", "code"), [(ctrl_c, 0), (terminate, 143)])
def test_what_a_camera_has_recorded_is_kept(
    stop: Callable[[], None],
    code: int,
    run: Run,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever ends it: nobody can record it again."""

    files, seen = cv2.VideoCapture, []

    def stop_at_the_third(frame: np.ndarray, *_: object) -> np.ndarray:
        seen.append(frame)
        if len(seen) == 3:
            stop()
        return frame

    monkeypatch.setattr(cv2, "VideoCapture", lambda what: Camera(what) if what == 7 else files(what))
    monkeypatch.setattr("fornet_keras.prediction.folder.overlay", stop_at_the_third)
    result = run("predict", model, "camera:7", "--output", tmp_path / "out", "--overlay")
    assert result.exit_code == code, result.stderr
    assert (tmp_path / "out" / "camera_7_overlay.mp4").exists()


@pytest.mark.backend
def test_user_sees_our_output_only(model: Path, data: Path, tmp_path: Path) -> None:
    image, output = data / "images" / "test" / "a.png", tmp_path / "out"
    command = [sys.executable, "cli.py", "predict", str(model), str(image), "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 predicted: {output}\n"


def test_weights_that_are_replaced_meanwhile(
    run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run that is still training: the folder would be recorded as of the older ones."""
    copy = shutil.copytree(model, tmp_path / "model")

    def start_backend(name: str | None) -> None:
        save_model(randomize(load_model(model)[0], seed=5), load_model(model)[1], copy)

    monkeypatch.setattr("fornet_keras.cli.predict.start_backend", start_backend)
    result = run("predict", copy, data / "images" / "test" / "a.png", "--output", tmp_path / "out")
    assert "model: has other weights than a moment ago; expected one model" in only_line(result.stderr)
    assert not (tmp_path / "out").exists()
