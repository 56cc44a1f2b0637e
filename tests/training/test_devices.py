"""Several devices: forced CPU devices in own processes, for a backend fixes their number at its start."""

import csv
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from fornet_keras.config import Config, dump_config, read_config
from fornet_keras.data.camvid import TABLE as CAMVID
from fornet_keras.doctor import unseen_gpu_note
from fornet_keras.errors import ConfigError
from fornet_keras.layers.topk_gate import TopKGate
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import save_model
from fornet_keras.training.accelerator import announce_device, device_memory, dtype_policy, find_accelerator
from fornet_keras.training.build import compile_model
from fornet_keras.training.devices import (
    ALONE,
    Processes,
    join_processes,
    leave_processes,
    on_devices,
    require_same_step,
    sum_over_devices,
    synchronize,
)
from tests.model.tiny import randomize, tiny_model

pytestmark = pytest.mark.backend

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("without_chance.py")
BACKEND = keras.backend.backend()


def assert_learnt_the_same(several: Path, one: Path) -> None:
    logs = [(folder / "log.csv").read_text("utf-8").splitlines() for folder in (several, one)]
    for ours, theirs in zip(*map(csv.DictReader, logs), strict=True):
        for name in ("loss", "val_miou"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), name
    found, expected = (load_file(folder / "last" / "weights.safetensors") for folder in (several, one))
    for name, weight in expected.items():
        # Of all together: Adam makes rounding as large as a step where a gradient is nearly none.
        error = np.linalg.norm(found[name] - weight) / np.linalg.norm(weight)
        assert error < 1e-3, name


def start(*command: Any, devices: int = 1, **environment: Any) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def config_file(train: Callable[..., Any], make_config: Callable[..., Config], tmp_path: Path) -> Path:
    """A run of two steps, the backbone frozen in the first; `train` sets the environment.

    With a teacher, but where that is traced and compiled once more for each number of devices.
    """
    teacher = None
    if BACKEND == "torch" or "FORNET_KILLS" in os.environ:
        teacher = str(tmp_path / "teacher")
        save_model(randomize(tiny_model(num_classes=11)), CAMVID, tmp_path / "teacher")
    config = make_config(
        model={"freeze_epochs": 1},
        loss={"dice_weight": 0.5, "teacher": teacher},
        training={
            # To Adam a gradient twice as large is the same one, and it takes longer to trace.
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "epochs": 2,
            "batch_size": 4,
            "ema_momentum": 0.9,
            "checkpoint_minutes": 0,
            "keep_checkpoints": 9,
        },
    )
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    return file


def start_several(config_file: Path, folder: Path, launch: str) -> list[subprocess.Popen[str]]:
    """A run on several devices, or in several processes, of this backend."""
    if launch == "torchrun":
        launcher = ("-m", "torch.distributed.run", "--master-port", free_port(), "--nproc-per-node", 2)
        return [start(*launcher, SCRIPT, 1, config_file, folder)]
    if launch == "devices":
        count = 4 if "FORNET_KILLS" in os.environ else 2
        return [start(SCRIPT, count, config_file, folder, devices=count)]
    launcher = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"localhost:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": 2,
    }
    return [
        start(SCRIPT, 1, config_file, folder, **launcher, KERAS_DISTRIBUTION_PROCESS_ID=rank)
        for rank in range(2)
    ]


