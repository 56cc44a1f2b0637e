"""A network that begins with another's weights, and with what that knows of each class."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.config import Config, read_config
from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sources import open_split
from fornet_keras.errors import ConfigError, ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from fornet_keras.training.begin_with import begin_with
from fornet_keras.training.build import build_model, make_model
from tests.model.tiny import images, numpy_outputs, randomize, tiny_model

OF_CLASSES = {
    "coarse_logits/kernel": -1,
    "coarse_logits/bias": -1,
    "branch/project/kernel": -1,
    "branch/project/bias": -1,
    "selector/reduce/kernel": -2,
}
"""Weights with an entry for each class, and the axis of those."""

SAME = "; model.known_as says which are the same)"
"""The end of a line about classes of other names."""


def table(names: Sequence[str]) -> LabelTable:
    return LabelTable(tuple(names), ((0, 0, 0),) * len(names), {i: i for i in range(len(names))})


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[FoRNet, Path]:
    """A saved model of the classes a, b and c."""
    model, folder = randomize(tiny_model(), seed=7), tmp_path_factory.mktemp("models") / "other"
    save_model(model, table("abc"), folder)
    return model, folder


def by_path(model: FoRNet) -> dict[str, np.ndarray]:
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


@pytest.mark.backend
@pytest.mark.parametrize("names", ["abc", "cab"])
def test_the_same_classes_in_any_order_are_the_same_network(names: str, other: tuple[FoRNet, Path]) -> None:
    model = tiny_model()
    line = begin_with(model, table(names), other[1])
    assert line == f"begins with {other[1]}: 3 of 3 classes known ({', '.join(names)})"
    image = images(64, 96)
    ours, theirs = numpy_outputs(model, image), numpy_outputs(other[0], image)
    order = ["abc".index(name) for name in names]
    for name in ("logits", "coarse_logits"):
        np.testing.assert_allclose(ours[name], theirs[name][..., order], atol=1e-5)
    for name in ("importance", "kept"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


@pytest.mark.backend
def test_of_other_classes_the_known_ones_are_taken(other: tuple[FoRNet, Path]) -> None:
    """Of a selector of 8 features that are rows 0…7, then a row a class, then the entropy's."""
    model = randomize(tiny_model(num_classes=4), seed=1)
    before, theirs = by_path(model), by_path(other[0])
    line = begin_with(model, table("xcya"), other[1])
    assert line == f"begins with {other[1]}: 2 of 4 classes known (c, a), new: x, y (it also knows b{SAME}"
    for path, ours in by_path(model).items():
        if path not in OF_CLASSES:
            np.testing.assert_array_equal(ours, theirs[path], err_msg=path)
            continue
        axis = OF_CLASSES[path]
        ours, old, known = (np.moveaxis(array, axis, 0) for array in (ours, before[path], theirs[path]))
        first = 0
        if axis == -2:
            first = model.context_filters
            np.testing.assert_array_equal(ours[:first], known[:first])
            np.testing.assert_array_equal(ours[-1], known[-1])
            assert (len(ours), len(known)) == (first + 5, first + 4)
        for place, source in enumerate((old[first], known[first + 2], old[first + 2], known[first])):
            np.testing.assert_array_equal(ours[first + place], source, err_msg=path)


@pytest.mark.backend
def test_of_no_known_class_the_rest_is_taken(other: tuple[FoRNet, Path]) -> None:
    model = randomize(tiny_model(), seed=1)
    before, theirs = by_path(model), by_path(other[0])
    assert begin_with(model, table("xyz"), other[1]).endswith(
        f": 0 of 3 classes known, new: x, y, z (it also knows a, b, c{SAME}"
    )
    for path, ours in by_path(model).items():
        if OF_CLASSES.get(path) == -1:
            np.testing.assert_array_equal(ours, before[path], err_msg=path)
        elif path not in OF_CLASSES:
            np.testing.assert_array_equal(ours, theirs[path], err_msg=path)


@pytest.mark.backend
def test_classes_are_known_as_others(other: tuple[FoRNet, Path]) -> None:
    model = tiny_model(num_classes=4)
    line = begin_with(model, table("xcyz"), other[1], {"x": "a", "z": "a"})
    assert (
        line
        == f"begins with {other[1]}: 3 of 4 classes known (x as a, c, z as a), new: y (it also knows b{SAME}"
    )
    image = images(64, 96)
    ours, theirs = numpy_outputs(model, image), numpy_outputs(other[0], image)
    np.testing.assert_allclose(
        ours["coarse_logits"][..., [0, 1, 3]], theirs["coarse_logits"][..., [0, 2, 0]], atol=1e-5
    )


def test_a_table_of_other_classes_than_the_network_is_refused(other: tuple[FoRNet, Path]) -> None:
    """Which would leave an output without a class, at random."""
    fix = "build the model with num_classes=2, or take its own table"
    with pytest.raises(ModelError, match=f"^the model has 3 classes but the label table 2; .*; {fix}$"):
        begin_with(tiny_model(), table("ab"), other[1])


def test_a_class_is_known_by_its_own_name_first(other: tuple[FoRNet, Path]) -> None:
    """Its own run's weights have it, when a configuration with `known_as` is taken once more."""
    line = begin_with(tiny_model(num_classes=2), table("ax"), other[1], {"a": "gone", "x": "b"})
    assert line == f"begins with {other[1]}: 2 of 2 classes known (a, x as b)"


def test_known_as_a_class_that_is_none_is_refused(other: tuple[FoRNet, Path]) -> None:
    for known_as, whose in (
        ({"xx": "a"}, "the data; expected one of x, y"),
        ({"x": "d"}, f"{other[1]}; expected one of a, b, c"),
    ):
        with pytest.raises(ConfigError) as error:
            begin_with(tiny_model(num_classes=2), table("xy"), other[1], known_as)
        assert str(error.value).endswith(f"' is no class of {whose}")


