import json
from pathlib import Path

import numpy as np
import pytest

from fornet_keras.data.label_files import read_label
from tests.cli.conftest import OR_FOLDER, Run, only_line

HEIGHT, WIDTH = 64, 96
QUAY = "0 0 0 1 0 1 0.484375 0 0.484375\n"  # the upper half: 31 of 64 rows, and that of its outline
BOX = "0 0.5 0.5 0.25 0.25\n"


@pytest.fixture
def yolo(data: Path) -> Path:
    """The photographs of `data` with labels of YOLO; one of each split is background alone."""
    for split in ("train", "test"):
        for label in (data / "labels" / split).iterdir():
            label.unlink()
        (data / "labels" / split / "a.txt").write_text(QUAY + BOX)
    (data / "dataset.yaml").unlink()
    path = data / "data.yaml"
    path.write_text("train: ../images/train\nval: ../images/test\ntest: ../images/final\nnames: [quay]\n")
    return path


@pytest.fixture
def labelme(data: Path) -> Path:
    """The same drawn with LabelMe."""
    (data / "dataset.yaml").unlink()
    for image in (data / "images").rglob("*.png"):
        quay = {"label": "quay", "shape_type": "rectangle", "points": [[0, 0], [WIDTH - 1, HEIGHT / 2 - 1]]}
        dot = {"label": "dot", "shape_type": "point", "points": [[0, 0]]}
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        content = {"shapes": [quay, dot] if image.stem == "a" else [], "imagePath": image.name, **size}
        image.with_suffix(".json").write_text(json.dumps(content))
    return data / "images"


