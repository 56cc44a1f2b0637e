import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.data.sizes import resize_nearest, shrunk
from fornet_keras.errors import DataError, ModelError
from fornet_keras.evaluation.evaluate import Scores, evaluate

VOID = 9  # in the label files
TABLE = LabelTable(
    ("left", "right", "nowhere"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), {0: 0, 1: 1, 2: 2, VOID: IGNORE}
)


class FakePredictor:
    """Called as a `Predictor`, answers with what it is given, and remembers the images' sizes."""

    top_k, num_classes = 0.25, 3

    def __init__(
        self, answer: Callable[[np.ndarray], dict[str, np.ndarray]], short_side: int | None = None
    ) -> None:
        self.answer = answer
        self.short_side = short_side
        self.shapes: list[tuple[int, ...]] = []

    @property
    def compiled(self) -> int:
        return len({*self.shapes})

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        seen = shrunk(image, self.short_side)
        self.shapes.append(seen.shape)
        answer = self.answer(seen)
        if seen is not image:
            answer["label_ids"] = resize_nearest(answer["label_ids"], image.shape[:2])
        return answer

    def importance_map(self, image: np.ndarray, prediction: dict[str, np.ndarray]) -> np.ndarray:
        return image


def dataset(folder: Path, *labels: np.ndarray) -> Dataset:
    samples = []
    folder.mkdir(exist_ok=True)
    for index, label in enumerate(labels):
        sample = Sample(folder / f"{index}.png", folder / f"{index}_label.png")
        cv2.imwrite(str(sample.image), np.full((*label.shape, 3), 10 * index, np.uint8))
        cv2.imwrite(str(sample.label), label)
        samples.append(sample)
    return Dataset("test", "val", folder, TABLE, tuple(samples))


def halves() -> np.ndarray:
    """40 x 64 pixels: the left half is class 0, the right half class 1, the six upper rows are void."""
    label = np.zeros((40, 64), np.uint8)
    label[:, 32:] = 1
    label[:6] = VOID
    return label


