import json
from pathlib import Path

import pytest

from fornet_keras.data.cityscapes import TABLE
from fornet_keras.data.synthetic import write_city
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]


def test_the_benchmarks_scores_beside_ours(run: Run, tmp_path: Path) -> None:
    city = tmp_path / "city"
    write_city(city, 1, 2, (64, 128), 0)
    save_model(FoRNet.from_preset("nano", 19), TABLE, tmp_path / "model")
    options = ("--config", ROOT / "configs" / "synthetic.yaml", "--data", city, "--json", tmp_path / "a.json")
    for instances in city.rglob("*val*/**/*_instanceIds.png"):
        instances.unlink()
    result = run("evaluate", tmp_path / "model", *options)
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    official = found["cityscapes"]
    assert official["averageScoreClasses"] == pytest.approx(found["miou"], abs=1e-12)
    assert official["classScores"]["road"] == pytest.approx(found["iou"]["road"], abs=1e-12)
    assert official["averageScoreInstClasses"] is None
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["flat"] == [f"{official['categoryScores']['flat']:.4f}", "–"]
    assert "iIoU needs the *_instanceIds.png files" in result.stdout
