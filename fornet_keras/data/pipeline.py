"""Batches for training: the same samples through tf.data or, where TensorFlow is missing, a PyDataset.

A batch is a pure function of (seed, epoch, step). Neither path keeps images: both ask `TrainingBatches`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.config import AugmentConfig, Config
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.decoded import DecodedSamples
from fornet_keras.data.fingerprint import images_of
from fornet_keras.data.samples import read_sample
from fornet_keras.data.transforms import augment, letterbox_half, random_generator
from fornet_keras.errors import ConfigError, DataError

if TYPE_CHECKING:
    import tensorflow as tf

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images `(batch, height, width, 3)` and labels `(batch, height, width)`."""


@dataclass(eq=False)
class TrainingBatches:
    """The augmented batches of a training run, addressed by epoch and step.

    Each epoch is a permutation of the samples, cut into whole batches; what is left over comes in other
    epochs. A data set smaller than a batch is repeated to fill one, each time with other crops and colours.

    Args:
        dataset: a `Dataset` whose samples all have labels.
        options: a `config.AugmentConfig`.
        batch_size: samples a batch.
        seed: decides order and augmentation.
        decoded: the same samples, decoded already; None decodes them anew each time.
        part: (number of this part, number of parts): which part of each batch this process reads.
        short_side: pixels to which the shorter side of larger samples is brought down, also of `decoded`.
        letterboxed: whether half of the samples lie between two bars of grey.
    """

    dataset: Dataset
    options: AugmentConfig
    batch_size: int
    seed: int
    decoded: DecodedSamples | None = None
    part: tuple[int, int] = (0, 1)
    short_side: int | None = None
    letterboxed: bool = False
    failures: list[DataError] = field(default_factory=list, init=False)
    """On any thread; `data_errors` looks for them."""
    ready: dict[int, float] = field(default_factory=dict, init=False)
    """Position → `time.perf_counter()` when it was made."""

    @classmethod
    def of_run(
        cls,
        dataset: Dataset,
        config: Config,
        decoded: DecodedSamples | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> TrainingBatches:
        """The batches of a run with this configuration."""
        training, short_side = config.training, config.data.short_side
        return cls(dataset, config.augment, training.batch_size, training.seed, decoded, part, short_side)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, at least 1."""
        return max(1, len(self.dataset) // self.batch_size)

    @cached_property
    def _images(self) -> dict[str, Any]:
        return images_of(self.dataset)

    @property
    def state(self) -> dict[str, Any]:
        """Which samples, in which order, with which meaning of their labels, a run has learnt from."""
        table = self.dataset.table
        meaning = hashlib.sha256(repr((table.names, *table.meaning())).encode())
        return {**self._images, "classes_sha256": meaning.hexdigest()}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if state["classes_sha256"] != self.state["classes_sha256"]:
            raise ConfigError(
                f"{self.dataset.root}: classes or label values are not those that the run has learnt; "
                "expected the same; put them back, or begin a new run with another --output and model.weights"
            )
        if state != self.state:
            raise ConfigError(
                f"{self.dataset.root}: the run has learnt from {state['images']} images, and here are "
                f"{len(self.dataset)}, not all of them the same; expected those; put them back, or begin a "
                "new run with another --output and model.weights"
            )

    def as_in_use(self) -> TrainingBatches:
        """The same samples, in whole batches, as exported models meet them: not zoomed, half letterboxed."""
        options = self.options.model_copy(update={"scale": (1.0, 1.0)})
        return replace(self, options=options, part=(0, 1), letterboxed=True)

    def indices(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Positions in the data set of the samples of this process' part of one batch."""
        # Drawn for an index that no sample has: NumPy takes (seed, epoch) and (seed, epoch, 0) for the same.
        order = random_generator(self.seed, epoch, len(self.dataset)).permutation(len(self.dataset))
        return order[self._positions(step) % len(order)]

    def _positions(self, step: int) -> NDArray[np.int64]:
        """Of this process' part of one batch, in the endless row of an epoch's permutation."""
        rank, count = self.part
        size = self.batch_size // count
        return step * self.batch_size + np.arange(rank * size, (rank + 1) * size)

    def batch(self, epoch: int, step: int) -> Batch:
        """Images uint8 `(batch, *crop, 3)` and labels uint8 `(batch, *crop)`."""
        repeats = self._positions(step) // len(self.dataset)
        drawn = zip(self.indices(epoch, step).tolist(), repeats.tolist(), strict=True)
        pairs = [self._sample(epoch, index, repeat) for index, repeat in drawn]
        images, labels = zip(*pairs, strict=True)
        return np.stack(images), np.stack(labels)

    def batch_at(self, position: int) -> Batch:
        """The batch at a position in the endless row of all epochs."""
        try:
            batch = self.batch(*divmod(position, self.steps_per_epoch))
        except DataError as error:
            self.failures.append(error)
            raise
        self.ready[position] = time.perf_counter()
        return batch

    def _sample(self, epoch: int, index: int, repeat: int) -> Batch:
        if self.decoded:
            image, label = self.decoded.read(index)
        else:
            image, label = read_sample(self.dataset.samples[index], self.dataset.table, self.short_side)
        random = random_generator(self.seed, epoch, index, repeat)
        image, label = augment(image, label, self.options, random)
        return letterbox_half(image, label, random) if self.letterboxed else (image, label)


def fit_input(batches: TrainingBatches, workers: int, start: int = 0) -> tf.data.Dataset | BatchSequence:
    """What `fit(x)` takes: tf.data where TensorFlow can be imported, else a PyDataset.

    Both are endless and begin anew with each `fit`, which therefore needs `steps_per_epoch`.

    Args:
        batches: `TrainingBatches`.
        workers: threads that read and augment.
        start: position of the first batch in the endless row of all epochs.
    """
    try:
        return tf_dataset(batches, workers, start)
    except ImportError:
        return BatchSequence(batches, workers, start)


@contextmanager
def data_errors(batches: TrainingBatches) -> Iterator[None]:
    """Around `fit`: what is wrong with a file is raised as the `DataError` that it is.

    tf.data turns an exception of its workers into one of TensorFlow's, with three pages of text.

    Args:
        batches: the `TrainingBatches` that `fit` is fed from.
    """
    try:
        yield
    except Exception as error:
        for failure in batches.failures:
            if str(failure) in str(error):
                raise failure from None
        raise


def tf_dataset(batches: TrainingBatches, workers: int, start: int = 0) -> tf.data.Dataset:
    """An endless `tf.data.Dataset` of the batches from `start` on, epoch after epoch."""
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        # Else TensorFlow takes the GPU's memory from the backend that trains.
        with suppress(RuntimeError):  # it has it already
            tf.config.set_visible_devices([], "GPU")

    def read(position: np.int64) -> Batch:
        return batches.batch_at(int(position))

    def load(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = tf.numpy_function(read, [position], [tf.uint8, tf.uint8], stateful=False)
        shape = (batches.batch_size // batches.part[1], *batches.options.crop)
        return tf.ensure_shape(images, (*shape, 3)), tf.ensure_shape(labels, shape)

    options = tf.data.Options()
    # The autotuner has nothing to choose here, and on one core the end of `fit` waits for it, up to minutes.
    options.autotune.enabled = False
    batched = tf.data.Dataset.counter(start).map(load, num_parallel_calls=workers, deterministic=True)
    return batched.prefetch(2).with_options(options)


class BatchSequence(keras.utils.PyDataset):
    """The batches of one epoch after another, without TensorFlow.

    Endless, and read ahead by threads of its own: where Keras knows the length or reads ahead itself, `fit`
    loses the batches that it took to build the model, and every epoch after is shifted.

    Args:
        batches: `TrainingBatches`.
        workers: threads that read and augment.
        start: position of the first batch in the endless row of all epochs.
    """

    num_batches = None

    def __init__(self, batches: TrainingBatches, workers: int, start: int = 0) -> None:
        super().__init__()
        self.batches = batches
        self.start = start
        self.read_ahead = workers
        self._pool = ThreadPoolExecutor(workers)
        self._pending: dict[int, Future[Batch]] = {}

    def __getitem__(self, position: int) -> Batch:
        position += self.start
        wanted = range(position, position + self.read_ahead + 1)
        self._pending = {
            at: self._pending.get(at) or self._pool.submit(self.batches.batch_at, at) for at in wanted
        }
        return self._pending[position].result()