def test_a_line_names_some_of_many_classes(other: tuple[FoRNet, Path]) -> None:
    line = begin_with(tiny_model(num_classes=12), table("abcdefghijkl"), other[1])
    assert line.endswith(": 3 of 12 classes known (a, b, c), new: d, e, f, g, h, i, j, k, …")


def test_another_size_at_which_it_has_learnt_is_said(tmp_path: Path) -> None:
    save_model(tiny_model(short_side=360), table("abc"), tmp_path / "model")
    lines = [
        begin_with(tiny_model(short_side=size), table("abc"), tmp_path / "model") for size in (360, None)
    ]
    assert lines[1] == f"{lines[0]}; it has learnt at a shorter side of 360 pixels (data.short_side)"
    other_regions = tiny_model(short_side=360, region_size=32)
    line = begin_with(other_regions, table("abc"), tmp_path / "model")
    assert line == f"{lines[0]}; it has learnt with regions of 16 pixels (model.region_size)"


@pytest.mark.backend
def test_a_deeper_network(tmp_path: Path) -> None:
    deeper = randomize(tiny_model(backbone={"depths": (1, 2, 1, 1)}))
    save_model(deeper, table("abc"), tmp_path / "deeper")
    model = tiny_model()
    begin_with(model, table("abc"), tmp_path / "deeper")
    theirs = by_path(deeper)
    assert len(theirs) > len(model.weights)
    for path, weight in by_path(model).items():
        np.testing.assert_array_equal(weight, theirs[path])


def test_another_network_is_refused(other: tuple[FoRNet, Path]) -> None:
    for model in (tiny_model(context_filters=16), tiny_model(backbone={"depths": (1, 2, 1, 1)})):
        with pytest.raises(
            ModelError, match=r"other: '.*; expected \(.*; set model.preset, .* to null: the netw"
        ):
            begin_with(model, table("abc"), other[1])


def test_without_a_preset_the_network_has_the_size_of_the_weights(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    odd = FoRNet(3, ResidualBackbone((8, 8, 16, 8), (0, 1, 2, 1), 8, 2, name="backbone"), 16, 8, scales=(1,))
    save_model(odd, table("abc"), tmp_path / "odd")
    config = make_config(model={"preset": None, "weights": str(tmp_path / "odd")})
    model = build_model(config, 3)
    begin_with(model, table("abc"), tmp_path / "odd")
    assert [weight.shape for weight in model.weights] == [weight.shape for weight in odd.weights]
    shallow = config.model.model_copy(update={"depths": (0, 1, 1, 1)})
    begin_with(build_model(config.model_copy(update={"model": shallow}), 3), table("abc"), tmp_path / "odd")


@pytest.mark.parametrize("shipped", ["fornet_nano_camvid", "fornet_s_imagenet_camvid"])
def test_without_a_preset_the_network_is_the_shipped_one(
    shipped: str, make_config: Callable[..., Config]
) -> None:
    model = build_model(make_config(model={"preset": None, "weights": shipped}), 2)
    assert "2 of 2 classes known" in begin_with(model, table(("sky", "road")), shipped)


def test_the_size_of_weights_that_cannot_be_had_is_refused(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    gone = make_config(model={"preset": None, "weights": str(tmp_path / "gone")})
    with pytest.raises(ModelError, match="gone: no such folder"):
        build_model(gone, 2)
    save_model(tiny_model(branch_filters=6, scales=(1, 2)), table("abc"), tmp_path / "odd")
    with pytest.raises(ModelError, match=r"odd: branch_filters: .* multiple of 4; .* a configuration may"):
        build_model(make_config(model={"preset": None, "weights": str(tmp_path / "odd")}), 2)
    wider = {"preset": None, "weights": "fornet_s_imagenet_camvid", "widths": [8, 16, 16, 16]}
    with pytest.raises(ModelError, match=r"model\.widths .*, and fornet_s_imagenet_camvid has effici"):
        build_model(make_config(model=wider), 2)


def test_the_shipped_configuration_begins_with_the_shipped_model() -> None:
    config = read_config(Path(__file__).parents[2] / "configs" / "finetune.yaml")
    assert config.model.weights is not None
    line = begin_with(build_model(config, 2), table(("tram", "road")), config.model.weights)
    assert (
        line == "begins with fornet_s_imagenet_camvid: 1 of 2 classes known (road), new: tram "
        f"(it also knows sky, building, pole, pavement, tree, sign_symbol, fence, car, …{SAME}"
    )


def test_a_run_says_what_it_begins_with(make_config: Callable[..., Config], tmp_path: Path) -> None:
    """One that goes on has it in its checkpoint, and needs no model."""
    save_model(randomize(tiny_model()), table(("road", "tram", "sky")), tmp_path / "model")
    known_as = {"building": "tram", "road": "tram"}
    config = make_config(model={"weights": str(tmp_path / "model"), "known_as": known_as})
    batches = TrainingBatches.of_run(open_split(config.data, "train"), config)
    said = Console(file=io.StringIO(), width=300)
    make_model(config, batches, [1] * 11, said)
    assert said.file.getvalue().startswith(  # type: ignore[attr-defined]
        f"begins with {tmp_path / 'model'}: 3 of 11 classes known (sky, building as tram, road), "
    )
    gone = make_config(model={"weights": str(tmp_path / "gone")})
    make_model(gone, batches, [1] * 11, said, begins=False)
    with pytest.raises(ModelError, match="gone: no such folder"):
        make_model(gone, batches, [1] * 11, said)