def answer_halves(image: np.ndarray) -> dict[str, np.ndarray]:
    """The coarse path sees class 0 everywhere; the one region kept, the upper right one, is corrected."""
    height, width = image.shape[:2]
    rows, columns = -(-height // 32), -(-width // 32)
    label_ids = np.zeros((height, width), np.uint8)
    label_ids[:32, 32:64] = 1
    kept = np.zeros((rows, columns), bool)
    kept[0, 1] = True
    return {
        "label_ids": label_ids,
        "coarse_label_ids": np.zeros((8 * rows, 8 * columns), np.uint8),
        "importance": np.zeros((rows, columns), np.float32),
        "kept": kept,
    }


def run(predictor: Any, data: Dataset, **options: Any) -> Scores:
    return evaluate(predictor, data, **options)


def test_scores_by_hand(tmp_path: Path) -> None:
    """34 rows count. Left: 34·32 = 1088 pixels, all found. Right: 26·32 = 832 found, 8·32 = 256 not.

    IoU of left 1088 / (1088 + 256) = 17/21, of right 832 / 1088 = 13/17.
    """
    scores = run(FakePredictor(answer_halves), dataset(tmp_path, halves()))
    assert scores.matrix.counts.tolist() == [[1088, 0, 0], [256, 832, 0], [0, 0, 0]]
    assert scores.matrix.iou[:2].tolist() == pytest.approx([17 / 21, 13 / 17])
    assert scores.matrix.miou == pytest.approx((17 / 21 + 13 / 17) / 2)
    assert scores.matrix.pixel_accuracy == pytest.approx(1920 / 2176)
    assert scores.images_with.tolist() == [1, 1, 0]
    assert (scores.num_images, scores.top_k, scores.class_names) == (1, 0.25, TABLE.names)


def test_error_coverage_by_hand(tmp_path: Path) -> None:
    """At stride 4, from pixel 2 on, the label has 10 x 16 cells, row 0 void: 9·8 errors, 7·8 of them kept."""
    scores = run(FakePredictor(answer_halves), dataset(tmp_path, halves()))
    assert (scores.coarse_errors, scores.covered_errors) == (72, 56)
    assert scores.error_coverage == pytest.approx(56 / 72)
    assert (scores.num_regions, scores.num_refined, scores.as_json()["refined_share"]) == (4, 1, 0.25)


def test_each_image_counts_at_its_own_size(tmp_path: Path) -> None:
    """Sums, not a mean of scores: the second image adds 33·50 pixels of class 0, 32·18 of them wrong.

    Its coarse path is right everywhere and its kept region adds nothing to the coverage.
    """
    predictor = FakePredictor(answer_halves)
    scores = run(predictor, dataset(tmp_path, halves(), np.zeros((33, 50), np.uint8)))
    assert predictor.shapes == [(33, 50, 3), (40, 64, 3)]
    assert scores.matrix.counts.tolist() == [[1088 + 1650 - 576, 576, 0], [256, 832, 0], [0, 0, 0]]
    assert scores.images_with.tolist() == [2, 1, 0]
    assert (scores.coarse_errors, scores.covered_errors, scores.num_images) == (72, 56, 2)


def test_larger_images_are_brought_down_and_scored_at_their_own_size(tmp_path: Path) -> None:
    """Twice as high and wide, each pixel counts four times; the coverage is of what was predicted."""
    predictor = FakePredictor(answer_halves, short_side=40)
    twice = np.repeat(np.repeat(halves(), 2, axis=0), 2, axis=1)
    scores = run(predictor, dataset(tmp_path, twice, np.zeros((33, 50), np.uint8)))
    assert predictor.shapes == [(33, 50, 3), (40, 64, 3)], "a smaller one stays"
    assert scores.matrix.counts.tolist() == [[4352 + 1650 - 576, 576, 0], [1024, 3328, 0], [0, 0, 0]]
    assert (scores.coarse_errors, scores.covered_errors, scores.as_json()["short_side"]) == (72, 56, 40)


def test_a_prediction_of_another_size_is_refused(tmp_path: Path) -> None:
    def too_small(image: np.ndarray) -> dict[str, np.ndarray]:
        return {**answer_halves(image), "label_ids": np.zeros((20, 32), np.uint8)}

    with pytest.raises(ValueError, match=r"labels \(40, 64\) and predictions \(20, 32\) must have one shape"):
        run(FakePredictor(too_small), dataset(tmp_path, halves()))


def test_data_with_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    predictor = FakePredictor(answer_halves)
    predictor.num_classes = 19
    message = r"^test has 3 classes \(left, right, nowhere\) and the model 19; expected as many, with the "
    with pytest.raises(ModelError, match=message):
        run(predictor, dataset(tmp_path, halves()))


def test_labels_alone_are_scored_without_what_they_do_not_tell(tmp_path: Path) -> None:
    """As of an exported model."""
    data = dataset(tmp_path, halves())
    scores = run(FakePredictor(lambda image: {"label_ids": answer_halves(image)["label_ids"]}), data)
    found, whole = scores.as_json(), run(FakePredictor(answer_halves), data).as_json()
    assert found["confusion_matrix"] == whole["confusion_matrix"]
    assert (found["error_coverage"], found["refined_share"], scores.num_regions) == (None, None, 0)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    data = dataset(tmp_path, halves(), halves())
    (tmp_path / "1_label.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1_label.png: is empty \(0 bytes\)"):
        run(FakePredictor(answer_halves), data)


def test_images_of_one_size_come_after_each_other(tmp_path: Path) -> None:
    """As they are brought down; scores by image stay in the order of the data."""
    sizes = ((80, 128), (33, 50), (40, 64), (33, 50), (160, 256))
    data = dataset(tmp_path, *(np.zeros(size, np.uint8) for size in sizes))
    predictor, seen = FakePredictor(answer_halves, short_side=40), []
    scores = run(predictor, data, on_image=lambda sample, *_: seen.append(data.samples.index(sample)))
    assert seen == [1, 3, 0, 2, 4]
    assert len(scores.predict_seconds) == 3, "compiled for twice"
    assert [*scores.image_miou] == [sample.image for sample in data.samples]


def test_each_image_is_handed_on(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []
    data = dataset(tmp_path, halves(), np.zeros((45, 50), np.uint8))
    run(FakePredictor(answer_halves), data, on_image=lambda *arguments: seen.append(arguments))
    assert [arguments[0] for arguments in seen] == list(data.samples)
    _, image, label, prediction = seen[1]
    assert image.shape == (45, 50, 3) and (image == 10).all()
    assert label.shape == prediction["label_ids"].shape == (45, 50)
    assert np.unique(seen[0][2]).tolist() == [0, 1, IGNORE], "train ids"


# === As JSON ===


def test_json_has_the_keys_that_others_build_on(tmp_path: Path) -> None:
    found = run(FakePredictor(answer_halves), dataset(tmp_path, halves(), halves())).as_json()
    assert found["iou"] == {"left": pytest.approx(17 / 21), "right": pytest.approx(13 / 17), "nowhere": None}
    assert found["precision_by_class"] == {"left": pytest.approx(17 / 21), "right": 1, "nowhere": None}
    assert found["recall_by_class"] == {"left": 1, "right": pytest.approx(13 / 17), "nowhere": None}
    assert found["f1_by_class"] == {
        "left": pytest.approx(17 / 19),
        "right": pytest.approx(13 / 15),
        "nowhere": None,
    }
    assert found["miou"] == pytest.approx((17 / 21 + 13 / 17) / 2)
    assert found["pixel_accuracy"] == pytest.approx(15 / 17)
    assert found["error_coverage"] == pytest.approx(7 / 9)
    assert (found["top_k"], found["num_images"]) == (0.25, 2)
    assert found["milliseconds"] > 0
    assert found["confusion_matrix"] == [[2176, 0, 0], [512, 1664, 0], [0, 0, 0]]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_cannot_be_scored_is_null(tmp_path: Path) -> None:
    """All is void: no class, no pixel and no error; and one image has no time beside the first's."""
    found = run(FakePredictor(answer_halves), dataset(tmp_path, np.full((40, 64), VOID, np.uint8))).as_json()
    assert found["iou"] == dict.fromkeys(TABLE.names)
    for name in ("miou", "pixel_accuracy", "error_coverage", "milliseconds"):
        assert found[name] is None, name
    json.dumps(found, allow_nan=False)


def test_predictions_of_new_sizes_do_not_count_for_time(tmp_path: Path) -> None:
    """A backend compiles in them."""
    labels = [np.zeros((height, 64), np.uint8) for height in (40, 40, 32, 40, 32)]
    scores = run(FakePredictor(answer_halves), dataset(tmp_path, *labels))
    assert (scores.num_images, len(scores.predict_seconds)) == (5, 3)


def test_bands_and_thin_classes_are_scored_by_themselves(tmp_path: Path) -> None:
    """Of each half two columns lie near the border; the answer is wrong in the lower 8 of 34 rows."""
    data = dataset(tmp_path, halves())
    thin = LabelTable(TABLE.names, TABLE.colors, TABLE.train_ids, thin=("right",))
    data = Dataset(data.name, data.split, data.root, thin, data.samples)
    predictor: Any = FakePredictor(answer_halves)
    scores = evaluate(predictor, data, bands=(2,))
    assert scores.bands[2].counts.tolist() == [[68, 0, 0], [16, 52, 0], [0, 0, 0]]
    assert scores.thin_miou == pytest.approx(scores.matrix.iou[1]) == pytest.approx(26 / 34)
    content = scores.as_json()
    assert content["band_miou"] == {"2": pytest.approx((68 / 84 + 52 / 68) / 2)}
    assert content["thin_miou"] == pytest.approx(26 / 34)
    assert content["band_iou"]["2"] == {
        "left": pytest.approx(68 / 84),
        "right": pytest.approx(52 / 68),
        "nowhere": None,
    }


def test_without_thin_classes_there_is_no_thin_score(tmp_path: Path) -> None:
    predictor: Any = FakePredictor(answer_halves)
    content = evaluate(predictor, dataset(tmp_path, halves())).as_json()
    assert (content["thin_miou"], content["band_miou"]) == (None, {})


def test_each_image_has_a_score_of_its_own(tmp_path: Path) -> None:
    data = dataset(tmp_path, halves(), np.full((40, 64), VOID, np.uint8))
    scores = run(FakePredictor(answer_halves), data, boundary_radius=3)
    alone, void = (scores.image_miou[sample.image] for sample in data.samples)
    assert alone == pytest.approx(scores.matrix.miou)
    assert np.isnan(void)
    content = scores.as_json()
    assert 0 < content["boundary_f"] < 1
    assert content["boundary_f_by_class"]["nowhere"] is None
    assert content["image_miou"] == {
        str(data.samples[0].image): pytest.approx(alone),
        str(data.samples[1].image): None,
    }
