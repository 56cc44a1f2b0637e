from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.cityscapes import LABEL_IDS, TABLE
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.data.images import read_image
from fornet_keras.data.label_files import read_label
from fornet_keras.errors import DataError
from fornet_keras.prediction.files import write_labels, write_picture
from fornet_keras.prediction.submission import label_values, require_own_places, save_label_values


def test_labels_are_values_for_programs_and_colours_for_people(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    colors = np.zeros((256, 3), np.uint8)
    colors[1] = (10, 20, 30)
    write_labels(tmp_path / "a.png", values, colors)
    assert read_label(tmp_path / "a.png").tolist() == values.tolist()
    assert Image.open(tmp_path / "a.png").convert("RGB").getpixel((1, 0)) == (10, 20, 30)


def test_picture_is_rgb(tmp_path: Path) -> None:
    picture = np.full((2, 3, 3), (200, 100, 0), np.uint8)
    write_picture(tmp_path / "a.png", picture)
    assert read_image(tmp_path / "a.png").tolist() == picture.tolist()


def test_cityscapes_predictions_are_label_ids() -> None:
    assert label_values(TABLE).tolist() == list(LABEL_IDS)


def test_prediction_is_saved_where_the_image_is_in_the_data(tmp_path: Path) -> None:
    image = tmp_path / "data" / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    dataset = Dataset("cityscapes", "val", tmp_path / "data", TABLE, (Sample(image),))
    path = save_label_values(tmp_path / "out", dataset, dataset.samples[0], np.array([[0, 18]], np.uint8))
    assert path == tmp_path / "out" / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    assert read_label(path).tolist() == [[7, 33]]  # road, bicycle
    assert Image.open(path).convert("RGB").getpixel((0, 0)) == TABLE.colors[0]


def test_prediction_of_an_image_outside_the_data_stays_in_its_folder(tmp_path: Path) -> None:
    image = tmp_path / "data" / ".." / "images" / "a.jpg"
    dataset = Dataset("mine", "val", tmp_path / "data", TABLE, (Sample(image),))
    path = save_label_values(tmp_path / "out", dataset, dataset.samples[0], np.zeros((1, 2), np.uint8))
    assert path == tmp_path / "out" / "images" / "a.png"


def test_two_predictions_of_one_name_are_refused(tmp_path: Path) -> None:
    samples = tuple(Sample(tmp_path / "images" / name) for name in ("a.jpg", "b.jpg", "a.png"))
    require_own_places(tmp_path / "out", Dataset("mine", "val", tmp_path, TABLE, samples[:2]))
    with pytest.raises(DataError, match="images/a.png: its prediction would have the file of .*a.jpg; "):
        require_own_places(tmp_path / "out", Dataset("mine", "val", tmp_path, TABLE, samples))
