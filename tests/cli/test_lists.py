"""Lists of files: which images they name, and what they may not name."""

from pathlib import Path

import pytest
from PIL import Image

from fornet_keras.data.sources import open_dataset
from tests.cli.conftest import DATASET, Run, only_line
from tests.cli.test_bad_input import COMMANDS, LABEL, command


@pytest.fixture
def listed(data: Path) -> Path:
    """The data, whose images are those that `test.txt` names."""
    (data / "dataset.yaml").write_text(DATASET + 'lists: "{split}.txt"\n')
    (data / "train.txt").write_text("images/train/a.png\n")
    (data / "test.txt").write_text("images/test/b.png\r\n\nimages/test/a.png")
    return data


def test_a_list_says_which_images_and_in_which_order(
    run: Run, model: Path, config: Path, listed: Path, tmp_path: Path
) -> None:
    assert [sample.image.name for sample in open_dataset("folder", listed, "test").samples] == [
        "b.png",
        "a.png",
    ]
    (listed / "test.txt").write_text("images/test/b.png\nimages/test/gone.png\n")
    result = run("predict", model, f"@{listed / 'test.txt'}", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert f"1 of 2 inputs failed:\n  {listed}/images/test/gone.png: no such file" in result.stderr
    assert (tmp_path / "out/images/test/b_labels.png").is_file()


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("../outside.png", "leads out of it"),
        ("images/../../outside.png", "leads out of it"),
        ("/etc/passwd", "leads out of it"),
        (".", "is the folder itself"),
        ("images/link.png", "leads out of it"),
        ("images/folder/outside.png", "leads out of it"),
        ("images/loop.png", ""),  # from Python 3.13 on, it is a file that cannot be read
        ("images/\0.png", "cannot be followed"),
    ],
)
@pytest.mark.parametrize("name", [*COMMANDS, "predict"])
def test_a_list_never_leads_out_of_its_folder(
    run: Run, model: Path, config: Path, listed: Path, tmp_path: Path, name: str, line: str, finding: str
) -> None:
    outside = tmp_path / "outside.png"
    Image.new("RGB", (96, 64)).save(outside)
    (listed / "images/link.png").symlink_to(outside)
    (listed / "images/folder").symlink_to(tmp_path)
    (listed / "images/loop.png").symlink_to(listed / "images/loop.png")
    (listed / "test.txt").write_text(f"images/test/b.png\n{line}\n")
    words = list(command(name, model, config, listed, tmp_path))
    if name == "predict":
        words[2] = f"@{listed / 'test.txt'}"
    result = run(*words)
    assert result.exit_code == 1
    if finding:
        assert f"{listed / 'test.txt'}:2: " in only_line(result.stderr) and finding in result.stderr
    else:
        assert str(listed / line) in result.output
    assert not (tmp_path / "run").exists()


def test_a_list_of_absolute_paths(run: Run, model: Path, config: Path, listed: Path, tmp_path: Path) -> None:
    """Where they name what lies in the folder, whatever the folder is called here."""
    (listed / "test.txt").write_text(f"{listed.resolve()}/images/test/b.png\n")
    other = tmp_path / "other"
    other.symlink_to(listed)
    options = ("--config", config, "--data", other, "--save-predictions", tmp_path / "saved")
    result = run("evaluate", model, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "saved/images/test/b.png").is_file()


def test_a_label_that_a_link_leads_out(run: Run, config: Path, listed: Path, tmp_path: Path) -> None:
    (listed / LABEL).rename(tmp_path / "label.png")
    (listed / LABEL).symlink_to(tmp_path / "label.png")
    result = run("data", "check", "--config", config, "--data", listed)
    assert result.exit_code == 1
    assert f"test.txt: {listed / LABEL} leads out of it; expected a file in" in only_line(result.stderr)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "; expected a list of files, one path a line; save it as UTF-8"),
        (b"notes.txt", "ends otherwise, and"),
    ],
)
def test_a_list_of_something_else(run: Run, config: Path, listed: Path, content: bytes, message: str) -> None:
    (listed / "test.txt").write_bytes(content)
    result = run("data", "check", "--config", config, "--data", listed)
    assert (result.exit_code, message in only_line(result.stderr)) == (1, True)
