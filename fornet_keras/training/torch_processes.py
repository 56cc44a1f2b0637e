"""Several PyTorch processes with a device each, as `torchrun` starts them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import torch
from torch.nn.parallel import DistributedDataParallel

from fornet_keras.errors import ConfigError

Tensor = Any


def join() -> tuple[int, int]:
    """Meet the other processes; return the number of this one and how many there are.

    Raises:
        ConfigError: a variable of the launcher is missing, or a GPU for this process.
    """
    started = torch.distributed.is_initialized()
    # What Keras computes on would tell too, but only after it has taken the first GPU's memory.
    on_gpu = torch.cuda.is_available() and not os.environ.get("KERAS_TORCH_DEVICE", "").startswith("cpu")
    needed: tuple[str, ...] = () if started else ("RANK", "MASTER_ADDR", "MASTER_PORT")
    needed += ("LOCAL_RANK",) * on_gpu
    if missing := [name for name in needed if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE is set without {', '.join(missing)}; expected all of them; start with torchrun, "
            "which sets them, or unset WORLD_SIZE"
        )
    if on_gpu:
        number, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= gpus:
            raise ConfigError(
                f"LOCAL_RANK is {number}, and this process sees {gpus} GPU(s); expected less; start with "
                f"torchrun --nproc-per-node {gpus}, or set LOCAL_RANK=0 where each process sees its GPU alone"
            )
        torch.cuda.set_device(number)
    if not started:
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


class _AllSum(torch.autograd.Function):
    """torch.distributed.nn has the same, deprecated in favour of a private function."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _AllSum.forward(context, gradient)


def all_sum(x: Tensor) -> Tensor:
    """The sum of a tensor over the processes, through which gradients flow back to all of them."""
    return _AllSum.apply(x)


def synchronize(model: keras.Model, normalizations: Sequence[keras.layers.BatchNormalization]) -> None:
    """Make a compiled model train with all processes: averaged gradients, statistics of the whole batch.

    Args:
        model: compiled.
        normalizations: its batch normalisations.
    """
    for layer in normalizations:
        # Neither Keras' own `synchronized`, which is TensorFlow's, nor SyncBatchNorm, no Keras layer.
        layer._moments = _moments_of_all
    parallel = DistributedDataParallel(model)
    # Keras' kernels lie in memory in an order of their own, which costs a copy and is said once a process.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")

    def train_step(data: Any) -> dict[str, Any]:
        """Keras' own step, but forward through `parallel`, which averages the gradients in `backward`."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        model.zero_grad()
        outputs = parallel(images, training=True)
        loss = model.compute_loss(images, labels, outputs)
        model._loss_tracker.update_state(loss, sample_weight=len(images))
        model.optimizer.scale_loss(loss).backward()
        weights = model.trainable_weights
        with torch.no_grad():
            model.optimizer.apply([weight.value.grad for weight in weights], weights)
        return model.compute_metrics(images, labels, outputs)

    model.train_step = train_step


def _moments_of_all(inputs: Tensor, mask: None) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over the batches of all processes, which are equally large."""
    share = 1 / torch.distributed.get_world_size()
    mean = all_sum(inputs.float().mean((0, 1, 2))) * share
    variance = all_sum((inputs.float() - mean).square().mean((0, 1, 2))) * share
    return mean, variance
