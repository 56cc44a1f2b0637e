import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from fornet_keras.artifacts.manifest import MANIFEST
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from tests.model.folders import TABLE, content, edit, rewrite_weights, set_architecture
from tests.model.tiny import images, numpy_outputs, tiny_model


@pytest.mark.backend
def test_round_trip(model: FoRNet, saved: Path) -> None:
    loaded, table = load_model(saved)
    assert {**loaded.get_config(), "name": ""} == {**model.get_config(), "name": ""}
    ours, theirs = numpy_outputs(model, images(64, 96)), numpy_outputs(loaded, images(64, 96))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert (table.names, table.colors, table.thin) == (TABLE.names, TABLE.colors, TABLE.thin)
    assert table.train_ids == {0: 0, 1: 1, 2: 2}
    assert sorted(content(saved)) == ["saved/model.json", "saved/weights.safetensors"]


@pytest.mark.usefixtures("windows_line_ends")
def test_lines_end_as_they_do_elsewhere(model: FoRNet, tmp_path: Path) -> None:
    save_model(model, TABLE, tmp_path / "model")
    assert b"\r" not in (tmp_path / "model/model.json").read_bytes()


@pytest.mark.backend
def test_a_longer_stem_comes_back(tmp_path: Path) -> None:
    backbone = ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1), stem_filters=6, stem_depth=2, name="backbone")
    save_model(FoRNet(3, backbone, context_filters=8, branch_filters=8), TABLE, tmp_path / "longer")
    loaded, _ = load_model(tmp_path / "longer")
    assert loaded.backbone.get_config() == backbone.get_config()


@pytest.mark.backend
def test_half_the_bytes(model: FoRNet, saved: Path, tmp_path: Path) -> None:
    save_model(model, TABLE, tmp_path / "half", half=True)
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (tmp_path / "half", saved)]
    assert sizes[0] < 0.6 * sizes[1]
    loaded, _ = load_model(tmp_path / "half")
    for weight, original in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight, original.astype("float16").astype("float32"))