def test_several_learn_what_one_does_and_either_goes_on(
    config_file: Path, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = ["torchrun" if BACKEND == "torch" else "devices"]
    if BACKEND == "jax" and "FORNET_KILLS" in os.environ:  # two more processes that compile
        launches.append("processes")
    one, *others = (tmp_path / name for name in ("one", *launches))
    running = [start_several(config_file, tmp_path / launch, launch) for launch in launches]
    monkeypatch.setattr(TopKGate, "_explore", lambda self, order, kept: order)  # as in SCRIPT
    try:
        train(read_config(config_file), one)
    finally:
        finish(*sum(running, []))
    for several in others:
        assert_learnt_the_same(several, one)
        if "FORNET_KILLS" in os.environ:
            shutil.rmtree(several / "checkpoints" / f"step_{2:09d}")
            train(read_config(config_file), several, resume=True)
            assert_learnt_the_same(several, one)


def test_what_cannot_be_is_refused() -> None:
    message = "torchrun --nproc-per-node 64" if BACKEND == "torch" else "expected at most 1, the devices here"
    with pytest.raises(ConfigError, match=f"training.devices is 64.*{message}"), on_devices(64, 64, ALONE):
        pass
    with on_devices(1, 3, ALONE):
        assert keras.distribution.distribution() is None


def test_a_gpu_that_stays_idle_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.doctor._has_nvidia_gpu", lambda: True)
    for found, device in ((None, r"\d+ CPU cores?"), ("NVIDIA H200", "2 x NVIDIA H200")):
        monkeypatch.setattr("fornet_keras.training.accelerator.find_accelerator", lambda found=found: found)
        console = Console(file=io.StringIO(), width=1000)
        assert re.fullmatch(device, announce_device(2, console))
        lines = console.file.getvalue().splitlines()
        assert re.search(f"(TensorFlow|JAX|PyTorch) on {device}$", lines[0])
        assert ["an NVIDIA GPU that" in line for line in lines[1:]] == ([] if found else [True])


@pytest.mark.skipif(BACKEND != "torch", reason="JAX and TensorFlow compute on what they see")
def test_the_device_that_keras_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a GPU that PyTorch has and Keras, told so by KERAS_TORCH_DEVICE, leaves alone."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"NVIDIA H200 {device.index}")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 7)
    assert (find_accelerator(), dtype_policy("auto"), device_memory()) == (None, "float32", None)
    monkeypatch.setattr("fornet_keras.doctor._has_nvidia_gpu", lambda: True)
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cpu")
    assert unseen_gpu_note("torch") is None
    for device, name in (("cuda", "NVIDIA H200 1"), ("mps", "Apple GPU"), ("xpu", "xpu")):
        x = SimpleNamespace(device=SimpleNamespace(type=device, index=1))
        monkeypatch.setattr("keras.ops.zeros", lambda shape, x=x: x)
        assert find_accelerator() == name
        assert dtype_policy("auto") == ("mixed_bfloat16" if device == "cuda" else "float32")
        assert device_memory() == (7 if device == "cuda" else None)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_a_hidden_gpu_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(
        "tensorflow.config.experimental.get_device_details", lambda gpu: {"compute_capability": (9, 0)}
    )
    assert dtype_policy("auto") == "float32"
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: ["GPU:0"])
    assert dtype_policy("auto") == "mixed_bfloat16"


def test_a_launcher_of_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join_processes() is ALONE
    foreign = {"tensorflow": "TF_CONFIG", "jax": "WORLD_SIZE", "torch": "KERAS_DISTRIBUTION_NUM_PROCESSES"}
    monkeypatch.setenv(foreign[BACKEND], "2")
    with pytest.raises(ConfigError, match=f"{foreign[BACKEND]} is set.*use --backend"):
        join_processes()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="of a launcher")
def test_a_number_of_processes_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one is what a shell makes of another variable that is not set."""
    variable = "WORLD_SIZE" if BACKEND == "torch" else "KERAS_DISTRIBUTION_NUM_PROCESSES"
    monkeypatch.setenv(variable, "")
    assert join_processes() is ALONE
    for wrong in ("two", "0"):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(ConfigError, match=f"^{variable} is '{wrong}'; expected a number of processes"):
            join_processes()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="of several processes")
def test_processes_that_find_other_checkpoints_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on two machines that share no disk, of which one has the run folder."""
    found = [4, 0]
    if BACKEND == "torch":
        gather = "torch.distributed.all_gather_object"
        monkeypatch.setattr(gather, lambda steps, step: steps.__setitem__(slice(None), found))
    else:
        gather = "jax.experimental.multihost_utils.process_allgather"
        monkeypatch.setattr(gather, lambda step: np.array(found))
    require_same_step(4, ALONE)
    with pytest.raises(ConfigError, match="would go on after steps 4, 0; expected the same one; put the run"):
        require_same_step(4, Processes(0, 2))
    found[1] = 4
    require_same_step(4, Processes(0, 2))


