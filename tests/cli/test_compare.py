"""`compare`: scores side by side, and intervals of their differences."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fornet_keras.evaluation.compare import difference, read_result
from tests.cli.conftest import CONFIG, Run

IMAGES = [f"{i % 2}/{i}.png" for i in range(50)]


def leave(folder: Path, image_miou: dict[str, float | None], seed: int = 0, rate: str = "1e-3") -> Path:
    """A run that has ended, as far as `compare` looks at it."""
    folder.mkdir()
    known = [miou for miou in image_miou.values() if miou is not None]
    miou = float(np.mean(known))
    scores: dict[str, Any] = {"miou": miou, "iou": {"road": miou, "bus": None}, "image_miou": image_miou}
    result = {"val": scores, "parameters": 1_040_000, "seconds": 90.0, "epochs": 3}
    (folder / "result.json").write_text(json.dumps(result))
    root = "/data/val" if IMAGES[0] not in image_miou else "."
    config = (
        CONFIG.replace("folder,", f"folder, root: {root},")
        .replace("1e-3", rate)
        .replace("workers: 1", f"workers: 1, seed: {seed}")
    )
    (folder / "config.yaml").write_text(config)
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return leave(tmp_path / "first", dict.fromkeys(IMAGES, 0.5))


def test_a_difference_and_its_interval(first: Path, tmp_path: Path) -> None:
    """Against the standard error by hand: the bootstrap's interval is 1.96 of it to either side."""
    gain = np.random.default_rng(1).normal(0.01, 0.02, len(IMAGES))
    second = leave(tmp_path / "second", {name: 0.5 + g for name, g in zip(IMAGES, gain, strict=True)})
    found = difference(read_result(second), read_result(first))
    assert found
    error = 1.96 * gain.std() / np.sqrt(len(gain))
    expected = gain.mean() + np.array((-error, 0, error))
    assert found.interval
    np.testing.assert_allclose((found.interval[0], found.mean, found.interval[1]), expected, atol=6e-4)
    np.testing.assert_allclose([found.by_image[name] for name in IMAGES], gain)


def test_what_is_shown(first: Path, tmp_path: Path, run: Run) -> None:
    changed = dict.fromkeys(IMAGES, 0.52) | {IMAGES[7]: 0.9, IMAGES[8]: None}
    elsewhere = {f"/data/val/{name}": miou for name, miou in changed.items()}
    second = leave(tmp_path / "second", elsewhere, rate="2e-3")
    shown = run("compare", first, second, "--json", tmp_path / "both.json").output
    assert [line.split() for line in shown.splitlines() if "learning_rate" in line] == [
        ["training.learning_rate", "0.001", "0.002"]
    ]
    assert "training.epochs" not in shown and "bus" not in shown
    cells = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert cells["road"] == cells["mIoU"] == ["0.5000", "0.5278"]
    assert cells["minutes"] == ["1.5", "1.5"]
    assert f"{second} against {first}: +0.0278 mIoU an image in the mean of 49, 95% between" in shown
    assert ": told apart" in shown and f"  +0.4000  {IMAGES[7]}" in shown
    written = json.loads((tmp_path / "both.json").read_text())
    assert written["differences"][str(second)]["by_image"][IMAGES[7]] == pytest.approx(0.4)
    assert written["settings"]["training.learning_rate"] == ["0.001", "0.002"]