@pytest.mark.backend
def test_a_weight_too_large_for_half_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.weights[0].assign(np.full(model.weights[0].shape, 1e5, "float32"))
    with pytest.raises(ModelError, match="is too large for float16; save it without half"):
        save_model(model, TABLE, tmp_path / "half", half=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.backend
def test_weights_have_the_names_that_saved_models_use(saved: Path) -> None:
    """However the model was made: a name that changes makes every saved model unreadable."""
    names = set(load_file(saved / "weights.safetensors"))
    assert {
        "stem_1/convolution/kernel",
        "stride_8_block_0_1/normalization/moving_variance",
        "context/convolution/kernel",
        "coarse_logits/kernel",
        "selector/correct/kernel",
        "branch/look_2/kernel",
        "branch/project/bias",
    } <= names
    made_again = [
        tiny_model().with_top_k(0.1),
        load_model(saved)[0],
        FoRNet(3, ResidualBackbone((8, 8, 8, 8), (0, 1, 1, 1)), 8, 8, (1, 2)),  # a backbone of another name
    ]
    for twin in made_again:
        assert {weight.path for weight in twin.weights} == names
        assert len(twin.weights) == len(names)


@pytest.mark.backend
def test_top_k_may_be_another(saved: Path) -> None:
    assert load_model(saved)[0].top_k == 0.5
    assert load_model(saved, top_k=0.25)[0].top_k == 0.25
    with pytest.raises(ValueError, match="received 0;"):
        load_model(saved, top_k=0)


@pytest.mark.backend
def test_the_size_at_which_it_has_learnt_is_remembered(saved: Path, tmp_path: Path) -> None:
    save_model(tiny_model(short_side=360), TABLE, tmp_path / "of_360")
    assert load_model(tmp_path / "of_360", top_k=0.25)[0].short_side == 360
    assert "short_side" not in json.loads((saved / "model.json").read_text()), "earlier versions can read it"
    assert load_model(saved)[0].short_side is None


@pytest.mark.backend
def test_a_run_folder_stands_for_its_best_model(model: FoRNet, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run" / "best")
    (tmp_path / "run" / "last").mkdir()
    loaded, _ = load_model(tmp_path / "run")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.backend
def test_weights_of_mixed_precision_are_float32(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    mixed = tiny_model()
    keras.config.set_dtype_policy("float32")
    save_model(mixed, TABLE, tmp_path / "model")
    loaded, _ = load_model(tmp_path / "model")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    for ours, theirs in zip(mixed.get_weights(), loaded.get_weights(), strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


# === What is refused, whatever computes ===


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_byte_is_refused(folder: Path, position: int) -> None:
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights.safetensors: its SHA-256 is not the one in model.json"):
        load_model(folder)


def test_a_cut_file_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.json", "no model.json in it; expected a run folder, whose first validation has ended"),
        ("weights.safetensors", "no weights.safetensors beside model.json; copy the whole folder again"),
    ],
)
def test_a_missing_file_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_an_exported_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).touch()
    with pytest.raises(ModelError, match="is an exported model, which Keras does not run; expected a run"):
        load_model(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such folder; expected a run folder"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(code="import os"), "code: Extra inputs are not permitted"),
        (lambda d: d["classes"][0].update(weight=1), "classes.0.weight: Extra inputs"),
        (set_architecture(lambda_layer="x"), "architecture.lambda_layer: Extra inputs"),
        (lambda d: d.update(short_side=0), "short_side: Input should be greater than or equal to 1"),
        (lambda d: d.update(short_side="360"), "short_side: Input should be a valid integer"),
        (lambda d: d.pop("sha256"), "sha256: Field required"),
        (lambda d: d.update(format=1), "format: Input should be greater than or equal to 2"),
        (lambda d: d.update(sha256="0"), "sha256: String should match"),
        (lambda d: d["classes"].pop(), "2 classes, but num_classes is 3"),
        (lambda d: d["classes"][1].update(color=[0, 0, 256]), "classes.1.color.2: Input should be less"),
        (set_architecture(num_classes="3"), "architecture.num_classes: Input should be a valid integer"),
        (set_architecture(num_classes=3.0), "architecture.num_classes: Input should be a valid integer"),
        (set_architecture(num_classes=True), "architecture.num_classes: Input should be a valid integer"),
        (set_architecture(widths=[8, 8, 8]), "architecture.widths.3: Field required"),
        (set_architecture(widths=[8, 8, 8, 10**9]), "architecture.widths.3: Input should be less"),
        (set_architecture(depths=[0, 0, 1, 1]), "architecture.depths.1: Input should be greater"),
        (set_architecture(stem_depth=0), "architecture.stem_depth: Input should be greater"),
        (
            set_architecture(backbone="efficientnet_lite0", widths=None, depths=None),
            "architecture: .*stem_depth belong to widths and depths, not to a backbone",
        ),
        (set_architecture(scales=[1, 3]), "architecture: .* scales must divide branch_filters"),
        (set_architecture(scales=[]), "architecture.scales: .* at least 1 item"),
        (set_architecture(region_size=40), "architecture.region_size: Input should be a multiple of 16"),
        (set_architecture(top_k=0), "architecture.top_k: Input should be greater than 0"),
        (set_architecture(top_k=float("nan")), "architecture.top_k: Input should be"),
        # Made to harm.
        (lambda d: d["architecture"].update(module="os", class_name="system"), "architecture.module: Extra"),
        (lambda d: d["architecture"].update(custom_objects={}), "architecture.custom_objects: Extra"),
        (
            lambda d: d.update(
                architecture={"class_name": "Functional", "config": {"layers": [{"class_name": "Lambda"}]}}
            ),
            "architecture.num_classes: Field required",
        ),
        (set_architecture(num_classes=10**400), "architecture.num_classes: "),
        (lambda d: d["classes"][0].update(name="\x1b]0;owned\x07"), "classes.0.name: "),
    ],
)
def test_a_wrong_description_is_refused(folder: Path, change: Callable[[dict], Any], message: str) -> None:
    edit(folder, change)
    with pytest.raises(ModelError, match=rf"model\.json: .*{message}.*; expected what `train` writes"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_description_that_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, "latin-1")
    with pytest.raises(ModelError, match=r"model\.json: the file: "):
        load_model(folder)


def test_a_huge_description_is_refused_unread(folder: Path) -> None:
    (folder / "model.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(ModelError, match="larger than 1000000 bytes"):
        load_model(folder)


def test_another_number_of_classes_is_refused(folder: Path) -> None:
    def one_more(description: dict) -> None:
        description["architecture"]["num_classes"] = 4
        description["classes"].append({"name": "car", "color": [0, 0, 142]})

    edit(folder, one_more)
    message = r"'branch/project/bias' is \(3,\) but model.json describes \(4,\)"
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("context/convolution/kernel"), r"'context/.*' is None but"),
        (lambda weights: weights.update(spare=np.zeros(2, "float32")), r"'spare' is \(2,\) but .* None"),
    ],
)
def test_weights_of_another_model_are_refused(folder: Path, change: Callable, message: str) -> None:
    rewrite_weights(folder, change)
    with pytest.raises(
        ModelError, match=message + ".*; the two files belong to different models; .* with the version"
    ):
        load_model(folder)