def upper_half(label: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[: HEIGHT // 2] = 1
    np.testing.assert_array_equal(read_label(label), expected)


def test_cocos_json_becomes_what_check_reads(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{name}.png", "height": 64, "width": 96} for n, name in enumerate("ab")]
    quay = {"image_id": 0, "category_id": 1, "segmentation": [[0, 0, 96, 0, 96, 32, 0, 32]]}
    box = {"id": 8, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": []}
    content = {"images": images, "annotations": [quay, box], "categories": [{"id": 1, "name": "quay"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    output = tmp_path / "drawn"
    check = f"fornet data check --config finetune --data {output} --set data.val_split=test"
    val = f"fornet data describe {output} --val 0.2"
    for split, following in (
        ("train", f"next: the other split with --split, or a fifth of this one for validation: {val}"),
        ("test", f"next {OR_FOLDER}: {check}"),
    ):
        folders = ("--images", data / "images" / split, "--output", output, "--split", split)
        result = run("data", "rasterize", tmp_path / "coco.json", *folders)
        assert (result.exit_code, result.stderr) == (0, "")
        drawn = f"2 labels of 2 classes in split '{split}': {output}"
        left_out = "annotations left out, without a polygon or a mask: 1 (id 8)"
        assert result.stdout.splitlines() == [drawn, left_out, following]
    result = run("data", "check", "--config", config, "--data", output)
    assert result.exit_code == 0 and "75.00%" in result.stdout


def test_all_splits_of_yolo_become_what_check_reads(
    run: Run, config: Path, yolo: Path, tmp_path: Path
) -> None:
    output, result_file = tmp_path / "drawn", tmp_path / "result.json"
    result = run("data", "rasterize", yolo, "--output", output, "--json", result_file)
    absent = f"{yolo.parent}/images/final is not there"
    notes = [f"split '{split}': images without a text, taken as background: 1" for split in ("train", "val")]
    notes.append(f"split 'test' is left out: {absent}")
    assert (result.exit_code, result.stderr) == (0, "".join(f"note: {note}\n" for note in notes))
    lines: list[str] = []
    for name, split in (("train", "train"), ("test", "val")):
        lines.append(f"2 labels of 2 classes in split '{split}': {output}")
        box = f"id {yolo.parent}/labels/{name}/a.txt:2"
        lines.append(f"annotations left out, without a polygon or a mask: 1 ({box})")
        upper_half(output / "labels" / split / "a.png")
    check = f"fornet data check --config finetune --data {output}"
    assert result.stdout.splitlines() == [*lines, f"next {OR_FOLDER}: {check}"]
    assert json.loads(result_file.read_text()) == {
        "output": str(output),
        "splits": [
            {"split": split, "images": 2, "left_out": [f"{yolo.parent}/labels/{name}/a.txt:2"]}
            for name, split in (("train", "train"), ("test", "val"))
        ],
        "classes": ["background", "quay"],
    }
    result = run(*check.split()[1:])
    assert result.exit_code == 0 and "75.00%" in result.stdout


def test_yolos_splits_are_all_checked_before_one_is_drawn(run: Run, yolo: Path, tmp_path: Path) -> None:
    output, twin = tmp_path / "drawn", yolo.parent / "images/test/a.jpg"
    twin.write_bytes((yolo.parent / "images/test/a.png").read_bytes())
    result = run("data", "rasterize", yolo, "--output", output)
    assert result.exit_code == 1 and "a.png: is named like another image but for its ending" in result.stderr
    assert not output.exists()
    twin.unlink()
    for split in ("train", "val"):  # what is missing after an interruption
        result = run("data", "rasterize", yolo, "--output", output, "--split", split)
        assert result.exit_code == 0 and f"2 labels of 2 classes in split '{split}'" in result.stdout
    assert {path.name for path in (output / "labels").iterdir()} == {"train", "val"}
    result = run("data", "rasterize", yolo, "--output", output, "--split", "test")
    assert result.exit_code == 2 and f"--split test: {yolo} has train, val; name one" in result.stderr


def test_yolos_only_split_has_some_validate(run: Run, yolo: Path, tmp_path: Path) -> None:
    yolo.write_text("train: images/train\nnames: [quay]\n")
    result = run("data", "rasterize", yolo, "--output", tmp_path / "drawn")
    val = f"fornet data describe {tmp_path / 'drawn'} --val 0.2"
    assert result.stdout.endswith(f"\nnext: a fifth of this one for validation: {val}\n")


def test_labelmes_files_become_what_check_reads(
    run: Run, config: Path, labelme: Path, tmp_path: Path
) -> None:
    output = tmp_path / "drawn"
    check = f"fornet data check --config finetune --data {output} --set data.val_split=test"
    val = f"fornet data describe {output} --val 0.2"
    for split, following in (
        ("train", f"next: the other split with --split, or a fifth of this one for validation: {val}"),
        ("test", f"next {OR_FOLDER}: {check}"),
    ):
        named = () if split == "train" else ("--split", split)
        result = run("data", "rasterize", labelme / split, "--output", output, *named)
        assert (result.exit_code, result.stderr) == (0, "")
        drawn = f"2 labels of 2 classes in split '{split}': {output}"
        dot = f"1 (id {labelme / split / 'a.json'}: shapes.1)"
        left_out = f"annotations left out, without a polygon or a mask: {dot}"
        assert result.stdout.splitlines() == [drawn, left_out, following]
        upper_half(output / "labels" / split / "a.png")
    result = run(*check.split()[1:])
    assert result.exit_code == 0 and "75.00%" in result.stdout


def test_describe_names_the_command(run: Run, yolo: Path) -> None:
    folder = yolo.parent.rename(yolo.parent.with_name("my street"))
    result = run("data", "describe", folder)
    assert result.exit_code == 1
    draw = f"draw them: `data rasterize '{folder}/data.yaml' --output DIR`"
    found = f"{folder}/data.yaml: annotations of YOLO"
    assert f"{found}; expected labels as PNGs; {draw}" in only_line(result.stderr)


def test_labelmes_splits_do_not_become_one(run: Run, labelme: Path, tmp_path: Path) -> None:
    result = run("data", "rasterize", labelme, "--output", tmp_path / "drawn")
    assert result.exit_code == 2
    assert (
        f"{labelme} holds train, test, splits that would be one; draw each: {labelme}/train" in result.stderr
    )
    result = run("data", "describe", labelme)
    assert f"draw them: `data rasterize {labelme}/te" in only_line(result.stderr)


def test_json_replaces_no_annotation(run: Run, labelme: Path, tmp_path: Path) -> None:
    file = labelme / "train" / "a.json"
    before = file.read_text()
    result = run("data", "rasterize", labelme, "--output", tmp_path / "drawn", "--json", file)
    assert (result.exit_code, file.read_text()) == (2, before)
    assert f"--json {file}: lies among the annotations; expected a FILE to write" in result.stderr


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere.json", (), "Path 'nowhere.json' does not exist."),
        ("coco.json", (), "Missing option '--images': the folder of the images that coco.json names"),
        (".", ("--images", "."), "--images is for COCO: . says where its images are; leave it out"),
        (
            "data.yaml",
            ("--images", "."),
            "--images is for COCO: data.yaml says where its images are; leave it",
        ),
    ],
)
def test_options_that_do_not_fit(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("coco.json", "data.yaml"):
        (tmp_path / name).write_text("{}")
    result = run("data", "rasterize", source, "--output", "drawn", *options)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "drawn").exists()
