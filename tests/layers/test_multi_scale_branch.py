from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from fornet_keras.layers import multi_scale_branch
from fornet_keras.layers.multi_scale_branch import MultiScaleBranch, runs_dense
from fornet_keras.layers.topk_gate import TopKGate
from tests.check_layer import check_layer, random, run
from tests.layers.gradients import gradients

pytestmark = pytest.mark.backend

# A map of 2×3 regions of 4×4 cells:
#   0 1 2
#   3 4 5
ROWS, COLUMNS, CELLS, CHANNELS = 2, 3, 4, 3
REGIONS = ROWS * COLUMNS


def features(rows: int = ROWS, columns: int = COLUMNS, batch: int = 2) -> np.ndarray:
    return random(batch, rows * CELLS, columns * CELLS, CHANNELS)


def mask_of(indices: np.ndarray, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    mask = np.zeros((len(indices), rows * columns), "float32")
    np.put_along_axis(mask, indices, 1, axis=1)
    return mask.reshape(-1, rows, columns)


def inputs(height: int, width: int) -> list[np.ndarray]:
    """Features of a map of so many cells, and the first and last of its regions."""
    rows, columns = height // CELLS, width // CELLS
    indices = np.array([[0, rows * columns - 1]] * 2, "int32")
    return [features(rows, columns), mask_of(indices, rows, columns), indices]


@pytest.fixture(scope="module")
def branch() -> MultiScaleBranch:
    """A branch with random weights: its own start at zero, which would hide everything."""
    layer = MultiScaleBranch(4, 2, scales=(1, 2, 4))
    layer.build([(None, None, None, CHANNELS)])
    for seed, weight in enumerate(layer.weights):
        value = random(*weight.shape, seed=seed)
        weight.assign(abs(value) + 0.5 if weight.name == "moving_variance" else value)
    return layer


def masked(branch: MultiScaleBranch, maps: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The dense form: every region is computed, and the mask takes out those that are not kept."""
    every = np.arange(REGIONS, dtype="int32")[None].repeat(len(maps), 0)
    return run(branch, [maps, mask_of(indices), every])[0]


def gathered(branch: MultiScaleBranch, maps: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The form that computes the kept regions alone, and has no use for the mask."""
    assert indices.shape[1] < REGIONS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multi_scale_branch, "DENSE_ABOVE", 1)
        return run(branch, [maps, np.full((len(maps), ROWS, COLUMNS), np.nan, "float32"), indices])[0]


def assert_same_function(branch: MultiScaleBranch, indices: np.ndarray) -> None:
    maps = features(batch=len(indices))
    dense = masked(branch, maps, indices)
    assert np.abs(dense).max() > 1
    assert_close(gathered(branch, maps, indices), dense)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """To float32 rounding of the largest value: Winograd's transforms add and take away what is as large."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_layer() -> None:
    check_layer(lambda: MultiScaleBranch(4, 2, scales=(1, 2)), inputs, sizes=[(8, 12), (16, 8)])


@pytest.mark.parametrize("kept", range(1, REGIONS))
def test_masked_and_gathered_are_one_function(branch: MultiScaleBranch, kept: int) -> None:
    """At every ratio, for two images that keep different regions."""
    scores = random(1, ROWS, COLUMNS)
    _, indices = run(TopKGate(kept / REGIONS), [np.concatenate([scores, -scores])])
    assert set(indices[0]) != set(indices[1])
    assert_same_function(branch, indices)


@pytest.mark.parametrize(
    "indices",
    [
        [[0], [5]],
        [[2], [3]],
        [[5, 3, 2, 0]],  # all corners, not in order
        [[1, 4]],  # at the upper and lower border
        [[0, 1, 3, 4]],  # neighbours on two sides
    ],
)
def test_at_corners_and_borders(branch: MultiScaleBranch, indices: list[list[int]]) -> None:
    assert_same_function(branch, np.array(indices, "int32"))


def test_without_winograd_it_is_the_same_function(
    branch: MultiScaleBranch, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = np.array([[4, 0], [2, 3]], "int32")
    expected = gathered(branch, features(), indices)
    monkeypatch.setattr(branch, "winograd", False)
    monkeypatch.setattr(multi_scale_branch, "convolve_tiles", None)
    found = gathered(branch, features(), indices)
    assert_close(found, expected)
    assert (found != expected).any()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_coarser_numbers_are_not_transformed(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_scale_branch, "convolve_tiles", None)
    branch = MultiScaleBranch(4, 2, dtype=policy)
    assert run(branch, inputs(8, 12))[0].shape == (2, 8, 12, 2)


def test_with_ties(branch: MultiScaleBranch) -> None:
    """Where scores tie, the mask and the numbers of the gate still speak of the same regions."""
    mask, indices = run(TopKGate(0.5), [np.array([[[1, 2, 1], [2, 1, 1]]], "float32")])
    np.testing.assert_array_equal(mask, mask_of(indices))
    assert_same_function(branch, indices)


def test_every_region_kept_equals_no_mask(branch: MultiScaleBranch) -> None:
    """At a ratio of 1 the mask is 1 and the dense form is taken; it is the sum of its halves."""
    maps = features()
    mask, indices = run(TopKGate(1.0), [random(2, ROWS, COLUMNS)])
    (whole,) = run(branch, [maps, mask, indices])
    halves = gathered(branch, maps, indices[:, :3]) + gathered(branch, maps, indices[:, 3:])
    assert_close(whole, halves)


def test_a_map_of_one_region(branch: MultiScaleBranch) -> None:
    maps = features(1, 1)
    (alone,) = run(branch, [maps, np.ones((2, 1, 1), "float32"), np.zeros((2, 1), "int32")])
    beside = np.pad(maps, [[0, 0], [0, CELLS], [0, 2 * CELLS], [0, 0]])
    first = gathered(branch, beside, np.zeros((2, 1), "int32"))
    assert_close(alone, first[:, :CELLS, :CELLS])


def test_dropped_regions_are_exactly_zero(branch: MultiScaleBranch) -> None:
    indices = np.array([[4, 0], [2, 3]], "int32")
    kept = np.kron(mask_of(indices), np.ones((1, CELLS, CELLS))) > 0
    for output in (masked(branch, features(), indices), gathered(branch, features(), indices)):
        assert not output[~kept].any()
        assert (output[kept] != 0).all()


def reference_cell(branch: MultiScaleBranch, maps: np.ndarray, row: int, column: int) -> np.ndarray:
    """What the branch gives for one cell of the first map, step by step."""
    weights = {weight.path: ops.convert_to_numpy(weight) for weight in branch.weights}

    def weight(name: str) -> np.ndarray:
        return next(value for path, value in weights.items() if path.endswith(name))

    def normalize(x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            weight(f"{name}/{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0)

    def mean(i: int, j: int, scale: int) -> np.ndarray:
        inside = 0 <= i < maps.shape[1] // scale and 0 <= j < maps.shape[2] // scale
        cells = maps[0, i * scale : (i + 1) * scale, j * scale : (j + 1) * scale]
        return cells.mean((0, 1)) if inside else np.zeros(CHANNELS)

    fused = 0
    for scale in branch.scales:
        kernel = weight(f"look_{scale}/kernel")
        taps = [
            mean(row // scale + i - 1, column // scale + j - 1, scale) @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        ]
        fused += normalize(sum(taps), f"look_norm_{scale}") @ weight(f"fuse_{scale}/kernel")
    return normalize(fused, "fuse_norm") @ weight("project/kernel") + weight("project/bias")


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 4), (5, 9), (7, 11)])
def test_values(branch: MultiScaleBranch, row: int, column: int) -> None:
    """At a corner, across the border between two regions, and in the middle."""
    maps = features()
    region = (row // CELLS) * COLUMNS + column // CELLS
    output = gathered(branch, maps, np.array([[region]] * 2, "int32"))
    expected = reference_cell(branch, maps, row, column)
    np.testing.assert_allclose(output[0, row, column], expected, rtol=1e-4, atol=1e-4)


def test_a_new_branch_corrects_nothing() -> None:
    (output,) = run(MultiScaleBranch(4, 2), inputs(8, 12))
    assert not output.any()


@pytest.mark.parametrize("kept", [1, REGIONS])
def test_training_tells_the_mask_what_the_kept_regions_are_worth(branch: MultiScaleBranch, kept: int) -> None:
    """In both forms: from the gradient of the mask the gate learns, which is what a region adds."""
    assert runs_dense(kept, REGIONS) == (kept == REGIONS)
    indices = np.array([[1, 0, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]], "int32")[:, :kept]
    mask = mask_of(indices)
    before = branch.get_weights()

    def loss(mask: object) -> object:
        return ops.sum(branch([features(), mask, indices], training=True))

    (gradient,) = gradients(loss, mask)
    branch.set_weights(before)
    np.testing.assert_array_equal(gradient != 0, mask > 0)


def test_training_takes_a_fiftieth_of_each_batch_into_the_statistics() -> None:
    branch = MultiScaleBranch(4, 2, scales=(1, 2))
    every = np.arange(REGIONS, dtype="int32")[None].repeat(2, 0)
    branch([features(), mask_of(every), every], training=True)
    looked = ops.convert_to_numpy(ops.conv(features(), branch.looks[0].kernel, padding="same"))
    found = ops.convert_to_numpy(branch.look_norms[0].moving_mean)
    np.testing.assert_allclose(found, 0.02 * looked.mean((0, 1, 2)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kept", [2, REGIONS])
def test_frozen_in_training_it_gives_what_it_gives_at_inference(
    branch: MultiScaleBranch, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both forms: there Keras normalises; at inference the kernels do."""
    monkeypatch.setattr(branch, "trainable", False)
    indices = np.array([[1, 0, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]], "int32")[:, :kept]
    given = [features(), mask_of(indices), indices]
    frozen = ops.convert_to_numpy(branch(given, training=True))
    assert_close(frozen, run(branch, given)[0])


def model_of(branch: MultiScaleBranch, given: list[np.ndarray]) -> keras.Model:
    symbols = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in given]
    return keras.Model(symbols, branch(symbols))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
