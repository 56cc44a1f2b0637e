"""A run that was interrupted ends as the run that was not, to the last bit."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fornet_keras.cli.root import root
from fornet_keras.config import Config, dump_config, read_config
from fornet_keras.data.camvid import TABLE as CAMVID
from fornet_keras.errors import ConfigError, RunInterrupted, TrainingError
from fornet_keras.evaluation.evaluate import Scores, evaluate
from fornet_keras.training.accelerator import dtype_policy
from fornet_keras.training.checkpoint import Checkpoint, _read, newest
from fornet_keras.training.checkpointing import SIGNALS
from fornet_keras.training.devices import Processes
from fornet_keras.training.finite import StopOnNaN
from fornet_keras.training.report import save_pictures
from tests.untraced import untraced

Train = Callable[..., Any]
MakeConfig = Callable[..., Config]

ROOT = Path(__file__).parents[2]
TIMES = {"images_per_second", "data_wait", "seconds"}  # all else in a log is exact
STEPS = 6


EVERYTHING = {
    "precision": "mixed_float16",  # with a loss scale
    "accumulate": 2,  # of an epoch's three steps
    "clip_norm": 1.0,
    "backbone_lr_mult": 0.5,
    "patience": 1,
}


@pytest.fixture(scope="module")
def whole(train: Train, make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two epochs of three steps that nothing interrupts, with all their checkpoints."""
    config = make_config(
        data={"short_side": 100},  # it learns at 64, which is smaller than the validation images
        training={"epochs": 2, "ema_momentum": 0.9, "checkpoint_minutes": 0, "keep_checkpoints": 9},
        loss={"dice_weight": 0.5},
        model={"top_k": 0.25, "dropout": 0.2, "image_pool_dropout": 0.3},
    )
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config, folder)
    return SimpleNamespace(config=config, folder=folder)


def read_log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def last(folder: Path) -> Checkpoint:
    found, rejected = newest(folder / "checkpoints")
    assert found is not None and not rejected
    return found


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in state["log"]["rows"]]
    return {"validation": state["validation"], "rows": rows}


def assert_same_state(ours: Checkpoint, whole: Path) -> None:
    """A run that goes on from there is the whole one."""
    theirs = _read(whole / "checkpoints" / f"step_{ours.step:09d}")
    assert without_times(ours.state) == without_times(theirs.state)
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in theirs.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], array, err_msg=name)


def assert_same_run(folder: Path, whole: Path) -> None:
    assert last(folder).step == last(whole).step == STEPS
    assert_same_state(last(folder), whole)
    assert read_log(folder) == read_log(whole)
    for model in ("best", "last"):
        path = Path(model) / "weights.safetensors"
        assert (folder / path).read_bytes() == (whole / path).read_bytes(), model
    scores = [json.loads((run / "result.json").read_text())["val"] for run in (folder, whole)]
    for score in scores:
        del score["milliseconds"]
    assert scores[0] == scores[1]


def cut_off(whole: Path, folder: Path, step: int) -> None:
    """What a run leaves that is killed right after the checkpoint of a step."""
    shutil.copytree(whole, folder)
    (folder / "result.json").unlink()
    for path in (folder / "checkpoints").iterdir():
        if int(path.name.removeprefix("step_")) > step:
            shutil.rmtree(path)


