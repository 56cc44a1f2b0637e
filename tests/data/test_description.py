from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.data import camvid, cityscapes
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.samples import read_sample
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import DataError
from fornet_keras.prediction.submission import label_values
from tests.data.harbour import MINIMAL, describe, write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values, such as 'name: harbour'"),
        ("- water", "expected keys and values"),
        ("name: harbour", "classes: is missing; add it"),
        (
            "name: harbour\nclasses: [a]",
            "classes: expected two or more; what is of no .* too, such as background",
        ),
        (f"{MINIMAL}\nnames: x", "names: unknown key; expected one of name, classes, .*; did you mean name?"),
        (f"{MINIMAL}\nzzz: x", "zzz: unknown key; expected one of name, .*; remove it"),
        (
            "name: x\nclasses:\n  - {name: water, colour: [0, 0, 0]}",
            r"classes.0.colour: unknown key; expected one of name, color, .*mean color\?$",
        ),
        ("name: x\nclasses: [{nama: water}]", r"classes.0.nama: unknown key; .*mean name\? \(and 1 more\)"),
        (
            "name: 5\nclasses:\n  - {name: a, color: [0, 0, 0]}",
            "name: Input should be a valid string; received 5",
        ),
        (
            "name: x\nclasses:\n  - {name: a, color: [0, 0]}",
            "classes.0.color: List should have at least 3 items",
        ),
        (
            "name: x\nclasses:\n  - {name: a, color: [0, 0, 256]}",
            "color.2: .*less than or equal to 255; received 256",
        ),
        ("name: x\nclasses:\n  - {name: a, color: [0, 0, 0], value: -1}", "value.0: .*received -1"),
        ("name: x\nclasses: [a, {name: b, value: []}]", "value: List should have at least 1 item"),
        ("name: x\nclasses: [a, {name: b, value: [3, 0]}]", "label value 0 is declared twice; a has it"),
        (f"{MINIMAL}\nignore: [9, 9]", "label value 9 is declared twice; declare each once"),
        (
            "name: x\nclasses: [a, {name: b, colors: [[1, 2, 3]]}]",
            "colors is of labels in colours; set label_c",
        ),
        (
            "name: x\nclasses: [a, {name: b, color: [1, 2, 3]}]\nlabel_colors: true",
            "class a has no color; give",
        ),
        *(
            (f"name: x\nclasses: [a, {word}]", f"classes.1: expected a name, in quotes .*; received {read}$")
            for word, read in (("5", "5"), ("true", "True"), ("~", "None"))
        ),
        (
            f"{MINIMAL}\nimage_suffixes: [.png, jpg]",
            "image_suffixes.1: must contain a dot, such as .jpg; .*'jpg'",
        ),
        (f"{MINIMAL}\nignore:", r"ignore: expected a list, such as ignore: \[255\]; received None$"),
        (f"{MINIMAL}\nimage_suffixes: [a.]", "image_suffixes.0: must contain a dot, such as .jpg; .*'a.'"),
        (f"{MINIMAL}\n  - {{name: quay, color: [1, 1, 1]}}", "class name quay is declared twice"),
        (
            f"{MINIMAL}\nignore: [0]",
            "label value 0 is declared twice; water has it by its position: give .* set first_value: 1$",
        ),
        (
            f"{MINIMAL}\nignore: [1]",
            "label value 1 is declared twice; quay has it by its position: give it its own$",
        ),
        (
            f"{MINIMAL}\nfirst_value: 1\nignore: 2",
            "value 2 is declared twice; quay has it by .*: give it its own$",
        ),
        (f"{MINIMAL}\nfirst_value: 2", "first_value: Input should be 0 or 1; received 2"),
        (f'{MINIMAL}\nimages: "a/*/{{split}}"', r"images: must be one path, without \*; .*'a/\*/{split}'"),
        (f"name: x\nclasses:\n  - {{name: {'a' * 101}, color: [0, 0, 0]}}", "name: String should match"),
        (
            f"{MINIMAL}\nimages: images",
            "images: must be a relative path that contains {split} once, .*'images'",
        ),
        (
            f'{MINIMAL}\nlabels: "/a/{{split}}"',
            "labels: must be relative to the folder of this file, .*'/a/{split}'",
        ),
        (f'{MINIMAL}\nlabels: /a\nlists: "{{split}}.txt"', "labels: must be relative to the folder of this"),
        ("name: x\nclasses: {0: a, 1: b}", r"classes: expected a list, such as classes: \[water, quay\]$"),
        (
            'name: x\nclasses: [{name: a, color: "#ff0000"}, b]',
            r"classes.0.color: expected a list, such as color: \[0, 0, 200\]; received '#ff0000'",
        ),
        (f"{MINIMAL}\nignore_colors: [0, 0, 0]", r"ignore_colors.0: expected a list"),
        (f"{MINIMAL}\nlists: train.txt", "lists: must be a relative path that contains {split} once"),
        (f"{MINIMAL}\nlabel_name: mask.png", "label_name: must contain {stem} once, .*'mask.png'"),
        (f"{MINIMAL}\nname: again", "duplicate key 'name'"),
        ('name: "a\\e[31m"\nclasses:\n  - {name: a, color: [0, 0, 0]}', "name: String should match"),
        ("name: [", "dataset.yaml:1: not valid YAML"),
        (
            f"{MINIMAL}\n  - {{name: quay, color: [1, 300, 1]}}",
            r"dataset.yaml:\d: classes.\d.color.1: .* 255",
        ),
    ],
)
def test_a_wrong_description_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_dataset("folder", describe(tmp_path, text), "train")
    assert str(caught.value).startswith(str(tmp_path / "dataset.yaml"))
    assert "\n" not in str(caught.value)


