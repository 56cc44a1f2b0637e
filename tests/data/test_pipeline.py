import pickle
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.config import AugmentConfig, config_from_mapping
from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.data.pipeline import (
    BatchSequence,
    TrainingBatches,
    data_errors,
    fit_input,
    tf_dataset,
)
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import PAD_COLOR
from fornet_keras.errors import DataError

STILL = AugmentConfig(crop=(64, 96), scale=(1, 1), flip=0, brightness=0, contrast=0, saturation=0, hue=0)
RANDOM = AugmentConfig(crop=(64, 96))
TABLE = LabelTable(("a", "b"), ((0, 0, 0), (1, 1, 1)), {7: 0, 3: 1, 0: IGNORE})


def write_samples(folder: Path, count: int) -> Dataset:
    """Images of 64 x 96 pixels, each of a single grey, which is its position times 10."""
    samples = []
    for index in range(count):
        sample = Sample(folder / f"{index}.png", folder / f"{index}_label.png")
        cv2.imwrite(str(sample.image), np.full((64, 96, 3), 10 * index, np.uint8))
        cv2.imwrite(str(sample.label), np.repeat(np.array([7, 3, 0, 7], np.uint8), 16 * 96).reshape(64, 96))
        samples.append(sample)
    return Dataset("test", "train", folder, TABLE, tuple(samples))


def shown(batches: TrainingBatches, epoch: int) -> list[int]:
    """The samples of an epoch, told by what the images show."""
    steps = range(batches.steps_per_epoch)
    return [int(image[0, 0, 0]) // 10 for step in steps for image in batches.batch(epoch, step)[0]]


# === One sample ===


def test_a_sample_is_the_image_and_its_train_ids(tmp_path: Path) -> None:
    image, label = read_sample(write_samples(tmp_path, 2).samples[1], TABLE)
    assert image.shape == (64, 96, 3) and (image == 10).all()
    assert label[::16, 0].tolist() == [0, 1, IGNORE, 0]


def test_a_larger_sample_is_brought_down(tmp_path: Path) -> None:
    """Image and label to the same size, no label value that was not there; a smaller one stays."""
    sample = write_samples(tmp_path, 2).samples[1]
    image, label = read_sample(sample, TABLE, short_side=32)
    assert (image.shape, label.shape) == ((32, 48, 3), (32, 48)) and (image == 10).all()
    np.testing.assert_array_equal(
        label, np.repeat(np.array([0, 1, IGNORE, 0], np.uint8), 8 * 48).reshape(32, 48)
    )
    assert read_sample(sample, TABLE, short_side=65)[1].shape == (64, 96)


def test_a_run_learns_at_the_configured_size(tmp_path: Path) -> None:
    sections = {
        "data": {"format": "camvid", "short_side": 64},
        "augment": {**STILL.model_dump(), "crop": [64, 128]},
        "training": {"epochs": 1, "batch_size": 1},
    }
    for name, halves in (("a.png", [[50, 200]]), ("b.png", [[3, 7]])):
        cv2.imwrite(str(tmp_path / name), np.array(halves, np.uint8).repeat(128, 0).repeat(128, 1))
    dataset = Dataset("test", "train", tmp_path, TABLE, (Sample(tmp_path / "a.png", tmp_path / "b.png"),))
    batches = TrainingBatches.of_run(dataset, config_from_mapping(sections, source="test"))
    for each in (batches, batches.as_in_use()):
        (image,), (label,) = each.batch(0, 0)
        seen = label != IGNORE
        np.testing.assert_array_equal(image[seen, 0], np.repeat([[50, 200]], 64, 0).repeat(64, 1)[seen])
        np.testing.assert_array_equal(label[seen], np.repeat([[1, 0]], 64, 0).repeat(64, 1)[seen])


def test_a_label_of_another_size_is_named(tmp_path: Path) -> None:
    sample = write_samples(tmp_path, 1).samples[0]
    cv2.imwrite(str(sample.label), np.zeros((32, 48), np.uint8))
    message = (
        r"0_label.png: the label is 32x48 and its image 0.png 64x96 pixels \(height x width\); "
        "expected one size; resize the label with nearest neighbours"
    )
    with pytest.raises(DataError, match=message):
        read_sample(sample, TABLE)


def test_an_unknown_label_value_is_named(tmp_path: Path) -> None:
    sample = write_samples(tmp_path, 1).samples[0]
    cv2.imwrite(str(sample.label), np.full((64, 96), 9, np.uint8))
    with pytest.raises(DataError, match="0_label.png: value 9 not in the label table; expected 0, 3, 7"):
        read_sample(sample, TABLE)


def test_a_missing_label_is_named(tmp_path: Path) -> None:
    sample = Sample(write_samples(tmp_path, 1).samples[0].image)
    with pytest.raises(DataError, match="0.png: no label; expected one to train or score on; add its label"):
        read_sample(sample, TABLE)


# === The batches of a run ===


def test_batches_have_one_shape_and_hold_bytes(tmp_path: Path) -> None:
    images, labels = TrainingBatches(write_samples(tmp_path, 3), RANDOM, batch_size=2, seed=0).batch(0, 0)
    assert images.shape == (2, 64, 96, 3) and labels.shape == (2, 64, 96)
    assert images.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 1, IGNORE}


