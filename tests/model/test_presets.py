import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.metrics import MeanIoU
from fornet_keras.model import FoRNet
from tests.model.tiny import NUM_CLASSES, tiny_model


@pytest.mark.parametrize(("preset", "millions"), [("pico", 0.0173), ("nano", 0.43), ("s", 1.04), ("m", 4.84)])
def test_size(preset: str, millions: float) -> None:
    model = FoRNet.from_preset(preset, num_classes=19)
    assert model.count_params() == pytest.approx(millions * 1e6, rel=0.01)
    assert model.num_classes == 19


def test_arguments_go_on_to_the_network() -> None:
    model = FoRNet.from_preset("nano", num_classes=5, region_size=64, top_k=0.25, name="mine")
    assert (model.region_size, model.top_k, model.name) == (64, 0.25, "mine")


def test_a_backbone_of_ones_own() -> None:
    image = keras.Input((None, None, 3))
    pyramid, x = {}, image
    for stride in (2, 4, 8, 16, 32):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
        pyramid[f"stride_{stride}"] = x
    del pyramid["stride_2"]
    model = FoRNet.from_preset("nano", num_classes=5, backbone=keras.Model(image, pyramid))
    assert model.output["logits"].shape == (None, None, None, 5)


def test_a_keras_file_is_read_where_only_the_class_is_imported(tmp_path: Path) -> None:
    model = tiny_model(backbone=EfficientNetLite0())
    model.compile("sgd", metrics=[MeanIoU(NUM_CLASSES)])
    model.save(tmp_path / "model.keras")
    # As the command line does it: Keras starts without what it can do without.
    read = "from fornet_keras.cli.backend import start_backend; start_backend(None); import sys, keras; "
    read += "from fornet_keras import FoRNet; keras.saving.load_model(sys.argv[1])"
    command = [sys.executable, "-c", read, tmp_path / "model.keras"]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "torch"})


def test_no_backbone_is_the_preset_s_own() -> None:
    model = FoRNet.from_preset("pico", num_classes=3, backbone=None)
    assert model.backbone.widths == (8, 8, 8, 8)
    with pytest.raises(
        ValueError, match=r"widths and depths must be of the strides \(4, 8, 16, 32\); received"
    ):
        FoRNet.from_preset("pico", num_classes=3, backbone={"widths": (8, 8)})


class OneOfYours(keras.Model):
    """A backbone whose shapes Keras learns only where it runs."""

    def __init__(self, strides: tuple[int, ...], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pools = {stride: keras.layers.AveragePooling2D(stride) for stride in strides}

    def call(self, image: Any) -> dict[str, Any]:
        return {f"stride_{2**power}": pool(image) for power, pool in enumerate(self.pools.values(), start=2)}


def functional(strides: tuple[int, ...]) -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, OneOfYours(strides).call(image))


def test_a_backbone_at_other_strides_than_it_says_is_refused() -> None:
    for strides, message in (
        ((2, 4, 8, 16), "backbone's stride_4 is at stride 2: 64x96 cells of 128x192 pixels; expected 32x48"),
        ((4, 8, 16, 64), "backbone's stride_32 is at stride 64: 2x3 cells of 128x192 pixels; expected 4x6"),
    ):
        with pytest.raises(ValueError, match=message):
            FoRNet(num_classes=3, backbone=functional(strides))


def test_a_backbone_that_does_not_tell_its_shapes_is_taken() -> None:
    unknown = OneOfYours((2, 4, 8, 16))
    with pytest.raises(NotImplementedError):
        unknown.compute_output_shape((1, 128, 192, 3))
    assert FoRNet(num_classes=3, backbone=unknown).backbone is unknown


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(
        ValueError, match="one of pico, nano, s, m; received 'fornet_s_camvid'; .* load_model"
    ):
        FoRNet.from_preset("fornet_s_camvid", num_classes=11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be a whole number of 2…255; received 1"),
        ({"num_classes": 256}, "num_classes must be a whole number of 2…255; received 256"),
        ({"num_classes": 3.0}, r"num_classes must be a whole number of 2…255; received 3\.0"),
        ({"num_classes": 3, "scales": ()}, "scales must be different ones, at least one; received"),
        ({"num_classes": 3, "scales": (1, 1)}, r"scales must be different ones, .* received \(1, 1\)"),
        ({"num_classes": 3, "region_size": 40}, "region_size must be a multiple of 16 pixels; received 40"),
        ({"num_classes": 3, "region_size": 0}, "region_size must be a multiple of 16 pixels; received 0"),
        ({"num_classes": 3, "region_size": 16.0}, r"region_size must be a multiple of 16 .* received 16\.0"),
        ({"num_classes": 3, "top_k": "0.5"}, r"top_k must be in \(0, 1\]; received '0.5'"),
        ({"num_classes": 3, "scales": 2}, "scales must be a tuple of whole numbers; received 2"),
        (
            {"num_classes": 3, "scales": np.arange(1, 3)},
            r"scales must be a tuple .* received array\(\[1, 2\]\)",
        ),
        ({"num_classes": 3, "dropout": 1.5}, r"dropout must be a rate of 0…1; received 1.5"),
        ({"num_classes": 3, "image_pool_dropout": "0.1"}, r"image_pool_dropout must be a rate .*'0.1'"),
        ({"num_classes": 3, "top_k": 0}, r"top_k must be in \(0, 1\]; received 0"),
        ({"num_classes": 3, "scales": (0,)}, r"divide branch_filters and region_size / 4; received \(0,\)"),
        ({"num_classes": 3, "scales": (1, 8)}, r"received \(1, 8\), 64 and 16 pixels"),
        ({"num_classes": 3, "branch_filters": 10}, r"received \(1, 2, 4\), 10 and 16 pixels"),
        ({"num_classes": 3, "branch_filters": 0}, "branch_filters must be a whole number .* received 0"),
        ({"num_classes": 3, "context_filters": "64"}, "context_filters must be a whole .* received '64'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FoRNet(**arguments)
