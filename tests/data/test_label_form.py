"""Labels of one split whose values mean one thing here and another there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data import scan_sample
from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable
from fornet_keras.data.images import verify_image
from fornet_keras.data.label_form import palette_problem
from fornet_keras.data.scan import scan, usable
from tests.data.test_scan import lines, make_dataset

BLACK, RED, GREEN = [0, 0, 0], [200, 0, 0], [0, 200, 0]


def with_labels(dataset: Dataset, labels: list[Image.Image]) -> Dataset:
    for sample, label in zip(dataset.samples, labels, strict=True):
        assert sample.label
        label.save(sample.label)
    return dataset


def indexed(indices: list[int], colors: list[list[int]]) -> Image.Image:
    picture = Image.fromarray(np.array([indices], np.uint8), mode="P")
    picture.putpalette(sum(colors, []))
    return picture


def test_palettes_of_another_order(tmp_path: Path) -> None:
    """As of tools that save pictures in colours with a palette of their own each: an index says nothing."""
    labels = [
        indexed([0, 1, 2], [BLACK, RED, GREEN]),
        indexed([0, 1, 1], [BLACK, GREEN]),
        indexed([1, 0, 1], [BLACK, RED, [9, 9, 9]]),
        indexed([0, 0, 1], [RED, GREEN]),
        indexed([0, 0, 1], [BLACK, GREEN]),
    ]
    found = lines(with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 5), labels))
    fix = "expected one palette for all labels; set label_colors, or save them anew with one palette"
    assert found == [
        f"value 1 is another colour than [0, 200, 0] as in 1.png in 2 of 5 labels; {fix} (0.png, 2.png)",
        f"{tmp_path}/3.png: value 0 is another colour than [0, 0, 0] as in 1.png; {fix}",
    ]


@pytest.mark.parametrize(("few_first", "number"), [(False, "1-bit"), (True, "8-bit")])
def test_grey_labels_of_other_bits(tmp_path: Path, few_first: bool, number: str) -> None:
    """White is 255 in one and 1 in the other; black is black."""
    deep, white, black = (Image.fromarray(np.array([[0, value]], np.uint8)) for value in (1, 255, 0))
    few, zero = white.convert("1"), black.convert("1")
    dataset = make_dataset(tmp_path, [np.zeros((1, 2), np.uint8)] * 3)
    assert not lines(with_labels(dataset, [zero, few, few] if few_first else [zero, deep, deep]))
    assert not lines(with_labels(dataset, [black, few, zero]))
    [line] = lines(with_labels(dataset, [few, zero, deep] if few_first else [deep, zero, few]))
    assert line.startswith(f"{tmp_path}/2.png: {number} grey where 0.png has ")
    assert line.endswith(": white is 1 in one and 255 in the other; expected one depth; save all with 8 bits")
    three = deep.convert("RGB")
    [line] = lines(with_labels(dataset, [few, zero, three] if few_first else [three, zero, few]))
    assert f": {number} grey where 0.png has " in line


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Image.new("L", (3, 1)), id="grey"),
        pytest.param(indexed([0, 0, 0], [BLACK]), id="a short palette"),
        pytest.param(indexed([0, 0, 0], [BLACK, [7, 7, 7]]), id="a color that does not occur"),
    ],
)
def test_the_first_label_need_not_have_what_differs(tmp_path: Path, first: Image.Image) -> None:
    labels = [first, indexed([0, 1, 1], [BLACK, RED]), indexed([0, 0, 1], [BLACK, GREEN])]
    [line] = lines(with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 3), labels))
    assert line.startswith(f"{tmp_path}/2.png: value 1 is another colour than [200, 0, 0] as in 1.png; ")


def test_what_contradicts_is_left_out_and_not_read_for_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [indexed([0, 0, 1], [BLACK, color]) for color in (RED, GREEN, RED)]
    dataset = with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 3), labels)
    report = scan(dataset, cache=tmp_path / "cache")
    assert report.summary() == "3 images, 0 missing labels, 0 corrupt, 1 wrong label"
    assert usable(dataset, report, "skip", print).samples == (dataset.samples[0], dataset.samples[2])
    read: list[Path] = []

    def verify(path: Path) -> tuple[int, int]:
        read.append(path)
        return verify_image(path)

    monkeypatch.setattr(scan_sample, "verify_image", verify)
    assert scan(dataset, cache=tmp_path / "cache") == report
    assert read == [dataset.samples[1].image]


def test_what_most_labels_tell_counts(tmp_path: Path) -> None:
    """The odd one is the first, and has a value in common with each other one."""
    rows = [[0, 1, 2], [0, 1, 1], [0, 2, 2], [0, 1, 1]]
    labels = [indexed(row, [BLACK, RED, GREEN]) for row in rows]
    labels[0] = indexed(rows[0], [BLACK, GREEN, RED])
    dataset = with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 4), labels)
    [line] = lines(dataset)
    assert line.startswith(f"{tmp_path}/0.png: value 1 is another colour than [200, 0, 0] as in 1.png; ")
    few = [Image.fromarray(np.array([[0, value, 0]], np.uint8)) for value in (255, 1, 1, 1)]
    few[0] = few[0].convert("1")
    [line] = lines(with_labels(dataset, few))
    assert line.startswith(f"{tmp_path}/0.png: 1-bit grey where 1.png has 8 bits: ")


def test_what_a_label_with_another_problem_tells_counts_least(tmp_path: Path) -> None:
    """Else the sound one would be called wrong, and nothing be left."""
    labels = [indexed([0, 0, 1], [BLACK, color]) for color in (RED, GREEN)]
    dataset = with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 2), labels)
    dataset.samples[0].image.write_bytes(b"no image")
    report = scan(dataset)
    assert usable(dataset, report, "skip", print).samples == dataset.samples[1:]
    assert report.palette == ((0, (0, 0, 0), "1.png"), (1, (0, 200, 0), "1.png"))
    labels[1] = indexed([0, 0, 0], [BLACK, RED])
    assert scan(with_labels(dataset, labels)).palette == ((0, (0, 0, 0), "1.png"),), "of what is left"


def test_what_is_left_is_counted_without_what_contradicts(tmp_path: Path) -> None:
    labels = [indexed([0, 0, 1], [BLACK, color]) for color in (RED, GREEN, RED)]
    dataset = with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 3), labels)
    sound = usable(dataset, scan(dataset, cache=tmp_path / "cache"), "skip", print)
    assert scan(sound, cache=tmp_path / "cache").pixels[:2] == (4, 2)


def test_a_grey_palette_tells_no_more_than_none(tmp_path: Path) -> None:
    """Nor does one that is 0 everywhere."""
    greys = [[value] * 3 for value in range(3)]
    labels = [indexed([0, 2, 1], [RED, GREEN, BLACK]), indexed([0, 2, 1], greys), indexed([0, 0, 0], greys)]
    assert not lines(with_labels(make_dataset(tmp_path, [np.zeros((1, 3), np.uint8)] * 3), labels))


def test_palettes_of_two_splits(tmp_path: Path) -> None:
    blank: list[np.ndarray | None] = [np.zeros((1, 3), np.uint8)]
    palettes = {}
    for split, colors in {"train": [BLACK, RED, GREEN], "val": [BLACK, GREEN, RED]}.items():
        (tmp_path / split).mkdir()
        dataset = with_labels(make_dataset(tmp_path / split, blank), [indexed([0, 0, 1], colors)])
        palettes[split] = scan(dataset).palette
    assert palettes["train"] == ((0, (0, 0, 0), "0.png"), (1, (200, 0, 0), "0.png"))
    table = LabelTable(("a", "b"), ((0, 0, 0), (200, 0, 0)), {0: 0, 1: 1})
    assert palette_problem(palettes, table) == (
        "value 1 is [200, 0, 0] in 'train', as in 0.png, and [0, 200, 0] in 'val', as in 0.png; expected one "
        "palette for all labels; set label_colors, or save them anew with one palette"
    )
    assert palette_problem({"train": palettes["train"], "val": palettes["train"][:1]}, table) is None
    void = replace(table, train_ids={0: 0, 1: IGNORE})
    assert palette_problem(palettes, void) is None, "of what is ignored any colour will do"
