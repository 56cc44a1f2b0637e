"""The pages that are written from the code say what the code says today."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("configuration", "| `learning_rate` | a number > 0 | `0.001` |"),
        ("api", "begin_with(model, table, folder, known_as=None)"),
        ("api", "FoRNet.predict_image(image, short_side=None)"),
        ("api", "Predictor.__call__(image, short_side=None)"),
    ],
)
def test_a_page_is_current(page: str, line: str) -> None:
    written = runpy.run_path(str(DOCS / f"{page}.py"))["reference"]()
    assert (DOCS / f"{page}.md").read_text("utf-8") == written, f"run python docs/{page}.py"
    assert line in written