def test_no_description(tmp_path: Path) -> None:
    message = "dataset.yaml: no such file; .*write one with name and classes, or .* `data describe "
    with pytest.raises(DataError, match=message):
        open_dataset("folder", tmp_path, "train")


def test_a_folder_of_the_data_in_place_of_the_data(tmp_path: Path) -> None:
    describe(tmp_path, MINIMAL)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images/dataset.yaml: no such file; .*; did you mean ") as caught:
        open_dataset("folder", tmp_path / "images", "train")
    assert str(caught.value).endswith(f"did you mean {tmp_path}?")


def test_a_description_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(DataError, match="dataset.yaml: cannot be read .*; expected a few kB of YAML"):
        open_dataset("folder", tmp_path, "train")


COLORED = """
name: harbour
classes:
  - {name: water, color: [0, 0, 200]}
  - {name: quay, color: [90, 90, 90]}
label_colors: true
ignore_colors: [[0, 0, 0]]
"""


def test_labels_in_colors(tmp_path: Path) -> None:
    describe(tmp_path, COLORED)
    write(tmp_path / "images/train/a.png")
    picture = np.full((4, 6, 3), (200, 0, 0), np.uint8)  # OpenCV's order
    picture[1], picture[2, 3] = 90, 0
    (tmp_path / "labels/train").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "labels/train/a.png"), picture)
    dataset = open_dataset("folder", tmp_path, "train")
    expected = np.zeros((4, 6), np.uint8)
    expected[1], expected[2, 3] = 1, IGNORE
    np.testing.assert_array_equal(read_sample(dataset.samples[0], dataset.table)[1], expected)
    report = scan(dataset)
    assert report.pixels == (17, 6) and report.ignored_pixels == 1 and not report.problems
    picture[0, 0] = 7
    cv2.imwrite(str(tmp_path / "labels/train/a.png"), picture)
    finding = scan(dataset).problems[0]
    assert finding.kind == "wrong label" and finding.finding.startswith("colour [7, 7, 7] of no class")


def test_several_colors_of_a_class(tmp_path: Path) -> None:
    """The first is the one that pictures show."""
    text = COLORED.replace("color: [0, 0, 200]", "colors: [[0, 0, 200], [0, 9, 9]]")
    text = text.replace("color: [90, 90, 90]", "color: [90, 90, 90], colors: [[8, 8, 8]]")
    table = read_dataset_yaml(describe(tmp_path, text)).table()
    assert table.colors == ((0, 0, 200), (90, 90, 90))
    expected = {(0, 0, 200): 0, (0, 9, 9): 0, (90, 90, 90): 1, (8, 8, 8): 1, (0, 0, 0): IGNORE}
    assert table.label_colors == expected


