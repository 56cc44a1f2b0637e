"""The notebook's code runs: on fewer scenes, with the smallest network, for one step, on one backend."""

import json
from pathlib import Path

import matplotlib
import pytest

from tests.untraced import untraced

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"
SMALLER = {
    "num_train=48, num_val=8": "num_train=2, num_val=1",
    "crop=(256, 512)": "crop=(64, 128)",
    "batch_size=8": "batch_size=2",
    "epochs=8": "epochs=1",
    '"nano"': '"pico"',
}


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for given, smaller in SMALLER.items():
        assert code.count(given) == 1, given
        code = code.replace(given, smaller)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    known: dict[str, object] = {}
    with untraced():
        exec(code, known)
    assert {"history", "seen", "figure", "scores", "again", "found"} <= {*known}
    matplotlib.pyplot.close("all")
