import numpy as np
import pytest

from fornet_keras.data.camvid import TABLE
from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.prediction.pictures import (
    colorize,
    headed,
    importance_map,
    legend,
    overlay,
    side_by_side,
    with_legend,
)


def test_each_class_has_its_colour_and_void_is_black() -> None:
    label_ids = np.array([[0, 10, IGNORE]], np.uint8)
    assert colorize(label_ids, TABLE).tolist() == [[[128, 128, 128], [0, 128, 192], [0, 0, 0]]]


def test_overlay_mixes_colours_and_leaves_void_as_it_is() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    label_ids = np.array([[1, IGNORE]], np.uint8)  # building is (128, 0, 0)
    # 0.45 * 100 + 0.55 * 128 = 115.4; 0.45 * 100 = 45
    assert overlay(image, label_ids, TABLE).tolist() == [[[115, 45, 45], [100, 100, 100]]]


def test_overlay_of_another_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the image's height and width \(2, 2\); received \(1, 2\): give"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2), np.uint8), TABLE)


def test_importance_of_an_image_that_was_brought_down() -> None:
    """The map has the size of the image, of which a region covers more pixels."""
    image = np.full((80, 120, 3), 200, np.uint8)
    importance, kept = np.array([[0.1, 0.5], [0.1, 0.5]]), np.zeros((2, 2), bool)
    small = importance_map(image[:40, :60], importance, kept, region_size=32)
    large = importance_map(image, importance, kept, region_size=32, short_side=40)
    np.testing.assert_array_equal(large, small.repeat(2, 0).repeat(2, 1))
    with pytest.raises(
        ValueError, match=r"of the \(3, 4\) regions of 32 pixels in 80x120; received \(2, 2\)"
    ):
        importance_map(image, importance, kept, region_size=32)


def test_importance_frames_kept_regions() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)  # the last row and column of regions are cut off
    importance = np.array([[0.5, 0.5], [0.5, 0.5]])
    kept = np.array([[True, False], [False, False]])
    picture = importance_map(image, importance, kept, region_size=32)
    assert picture.shape == image.shape
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert (picture[16, 48] == picture[16, 16]).all() and picture[16, 48].max() < 255
    assert (picture[0, 48] == picture[16, 48]).all()


def test_importance_is_lighter_where_it_is_higher() -> None:
    image = np.full((32, 96, 3), 100, np.uint8)
    importance = np.array([[0.1, 0.3, 0.5]])
    picture = importance_map(image, importance, np.ones((1, 3), bool), region_size=32)
    low, middle, high = (picture[8:24, x : x + 16].mean() for x in (8, 40, 72))
    assert low + 20 < middle < high - 20
    red, _, blue = picture[16, 80].astype(int)
    assert red > blue + 30, "purple to yellow"


def test_legend_shows_every_colour() -> None:
    shown = {tuple(color) for color in legend(TABLE).reshape(-1, 3).tolist()}
    assert set(TABLE.colors) <= shown


def test_legend_has_letters_outside_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a font does not have all look the same: a box."""

    def pictures() -> set[bytes]:
        tables = (LabelTable((name,), ((0, 0, 0),), {}) for name in "äßřλЖї")
        return {legend(table)[:, 30:].tobytes() for table in tables}

    assert len(pictures()) == 6
    monkeypatch.setattr("fornet_keras.prediction.pictures.find_spec", lambda name: None)
    assert len(pictures()) < 6, "as a server without Matplotlib shows them"


@pytest.mark.parametrize("height", [5, 500])
def test_legend_is_at_the_right(height: int) -> None:
    picture, beside = np.zeros((height, 30, 3), np.uint8), legend(TABLE)
    found = with_legend(picture, TABLE)
    assert found.shape == (max(height, len(beside)), 30 + beside.shape[1], 3)
    assert (found[:height, :30] == 0).all() and (found[height:, :30] == 255).all()
    assert (found[: len(beside), 30:] == beside).all() and (found[len(beside) :, 30:] == 255).all()


def test_headings_are_above_their_columns() -> None:
    picture = np.zeros((10, 300, 3), np.uint8)
    found = headed(picture, ("label", "", "importance"))
    assert (found[-10:] == 0).all() and found.shape[1] == 300
    dark = (found[:-10] < 128).all(-1).any(0)
    assert [dark[column : column + 100].any() for column in (0, 100, 200)] == [True, False, True]


def test_side_by_side_scales_to_the_first_picture() -> None:
    large, small = np.zeros((4, 6, 3), np.uint8), np.full((2, 3, 3), 9, np.uint8)
    sheet = side_by_side([[large, small], [large]], gap=1)
    assert sheet.shape == (9, 13, 3)
    assert (sheet[:4, 7:] == 9).all()
    assert (sheet[5:, 7:] == 255).all()  # no picture there
