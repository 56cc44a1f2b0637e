"""What the README shows is true of the code."""

import re
from pathlib import Path

from fornet_keras.data.folder import read_description

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_description_of_a_folder_is_read(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n# dataset.yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "dataset.yaml").write_text(block, encoding="utf-8")
    table = read_description(tmp_path).table()
    assert table.names == ("road", "car", "pole")
    assert dict(table.train_ids) == {0: 0, 26: 1, 17: 2, 255: 255}


def test_pictures_and_configurations_exist() -> None:
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\((docs/[^)]+)\)", README) + re.findall(r"configs/\w+\.yaml", README)
    assert len(named) > 3
    assert [name for name in named if not (root / name).is_file()] == []