def test_an_epoch_shows_no_sample_twice_and_leaves_out_the_rest(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 7), STILL, batch_size=2, seed=0)
    assert batches.steps_per_epoch == 3
    left_out = set()
    for epoch in range(30):
        samples = shown(batches, epoch)
        assert len(samples) == len(set(samples)) == 6
        left_out |= set(range(7)) - set(samples)
    assert left_out == set(range(7)), "each sample has its turn to be left out"


def test_each_epoch_and_each_seed_has_its_own_order(tmp_path: Path) -> None:
    dataset = write_samples(tmp_path, 8)
    orders = [
        tuple(shown(TrainingBatches(dataset, STILL, 4, seed), epoch)) for seed in (0, 1) for epoch in range(4)
    ]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len(set(orders)) == 8


def test_a_data_set_smaller_than_a_batch_fills_one(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 3), STILL, batch_size=8, seed=0)
    assert batches.steps_per_epoch == 1
    samples = shown(batches, 0)
    assert len(samples) == 8 and min(samples.count(index) for index in range(3)) >= 2


def test_a_sample_that_fills_a_batch_looks_different_each_time(tmp_path: Path) -> None:
    """The first time as where the batch is no larger than the data set; the same from every process."""
    dataset = write_samples(tmp_path, 2)
    images, _ = TrainingBatches(dataset, RANDOM, batch_size=6, seed=0).batch(3, 0)
    assert len({image.tobytes() for image in images}) == 6
    np.testing.assert_array_equal(images[:2], TrainingBatches(dataset, RANDOM, 2, seed=0).batch(3, 0)[0])
    parts = [TrainingBatches(dataset, RANDOM, 6, 0, part=(rank, 2)).batch(3, 0)[0] for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), images)


def test_batches_as_in_use_are_the_images_as_they_are_half_of_them_letterboxed(tmp_path: Path) -> None:
    dataset = write_samples(tmp_path, 8)
    zoomed = STILL.model_copy(update={"scale": (0.5, 2.0)})
    batches = TrainingBatches(dataset, zoomed, 8, 0).as_in_use()
    barred = []
    for index, image, label in zip(batches.indices(0, 0), *batches.batch(0, 0), strict=True):
        whole, whole_label = read_sample(dataset.samples[int(index)], TABLE)
        outside = (image == PAD_COLOR).all(-1)
        np.testing.assert_array_equal(image[~outside], whole[~outside])
        np.testing.assert_array_equal(label, np.where(outside, IGNORE, whole_label))
        barred.append(outside.any())
    assert 1 < sum(barred) < 7


def test_batches_as_in_use_are_whole_in_every_process(tmp_path: Path) -> None:
    """What is learnt from them is not averaged over the processes."""
    batches = TrainingBatches(write_samples(tmp_path, 8), STILL, 4, 0, part=(1, 2))
    assert len(batches.batch(0, 0)[0]) == 2
    assert len(batches.as_in_use().batch(0, 0)[0]) == 4


def test_a_batch_is_a_function_of_seed_epoch_and_step(tmp_path: Path) -> None:
    dataset = write_samples(tmp_path, 6)
    first = TrainingBatches(dataset, RANDOM, 2, seed=5)
    second = TrainingBatches(dataset, RANDOM, 2, seed=5)
    for epoch, step in ((1, 2), (0, 0), (1, 0), (1, 2)):  # in any order
        position = epoch * first.steps_per_epoch + step
        for array, again, at in zip(
            first.batch(epoch, step), second.batch(epoch, step), second.batch_at(position), strict=True
        ):
            np.testing.assert_array_equal(array, again)
            np.testing.assert_array_equal(array, at)


def test_a_sample_looks_different_in_every_epoch(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 1), RANDOM, batch_size=1, seed=0)
    assert len({batches.batch(epoch, 0)[1].tobytes() for epoch in range(5)}) == 5


def test_the_order_and_the_first_sample_draw_other_numbers(tmp_path: Path, monkeypatch: Any) -> None:
    """NumPy gives the seeds (1, 2) and (1, 2, 0) the same numbers."""
    drawn = []

    def generator(*seed: int) -> np.random.Generator:
        drawn.append(np.random.default_rng(seed).random())
        return np.random.default_rng(seed)

    monkeypatch.setattr("fornet_keras.data.pipeline.random_generator", generator)
    TrainingBatches(write_samples(tmp_path, 3), STILL, batch_size=3, seed=1).batch(2, 0)
    assert len(drawn) == len(set(drawn)) == 4


def test_batches_keep_no_image(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 4), RANDOM, batch_size=2, seed=0)
    before = len(pickle.dumps(batches))
    for position in range(6):
        images, _ = batches.batch_at(position)
    # The time at which each batch was made is all that is kept.
    assert len(pickle.dumps(batches)) - before < 200 < images.nbytes


# === Without TensorFlow ===