@pytest.mark.skipif(BACKEND != "torch", reason="of torchrun")
def test_what_torchrun_gives_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number, by which it finds its GPU where there are any; the others' address, unless they have met."""
    monkeypatch.setattr("torch.distributed.init_process_group", begin := Mock())
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    monkeypatch.setenv("WORLD_SIZE", "3")
    missing = "^WORLD_SIZE is set without RANK, MASTER_ADDR, MASTER_PORT; .*; start with torchrun"
    with pytest.raises(ConfigError, match=missing):
        join_processes()
    for name, value in {"RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert join_processes() == Processes(1, 3)
    begin.assert_called_once_with("gloo")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_TORCH_DEVICE", "cpu")
        assert join_processes() == Processes(1, 3)
    assert begin.call_args.args == ("gloo",)
    with pytest.raises(ConfigError, match="^WORLD_SIZE is set without LOCAL_RANK; "):
        join_processes()
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", set_device := Mock())
    with pytest.raises(ConfigError, match=r"^LOCAL_RANK is 2, and .* 2 GPU\(s\); .*--nproc-per-node 2, or"):
        join_processes()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert join_processes() == Processes(1, 3)
    set_device.assert_called_once_with(1)
    assert begin.call_args.args == ("nccl",)
    monkeypatch.delenv("RANK")
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    assert join_processes() == Processes(1, 3)
    assert begin.call_count == 3


@pytest.mark.skipif(BACKEND != "torch", reason="of torchrun")
def test_processes_part_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.destroy_process_group", end := Mock())
    leave_processes(ALONE)
    assert not end.called
    leave_processes(Processes(1, 2))
    end.assert_called_once_with()


@pytest.mark.skipif(
    BACKEND != "torch", reason="on JAX the processes' devices count, TensorFlow has one process"
)
def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    message = "training.batch_size is 3; expected a multiple of 2"
    with pytest.raises(ConfigError, match=message), on_devices(1, 3, Processes(0, 2)):
        pass


@pytest.mark.skipif(BACKEND == "jax", reason="JAX computes with the whole batch")
@pytest.mark.parametrize(
    ("setting", "without"),
    [
        ("loss.ohem=0.5", "null"),
        # PyTorch's processes meet before the optimizer.
        *[
            ("training.clip_norm=1.0", "null"),
            ("training.accumulate=2", "1"),
            ("training.precision=mixed_float16", "mixed_bfloat16"),
            ("training.jit_compile=true", "null"),
        ]
        * (BACKEND == "tensorflow"),
    ],
)
def test_what_a_part_of_a_batch_cannot_tell_is_refused(
    setting: str, without: str, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(config_file, [setting])
    keras.config.set_dtype_policy(config.training.precision)
    model = FoRNet.from_preset("pico", num_classes=2)
    compile_model(model, config, [1, 1], steps_per_epoch=3)
    if BACKEND == "tensorflow":
        two = SimpleNamespace(num_replicas_in_sync=2)
        monkeypatch.setattr("tensorflow.distribute.get_strategy", lambda: two)
    name, value = setting.split("=")
    with pytest.raises(ConfigError, match=rf"{name} is {value}, .*--backend jax, or --set {name}={without}$"):
        synchronize(model, Processes(0, 2))


def test_a_launcher_whose_processes_have_not_met_adds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert keras.ops.convert_to_numpy(sum_over_devices(keras.ops.ones(2))).tolist() == [1, 1]
