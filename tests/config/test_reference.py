"""The page of all configuration keys is what the code says today."""

import runpy
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_current() -> None:
    written = runpy.run_path(str(PAGE.with_suffix(".py")))["reference"]()
    assert PAGE.read_text("utf-8") == written, "run python docs/configuration.py"
    assert "| `learning_rate` | a number > 0 | `0.001` |" in written