class Numbered:
    """Stands in for `TrainingBatches`: a batch is an array that holds its position."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch_at(self, position: int) -> np.ndarray:
        self.asked.append(position)
        return np.array([position])


def test_a_sequence_reads_ahead_and_keeps_nothing_behind() -> None:
    numbered: Any = Numbered()
    sequence = BatchSequence(numbered, workers=3)
    seen = []
    for position in range(20):
        batch: Any = sequence[position]
        assert batch == position
        seen.append(weakref.ref(batch))
    assert sorted(numbered.asked) == list(range(len(numbered.asked))), "each once"
    assert len(numbered.asked) <= 23, "three ahead at most"
    del batch
    assert [position for position, alive in enumerate(seen) if alive() is not None] == [19]


def test_a_sequence_begins_anew() -> None:
    numbered: Any = Numbered()
    sequence = BatchSequence(numbered, workers=2)
    assert [int(sequence[position][0]) for position in (0, 1, 0, 1, 2, 3)] == [0, 1, 0, 1, 2, 3]


def test_tensorflow_is_used_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    batches = TrainingBatches(write_samples(tmp_path, 2), STILL, 2, seed=0)
    found = fit_input(batches, workers=1)
    assert isinstance(found, tf.data.Dataset) and not found.options().autotune.enabled
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert isinstance(fit_input(batches, workers=1), BatchSequence)


# === Into `fit` ===

FitInput = Callable[[TrainingBatches, int], Any]
both_paths = pytest.mark.parametrize("path", [tf_dataset, BatchSequence])


@pytest.mark.backend
def test_both_paths_give_the_same_samples(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 5), RANDOM, batch_size=2, seed=3)
    sequence = BatchSequence(batches, workers=2)
    count = 2 * batches.steps_per_epoch
    for position, batch in enumerate(tf_dataset(batches, workers=2).take(count)):
        expected = batches.batch(*divmod(position, batches.steps_per_epoch))
        for array, tensor, again in zip(expected, batch, sequence[position], strict=True):
            np.testing.assert_array_equal(tensor.numpy(), array)
            np.testing.assert_array_equal(again, array)
    assert position == count - 1


def mean_model() -> Any:
    """Its loss is the mean of the images and of the labels it is given."""
    import keras

    def loss(labels: Any, means: Any) -> Any:
        return keras.ops.mean(means) + keras.ops.mean(keras.ops.cast(labels, "float32"))

    image = keras.Input((64, 96, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(mean)
    model = keras.Model(image, outputs)
    jit = keras.backend.backend() == "jax"
    model.compile(keras.optimizers.SGD(0.0), loss=loss, jit_compile=jit)
    return model


@pytest.mark.backend
@both_paths
def test_fit_sees_every_batch_once_and_in_order(tmp_path: Path, path: FitInput) -> None:
    import keras

    batches = TrainingBatches(write_samples(tmp_path, 7), RANDOM, batch_size=2, seed=1)
    losses: list[float] = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    fit = {"steps_per_epoch": batches.steps_per_epoch, "epochs": 2, "shuffle": False, "verbose": 0}
    mean_model().fit(path(batches, 2), callbacks=[record], **fit)
    expected = []
    for epoch in range(2):
        steps = [batches.batch(epoch, step) for step in range(batches.steps_per_epoch)]
        means = [3 * images.mean() + labels.mean() for images, labels in steps]
        expected += list(np.cumsum(means) / np.arange(1, len(means) + 1))  # Keras logs a running mean
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.backend
@both_paths
def test_a_broken_file_surfaces_as_its_one_line(tmp_path: Path, path: FitInput) -> None:
    dataset = write_samples(tmp_path, 4)
    for sample in dataset.samples:  # all, so that two threads fail at once
        cv2.imwrite(str(sample.label), np.full((64, 96), 1, np.uint8))
    batches = TrainingBatches(dataset, STILL, batch_size=2, seed=0)
    with pytest.raises(DataError) as caught, data_errors(batches):
        mean_model().fit(path(batches, 2), steps_per_epoch=2, shuffle=False, verbose=0)
    first = dataset.samples[batches.indices(0, 0)[0]]
    assert str(caught.value) == (
        f"{first.label}: value 1 not in the label table; expected 0, 3, 7; "
        "declare each as ignore or as a class"
    )
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    batches = TrainingBatches(write_samples(tmp_path, 1), STILL, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="something else"), data_errors(batches):
        raise ValueError("something else")
    batches.failures.append(DataError("a.png: is empty"))
    with pytest.raises(ValueError, match="something else"), data_errors(batches):
        raise ValueError("something else")


@pytest.mark.backend
def test_tensorflow_leaves_the_gpu_to_the_backend_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import tensorflow as tf

    hidden: list[tuple[Any, ...]] = []

    def hide(*arguments: Any) -> None:
        hidden.append(arguments)
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", hide)
    tf_dataset(TrainingBatches(write_samples(tmp_path, 1), STILL, 1, seed=0), workers=1)
    assert hidden == ([] if keras.backend.backend() == "tensorflow" else [([], "GPU")])
