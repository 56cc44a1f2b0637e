"""Charts have labels that a person can read."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from fornet_keras.data.dataset import LabelTable
from fornet_keras.evaluation.charts import save_class_bars
from fornet_keras.evaluation.evaluate import Scores
from fornet_keras.metrics import ConfusionMatrix


@pytest.mark.parametrize("pixels", [(30, 5, 60, 15), (1, 10_000, 3, 4)], ids=["near", "far"])
def test_shares_of_the_pixels_are_numbers(
    pixels: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib writes formulas between powers of ten where there are few."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    table = LabelTable(tuple("abcd"), ((9, 9, 9),) * 4, {})
    matrix = ConfusionMatrix(4)
    matrix.counts = np.diag(pixels)
    save_class_bars(tmp_path / "x.png", Scores(table.names, 1.0, matrix, np.ones(4, np.int64)), table)
    axis = drawn[-1].axes[1].xaxis
    labels = [label.get_text() for minor in (False, True) for label in axis.get_ticklabels(minor)]
    assert [text for text in labels if text and not float(text) > 0] == []
    assert len({*labels}) > 2
