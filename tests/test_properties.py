"""What holds for any image size, ratio, label set and configuration, tried on drawn ones: always the same."""

import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from fornet_keras.config import (
    AugmentConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
    config_from_mapping,
    dump_config,
    read_config,
)
from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.data.images import image_size, read_image, verify_image
from fornet_keras.data.label_files import read_label, to_train_ids
from fornet_keras.data.transforms import augment, random_generator
from fornet_keras.evaluation.borders import border_band
from fornet_keras.metrics import ConfusionMatrix
from tests.untraced import untraced

few = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
sides = st.integers(1, 70)
tables = st.dictionaries(st.integers(0, 255), st.none(), min_size=3, max_size=40).flatmap(
    lambda values: st.integers(2, len(values)).map(lambda count: table(list(values), count))
)


def table(values: list[int], num_classes: int) -> LabelTable:
    """The first values are classes, the others are ignored."""
    train_ids = {value: index if index < num_classes else IGNORE for index, value in enumerate(values)}
    return LabelTable(tuple(map(str, range(num_classes))), ((0, 0, 0),) * num_classes, train_ids)


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@few
@given(sides, sides, st.sampled_from(["L", "RGB", "RGBA", "P", "1", "LA"]), st.integers(1, 8))
def test_any_image_is_read_at_its_size(height: int, width: int, mode: str, orientation: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels(0, height, width, 3)).convert(mode).save(path, exif=exif)
        image = read_image(path)
        assert image.shape == (*((width, height) if orientation > 4 else (height, width)), 3)
        assert image.dtype == np.uint8
        assert image_size(path) == verify_image(path) == image.shape[:2]


@few
@given(sides, sides, tables)
def test_labels_of_any_table_become_its_train_ids(height: int, width: int, table: LabelTable) -> None:
    values = np.array([*table.train_ids], np.uint8)
    label = values[pixels(0, height, width) % len(values)]
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(label).save(path := Path(folder) / "a.png")
        found = to_train_ids(read_label(path), table, path)
    assert found.tolist() == [[table.train_ids[int(value)] for value in row] for row in label]
    prediction = pixels(1, height, width) % table.num_classes
    matrix = ConfusionMatrix(table.num_classes)
    matrix.add(found, prediction)
    assert matrix.counts.sum() == (found != IGNORE).sum()
    assert not border_band(found, 3)[found == IGNORE].any()


@few
@given(sides, sides, st.tuples(st.integers(64, 90), st.integers(64, 90)), st.integers(0, 2**32 - 1))
def test_a_crop_adds_no_label(height: int, width: int, crop: tuple[int, int], seed: int) -> None:
    label = pixels(seed, height, width) % 5
    image, cropped = augment(
        pixels(seed, height, width, 3), label, AugmentConfig(crop=crop), random_generator(seed, 0, 0)
    )
    assert (image.shape, cropped.shape) == ((*crop, 3), crop)
    assert {*np.unique(cropped)} <= {*np.unique(label), IGNORE}


@settings(few, max_examples=3)
@given(sides, sides, st.floats(0.01, 1), st.integers(2, 20))
def test_a_network_of_any_ratio_and_classes_takes_any_size(
    height: int, width: int, ratio: float, num_classes: int
) -> None:
    from fornet_keras.backbones.residual import ResidualBackbone
    from fornet_keras.model import FoRNet

    backbone = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1), name="backbone")
    model = FoRNet(num_classes, backbone, context_filters=8, branch_filters=8, scales=(1,), top_k=ratio)
    with untraced():
        found = model.predict_image(pixels(0, height, width, 3))
    rows, columns = -(-height // 16), -(-width // 16)
    assert found["label_ids"].shape == (height, width)
    assert found["label_ids"].max() < num_classes
    assert found["importance"].shape == found["kept"].shape == (rows, columns)
    assert ((found["importance"] >= 0) & (found["importance"] <= 1)).all()
    assert found["kept"].sum() == math.ceil(ratio * rows * columns - 1e-6)


# === Configurations ===

floats = st.floats(1e-6, 0.3, allow_subnormal=False)
sides = st.integers(64, 65535)
sections = {
    "data": st.builds(
        DataConfig,
        format=st.sampled_from(["cityscapes", "camvid", "folder"]),
        root=st.none() | st.text(min_size=1, max_size=30),
        exclude=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    ),
    "augment": st.builds(AugmentConfig, crop=st.tuples(sides, sides), flip=floats, hue=floats),
    "model": st.builds(ModelConfig, region_size=st.integers(1, 4).map(lambda x: 16 * x), top_k=floats),
    "loss": st.builds(LossConfig, ohem=st.none() | floats, dice_weight=floats),
    "training": st.builds(
        TrainingConfig,
        epochs=st.integers(1),
        batch_size=st.integers(1),
        learning_rate=floats,
        seed=st.integers(0, 2**32 - 1),
        jit_compile=st.none() | st.booleans(),
    ),
}
configs = st.builds(Config, **sections)


@settings(few, max_examples=25)
@given(configs)
def test_a_configuration_that_is_written_is_read_again(config: Config) -> None:
    assert config_from_mapping(config.model_dump(), "here") == config
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(dump_config(config), encoding="utf-8")
        assert read_config(path) == config
