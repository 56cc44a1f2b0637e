import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.data.sizes import resize_nearest, shrunk
from fornet_keras.model import FoRNet
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.prediction.views import ViewsPredictor
from tests.model.tiny import images, numpy_outputs, tiny_model

SIZE = (70, 100)  # 5 x 7 regions


@pytest.fixture(scope="module")
def plain(predict: Predictor) -> dict[str, np.ndarray]:
    """The prediction of `images(*SIZE)[0]` in one look."""
    return predict(images(*SIZE)[0])


@pytest.mark.backend
@pytest.mark.parametrize("window", [None, (96, 128)])
def test_one_window_over_the_whole_image_is_the_plain_prediction(
    model: FoRNet, plain: dict[str, np.ndarray], window: tuple[int, int] | None
) -> None:
    found = ViewsPredictor(model, window)(images(*SIZE)[0])
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        name: (x.shape, x.dtype) for name, x in plain.items()
    }
    assert np.mean(found["label_ids"] == plain["label_ids"]) > 0.999
    np.testing.assert_array_equal(found["kept"], plain["kept"])
    np.testing.assert_array_equal(found["coarse_label_ids"], plain["coarse_label_ids"])
    np.testing.assert_allclose(found["importance"], plain["importance"], atol=1e-6)


@pytest.mark.parametrize("window", [None, (32, 64)])
def test_labels_of_a_larger_image_are_decided_at_its_size(
    model: FoRNet, predict: Predictor, window: tuple[int, int] | None
) -> None:
    size = (150, 211)
    image = images(*size)[0]
    seen = shrunk(image, SIZE[0])
    views = ViewsPredictor(model, window, short_side=SIZE[0])
    found = views(image)["label_ids"]
    assert (found.shape, found.dtype) == (size, np.uint8)
    if window is None:
        assert np.mean(found == predict(image, SIZE[0])["label_ids"]) > 0.98
    else:
        sides = zip(seen.shape[:2], size, strict=True)
        at_centres = found[np.ix_(*(((np.arange(n) + 0.5) * m / n).astype(int) for n, m in sides))]
        small = views(seen)["label_ids"]
        assert np.mean(at_centres == small) > 0.95
        assert np.mean(found != resize_nearest(small, size)) > 0.003, "no stairs"


