"""What is measured, on candidates that take what they are told to."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fornet_keras.errors import FoRNetError
from tests.cli.conftest import model

__all__ = ["model"]


def candidate(side: int, *seconds: float) -> Any:
    """One whose runs take these times, over and over."""
    from fornet_keras.benchmark.candidates import Candidate

    times = cycle(seconds)
    rest: Any = (None, 1.0, None, None, lambda image: None, None, lambda image: next(times))
    return Candidate("it", "onnx", "float32", (side, 64), *rest)


def test_a_ratio_is_to_the_first_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.benchmark import measure

    monkeypatch.setattr(measure, "PAUSE", 0)
    found = [candidate(64, 1), candidate(96, 4), candidate(64, 3), candidate(96, 2)]
    found[1] = replace(found[1], device="NVIDIA H200")
    rows = measure.measure(found, 1, lambda: None)
    assert [row["ratio_to_first"] for row in rows] == [1, 1, 3, 0.5]
    assert [row["device"] for row in rows] == ["CPU", "NVIDIA H200", "CPU", "CPU"]


def test_the_median_counts_without_the_runs_that_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.benchmark import measure

    monkeypatch.setattr(measure, "PAUSE", 0)
    (row,) = measure.measure([candidate(64, 9, 9, 1, 5, 2)], 3, lambda: None)
    assert (row["median_ms"], row["min_ms"], row["images_per_second"]) == (2000, 1000, 0.5)
    assert row["p95_ms"] == pytest.approx(4700)


def test_candidates_take_turns_and_each_first_runs_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.benchmark import measure

    monkeypatch.setattr(measure, "PAUSE", 0)
    runs: list[str] = []
    found = [
        replace(
            candidate(64, 1),
            run=lambda image, name=name: runs.append(name),
            timed=lambda image, name=name: runs.append(f"{name} timed") or 1.0,
        )
        for name in ("a", "b")
    ]
    rounds: list[int] = []
    measure.measure(found, 2, lambda: rounds.append(len(runs)))
    assert runs == ["a", "a timed", "b", "b timed"] * (measure.WARM_UP + 2)
    assert rounds == [4, 8, 12, 16]


def test_a_budget_takes_the_largest_share_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that takes 10 ms, and 40 more for all of the regions."""
    from fornet_keras.benchmark import budget

    def rows(shares: Any, *_: Any) -> list[dict[str, float]]:
        return [{"top_k": share, "median_ms": 10 + 40 * share} for share in shares]

    asked = Mock(side_effect=lambda folders, size, shares, threads, short_side: shares)
    monkeypatch.setattr(budget, "candidates", asked)
    monkeypatch.setattr(budget, "measure", rows)
    assert budget.fit_budget(Path("m"), (64, 96), 23) == (0.3, 22.0)
    assert budget.fit_budget(Path("m"), (64, 96), 50, 48) == (1.0, 50.0)
    assert [call.kwargs["short_side"] for call in asked.call_args_list] == [0, 48]
    with pytest.raises(FoRNetError, match="of 10 ms is too small: at 64x96 this model takes 10.4 ms here wi"):
        budget.fit_budget(Path("m"), (64, 96), 10)


HOLDS = """
import sys
import numpy as np
from fornet_keras.benchmark.memory import peak_megabytes
from fornet_keras.prediction.artifact import ArtifactPredictor
print("keras" in sys.modules)

class Holds:
    def __init__(self, megabytes):
        self.megabytes = megabytes
    def __call__(self):
        held = np.ones(self.megabytes * 1_000_000, np.uint8)
        return lambda image: held[0]

if __name__ == "__main__":
    before = np.ones(400_000_000, np.uint8)
    few, many = (peak_megabytes(Holds(megabytes), np.zeros((64, 96, 3), np.uint8)) for megabytes in (1, 101))
    print(few, many, peak_megabytes(None, None))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell")
def test_memory_is_the_peak_of_a_process_that_does_nothing_else(tmp_path: Path) -> None:
    """Not what the first one has held, nor Keras, which an exported model does without."""
    program = tmp_path / "holds.py"
    program.write_text(HOLDS)
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    *keras, (few, many, nothing) = map(str.split, ended.stdout.splitlines())
    assert keras == [["False"]] * 3 and nothing == "None"
    assert 20 < float(few) < 300 and 95 < float(many) - float(few) < 105


def test_a_model_is_opened_anew_whatever_a_keras_json_says(model: Path) -> None:
    import keras

    from fornet_keras.benchmark.candidates import candidates

    (found,) = candidates([model], (64, 96), (), None)
    assert found.make
    keras.config.set_image_data_format("channels_first")
    try:
        assert found.make()(np.zeros((64, 96, 3), np.uint8))["label_ids"].shape == (64, 96)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_a_model_is_as_large_as_its_description_and_weights(model: Path, tmp_path: Path) -> None:
    from fornet_keras.benchmark.candidates import candidates

    for place in (Path("shipped"), Path("run", "best")):
        shutil.copytree(model, tmp_path / place)
        (tmp_path / place / "worst.png").write_bytes(bytes(1_000_000))
    for name in ("shipped", "run"):
        (found,) = candidates([tmp_path / name], (64, 96), (), None)
        parts = ("model.json", "weights.safetensors")
        assert found.megabytes == sum((model / part).stat().st_size for part in parts) / 1e6
