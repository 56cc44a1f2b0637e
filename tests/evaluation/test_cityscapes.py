"""The benchmark's scores, against the benchmark's own package on made-up scenes."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.cityscapes import LABEL_IDS, TABLE
from fornet_keras.data.label_files import read_label, to_train_ids
from fornet_keras.data.sources import open_dataset
from fornet_keras.data.synthetic import write_city
from fornet_keras.errors import DataError
from fornet_keras.evaluation.cityscapes import OfficialScores, find_label_files
from fornet_keras.evaluation.tables import four_digits, official_table

SCENES = 12


def write_every_label(label_path: Path) -> None:
    """A frame with all 34 label ids, the ignored ones too, and an instance of each that has any."""
    label = np.kron(np.arange(34, dtype=np.uint8), np.ones((128, 7), np.uint8))
    label = np.pad(label, ((0, 0), (0, 256 - label.shape[1])))
    Image.fromarray(label).save(label_path)
    instances = np.where(label >= 24, 1000 * label.astype(np.uint16) + 1, label)
    cv2.imwrite(str(label_path).replace("labelIds", "instanceIds"), instances)


def make_groups(label_path: Path) -> None:
    """Every fifth instance becomes part of a group, whose id is that of the class."""
    path = str(label_path).replace("labelIds", "instanceIds")
    instances = np.array(Image.open(path)).astype(np.uint16)
    grouped = np.where((instances > 1000) & (instances % 5 == 4), instances // 1000, instances)
    cv2.imwrite(path, grouped.astype(np.uint16))


def spoilt(train_ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A prediction: the label, moved by some pixels and with blocks of other classes."""
    moved = np.roll(train_ids, random.integers(-3, 4, 2), (0, 1))
    blocks = random.integers(0, len(LABEL_IDS), (16, 32)).astype(np.uint8)
    blocks = np.kron(blocks, np.ones((8, 8), np.uint8))
    return np.where((moved == 255) | (random.random(moved.shape) < 0.1), blocks, moved).astype(np.uint8)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, np.ndarray]]:
    """The label files of each scene, and a prediction."""
    city = tmp_path_factory.mktemp("city")
    write_city(city / "city", 1, SCENES, (128, 256), 0)
    random = np.random.default_rng(0)
    dataset = open_dataset("cityscapes", city / "city", "val")
    for index, sample in enumerate(dataset.samples):
        assert sample.label is not None
        if index == 0:
            write_every_label(sample.label)
        make_groups(sample.label)
    return [
        (files, spoilt(to_train_ids(read_label(files.label_ids), TABLE, files.label_ids), random))
        for files in find_label_files(dataset).values()
    ]


def test_equal_to_the_benchmarks_own_package(
    frames: list[tuple[Any, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    ours, predictions = OfficialScores(), []
    for index, (files, prediction) in enumerate(frames):
        ours.add(files, prediction)
        predictions.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(np.array(LABEL_IDS, np.uint8)[prediction]).save(predictions[-1])
    for option, value in (("quiet", True), ("JSONOutput", False), ("evalInstLevelScore", True)):
        monkeypatch.setattr(official.args, option, value, raising=False)
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # the package uses what NumPy 2.4 has removed
    theirs = official.evaluateImgLists(
        predictions, [str(files.label_ids) for files, _ in frames], official.args
    )

    assert len(predictions) == SCENES
    found = ours.as_json()
    assert found.keys() == theirs.keys()
    for name, expected in theirs.items():
        compare(found[name], expected, name)
    assert 0.3 < found["averageScoreInstClasses"] < 0.95 and 0.3 < found["averageScoreInstCategories"] < 0.95
    rows = {row[0]: row[1:] for row in official_table(found)[1]}
    assert rows["car"] == (
        four_digits(found["classScores"]["car"]),
        four_digits(found["classInstScores"]["car"]),
    )
    assert rows["flat"] == (four_digits(found["categoryScores"]["flat"]), "–")
    means = (found["averageScoreClasses"], found["averageScoreInstClasses"])
    assert rows["all classes"] == (*map(four_digits, means),) and "road" not in rows and "void" not in rows


def compare(found: Any, expected: Any, name: str) -> None:
    if name == "confMatrix":
        assert found == expected
    elif isinstance(expected, dict):
        assert found.keys() >= expected.keys(), name
        for key, value in expected.items():
            compare(found[key], value, f"{name}.{key}")
    elif isinstance(expected, float) and math.isnan(expected):
        assert found is None, name
    else:
        assert found == pytest.approx(expected, abs=1e-12), name


def test_without_instances_the_rest_is_scored(frames: list[tuple[Any, np.ndarray]]) -> None:
    """Of one frame alone, whichever it is; the first is named."""
    gone = [Path(f"{index}_instanceIds.png") for index in range(3)]
    for missing in ((0, 1, 2), (0,), (2,)):
        scores = OfficialScores()
        for index, (files, prediction) in enumerate(frames[:3]):
            scores.add(files._replace(instances=gone[index]) if index in missing else files, prediction)
        found = scores.as_json()
        assert scores.missing == gone[missing[0]]
        assert found["averageScoreInstClasses"] is None and found["classInstScores"]["car"] is None
        assert found["averageScoreClasses"] > 0.3


def test_label_ids_that_there_are_not_are_refused(
    frames: list[tuple[Any, np.ndarray]], tmp_path: Path
) -> None:
    files, prediction = frames[1]
    label = np.array(Image.open(files.label_ids))
    label[:10] = 200
    Image.fromarray(label).save(tmp_path / "a.png")
    scores = OfficialScores()
    with pytest.raises(DataError, match="a.png: has the value 200; expected label ids, 0 to 33 or 255; take"):
        scores.add(files._replace(label_ids=tmp_path / "a.png"), prediction)
    assert not scores.matrix.any()


def test_licence_plates_are_ignored(frames: list[tuple[Any, np.ndarray]], tmp_path: Path) -> None:
    files, prediction = frames[1]
    label = np.array(Image.open(files.label_ids))
    label[:10] = 255
    Image.fromarray(label).save(tmp_path / "a.png")
    scores = OfficialScores()
    scores.add(files._replace(label_ids=tmp_path / "a.png"), prediction)
    assert scores.matrix[0].sum() >= 10 * 256 and scores.matrix.sum() == label.size
