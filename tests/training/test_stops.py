"""What a run that does not come to its end says and leaves; none of them trains."""

import errno
import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest
from rich.console import Console

from fornet_keras.config import AugmentConfig, Config, TrainingConfig
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import ConfigError, RunInterrupted, TrainingError
from fornet_keras.training.checkpoint import Checkpoint
from fornet_keras.training.checkpointing import Checkpointing, find_checkpoint
from fornet_keras.training.devices import Processes
from fornet_keras.training.progress import ProgressLine
from fornet_keras.training.run_folder import write_config
from fornet_keras.training.tensorboard import EventLog
from fornet_keras.training.train import _say_who_ended
from fornet_keras.training.validation import Validation
from tests.training.test_resume import curves

Train = Callable[..., Any]
MakeConfig = Callable[..., Config]
Fit = Callable[[list[Any]], None]


class GoneTerminal(io.StringIO):
    """What a run that `nohup` began writes to, once its terminal is closed."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fit], None]:
    """Let a function of the callbacks take the place of all training."""
    module = "fornet_keras.training.build"

    def instead(fit: Fit) -> None:
        model = SimpleNamespace(fit=lambda x, callbacks, **_: fit(callbacks))
        model.count_params, model.stop_training = lambda: 0, True
        monkeypatch.setattr(f"{module}.build_model", lambda *_: model)
        monkeypatch.setattr(f"{module}.compile_model", lambda *_: None)

    return instead


def test_a_run_that_learnt_nothing_leaves_its_folder_free(
    train: Train, make_config: MakeConfig, fitted: Callable[[Fit], None], tmp_path: Path
) -> None:
    """Also where it is a link to another disk."""

    def become_nan(callbacks: list[Any]) -> None:
        raise TrainingError("the loss became nan")

    fitted(become_nan)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    with pytest.raises(TrainingError, match="the loss became nan"):
        train(make_config(), tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def test_a_run_whose_configuration_cannot_be_written_leaves_its_folder_free(
    train: Train, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("fornet_keras.training.train.write_config", Mock(side_effect=full))
    with pytest.raises(
        TrainingError, match=r"run: could not be written or read \(No space left .* --resume$"
    ):
        train(make_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_of_fewer_images_than_processes_is_refused(
    train: Train, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.training.train.require_same_step", lambda *_: None)  # of none
    with pytest.raises(ConfigError, match="training.batch_size is 2; expected a multiple of 4, the devices"):
        train(make_config(training={"workers": 1}), tmp_path / "run", processes=Processes(0, 4))
    assert not (tmp_path / "run").exists()


def test_a_run_that_begins_anew_shows_nothing_of_the_one_that_was_killed(
    train: Train, make_config: MakeConfig, fitted: Callable[[Fit], None], tmp_path: Path
) -> None:
    """Which had come to its second epoch, and to no checkpoint."""
    folder = tmp_path / "run"
    write_config(folder, make_config())
    (folder / ".lock").touch()
    (folder / "log.csv").write_text("epoch,loss\n1,0.9\n")
    with closing(EventLog(folder / "tensorboard")) as events:
        events.scalar("loss", 0.9, 1)

    def learn(callbacks: list[Any]) -> None:
        assert (folder / "log.csv").read_text().count("\n") == 1
        callbacks[2]._events.scalar("loss", 0.8, 1)
        raise MemoryError

    fitted(learn)
    with pytest.raises(MemoryError):
        train(make_config(), folder, resume=True)
    assert curves(folder) == {"loss": [(1, pytest.approx(0.8))]}


@pytest.mark.parametrize(
    ("selector_epochs", "saved"), [(0, "saved"), (1, "saved; the Selector's epochs begin anew")]
)
def test_a_signal_while_the_best_model_is_scored_is_heard(
    selector_epochs: int,
    saved: str,
    train: Train,
    make_config: MakeConfig,
    fitted: Callable[[Fit], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(callbacks: list[Any]) -> None:
        callbacks[-1].step = callbacks[-1].saved_step = 3

    def score_best(validation: Validation) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        validation.on_image(1, 2)

    fitted(end)
    monkeypatch.setattr(Validation, "score_best", score_best)
    monkeypatch.setattr("fornet_keras.training.train.fit_selector_of_best", lambda *_: None)
    config = make_config(training={"selector_epochs": selector_epochs})
    with pytest.raises(RunInterrupted, match=f"stopped by SIGTERM after step 3 of 3, which is {saved}$"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(("saved", "named"), [(0, "none"), (2, "2")])
def test_a_signal_while_a_run_validates_is_heard_at_the_next_image(
    saved: int,
    named: str,
    train: Train,
    make_config: MakeConfig,
    fitted: Callable[[Fit], None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The folder of one that has saved nothing yet stays, for the command that goes on."""

    def validate(callbacks: list[Any]) -> None:
        validation, saver = callbacks[1], callbacks[-1]
        saver.step, saver.saved_step = 3, saved
        validation.on_image(1, 500)
        os.kill(os.getpid(), signal.SIGTERM)
        validation.on_image(2, 500)

    fitted(validate)
    with pytest.raises(RunInterrupted, match=f"by SIGTERM after step 3 of 3, of which {named} are saved"):
        train(make_config(), tmp_path / "run", Console(file=io.StringIO()))
    assert "SIGTERM: stopping after this step or image; a second one stops at once" in capfd.readouterr().err
    assert (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals send nothing there")
def test_a_terminal_that_closes_says_so_more_than_once(make_config: MakeConfig, tmp_path: Path) -> None:
    saver = Checkpointing(tmp_path, make_config(), 100, parts={})
    with saver.listening(Console(quiet=True)):
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        with pytest.raises(RunInterrupted, match="stopped by SIGHUP after step 0 of 100, which is saved"):
            saver.stop_if_asked()


def test_a_signal_that_the_caller_ignores_stays_ignored(make_config: MakeConfig, tmp_path: Path) -> None:
    saver = Checkpointing(tmp_path, make_config(), 100, parts={})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with saver.listening(Console(quiet=True)):
            signal.raise_signal(signal.SIGINT)
            saver.stop_if_asked()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_is_saved_every_so_many_minutes(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 35 steps, each of a minute, those after the 10th, the 20th and the 30th."""
    module, minute, saved = "fornet_keras.training.checkpointing", 0, []
    monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=lambda: 60.0 * minute))
    monkeypatch.setattr(f"{module}.capture", lambda model, step, state: step)
    monkeypatch.setattr(f"{module}.save_checkpoint", lambda step, folder, keep: saved.append(step))
    saver = Checkpointing(tmp_path, make_config(training={"checkpoint_minutes": 10}), 100, parts={})
    saver.set_model(SimpleNamespace())
    for minute in range(1, 36):
        saver.on_train_batch_end(minute, {})
    assert saved == [10, 20, 30]


def test_the_time_of_before_the_interruption_counts(make_config: MakeConfig, tmp_path: Path) -> None:
    before = Checkpoint(5, {}, {"seconds": 100.0, "backend": keras.backend.backend()})
    saver = Checkpointing(tmp_path, make_config(), 100, {}, before)
    assert 100 <= saver.seconds < 200


@pytest.mark.parametrize(
    ("error", "saved", "kept"),
    [
        (errno.ENOSPC, 0, "there is no checkpoint yet"),
        (errno.ENOSPC, 2, "the checkpoint of step 2 is as it was"),
        (errno.ENOTCONN, 2, "the checkpoint of step 2 is as it was"),
    ],
)
def test_a_disk_that_is_full_or_gone_while_a_model_is_written(
    error: int,
    saved: int,
    kept: str,
    train: Train,
    make_config: MakeConfig,
    fitted: Callable[[Fit], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And takes no more of TensorBoard's file when that is closed."""
    full, close = OSError(error, os.strerror(error)), EventLog.close

    def close_full(log: EventLog) -> None:
        close(log)
        raise full

    def fill(callbacks: list[Any]) -> None:
        callbacks[-1].saved_step = saved
        raise full

    fitted(fill)
    monkeypatch.setattr(EventLog, "close", close_full)
    message = (
        rf"run: could not be written or read \({os.strerror(error)}\); {kept}; make room, or bring the disk "
    )
    with pytest.raises(TrainingError, match=message):
        train(make_config(), tmp_path / "run")


def test_a_reader_that_is_gone_is_no_full_disk(tmp_path: Path, make_config: MakeConfig) -> None:
    saver = Checkpointing(tmp_path, make_config(), 100, parts={})
    with pytest.raises(BrokenPipeError), saver.disk_errors():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    with pytest.raises(socket.gaierror), saver.disk_errors():  # of a callback
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_checkpoint_of_an_earlier_version_is_named(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = Checkpoint(5, {}, {"seconds": 100.0, "backend": keras.backend.backend()})
    monkeypatch.setattr("fornet_keras.training.checkpointing.newest", lambda folder: (earlier, []))
    message = f"^{tmp_path / 'checkpoints'}: saved by an earlier version; continue with that, or begin a new"
    with pytest.raises(TrainingError, match=message):
        find_checkpoint(tmp_path, make_config(), True, Console(quiet=True))


def test_a_run_that_stops_early_says_why() -> None:
    training = TrainingConfig(epochs=100, batch_size=1, patience=3)
    for patience, why in (
        (True, "no better mIoU in 3 validations (training.patience)"),
        (False, "a callback asked for it"),
    ):
        console = Console(file=io.StringIO(), width=200)
        validation = SimpleNamespace(best_epoch=9, out_of_patience=patience)
        saver = SimpleNamespace(step=36, steps_per_epoch=3)
        _say_who_ended(training, validation, saver, ProgressLine(console, training, 3))
        assert console.file.getvalue() == f"stopped after epoch 12 of 100: {why}\n"


def test_a_run_that_stops_early_outlives_its_terminal() -> None:
    training = TrainingConfig(epochs=100, batch_size=1, patience=3)
    line = ProgressLine(Console(file=GoneTerminal()), training, 3)
    saver = SimpleNamespace(step=36, steps_per_epoch=3)
    _say_who_ended(training, SimpleNamespace(out_of_patience=True), saver, line)


def test_a_run_that_a_callback_ends_before_it_was_validated(
    train: Train, make_config: MakeConfig, fitted: Callable[[Fit], None], tmp_path: Path
) -> None:
    def end(callbacks: list[Any]) -> None:
        callbacks[-1].step = callbacks[-1].total_steps - 1

    fitted(end)
    message = "a callback ended the run after step 5, before its first validation; .* training.validate_every"
    with pytest.raises(TrainingError, match=message):
        train(make_config(training={"epochs": 2, "validate_every": 2}), tmp_path / "run")


def test_the_best_model_stays_and_patience_ends_the_run(
    camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second of ten epochs is scored: the 0.5 of epoch 8 is not better than that of epoch 4.

    What is scored and saved is the moving average, and training goes on with its own weights.
    """
    module = "fornet_keras.training.validation"
    miou, saved, stops = iter((0.3, 0.5, 0.4, 0.5, 0.45)), [], []
    weight, average = keras.Variable(np.zeros(3)), np.ones(3)

    def now() -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(weight))

    def save(model: Any, table: Any, folder: Path) -> None:
        np.testing.assert_array_equal(now(), average)
        saved.append(folder.name)

    def evaluate(*_: Any, **__: Any) -> SimpleNamespace:
        np.testing.assert_array_equal(now(), average)
        matrix = SimpleNamespace(miou=next(miou), iou=[1.0], pixel_accuracy=1.0)
        return SimpleNamespace(matrix=matrix, class_names=["road"], error_coverage=1.0)

    monkeypatch.setattr(f"{module}.evaluate", evaluate)
    monkeypatch.setattr(f"{module}.Predictor", lambda model: None)
    monkeypatch.setattr(f"{module}.PICTURES", 0)
    monkeypatch.setattr(f"{module}.save_model", save)
    model = SimpleNamespace(get_weights=lambda: [now()], short_side=None, stop_training=False)
    model.trainable_variables = [weight]
    model.optimizer = SimpleNamespace(use_ema=True, _model_variables_moving_average=[average])
    dataset = open_dataset("camvid", camvid, "val")
    settings = TrainingConfig(epochs=10, batch_size=1, validate_every=2, patience=3)
    validation = Validation(dataset, Path(), settings, on_image=lambda *_: None)
    validation.set_model(model)
    for epoch in range(10):
        logs: dict[str, float] = {}
        validation.on_epoch_end(epoch, logs)
        assert not now().any()
        assert ("val_miou" in logs) == (epoch % 2 == 1)
        stops.append(model.stop_training)
    assert saved == ["last", "best", "last", "best", "last", "last", "last"]
    assert (validation.best_miou, validation.best_epoch, logs["val_best_miou"]) == (0.5, 4, 0.5)
    assert stops == [False] * 9 + [True]

    weight.assign([0, np.nan, 0])
    with pytest.raises(TrainingError, match="a weight is not a finite number after epoch 10; "):
        validation.on_epoch_end(9, {})
    assert len(saved) == 7


def test_what_checkpoints_say_of_the_images_is_found_once(
    camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset("camvid", camvid, "val")
    settings = TrainingConfig(epochs=1, batch_size=1)
    validation = Validation(dataset, Path(), settings, on_image=lambda *_: None)
    for part in (validation, TrainingBatches(dataset, AugmentConfig(crop=(64, 96)), batch_size=1, seed=0)):
        before = part.state
        monkeypatch.setattr(f"{type(part).__module__}.images_of", None)
        part.state = before
        assert part.state == before


def test_patience_that_had_begun_goes_on(camvid: Path, tmp_path: Path) -> None:
    dataset = open_dataset("camvid", camvid, "val")
    settings = TrainingConfig(epochs=9, batch_size=1, patience=2)
    validation = Validation(dataset, tmp_path, settings, on_image=lambda *_: None)
    (tmp_path / "best").mkdir()
    validation.state = known = {**validation.state, "best_miou": 0.5, "best_epoch": 3, "since_best": 2}
    assert validation.state == known and validation.out_of_patience