def test_a_model_around_it_is_quantized_without_it(branch: MultiScaleBranch) -> None:
    """Keras asks every layer by itself, and would leave codes without their scale in those read here."""
    given = inputs(8, 12)
    (expected,) = run(branch, given)
    model_of(branch, given).quantize("int8")
    np.testing.assert_array_equal(run(branch, given)[0], expected)


def test_names_in_files_stay_as_they_are(branch: MultiScaleBranch, tmp_path: Path) -> None:
    """Keras takes them from the classes; under others no file that was saved before would be read."""
    model_of(branch, inputs(8, 12)).save_weights(tmp_path / "branch.weights.h5")
    names: list[str] = []
    with h5py.File(tmp_path / "branch.weights.h5") as file:
        file.visit(names.append)
    assert {f"layers/multi_scale_branch/fuses/dense{n}/vars/0" for n in ("", "_1", "_2")} < {*names}


def test_arguments_stay_as_given() -> None:
    layer = keras.layers.deserialize(keras.layers.serialize(MultiScaleBranch(4, 2, scales=[2, 1])))
    assert layer.scales == (2, 1)


@pytest.mark.parametrize("size", [(8, 14), (10, 12), (8, 18), (16, 12), (1, 12)])
def test_a_map_of_no_whole_regions_is_refused(branch: MultiScaleBranch, size: tuple[int, int]) -> None:
    """Where the network is built, if its size is known there, and where it runs."""
    _, mask, indices = inputs(8, 12)
    maps = random(2, *size, CHANNELS)
    message = rf"received {size[0]}x{size[1]} cells for 2x3 regions of .* cells; pad the images to whole reg"
    for given in ([maps, mask, indices], [keras.KerasTensor(x.shape) for x in (maps, mask, indices)]):
        with pytest.raises(ValueError, match=message):
            branch(given)


def test_an_unknown_size_is_explained(branch: MultiScaleBranch) -> None:
    _, mask, indices = inputs(8, 12)
    with pytest.raises(ValueError, match=r"must be known where the network runs; received \(None, 12\)"):
        branch.call([keras.KerasTensor((2, None, 12, CHANNELS)), mask, indices])


def test_a_scale_that_does_not_divide_the_region_is_refused() -> None:
    with pytest.raises(ValueError, match=r"divide the regions' edge of 4 cells; received \(1, 3\)"):
        MultiScaleBranch(6, 2, scales=(1, 3))(inputs(8, 12))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((1, 4), r"scales must divide filters = 6; received \(1, 4\)"),
        ((0, 1), r"scales must be a tuple of whole numbers above 0; received \(0, 1\)"),
        ((1.0, 2.0), r"scales must be a tuple of whole numbers above 0; received \(1\.0, 2\.0\)"),
        (2, "scales must be a tuple of whole numbers above 0; received 2"),
    ],
)
def test_scales_out_of_range_are_refused(scales: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiScaleBranch(6, 2, scales=scales)


def test_channels_first_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="expected 'channels_last'"):
        MultiScaleBranch(4, 2)