def test_one_value_to_ignore_needs_no_list(tmp_path: Path) -> None:
    table = read_dataset_yaml(describe(tmp_path, f"{MINIMAL}\nignore: 255")).table()
    assert table.train_ids == {0: 0, 1: 1, 255: IGNORE}


def test_positions_that_count_from_1(tmp_path: Path) -> None:
    """As in ADE20K, whose 0 is void: without it its last value, 150, would be one too many."""
    text = "name: x\nclasses: [wall, {name: sky, value: 9}, tree]\nignore: [0]\nfirst_value: 1"
    table = read_dataset_yaml(describe(tmp_path, text)).table()
    assert table.train_ids == {1: 0, 9: 1, 3: 2, 0: IGNORE}
    describe(tmp_path, MINIMAL)
    for name in ("images/train/a.png", "labels/train/a.png"):
        write(tmp_path / name)
    cv2.imwrite(str(tmp_path / "labels/train/a.png"), np.array([[0, 1, 2, 3, 0, 0]] * 4, np.uint8))
    problems = scan(open_dataset("folder", tmp_path, "train")).problems
    fixes = {problem.finding: problem.fix for problem in problems}
    declare = "declare it as a class or under ignore"
    assert fixes == {
        "value 2": f"{declare}, or set first_value: 1 where 0 is void and the first class 1",
        "value 3": declare,
    }


def test_several_values_of_a_class_and_colors_that_nobody_chose(tmp_path: Path) -> None:
    text = "name: harbour\nclasses:\n  - water\n  - {name: boat, value: [8, 3, 12]}\n  - no\nignore: [255]"
    table = read_dataset_yaml(describe(tmp_path, text)).table()
    assert table.names == ("water", "boat", "no")
    assert table.train_ids == {0: 0, 8: 1, 3: 1, 12: 1, 2: 2, 255: IGNORE}
    assert label_values(table).tolist() == [0, 8, 2]
    many = "name: x\nclasses: [" + ", ".join(f"c{number}" for number in range(255)) + "]"
    assert len({*read_dataset_yaml(describe(tmp_path, many)).table().colors}) == 255


def test_colors_that_nobody_chose_are_unlike_the_others(tmp_path: Path) -> None:
    """As the first ones of PASCAL VOC are not: (128, 0, 0) beside the obstacle's red, two greens."""
    classes = "[drivable, vegetation, other, {name: obstacle, color: [220, 20, 60]}]"
    colors = read_dataset_yaml(describe(tmp_path, f"name: x\nclasses: {classes}\n")).table().colors
    lab = cv2.cvtColor(np.array([[*colors, (0, 0, 0)]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    assert colors[1] == (107, 142, 35) and colors[3] == (220, 20, 60)
    assert apart[~np.eye(5, dtype=bool)].min() > 50


def test_classes_without_a_color_get_the_usual_ones_which_none_has_yet(tmp_path: Path) -> None:
    classes = ["{name: tram, color: [128, 0, 0]}", "car", "building", "quay", "rider", "background"]
    text = f"name: x\nclasses: [{', '.join(classes)}]\n"
    colors = read_dataset_yaml(describe(tmp_path, text)).table().colors
    assert colors[1] == camvid.TABLE.colors[camvid.TABLE.names.index("car")]
    assert colors[4] == cityscapes.TABLE.colors[cityscapes.TABLE.names.index("rider")]
    assert colors[5] == (0, 0, 0)
    assert len({*colors}) == 6, "building's in CamVid is the tram's here"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ignore_colors: [[0, 0, 0]]", "ignore: [0]"), "label_colors is true, .* for ignore write ignore_"),
        (("[0, 0, 200]}", "[0, 0, 200], value: 4}"), "label_colors is true, .* remove value and"),
        (
            ("ignore_colors: [[0, 0, 0]]", "first_value: 1"),
            "label_colors is true, .* remove value and first_",
        ),
        (("label_colors: true", ""), "ignore_colors is of labels in colours; set label_colors: true"),
        (("[[0, 0, 0]]", "[[90, 90, 90]]"), r"color \[90, 90, 90\] is declared twice"),
        (("90]}", "90], colors: [[0, 0, 0]]}"), r"color \[0, 0, 0\] is declared twice"),
    ],
)
def test_colors_that_do_not_fit(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset_yaml(describe(tmp_path, COLORED.replace(*change)))
