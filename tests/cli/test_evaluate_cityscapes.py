import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.cityscapes import LABEL_IDS, TABLE
from fornet_keras.data.label_files import read_label, to_train_ids
from fornet_keras.data.synthetic import write_city
from fornet_keras.evaluation.cityscapes import OfficialScores
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from tests.cli.conftest import Run, only_line

ROOT = Path(__file__).parents[2]


def _city(folder: Path) -> tuple[Path, tuple[object, ...]]:
    """A city beside a model, and the options with which that is scored into `a.json`."""
    city = folder / "city"
    write_city(city, 1, 2, (64, 128), 0)
    save_model(FoRNet.from_preset("pico", 19), TABLE, folder / "model")
    options = ("--config", ROOT / "configs" / "synthetic.yaml", "--data", city, "--json", folder / "a.json")
    return city, options


def test_the_benchmarks_scores_beside_ours(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    city, options = _city(tmp_path)
    gone = sorted(city.rglob("*val*/**/*_instanceIds.png"))
    for instances in gone:
        instances.unlink()
    frames = Mock(wraps=OfficialScores.add)
    monkeypatch.setattr(OfficialScores, "add", lambda *args: frames(*args))
    result = run(
        "evaluate", tmp_path / "model", *options, "--curve", "0.1,1", "--report", tmp_path / "report"
    )
    assert result.exit_code == 0, result.stderr
    assert frames.call_count == 2, "not for the other shares, of which they are not shown"
    found = json.loads((tmp_path / "a.json").read_text())
    official = found["cityscapes"]
    assert official["averageScoreClasses"] == pytest.approx(found["miou"], abs=1e-12)
    assert official["classScores"]["road"] == pytest.approx(found["iou"]["road"], abs=1e-12)
    assert official["averageScoreInstClasses"] is None
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["flat"] == [f"{official['categoryScores']['flat']:.4f}", "–"]
    assert f"note: without iIoU: {gone[0]}: no such file\n" in result.stderr
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "As cityscapesScripts scores it" in page and f"{official['categoryScores']['flat']:.4f}" in page


def test_official_scores_are_left_out_where_their_files_do_not_fit(run: Run, tmp_path: Path) -> None:
    """Images and labels brought to another size, with the files of the benchmark still beside them."""
    city, options = _city(tmp_path)
    instances = sorted(city.rglob("*val*/**/*_instanceIds.png"))
    for spoil, finding in (
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "cannot be read"),
        (
            lambda path: Image.open(path).resize((64, 32)).save(path),
            "has 32x64 pixels; expected the 64x128 of",
        ),
    ):
        write_city(tmp_path / "again", 1, 2, (64, 128), 0)
        shutil.copytree(tmp_path / "again", city, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "again")
        spoil(instances[1])
        result = run("evaluate", tmp_path / "model", *options, "--on-error", "skip")
        assert result.exit_code == 0, result.stderr
        assert f"note: without the scores of cityscapesScripts: {instances[1]}: {finding}" in only_line(
            result.stderr
        )
        found = json.loads((tmp_path / "a.json").read_text())
        assert found["num_images"] == 2 and "cityscapes" not in found


def test_a_frame_without_label_ids_is_named(run: Run, tmp_path: Path) -> None:
    """With train ids alone the rest is scored; of frames that all have no others, nothing need be said."""
    city, options = _city(tmp_path)
    labels = sorted(city.rglob("*val*/**/*_labelIds.png"))
    for label in labels:
        train_ids = to_train_ids(read_label(label), TABLE, label)
        Image.fromarray(train_ids).save(str(label).replace("labelIds", "labelTrainIds"))
    other = read_label(labels[0])
    other[:, :9] = LABEL_IDS[TABLE.names.index("train")]  # of which a city has none
    for change, said in (
        (lambda: None, ""),
        (lambda: Image.fromarray(other).save(labels[0]), "*_labelTrainIds.png do not hold the same labels"),
        (labels[1].unlink, f"note: without the scores of cityscapesScripts: {labels[1]}: no such file"),
        (labels[0].unlink, ""),
    ):
        change()
        result = run("evaluate", tmp_path / "model", *options)
        assert result.exit_code == 0 and said in result.stderr and bool(said) is bool(result.stderr)
        assert json.loads((tmp_path / "a.json").read_text())["num_images"] == 2


def test_submission_is_what_the_test_server_takes(run: Run, tmp_path: Path) -> None:
    """One channel of label ids at native size; and a test split, whose labels are all void, is no error."""
    city, submission = tmp_path / "city", tmp_path / "submission"
    write_city(city, 1, 2, (64, 128), 0)
    for label in city.rglob("*val*/**/*_labelIds.png"):
        Image.new("L", (128, 64), 0).save(label)
    save_model(FoRNet.from_preset("pico", 19), TABLE, tmp_path / "model")
    options = ("--config", ROOT / "configs" / "synthetic.yaml", "--data", city, "--submission", submission)
    result = run("evaluate", tmp_path / "model", *options, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "a.json").read_text())["miou"] is None
    files = [*submission.rglob("*.png")]
    assert len(files) == 2
    for file in files:
        with Image.open(file) as picture:
            assert (picture.mode, picture.size) == ("L", (128, 64))
            assert set(np.unique(picture)) <= set(LABEL_IDS)

    shutil.rmtree(city / "gtFine")  # a split that comes without labels
    result = run("evaluate", tmp_path / "model", *options[:-1], tmp_path / "again")
    assert (result.exit_code, result.stderr) == (0, "") and "predicted, not scored" in result.stdout
    for file in files:
        assert (tmp_path / "again" / file.relative_to(submission)).read_bytes() == file.read_bytes()

    next(city.rglob("*val*/**/*_leftImg8bit.png")).write_bytes(b"")
    result = run("evaluate", tmp_path / "model", *options[:-1], tmp_path / "more", "--on-error", "skip")
    assert (result.exit_code, (tmp_path / "more").exists()) == (1, False)
    assert f"{city}: 1 of 2 images of 'val' are left out; expected a prediction of each" in result.stderr
