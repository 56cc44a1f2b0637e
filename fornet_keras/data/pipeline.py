"""Batches for training: the same samples through tf.data or, where TensorFlow is missing, a PyDataset.

A batch is a pure function of (seed, epoch, step). Neither path keeps images: both ask `TrainingBatches`.
"""

from __future__ import annotations

import importlib.util

import keras
import numpy as np

from fornet_keras.data.images import read_image, read_label, to_train_ids
from fornet_keras.data.transforms import augment, random_generator
from fornet_keras.errors import DataError


def read_sample(sample, table):
    """Read one pair: uint8 RGB `(height, width, 3)` and uint8 train ids `(height, width)`.

    Raises:
        DataError: a file cannot be used, the sizes differ, or a label value is unknown.
    """
    image, label = read_image(sample.image), read_label(sample.label)
    if image.shape[:2] != label.shape:
        sizes = ["x".join(map(str, array.shape[:2])) for array in (label, image)]
        raise DataError(
            f"{sample.label}: the label is {sizes[0]} and its image {sample.image.name} {sizes[1]} pixels "
            "(height x width); expected one size; resize the label with nearest neighbours"
        )
    return image, to_train_ids(label, table, sample.label, holds_train_ids=sample.label_holds_train_ids)


class TrainingBatches:
    """The augmented batches of a training run, addressed by epoch and step.

    Each epoch is a permutation of the samples, cut into whole batches; what is left over comes in other
    epochs. A data set smaller than a batch is repeated to fill one.

    Args:
        dataset: a `Dataset` whose samples all have labels.
        options: a `config.AugmentConfig`.
        batch_size: samples a batch.
        seed: decides order and augmentation.
    """

    def __init__(self, dataset, options, batch_size, seed):
        self.dataset = dataset
        self.options = options
        self.batch_size = batch_size
        self.seed = seed

    @property
    def steps_per_epoch(self):
        """Number of batches in an epoch, at least 1."""
        return max(1, len(self.dataset) // self.batch_size)

    def indices(self, epoch, step):
        """Positions in the data set of the samples of one batch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return order[positions % len(order)]

    def batch(self, epoch, step):
        """Images uint8 `(batch, *crop, 3)` and labels uint8 `(batch, *crop)`."""
        pairs = [self._sample(epoch, int(index)) for index in self.indices(epoch, step)]
        images, labels = zip(*pairs, strict=True)
        return np.stack(images), np.stack(labels)

    def _sample(self, epoch, index):
        image, label = read_sample(self.dataset.samples[index], self.dataset.table)
        return augment(image, label, self.options, random_generator(self.seed, epoch, index))


def fit_input(batches, workers):
    """What `fit(x)` takes, for any number of epochs: tf.data where TensorFlow can be imported, else Keras' own.

    Args:
        batches: `TrainingBatches`.
        workers: threads that read and augment.
    """
    if importlib.util.find_spec("tensorflow") is None:
        return BatchSequence(batches, workers)
    return tf_dataset(batches, workers)


def tf_dataset(batches, workers):
    """An endless `tf.data.Dataset` of the batches, epoch after epoch."""
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        # Else TensorFlow takes the GPU's memory from the backend that trains.
        tf.config.set_visible_devices([], "GPU")

    def read(position):
        epoch, step = divmod(int(position), batches.steps_per_epoch)
        return batches.batch(epoch, step)

    def load(position):
        images, labels = tf.numpy_function(read, [position], [tf.uint8, tf.uint8], stateful=False)
        shape = (batches.batch_size, *batches.options.crop)
        return tf.ensure_shape(images, (*shape, 3)), tf.ensure_shape(labels, shape)

    positions = tf.data.Dataset.counter()
    return positions.map(load, num_parallel_calls=workers, deterministic=True).prefetch(2)


class BatchSequence(keras.utils.PyDataset):
    """The batches of one epoch after another, without TensorFlow. Not to be shuffled by `fit`."""

    def __init__(self, batches, workers):
        super().__init__(workers=workers, max_queue_size=2 * workers)
        self.batches = batches
        self.epoch = 0

    def __len__(self):
        return self.batches.steps_per_epoch

    def __getitem__(self, step):
        return self.batches.batch(self.epoch, step)

    def on_epoch_end(self):
        self.epoch += 1
