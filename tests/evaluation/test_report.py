import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fornet_keras.data.images import read_image
from fornet_keras.errors import DataError
from fornet_keras.evaluation.report import require_own_report, save_report
from fornet_keras.evaluation.tables import four_digits
from tests.evaluation.test_evaluate import FakePredictor, answer_halves, dataset, halves, run


class Page(HTMLParser):
    """What a browser would load and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(str(dict(attrs)["src"]))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_scores_charts_and_the_worst_images_first(tmp_path: Path) -> None:
    mirrored = np.ascontiguousarray(halves()[:, ::-1])
    data = dataset(tmp_path / "a <b> & c", halves(), mirrored, np.zeros((33, 50), np.uint8))
    predictor: Any = FakePredictor(answer_halves)
    scores = run(predictor, data, bands=(1,), boundary_radius=3)
    path = save_report(
        tmp_path / "report", "a <model>", data, predictor, scores, [scores, scores], "known <it>", count=2
    )
    page = Page(path.read_text("utf-8"))

    for name in page.pictures:
        assert read_image(path.parent / name).std() > 0, name
    charts = {"classes.png", "confusion_matrix.png", "curve.png", "legend.png"}
    assert charts | {"worst_01.jpg", "worst_02.jpg"} == {*page.pictures}
    text = "".join(page.texts)
    assert "a <model>" in text and "known <it>" in text and f"{scores.matrix.miou:.4f}" in text
    for name, iou in zip(scores.class_names, scores.matrix.iou, strict=True):
        assert re.search(rf"{name}[\d,]+{four_digits(iou)}", text), "each class has its scores"
    worst = re.findall(r"mIoU (\d\.\d+): (.+)", text)
    by_score = sorted((value, file) for file, value in scores.image_miou.items())
    assert worst == [(f"{value:.3f}", str(file)) for value, file in by_score[:2]]


def test_images_that_were_brought_down_are_shown_as_they_were_predicted(tmp_path: Path) -> None:
    predictor: Any = FakePredictor(answer_halves, short_side=40)
    data = dataset(tmp_path / "data", np.repeat(np.repeat(halves(), 2, axis=0), 2, axis=1))
    scores = run(predictor, data)
    path = save_report(tmp_path / "report", "x", data, predictor, scores)
    assert predictor.shapes == [(40, 64, 3)] * 2
    text = "".join(Page(path.read_text("utf-8")).texts)
    assert "40 px" in text and "share of the regions refined0.2500" in text
    assert read_image(path.parent / "worst_01.jpg").shape[0] == 40


def test_an_earlier_report_gives_way_as_a_whole(tmp_path: Path) -> None:
    """With the curve and the images that the later one does not show, but with no other file."""
    predictor: Any = FakePredictor(answer_halves)
    data = dataset(tmp_path / "data", halves(), halves())
    scores = run(predictor, data)
    report = tmp_path / "report"
    for curve, count in (([scores, scores], 2), ([], 1)):
        require_own_report(report)
        path = save_report(report, "x", data, predictor, scores, curve, count=count)
        (report / "worst_dog.jpg").write_text("my dog")
        assert {file.name for file in report.iterdir()} - {"index.html", "worst_dog.jpg"} == {
            *Page(path.read_text("utf-8")).pictures
        }
    assert "curve.png" not in {file.name for file in report.iterdir()}


@pytest.mark.parametrize("name", ["index.html", "legend.png", "worst_01.jpg"])
def test_a_file_that_is_not_of_a_report_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("my own")
    with pytest.raises(DataError, match=f"{name}: is there already and is not of a report; expected a"):
        require_own_report(tmp_path)
