"""The models that come with a checkout: whole, small, and found by their names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.camvid import TABLE
from fornet_keras.data.synthetic import write_city
from fornet_keras.model_folder import load_model
from fornet_keras.shipped import SHIPPED, find_model
from fornet_keras.summary import summarize
from tests.cli.conftest import Run

MODELS = sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))


def test_there_are_some_and_they_are_small() -> None:
    assert "fornet_s_camvid" in MODELS
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) <= 12_000_000


@pytest.mark.parametrize("name", MODELS)
def test_whole_and_as_its_metrics_say(name: str) -> None:
    folder = find_model(name)
    model, table = load_model(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert table.names == TABLE.names
    assert model.short_side == 360, "of the frames it has learnt from"
    assert model.count_params() == metrics["parameters"]
    assert summarize(model, (360, 480), 1.0)["macs"] == metrics["macs_360x480_top_k_1"]
    scores = [metrics["by_top_k"][ratio]["miou"] for ratio in ("0.25", "0.5", "1.0")]
    assert 0.5 < scores[0] <= scores[1] + 0.001 and scores[1] <= scores[2] + 0.001
    assert {"README.md", "config.yaml", "log.csv"} < {path.name for path in folder.iterdir()}


def test_predicts_without_further_words(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    result = run("predict", "fornet_s_camvid", "photo.jpg")
    assert result.exit_code == 0, result.stderr
    assert (
        "brought down to a shorter side of 360 pixels, at which fornet_s_camvid has learnt" in result.stderr
    )
    assert (tmp_path / "predicted" / "photo_labels.png").is_file()


@pytest.mark.parametrize("name", MODELS)
def test_predicts_by_its_name(name: str, run: Run, tmp_path: Path) -> None:
    """A made-up street, unlike all that it has seen, but its road is a road."""
    write_city(tmp_path / "city", 1, 1, (256, 512), 0)
    (image,) = (tmp_path / "city" / "leftImg8bit" / "val").rglob("*.png")
    result = run("predict", name, image, "--output", tmp_path / "out", "--top-k", 0.5)
    assert result.exit_code == 0, result.stderr
    (label,) = (tmp_path / "out").rglob("*_labels.png")
    label_ids = np.asarray(Image.open(label))
    bottom = np.bincount(label_ids[-32:, 192:320].ravel(), minlength=11)
    assert TABLE.names[bottom.argmax()] == "road"
