import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, only_line


@pytest.mark.backend
def test_each_ratio_is_a_row(run: Run, model: Path, tmp_path: Path) -> None:
    import keras

    options = ("--size", "64x96", "--top-k", "0.25,1", "--repeats", 3, "--json", tmp_path / "times.json")
    result = run("benchmark", model, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads((tmp_path / "times.json").read_text())
    assert [row["top_k"] for row in rows] == [0.25, 1]
    for row in rows:
        assert {"name", "runtime", "precision", "size", "top_k", "median_ms", "p95_ms"} <= set(row)
        assert (row["runtime"], row["size"]) == (f"keras {keras.backend.backend()}", [64, 96])
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["images_per_second"] == pytest.approx(1000 / row["median_ms"])
        assert row["megabytes"] > 0.01


def test_a_ratio_outside_its_range(run: Run, tmp_path: Path) -> None:
    result = run("benchmark", tmp_path, "--top-k", "0.5,2")
    assert result.exit_code == 2
    assert "2 is not a share of the regions" in result.stderr


@pytest.mark.backend
def test_a_folder_that_is_neither(run: Run, tmp_path: Path) -> None:
    result = run("benchmark", tmp_path)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {tmp_path}: no model.json in it")
