import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.images import read_image
from fornet_keras.data.sizes import shrunk
from fornet_keras.model import FoRNet
from fornet_keras.prediction.predictor import PerSize, Predictor
from fornet_keras.prediction.views import ViewsPredictor
from tests.model.tiny import images, numpy_outputs, tiny_model
from tests.prediction.conftest import SIZE


@pytest.mark.backend
def test_predictor_gives_the_classes_of_the_logits_at_the_image_size(
    model: FoRNet, predict: Predictor
) -> None:
    image = images(*SIZE)[0]
    outputs = numpy_outputs(model, image[None])
    prediction = predict(image)
    # float32 may round two nearly equal logits apart in a compiled function.
    assert np.mean(prediction["label_ids"] == outputs["logits"][0].argmax(-1)) > 0.999
    assert (prediction["kept"] == (outputs["kept"][0] == 1)).all()
    assert prediction["importance"] == pytest.approx(1 / (1 + np.exp(-outputs["importance"][0])), abs=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("size", [(140, 200), (511, 730), SIZE])
def test_labels_of_a_larger_image_are_decided_at_its_size(
    model: FoRNet, predict: Predictor, size: tuple[int, int]
) -> None:
    """Each pixel has the class whose logit, between the cells, is the highest at its centre."""
    image = images(*size)[0]
    seen = shrunk(image, SIZE[0])
    cells = keras.Model(model.input, {"cells": model.get_layer("logits").input[0]})
    logits = numpy_outputs(cells, seen[None])["cells"][0]
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * old / new / 4 - 0.5, 0, -(-old // 4) - 1)
        for new, old in zip(size, seen.shape[:2], strict=True)
    )
    logits = np.apply_along_axis(lambda x: np.interp(rows, np.arange(len(x)), x), 0, logits)
    logits = np.apply_along_axis(lambda x: np.interp(columns, np.arange(len(x)), x), 1, logits)
    prediction = predict(image, short_side=SIZE[0])
    assert (prediction["label_ids"].shape, prediction["label_ids"].dtype) == (size, np.uint8)
    assert np.mean(prediction["label_ids"] == logits.argmax(-1)) > 0.995
    np.testing.assert_array_equal(prediction["kept"], predict(seen)["kept"])
    assert predict.importance_map(image, prediction, short_side=SIZE[0]).shape == image.shape


@pytest.mark.backend
def test_the_size_that_was_used_longest_ago_is_compiled_again() -> None:
    image = keras.Input((None, None, 3))
    means = keras.Model(image, {"means": keras.layers.AveragePooling2D(16)(image)})
    outputs = PerSize(means, threading.Lock(), max_sizes=2)
    compiled = []
    for height in (64, 32, 64, 96, 64, 32):
        assert outputs(images(height, 64))["means"].shape[1:3] == (height // 16, 4)
        compiled.append(outputs.compiled)
        assert len(outputs._functions) <= 2
    assert compiled == [1, 2, 2, 3, 3, 4]
    assert len({id(function) for function in outputs._functions.values()}) == 2


@pytest.mark.backend
def test_threads_predict_as_one_after_the_other(model: FoRNet, predict: Predictor) -> None:
    """Also where some images are brought down and others are not, and with two predictors of a model."""
    ways = [model.predict_image, predict, predict, predict]
    sizes = [SIZE, (64, 96), (33, 130), (140, 200)]
    pictures = [np.roll(images(*sizes[index % 4])[0], index) for index in range(32)]
    short_sides = [SIZE[0]] * len(pictures)
    expected = list(map(predict, pictures, short_sides))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda way, *image: way(*image), ways * 8, pictures, short_sides))
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.backend
def test_model_and_predictor_take_a_file_an_array_or_a_turned_image_of_pillows(
    model: FoRNet, predict: Predictor, picture: Path
) -> None:
    expected = predict(read_image(picture))
    exif = Image.Exif()
    exif[0x0112] = 6  # as of a camera that was turned
    lying = Image.fromarray(np.rot90(read_image(picture)))
    lying.info["exif"] = exif.tobytes()
    for image in (picture, str(picture), read_image(picture).astype("float32"), lying):
        for found in (model.predict_image(image), predict(image), ViewsPredictor(model)(image)):
            np.testing.assert_array_equal(found["label_ids"], expected["label_ids"])


@pytest.mark.parametrize("shape", [(70, 100), (70, 100, 4), (1, 70, 100, 3), (0, 100, 3)])
def test_arrays_that_are_no_rgb_image_are_refused(
    model: FoRNet, predict: Predictor, shape: tuple[int, ...]
) -> None:
    for way in (model.predict_image, predict, ViewsPredictor(model)):
        with pytest.raises(ValueError, match=r"RGB array \(height, width, 3\); received shape"):
            way(np.zeros(shape, np.uint8))


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^model must be a FoRNet, .*; received 'runs/pico'$"):
        Predictor("runs/pico")


def test_a_model_predicts_at_the_size_at_which_it_has_learnt(model: FoRNet, predict: Predictor) -> None:
    large = images(96, 160)[0]
    learnt = tiny_model(short_side=48)
    learnt.set_weights(model.get_weights())
    own, small = predict(large), predict(cv2.resize(large, (80, 48), interpolation=cv2.INTER_AREA))
    found = learnt.predict_image(large)
    assert found["label_ids"].shape == (96, 160)
    assert np.mean(found["label_ids"] == small["label_ids"].repeat(2, 0).repeat(2, 1)) > 0.9
    np.testing.assert_array_equal(found["importance"], small["importance"])
    for at_its_own in (learnt.predict_image(large, short_side=0), model.predict_image(large)):
        np.testing.assert_array_equal(at_its_own["label_ids"], own["label_ids"])
    learnt.short_side = None
    np.testing.assert_array_equal(learnt.predict_image(large)["label_ids"], own["label_ids"])
    learnt.short_side = 48
    for short_side, labels in ((None, found), (0, own)):
        predicted = Predictor(learnt, short_side)(large)
        np.testing.assert_array_equal(predicted["label_ids"], labels["label_ids"])
    for refused in (model.predict_image, lambda image, short_side: Predictor(model, short_side)):
        with pytest.raises(
            ValueError, match="short_side must be pixels, or 0 for the image's own; received -"
        ):
            refused(large, short_side=-1)
