import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fornet_keras.data.images import image_size
from tests.cli.conftest import Run, only_line
from tests.cli.test_usage import ROOT

pytestmark = pytest.mark.backend


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pictures_of_a_folder_and_what_became_of_each_file(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    images, output = data / "images", tmp_path / "out"
    Image.new("RGB", (50, 40)).save(images / "test" / "a.png")
    (images / "train" / "a.png").write_text("no picture")
    options = ("--output", output, "--overlay", "--importance", "--json", tmp_path / "result.json")
    result = run("predict", model, images, *options)
    assert (result.exit_code, result.stdout) == (1, f"3 predicted: {output}\n")
    assert result.stderr.splitlines()[0] == "Error: 1 of 4 inputs failed:"
    assert result.stderr.splitlines()[1].startswith(f"  {images}/train/a.png: is not an image")
    kinds = ("importance", "labels", "overlay")
    names = [f"{name}_{kind}.png" for name in ("test/a", "test/b", "train/b") for kind in kinds]
    assert files(output) == sorted(["legend.png", *names])
    assert {image_size(output / name) for name in names[:3]} == {(40, 50)}
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["written"], found["kept"], found["failed"]) == (3, 0, 1)
    assert found["classes"] == ["water", "quay", "sky"]
    assert [entry["status"] for entry in found["inputs"]] == ["written", "written", "failed", "written"]


def test_second_run_keeps_what_is_there(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    command = ("predict", model, f"{data}/images/train/*.png", "--output", tmp_path / "out")
    assert run(*command).exit_code == 0
    (tmp_path / "out" / "b_labels.png").unlink()
    result = run(*command)
    assert result.exit_code == 0
    assert result.stdout.startswith("1 predicted, 1 kept (they were there; --overwrite writes them again)")
    assert run(*command, "--overwrite").stdout == f"2 predicted: {tmp_path / 'out'}\n"


def test_input_that_names_nothing_ends_before_anything_is_written(
    run: Run, model: Path, tmp_path: Path
) -> None:
    result = run("predict", model, tmp_path / "nowhere.png", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {tmp_path}/nowhere.png: no such file or folder")
    assert not (tmp_path / "out").exists()


def test_user_sees_our_output_only(model: Path, data: Path, tmp_path: Path) -> None:
    image, output = data / "images" / "test" / "a.png", tmp_path / "out"
    command = [sys.executable, "cli.py", "predict", str(model), str(image), "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 predicted: {output}\n"