def test_an_enlarged_border_is_where_two_classes_are_as_likely(
    model: FoRNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odds of 81 to 1 beside 1 to 3: between their logarithms it lies four fifths of the way."""
    predict = ViewsPredictor(model, short_side=16)
    half = np.ones((16, 8, 1), np.float32)
    probabilities = np.concatenate([half * [81 / 82, 1 / 82], half * [1 / 4, 3 / 4]], axis=1)
    regions = {name: np.zeros((1, 1)) for name in ("importance", "kept")}
    look = probabilities, {**regions, "coarse_label_ids": np.zeros((4, 4))}
    monkeypatch.setattr(predict, "_look", lambda tile: look)
    labels = predict(np.zeros((256, 256, 3), np.uint8))["label_ids"]
    # Of the columns' centres 120 and 136 the first is the last of its class: 120 + 4 / 5 * 16 = 132.8.
    np.testing.assert_array_equal(labels, np.arange(256)[None].repeat(256, 0) > 132)


def test_a_model_s_own_short_side_is_taken_but_with_windows() -> None:
    learnt = tiny_model(short_side=48)
    cases: tuple[tuple[dict[str, Any], int | None], ...] = (
        ({"flip": True}, 48),
        ({"short_side": 0}, None),
        ({"window": (64, 64)}, None),
        ({"window": (64, 64), "short_side": 96}, 96),
    )
    for arguments, short_side in cases:
        assert ViewsPredictor(learnt, **arguments).short_side == short_side, arguments


def test_windows_side_by_side_are_predictions_of_the_tiles(model: FoRNet) -> None:
    image = images(128, 192)[0]
    found = ViewsPredictor(model, (64, 64), overlap=0)(image)["label_ids"]
    predict = Predictor(model)
    for top in range(0, 128, 64):
        for left in range(0, 192, 64):
            here = np.s_[top : top + 64, left : left + 64]
            assert np.mean(found[here] == predict(image[here])["label_ids"]) > 0.999


def windows(axis: int, pixels: int = 1) -> list[tuple[slice, ...]]:
    """Two of 64 pixels, the second 32 further along the axis, in a map whose cells have so many pixels."""
    starts = [start // pixels for start in (0, 32)]
    return [(np.s_[:],) * axis + (np.s_[start : start + 64 // pixels],) for start in starts]


@pytest.mark.backend
@pytest.mark.parametrize(("axis", "size"), [(0, (96, 64)), (1, (64, 96))])
def test_overlapping_windows_are_blended(model: FoRNet, axis: int, size: tuple[int, int]) -> None:
    """By hand: two windows one below the other, or side by side, each heaviest in its middle."""
    image = images(*size)[0]
    ramp = np.minimum(np.arange(1, 65), np.arange(64, 0, -1)).reshape(-1, *[1] * (2 - axis))
    total = np.zeros((*size, model.num_classes))
    for window in windows(axis):
        x = np.asarray(model.predict_on_batch(image[window][None])["logits"][0])
        total[window] += np.exp(x) / np.exp(x).sum(-1, keepdims=True) * ramp
    found = ViewsPredictor(model, (64, 64), overlap=0.5)(image)["label_ids"]
    assert np.mean(found == total.argmax(-1)) > 0.999


@pytest.mark.parametrize(("axis", "size"), [(0, (96, 64)), (1, (64, 96))])
def test_where_windows_overlap_the_more_important_wins(
    model: FoRNet, axis: int, size: tuple[int, int]
) -> None:
    """And a region is kept that either window keeps; coarse labels are those of the later one."""
    image = images(*size)[0]
    found = ViewsPredictor(model, (64, 64), overlap=0.5)(image)
    names = ("importance", "kept", "coarse_label_ids")
    importance, kept, coarse = (np.zeros_like(found[name]) for name in names)
    predict = Predictor(model)
    for window, regions, cells in zip(*(windows(axis, pixels) for pixels in (1, 16, 4)), strict=True):
        tile = predict(image[window])
        importance[regions] = np.maximum(importance[regions], tile["importance"])
        kept[regions] |= tile["kept"]
        coarse[cells] = tile["coarse_label_ids"]
    assert (importance[regions] > tile["importance"]).any() and (kept[regions] > tile["kept"]).any()
    np.testing.assert_allclose(found["importance"], importance, atol=1e-6)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["coarse_label_ids"], coarse)


@pytest.mark.backend
def test_a_mirrored_image_gives_the_mirrored_labels(model: FoRNet) -> None:
    predict = ViewsPredictor(model, flip=True)
    image = images(64, 96)[0]
    assert np.mean(predict(image[:, ::-1])["label_ids"][:, ::-1] == predict(image)["label_ids"]) > 0.999
    assert (Predictor(model)(image)["label_ids"] != predict(image)["label_ids"]).any()


def test_scales_are_averaged_at_the_image_size(
    model: FoRNet, plain: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them mirrored, too."""
    monkeypatch.setattr("fornet_keras.prediction.views.MAX_SIZES", 1)
    image = images(*SIZE)[0]
    predict = ViewsPredictor(model, flip=True, scales=(0.5, 1, 1.5))
    found = predict(image)
    assert found["label_ids"].shape == SIZE
    assert len(predict._predict._functions) == 3, "the next image compiles none of them again"
    total = np.zeros((*SIZE, model.num_classes), np.float32)
    for height, width in ((35, 50), SIZE, (105, 150)):
        for turn in (1, -1):
            view = cv2.resize(image, (width, height))[:, ::turn]
            x = np.exp(numpy_outputs(model, view[None])["logits"][0])
            total += cv2.resize((x / x.sum(-1, keepdims=True))[:, ::turn], SIZE[::-1])
    assert np.mean(found["label_ids"] == total.argmax(-1)) > 0.999
    np.testing.assert_array_equal(found["kept"], plain["kept"])


def test_more_classes_than_opencv_takes_channels() -> None:
    model = tiny_model(num_classes=150)
    bias = model.get_layer("coarse_logits").bias
    bias.assign(100.0 * (np.arange(150) == 149))
    found = ViewsPredictor(model, scales=(1, 0.5))(images(*SIZE)[0])
    assert {*np.unique(found["label_ids"])} == {149}


@pytest.mark.usefixtures("traced")
def test_memory_does_not_grow_with_the_height(model: FoRNet) -> None:
    predict = ViewsPredictor(model, (64, 128))
    peaks = []
    for height in (128, 128, 1024):
        image = np.zeros((height, 128, 3), np.uint8)
        tracemalloc.start()
        predict(image)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    probabilities = (1024 - 128) * 128 * model.num_classes * 4
    assert peaks[2] - peaks[1] < probabilities / 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (40, 64)}, "multiples of the region size 16"),
        ({"window": (0, 64)}, "multiples of the region size 16"),
        ({"overlap": 0.6}, "overlap must be in"),
        ({"scales": (0.5, 2)}, "and 1 among them"),
        ({"scales": (1, 0)}, "numbers > 0"),
    ],
)
def test_what_cannot_be_is_refused(model: FoRNet, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewsPredictor(model, **arguments)
