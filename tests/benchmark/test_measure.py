"""What is measured, on candidates that take what they are told to."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import model

__all__ = ["model"]


def test_a_ratio_is_to_the_first_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.benchmark import measure
    from fornet_keras.benchmark.candidates import Candidate

    def candidate(side: int, seconds: float) -> Candidate:
        rest: Any = (None, 1.0, None, None, lambda image: None, None, lambda image: seconds)
        return Candidate("it", "onnx", "float32", (side, 64), *rest)

    monkeypatch.setattr(measure, "PAUSE", 0)
    found = [candidate(64, 1), candidate(96, 4), candidate(64, 3), candidate(96, 2)]
    rows = measure.measure(found, 1, lambda: None)
    assert [row["ratio_to_first"] for row in rows] == [1, 1, 3, 0.5]


def test_memory_is_what_the_candidate_adds() -> None:
    """Not the most that the process has held before."""
    from fornet_keras.benchmark.memory import _added_memory

    def make() -> Any:
        kept = np.ones(50_000_000, np.uint8)
        return SimpleNamespace(run=lambda image: kept[0])

    np.ones(400_000_000, np.uint8)
    assert 45 < _added_memory(make, (64, 96)) < 100


def test_a_model_is_as_large_as_its_description_and_weights(model: Path, tmp_path: Path) -> None:
    from fornet_keras.benchmark.candidates import candidates

    for place in (Path("shipped"), Path("run", "best")):
        shutil.copytree(model, tmp_path / place)
        (tmp_path / place / "worst.png").write_bytes(bytes(1_000_000))
    for name in ("shipped", "run"):
        (found,) = candidates([tmp_path / name], (64, 96), (), None)
        parts = ("model.json", "weights.safetensors")
        assert found.megabytes == sum((model / part).stat().st_size for part in parts) / 1e6
