"""Training on several devices, of one machine or more: each computes its part of every batch.

All learn what one device would learn from the whole batch: the statistics of batch normalisation and the
sums of the loss go over all parts, and what cannot (`synchronize`) is refused. Only what is drawn,
which random regions training keeps and which channels dropout drops, is another draw on TensorFlow and
PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from fornet_keras.errors import ConfigError

JAX_LAUNCHER = "KERAS_DISTRIBUTION_NUM_PROCESSES"
TORCH_LAUNCHER = "WORLD_SIZE"


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        rank: number of this one; 0 alone writes the run folder.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1


ALONE = Processes()
"""A run in this process only."""


def join_processes() -> Processes:
    """Meet the other processes of the run, where a launcher has set its variables.

    Nothing may be computed before. `torchrun` sets them for PyTorch; for JAX they are
    `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `…_NUM_PROCESSES` and `…_PROCESS_ID`.

    Raises:
        ConfigError: TensorFlow, or the other backend's launcher; their number is none; on PyTorch a variable
            of the launcher is missing, or there are more processes than GPUs.
    """
    backend = keras.backend.backend()
    if "TF_CONFIG" in os.environ and backend == "tensorflow":
        raise ConfigError(
            "TF_CONFIG is set, but Keras cannot train in several TensorFlow processes; use --backend jax or "
            "--backend torch, or one process with --devices"
        )
    launched = {"jax": JAX_LAUNCHER, "torch": TORCH_LAUNCHER}
    for launcher, variable in launched.items():
        if launcher != backend and _launched(variable) > 1:
            raise ConfigError(
                f"{variable} is set, for several processes with {launcher}; use --backend {launcher}"
            )
    if backend not in launched or _launched(launched[backend]) == 1:
        return ALONE
    if backend == "jax":
        import jax

        keras.distribution.initialize()
        return Processes(jax.process_index(), jax.process_count())
    from fornet_keras.training.torch_processes import join

    return Processes(*join())


def _launched(variable: str) -> int:
    """How many processes a launcher's variable says that there are; 1 where it is empty or not set."""
    value = os.environ.get(variable) or "1"
    if not value.isdecimal() or not int(value):
        raise ConfigError(f"{variable} is '{value}'; expected a number of processes; unset it, or correct it")
    return int(value)


def require_same_step(step: int, processes: Processes) -> None:
    """Refuse a run whose processes would go on from different checkpoints: they would mix two networks.

    Args:
        step: after which this process goes on; 0 begins.
        processes: those that train together, each of which calls this.

    Raises:
        ConfigError: another one has found another step.
    """
    if processes.count == 1:
        return
    steps: Sequence[Any]
    if keras.backend.backend() == "jax":
        from jax.experimental import multihost_utils

        steps = multihost_utils.process_allgather(step).tolist()
    else:
        import torch

        steps = [None] * processes.count
        torch.distributed.all_gather_object(steps, step)
    if len({*steps}) > 1:
        listed = ", ".join(map(str, steps))
        raise ConfigError(
            f"the processes would go on after steps {listed}; expected the same one; put the run folder on a "
            "disk that all of them see"
        )


def leave_processes(processes: Processes) -> None:
    """Part from the others after a run that came to its end; else NCCL warns.

    Not after an error: it waits for the others, and they may wait for this one.
    """
    if processes.count > 1 and keras.backend.backend() == "torch":
        import torch

        torch.distributed.destroy_process_group()


@contextmanager
def on_devices(count: int, batch_size: int, processes: Processes) -> Iterator[None]:
    """In the block, a model that is made and trained has its batches spread over devices.

    Args:
        count: devices of this process, GPUs where there are any; 1 changes nothing.
        batch_size: images a step, over all devices and processes.
        processes: those that train together; on JAX each brings all of its devices.

    Raises:
        ConfigError: the backend cannot, there are fewer devices, or the batch cannot be divided evenly.
    """
    backend = keras.backend.backend()
    if backend == "torch" and count > 1:
        raise ConfigError(
            f"training.devices is {count}, but a PyTorch process has one; start as many processes instead: "
            f"torchrun --nproc-per-node {count} --no-python fornet train … (in a checkout: cli.py train …)"
        )
    available = _list_devices(backend)
    if processes.count > 1 and backend == "jax":
        count = len(available)
    if count > len(available):
        raise ConfigError(f"training.devices is {count}; expected at most {len(available)}, the devices here")
    parts = max(count, processes.count)
    if batch_size % parts:
        raise ConfigError(
            f"training.batch_size is {batch_size}; expected a multiple of {parts}, the devices that share it"
        )
    if count == 1:
        yield
    elif backend == "jax":
        with keras.distribution.DataParallel(devices=available[:count], auto_shard_dataset=False).scope():
            yield
    else:
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(available[:count]).scope():
            yield


def sum_over_devices(x: Any) -> Any:
    """The sum of what each device has computed, with its gradient; JAX's own sums go over all already."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return context.all_reduce("sum", x) if context and context.num_replicas_in_sync > 1 else x
    if backend == "torch":
        import torch

        # The launcher's variables alone do not say that the processes have met.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            from fornet_keras.training.torch_processes import all_sum

            return all_sum(x)
    return x


def synchronize(model: keras.Model, processes: Processes) -> None:
    """Make a compiled model learn from all parts of a batch: batch normalisation, and PyTorch's gradients.

    Args:
        model: compiled, made `on_devices`.
        processes: those that train together.

    Raises:
        ConfigError: the loss or the optimizer needs the whole batch, of which each device has a part, or
            TensorFlow is to compile the step.
    """
    backend = keras.backend.backend()
    count = processes.count
    if backend == "tensorflow":
        import tensorflow as tf

        count = tf.distribute.get_strategy().num_replicas_in_sync
    if backend == "jax" or count == 1:
        return
    _require_parts_suffice(model, backend)
    normalizations = [
        layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if backend == "tensorflow":
        for layer in normalizations:
            layer.synchronized = True
    else:
        from fornet_keras.training.torch_processes import synchronize

        synchronize(model, normalizations)


def _require_parts_suffice(model: keras.Model, backend: str) -> None:
    """Refuse what a device cannot compute from its part of a batch, neither by itself nor with the others."""
    unable: dict[str, tuple[Any, str]] = {"loss.ohem": (model.loss.ohem, "null")}
    if backend == "tensorflow":
        # There the optimizer clips, adds up and looks for an overflow before the devices meet.
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        scaled = optimizer is not model.optimizer
        unable["training.precision"] = ("mixed_float16" if scaled else None, "mixed_bfloat16")
        unable["training.clip_norm"] = (optimizer.global_clipnorm, "null")
        unable["training.accumulate"] = (optimizer.gradient_accumulation_steps, "1")
        # XLA finds no variable that lies on another device (keras-team/keras#19005).
        unable["training.jit_compile"] = ("true" if model.jit_compile else None, "null")
    for setting, (value, without) in unable.items():
        if value:
            raise ConfigError(
                f"{setting} is {value}, which {backend} cannot do on several devices, each with its part of "
                f"a batch; use --backend jax, or --set {setting}={without}"
            )


def alone(model: keras.Model) -> keras.Model:
    """The model itself or, on JAX, a copy on one device of a model whose weights lie on several."""
    if keras.backend.backend() != "jax" or len(model.weights[0].value.devices()) == 1:
        return model
    with on_one_device():
        return model.with_top_k(model.top_k)


@contextmanager
def on_one_device() -> Iterator[None]:
    """In the block, also within `on_devices`, JAX makes and computes on one device what is new there."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _list_devices(backend: str) -> list[str]:
    if backend == "torch":
        return ["this process' own"]
    if backend == "jax":
        return keras.distribution.list_devices()
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]