def test_json_is_written_though_nobody_reads_the_tables(
    first: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = leave(tmp_path / "second", dict.fromkeys(IMAGES, 0.6))
    monkeypatch.setattr("fornet_keras.cli.compare.show_table", Mock(side_effect=BrokenPipeError))
    assert run("compare", first, second, "--json", tmp_path / "both.json").exit_code == 1
    assert json.loads((tmp_path / "both.json").read_text())["against"] == str(first)


def test_of_few_images_there_is_no_interval(tmp_path: Path, run: Run) -> None:
    """Without any difference two images were told apart in half of the cases, and one always."""
    for count, certain in ((9, False), (10, True)):
        first, second = (
            leave(tmp_path / f"{name}{count}", dict.fromkeys(IMAGES[-count:], miou))
            for name, miou in (("a", 0.5), ("b", 0.6))
        )
        found = json.loads(run_json(run, tmp_path / "both.json", first, second))["differences"][str(second)]
        assert (found["interval"] is not None, found["mean"]) == (certain, pytest.approx(0.1))


def run_json(run: Run, file: Path, *runs: Path) -> str:
    assert run("compare", *runs, "--json", file).exit_code == 0
    return file.read_text()


def test_images_of_other_data_are_paired_with_a_note(tmp_path: Path, run: Run) -> None:
    """And what was looked at otherwise is shown."""
    files = {}
    for data, flip in (("/here", False), ("/there", True)):
        scores = {"model": str(tmp_path), "data": data, "split": "val", "miou": 0.5, "iou": {"road": 0.5}}
        scores |= {"flip": flip, "image_miou": {f"{data}/{name}": 0.5 for name in IMAGES}}
        files[data] = tmp_path / f"{data}.json".lstrip("/")
        files[data].write_text(json.dumps(scores))
    here, there = files.values()
    shown = run("compare", here, there).output
    assert f"note: {there} and {here} were scored in /there and /here: images paired by their names" in shown
    assert [line.split() for line in shown.splitlines() if "scored." in line] == [
        ["scored.flip", "false", "true"],
        ["scored.data", '"/here"', '"/there"'],
    ]
    assert "note:" not in run("compare", here, here).output


def test_means_of_other_classes_are_not_compared(first: Path, tmp_path: Path, run: Run) -> None:
    """Both are called mIoU, and a class more or less moves it further than any training."""
    fewer = leave(tmp_path / "fewer", dict.fromkeys(IMAGES, 0.6))
    result = json.loads((fewer / "result.json").read_text())
    result["val"]["iou"] = {"road": 0.6, "car": 0.6}
    (fewer / "result.json").write_text(json.dumps(result))
    shown = run("compare", first, fewer, "--json", tmp_path / "both.json").output
    expected = f"same classes: {fewer} alone has car, {first} alone has bus"
    assert f"{fewer} and {first} do not score the {expected}" in shown
    assert "told apart" not in shown
    assert json.loads((tmp_path / "both.json").read_text())["differences"] == {str(fewer): None}


def test_one_that_was_trained_on_the_images_is_named(tmp_path: Path, run: Run) -> None:
    first, second = (leave(tmp_path / name, dict.fromkeys(IMAGES, 0.5)) for name in "ab")
    assert "note:" not in run("compare", first, second).output
    own = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(
        own.replace("val_split: test", "val_split: test, train_split: train+test")
    )
    known = f"note: {second} has learnt from images that are scored, or from a model that has: its scores say"
    shown = run("compare", first, second).output
    assert known in shown and shown.count("note:") == 1
    scores = {"model": str(tmp_path / "gone"), "split": "val", "trained_on_it": True}
    scores |= json.loads((first / "result.json").read_text())["val"]
    (tmp_path / "c.json").write_text(json.dumps(scores))
    assert (
        "c.json has learnt from images that are scored" in run("compare", first, tmp_path / "c.json").output
    )


def test_seeds_are_put_together(tmp_path: Path, run: Run) -> None:
    runs = [leave(tmp_path / f"seed{i}", {IMAGES[0]: 0.5 + i / 10}, seed=i) for i in range(3)]
    other = leave(tmp_path / "other", {"/elsewhere.png": 0.5}, rate="2e-3")
    shown = run("compare", *runs, other).output
    assert f"{runs[1]} against {runs[0]}: +0.1000 mIoU an image in the mean of 1, too few images to" in shown
    assert f"3 seeds ({', '.join(map(str, runs))}): mIoU 0.6000 ± 0.1000" in shown
    assert f"{other} and {runs[0]} have no images in common" in shown


def test_the_same_names_in_another_split_are_other_images(tmp_path: Path, run: Run) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.yaml").write_text("site_name: another program's")
    scores = {"model": str(tmp_path / "m"), "data": "/d", "miou": 0.5, "iou": {"road": 0.5}, "top_k": 0.3}
    for split in ("val", "test"):
        image_miou = {f"/d/{split}/{name}": 0.5 for name in IMAGES}
        content = scores | {"split": split, "image_miou": image_miou}
        content |= {"precision": "int8" if split == "val" else "float32"}  # of exported models
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    shown = run("compare", tmp_path / "val.json", tmp_path / "test.json").output
    assert "have no images in common" in shown
    assert [line.split() for line in shown.splitlines() if "scored" in line] == [
        ["scored.precision", '"int8"', '"float32"'],
        ["scored.split", '"val"', '"test"'],
    ]


def test_a_file_of_evaluate(first: Path, tmp_path: Path, run: Run) -> None:
    """Its settings are those of the run that it names, or whose best model it names."""
    scores = json.loads((first / "result.json").read_text())["val"]
    for name, model in (("a.json", first), ("b.json", first / "best")):
        (tmp_path / name).write_text(json.dumps({"model": str(model)} | scores))
        assert read_result(tmp_path / name).settings["training.epochs"] == 1
    assert "+0.0000" in run("compare", tmp_path / "a.json", tmp_path / "b.json").output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder; expected a run, or a file"),
        ("{}", "cannot be read as scores"),
        ("[1", "cannot be read as scores"),
        ('{"model": "m", "miou": 1, "iou": [1]}', "cannot be read as scores"),
        ('{"model": "m", "miou": "high", "iou": {"road": 1}}', "cannot be read as scores"),
        ('{"model": "m", "miou": 1, "iou": {"road": 1}, "image_miou": null}', "cannot be read as scores"),
        ('{"model": "m", "miou": 1, "iou": {"road": 1}, "data": 5}', "cannot be read as scores"),
        ('{"model": "m", "miou": NaN, "iou": {"road": 1}}', "cannot be read as scores"),
        ('{"model": "m", "miou": 1, "iou": {"road": 1}, "milliseconds": NaN}', "cannot be read as scores"),
        ('{"model": "m", "miou": 1, "iou": {"road": 1}, "data": "a\\u0000b"}', "cannot be read as scores"),
        ('{"model": "a\\u0000b", "miou": 1, "iou": {"road": 1}}', "cannot be read as scores"),
        ('{"model": "' + "a" * 5000 + '", "miou": 1, "iou": {"road": 1}}', "cannot be read as scores"),
    ],
)
def test_what_holds_no_scores(
    content: str | None, message: str, first: Path, run: Run, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    result = run("compare", first, tmp_path / "bad.json")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert f"bad.json: {message}" in result.stderr


def test_one_alone(first: Path, run: Run) -> None:
    result = run("compare", first)
    assert result.exit_code == 2 and "alone has nothing beside it" in result.stderr
