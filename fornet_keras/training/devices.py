"""Training on several devices of one machine: each computes its part of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from fornet_keras.errors import ConfigError


@contextmanager
def on_devices(count: int, batch_size: int) -> Iterator[None]:
    """In the block, a model that is made and trained has its batches spread over `count` devices.

    On JAX, where Keras' `DataParallel` computes what a single device would: the statistics of batch
    normalisation and the sums of the loss go over the whole batch.

    Args:
        count: devices of this machine, GPUs where there are any; 1 changes nothing.
        batch_size: images a step, over all devices.

    Raises:
        ConfigError: the backend cannot, there are fewer devices, or the batch cannot be divided evenly.
    """
    if count == 1:
        yield
        return
    backend = keras.backend.backend()
    if backend != "jax":
        raise ConfigError(
            f"training.devices is {count}, but {backend} trains on one device here: batch normalisation and "
            "loss would differ on several; use --backend jax"
        )
    available = keras.distribution.list_devices()
    if count > len(available):
        raise ConfigError(f"training.devices is {count}; expected at most {len(available)}, the devices here")
    if batch_size % count:
        raise ConfigError(
            f"training.batch_size is {batch_size}; expected a multiple of training.devices, {count}"
        )
    with keras.distribution.DataParallel(devices=available[:count], auto_shard_dataset=False).scope():
        yield


@contextmanager
def whole_on_each() -> Iterator[None]:
    """In the block, a model that was made `on_devices` predicts single images, on each device alike."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)