@pytest.mark.backend
@pytest.mark.parametrize("step", [0, 1, 3, 5, STEPS] if "FORNET_KILLS" in os.environ else [STEPS])
def test_resumed_after_any_step(
    step: int, train: Train, whole: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step; in `make test-faults` at others too. With the charts of what it remembers."""
    monkeypatch.setattr("fornet_keras.training.conclude.save_pictures", save_pictures)
    cut_off(whole.folder, tmp_path / "run", step)
    shown = Console(file=io.StringIO(), force_terminal=True, width=200)
    train(whole.config, tmp_path / "run", shown, resume=True)
    assert "validating 2/2" in shown.file.getvalue(), "the best model, at the end"
    assert_same_run(tmp_path / "run", whole.folder)
    assert (tmp_path / "run" / "pictures" / "curves.png").stat().st_size > 500


@pytest.mark.backend
def test_another_process_knows_the_best_model_of_before(
    train: Train, whole: SimpleNamespace, tmp_path: Path
) -> None:
    """It trains in a folder of its own, and leaves the run's as it is."""
    cut_off(whole.folder, tmp_path / "run", STEPS)
    result, _ = train(whole.config, tmp_path / "run", resume=True, processes=Processes(rank=1))
    assert result["val"]["miou"] == json.loads((whole.folder / "result.json").read_text())["val"]["miou"]
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.backend
@pytest.mark.skipif("FORNET_KILLS" not in os.environ, reason="four runs of four epochs: `make test-faults`")
def test_resumed_with_all_that_a_run_remembers(
    train: Train, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside an accumulation, with a loss scale and a patience that has begun; and after it has ended."""
    scores: list[Scores] = []

    def never_better(*arguments: Any, **named: Any) -> Scores:
        scores.append(evaluate(*arguments, **named))
        return scores[0]

    monkeypatch.setattr("fornet_keras.training.validation.evaluate", never_better)
    options = {**EVERYTHING, "epochs": 4, "ema_momentum": 0.9, "checkpoint_minutes": 0, "keep_checkpoints": 9}
    config = make_config(training=options, model={"freeze_epochs": 1})
    train(config, tmp_path / "whole")
    assert last(tmp_path / "whole").step == STEPS, "stopped after two of four epochs"
    for step in (5, STEPS):
        cut_off(tmp_path / "whole", tmp_path / f"{step}", step)
        train(config, tmp_path / f"{step}", resume=True)
        assert_same_run(tmp_path / f"{step}", tmp_path / "whole")
        assert curves(tmp_path / f"{step}") == curves(tmp_path / "whole")


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, without times."""
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag not in TIMES
    }


@pytest.mark.backend
def test_a_damaged_checkpoint_is_passed_over(train: Train, whole: SimpleNamespace, tmp_path: Path) -> None:
    """The run goes on from the one before, in the middle of an epoch."""
    cut_off(whole.folder, tmp_path / "run", 2)
    state = tmp_path / "run" / "checkpoints" / "step_000000002" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    train(whole.config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole.folder)


@pytest.mark.backend
def test_a_nan_in_the_middle_costs_no_step_before_it(
    train: Train, whole: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that is lost in memory before step 5 of 6, once."""

    def lose_a_weight(stop: StopOnNaN, batch: int, logs: Any = None) -> None:
        if int(stop.model.optimizer.iterations) == 4:
            weight = stop.model.trainable_weights[0]
            weight.assign(np.full(weight.shape, np.nan))

    folder = tmp_path / "run"
    command = ["train", "--config", str(whole.folder / "config.yaml"), "--output", str(folder)]
    with monkeypatch.context() as failing, untraced():
        failing.setattr(StopOnNaN, "on_train_batch_begin", lose_a_weight)
        result = CliRunner().invoke(root, command)
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: the loss became nan in epoch 2, step 2; expected finite numbers; begin ")
    assert re.search(r"; the images of that step: \d\.png, \d\.png$", error)
    assert last(folder).step == 4
    assert_same_state(last(folder), whole.folder)


def test_another_configuration_is_refused(train: Train, whole: SimpleNamespace, tmp_path: Path) -> None:
    """Also where it is written into the run's own file; and before its data are looked for."""
    cut_off(whole.folder, tmp_path / "run", 4)
    own = tmp_path / "run" / "config.yaml"
    moved = ["data.root=/somewhere", "training.workers=5"]
    other = ["model.preset=s", "training.learning_rate=0.1"]
    own.write_text(dump_config(read_config(own, [*moved, *other])))
    with pytest.raises(
        ConfigError, match="another configuration: model.preset was pico and is s here; "
    ) as e:
        train(read_config(own), tmp_path / "run", resume=True)
    back = "set back in it what was edited, model.preset, training.learning_rate, or begin a new run"
    fix = f"resume with --config {own} and {back} in another --output"
    assert str(e.value).endswith(f"; training.learning_rate was 0.003 and is 0.1 here; {fix}")
    assert "workers" not in str(e.value) and "data.root" not in str(e.value)
    taught = read_config(whole.folder / "config.yaml", ["loss.teacher=/large"])
    with pytest.raises(ConfigError, match="loss.teacher was None and is /large here; "):
        train(taught, tmp_path / "run", resume=True)


def test_an_epoch_that_a_callback_breaks_off_is_logged_once(
    train: Train, whole: SimpleNamespace, tmp_path: Path
) -> None:
    """As one does that ends a run after some hours: here after step 2 of an epoch's three."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    train(whole.config, tmp_path / "run", callbacks=[Stop()])
    assert (last(tmp_path / "run").step, len(read_log(tmp_path / "run"))) == (2, 1)
    result, _ = train(whole.config, tmp_path / "run", resume=True)
    assert [row["epoch"] for row in read_log(tmp_path / "run")] == ["1", "2"]
    assert (result["epochs"], result["steps"]) == (2, STEPS)
    assert [step for step, _ in curves(tmp_path / "run")["loss"]] == [1, 2]


def test_auto_is_the_number_format_that_the_run_began_with(
    train: Train, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine where it would be another."""
    used = []

    def stop(config: Config, *_: Any) -> None:
        used.append(config.training.precision)
        raise RunInterrupted("stopped", signal.SIGTERM)

    monkeypatch.setattr("fornet_keras.training.train.make_model", stop)
    for folder, has_bfloat16 in (("run", False), ("run", True), ("new", True)):
        probe = f"{dtype_policy.__module__}._accelerator_has_bfloat16"
        monkeypatch.setattr(probe, lambda has_bfloat16=has_bfloat16: has_bfloat16)
        with pytest.raises(RunInterrupted):
            train(make_config(training={"precision": "auto"}), tmp_path / folder, resume=True)
        assert read_config(tmp_path / folder / "config.yaml").training.precision == used[-1]
    assert used == ["float32", "float32", "mixed_bfloat16"]


@pytest.mark.parametrize("name", ["holiday.jpg", "config.yaml", "checkpoints/other.pt"])
def test_a_folder_without_a_run_is_refused(
    name: str, train: Train, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Also where a configuration lies beside its data."""
    (tmp_path / "config.yaml").write_text(text := "# mine\n" + dump_config(make_config()))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"not empty, and no run in it to resume; choose another --output"):
        train(make_config(), tmp_path, resume=True)
    assert (tmp_path / "config.yaml").read_text() == text


def test_without_a_whole_checkpoint_nothing_is_replaced(
    train: Train, whole: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    for path in (folder / "checkpoints").iterdir():
        (path / "SHA256SUMS").write_text("?")
    model = (folder / "best" / "weights.safetensors").read_bytes()
    for _ in range(2):
        with pytest.raises(TrainingError, match="no checkpoint in it is whole, .* choose another --output"):
            train(whole.config, folder, resume=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    assert (folder / "best" / "weights.safetensors").read_bytes() == model


def test_a_resumed_run_that_fails_keeps_its_folder(
    train: Train, whole: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is being exported into it; and reads the weights to begin with only where it begins."""
    begins = []

    def fail(*arguments: Any) -> None:
        begins.append(arguments[-1])
        raise MemoryError

    monkeypatch.setattr("fornet_keras.training.train.make_model", fail)
    for step in (0, 4):
        cut_off(whole.folder, tmp_path / f"{step}", step)
        (tmp_path / f"{step}" / ".report.writing").mkdir()
        with pytest.raises(MemoryError):
            train(whole.config, tmp_path / f"{step}", resume=True)
        assert (tmp_path / f"{step}" / ".report.writing").exists()
        assert (tmp_path / f"{step}" / "best" / "weights.safetensors").exists()
    assert begins == [True, False]


def test_other_images_and_another_backend_are_refused(
    train: Train, whole: SimpleNamespace, own_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(whole.folder, tmp_path / "run", 4)
    content = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    data = whole.config.data.model_copy(update={"root": str(own_camvid)})
    for split, message in (("train", "has learnt from 6"), ("val", "was validated on 2")):
        for folder in ("images", "labels"):
            removed = own_camvid / split / folder / "0.png"
            removed.rename(tmp_path / folder)
        with pytest.raises(ConfigError, match=rf"the run {message} images.*, and here are \d, not all of"):
            train(whole.config.model_copy(update={"data": data}), tmp_path / "run", resume=True)
        for folder in ("images", "labels"):
            (tmp_path / folder).rename(own_camvid / split / folder / "0.png")
    (tmp_path / "run" / "best").rename(tmp_path / "deployed")
    with pytest.raises(
        ConfigError, match="run/best: no such folder; expected the run's best model, of epoch 1; put it back"
    ):
        train(whole.config, tmp_path / "run", resume=True)
    (tmp_path / "deployed").rename(tmp_path / "run" / "best")
    label = own_camvid / "val" / "labels" / "0.png"
    before = label.read_bytes()
    Image.new("L", (90, 70), 3).save(label)
    with pytest.raises(ConfigError, match="the labels of val have been changed since the run began: .*; put"):
        train(whole.config.model_copy(update={"data": data}), tmp_path / "run", resume=True)
    label.write_bytes(before)
    swapped = replace(CAMVID, train_ids=CAMVID.train_ids | {0: 1, 1: 0})
    with monkeypatch.context() as patch:
        patch.setattr("fornet_keras.data.camvid.TABLE", swapped)
        with pytest.raises(
            ConfigError, match="classes or label values are not those that the run has learnt"
        ):
            train(whole.config, tmp_path / "run", resume=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    with pytest.raises(ConfigError, match="the run began with the backend .*; continue with --backend"):
        train(whole.config, tmp_path / "run", resume=True)
    assert last(tmp_path / "run").step == 4
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    assert left == content, "a run that is refused changes nothing"


def assert_stopped(folder: Path, errors: str, number: signal.Signals, whole: Path) -> None:
    line = errors.splitlines()[-1]
    step = last(folder).step
    saved = f"stopped by {number.name} after step {step} of {STEPS}, which is saved; continue with:"
    assert line.startswith(saved)
    assert f"train --config {folder}/config.yaml --output {folder} --resume --backend " in line
    assert not (folder / "result.json").exists()
    assert_same_state(last(folder), whole)


def test_asked_to_stop(
    train: Train, whole: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(stop: StopOnNaN, batch: int, logs: Any = None) -> None:
        if int(stop.model.optimizer.iterations) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    cut_off(whole.folder, folder, 3)
    monkeypatch.setattr(StopOnNaN, "on_train_batch_begin", ask)
    command = ["train", "--config", str(whole.folder / "config.yaml"), "--output", str(folder), "--resume"]
    with untraced():
        result = CliRunner().invoke(root, command)
    assert (result.exit_code, last(folder).step) == (143, 5)
    assert_stopped(folder, result.stderr, signal.SIGTERM, whole.folder)


# === Real processes: on PyTorch, where they are ready soonest; on every backend in `make test-faults` ===

real_processes = pytest.mark.skipif(
    keras.backend.backend() != "torch" and "FORNET_KILLS" not in os.environ,
    reason="runs in processes of their own: with PyTorch, or `make test-faults`",
)


def hear() -> None:
    """Also where the tests run in the background, and ignore what the run would be told to ignore."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(whole: SimpleNamespace, folder: Path, errors: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command line's `train --resume`, as a user starts it."""
    command = [sys.executable, "cli.py", "train", "--config", str(whole.folder / "config.yaml"), "--resume"]
    return subprocess.Popen(
        [*command, "--output", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
        preexec_fn=hear,
    )


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    path = folder / "checkpoints" / f"step_{step:09d}"
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.mark.backend
@real_processes
@pytest.mark.parametrize("kill", range(int(os.environ.get("FORNET_KILLS", "1"))))
def test_killed_at_a_random_step(kill: int, train: Train, whole: SimpleNamespace, tmp_path: Path) -> None:
    """`kill -9`, FORNET_KILLS times; in the usual run of the tests once, always after the same step."""
    folder, chance = tmp_path / "run", np.random.default_rng(None if "FORNET_KILLS" in os.environ else 0)
    step, seconds = int(chance.integers(1, STEPS)), chance.uniform(0, 0.3)
    print(f"killed {seconds:.3f} s after step {step}")
    with start(whole, folder) as process:
        wait_for_step(folder, step, process)
        time.sleep(seconds)
        process.kill()
    train(whole.config, folder, resume=True)
    assert_same_run(folder, whole.folder)


@pytest.mark.backend
@real_processes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_is_asked_to_stop(
    number: signal.Signals, code: int, train: Train, whole: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with start(whole, folder) as process:
        wait_for_step(folder, 1, process)
        process.send_signal(number)
        _, errors = process.communicate()
    if process.returncode == 0:
        pytest.fail("the run ended before it heard the signal")
    assert process.returncode == code
    assert_stopped(folder, errors, number, whole.folder)


@pytest.mark.backend
@real_processes
def test_a_process_whose_terminal_closes(train: Train, whole: SimpleNamespace, tmp_path: Path) -> None:
    """What it still says goes nowhere, and keeps nothing from being saved."""
    folder = tmp_path / "run"
    terminal, its_end = os.openpty()
    with start(whole, folder, its_end) as process:
        os.close(its_end)
        wait_for_step(folder, 1, process)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
    assert process.returncode == 143
    assert_same_state(last(folder), whole.folder)
