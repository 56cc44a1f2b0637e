"""What a run that does not come to its end says and leaves; none of them trains."""

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fornet_keras.config import Config
from fornet_keras.errors import RunInterrupted, TrainingError
from fornet_keras.training.progress import ProgressLine

Train = Callable[..., Any]
MakeConfig = Callable[..., Config]
Fit = Callable[[list[Any]], None]


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fit], None]:
    """Let a function of the callbacks take the place of all training."""
    module = "fornet_keras.training.train"

    def instead(fit: Fit) -> None:
        model = SimpleNamespace(fit=lambda x, callbacks, **_: fit(callbacks))
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


@pytest.mark.parametrize(
    ("saved", "kept"), [(0, "there is no checkpoint yet"), (2, "the checkpoint of step 2 is as it was")]
)
def test_a_disk_that_is_full_while_a_model_is_written(
    saved: int,
    kept: str,
    train: Train,
    make_config: MakeConfig,
    fitted: Callable[[Fit], None],
    tmp_path: Path,
) -> None:
    def fill(callbacks: list[Any]) -> None:
        callbacks[-1].saved_step = saved
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fitted(fill)
    message = rf"run: could not be written \(No space left on device\); {kept}; make room and continue with "
    with pytest.raises(TrainingError, match=f"{message}--resume"):
        train(make_config(), tmp_path / "run")


def test_a_run_that_stops_early_says_why(make_config: MakeConfig) -> None:
    console = Console(file=io.StringIO(), width=200)
    line = ProgressLine(console, make_config(training={"epochs": 100, "patience": 3}).training, 3)
    for epoch, stops in ((10, False), (11, True)):
        line.set_model(SimpleNamespace(stop_training=stops))
        line.on_epoch_begin(epoch)
        line.on_epoch_end(epoch, {"loss": 0.5})
    *_, before, last = console.file.getvalue().splitlines()
    assert before.startswith("epoch 12/100")
    assert last == "stopped after epoch 12 of 100: no better mIoU in 3 validations (training.patience)"
