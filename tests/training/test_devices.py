"""Several devices: forced CPU devices in a process of their own, for JAX fixes their number at its start."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from fornet_keras.config import Config
from fornet_keras.errors import ConfigError
from fornet_keras.training.devices import on_devices

pytestmark = pytest.mark.backend

ROOT = Path(__file__).parents[2]
ON_JAX = keras.backend.backend() == "jax"


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.skipif(not ON_JAX, reason="several devices are for JAX")
def test_two_devices_learn_what_one_does_and_either_goes_on(
    train: Callable[..., Any], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config(
        training={"epochs": 2, "ema_momentum": 0.9, "checkpoint_minutes": 0, "keep_checkpoints": 9}
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(config, one)
    command = [sys.executable, "cli.py", "train", "--config", str(one / "config.yaml"), "--devices", "2"]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run(
        [*command, "--output", str(two)], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    assert losses(two) == pytest.approx(losses(one), rel=2e-3)

    for step in (5, 6):
        shutil.rmtree(two / "checkpoints" / f"step_{step:09d}")
    train(config, two, resume=True)
    assert losses(two) == pytest.approx(losses(one), rel=2e-3)


def test_what_cannot_be_is_refused() -> None:
    message = (
        "expected at most 1, the devices here" if ON_JAX else "trains on one device here: .*--backend jax"
    )
    with pytest.raises(ConfigError, match=f"training.devices is 64.*{message}"), on_devices(64, 64):
        pass
    with on_devices(1, 3):
        assert keras.distribution.distribution() is None


@pytest.mark.skipif(not ON_JAX, reason="several devices are for JAX")
def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"] * 2)
    with (
        pytest.raises(ConfigError, match="training.batch_size is 3; expected a multiple of .*, 2"),
        on_devices(2, 3),
    ):
        pass
