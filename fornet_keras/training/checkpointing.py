"""When a run's state is saved, and what a signal does to a run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import keras
from rich.console import Console

from fornet_keras.config import Config
from fornet_keras.errors import ConfigError, RunInterrupted, TrainingError, os_reason
from fornet_keras.training.checkpoint import Checkpoint, capture, newest, restore, save_checkpoint
from fornet_keras.training.run_folder import RESULT, require_same_settings

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN)
"""What a disk that is full, read-only or gone answers to a write, which does not name the file."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if sys.platform == "win32" else [signal.SIGHUP]))
"""Ctrl-C, the end that a system or a job's owner asks for, and a terminal that closes."""


class Stateful(Protocol):
    """A callback with state that a run needs to go on."""

    state: dict[str, Any]


class Checkpointing(keras.callbacks.Callback):
    """Saves the run's state from time to time, at its end, and when the process is asked to stop.

    Must be the last of the callbacks: at the end of an epoch the others' work belongs to the state.

    Args:
        folder: where the checkpoints are kept.
        config: of the run, which is saved too; says how long it is, how often it is saved, and how many
            checkpoints are kept.
        steps_per_epoch: steps of an epoch.
        parts: name → callback whose `state` is saved too.
        resumed: the checkpoint that the run goes on from, or None.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        steps_per_epoch: int,
        parts: dict[str, Stateful],
        resumed: Checkpoint | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.steps_per_epoch = steps_per_epoch
        self.config = config
        self.total_steps = config.training.epochs * steps_per_epoch
        self.parts = parts
        self.step = resumed.step if resumed else 0
        self.saved_step = self.step
        self.latest = resumed
        self._started = time.perf_counter()
        self._seconds_before = 0.0
        self._last_save = self._started
        self._asked_to_stop: signal.Signals | None = None
        self._begins_anew = ""
        self._before: dict[signal.Signals, Any] = {}
        if resumed:
            self._seconds_before = resumed.state["seconds"]
            for name, part in parts.items():
                part.state = resumed.state[name]

    @property
    def seconds(self) -> float:
        """Time that the run has taken, that before it was interrupted included."""
        return self._seconds_before + time.perf_counter() - self._started

    def restore(self, model: keras.Model) -> None:
        """Bring a model to where the run stands; one of a run that begins is left as it is."""
        if self.latest:
            restore(model, self.latest)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.step % self.steps_per_epoch:
            # `fit` has just put the metrics back to zero, in the middle of an epoch.
            self.restore(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.step += 1
        # The last step of an epoch is saved at its end, with what validation finds.
        if self.step % self.steps_per_epoch:
            self._save_if_due()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        ends = self.step >= self.total_steps or self.model.stop_training
        # After the rest of a broken-off epoch, Keras puts its moving average in the place of the weights.
        broken_off = self.params["steps"] < self.steps_per_epoch
        if broken_off:
            self.latest = self._capture()
        # Training may not repeat exactly (on a GPU), so the checkpoint must match the best model on the disk.
        is_best = "val_miou" in logs and logs["val_miou"] == logs["val_best_miou"]
        self._save_if_due(now=ends or is_best)

    @contextmanager
    def listening(self, console: Console, begins_anew: str = "") -> Iterator[None]:
        """In the block, Ctrl-C, SIGTERM and a closed terminal let the step end and be saved.

        A second one stops at once, but for the terminal's, which sends several.

        Args:
            console: one that is quiet keeps the line about the first of them to itself.
            begins_anew: what is not saved in here, for the line about a run that stopped.
        """
        self._begins_anew = begins_anew
        self._tells = not console.quiet
        before = {number: signal.getsignal(number) for number in SIGNALS}
        # As nohup sets SIGHUP, and a script that starts a run in the background SIGINT.
        self._before = {number: found for number, found in before.items() if found != signal.SIG_IGN}
        try:
            for number in self._before:
                signal.signal(number, self._on_signal)
        except ValueError:  # not the main thread, which alone hears signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        heard = signal.Signals(number)
        if self._asked_to_stop:
            if heard.name == "SIGHUP":
                return
            handler = self._before[heard]
            if callable(handler):
                handler(number, frame)
            raise KeyboardInterrupt
        self._asked_to_stop = heard
        if self._tells:
            # Not through the console, whose locks what was interrupted may hold.
            said = f"\n{heard.name}: stopping after this step or image; a second one stops at once\n"
            with suppress(OSError):  # `tee` has heard Ctrl-C too, and is gone
                os.write(2, said.encode())

    def _save_if_due(self, now: bool = False) -> None:
        due = time.perf_counter() - self._last_save >= 60 * self.config.training.checkpoint_minutes
        if now or due or self._asked_to_stop:
            self.latest = self._capture()
            save_checkpoint(self.latest, self.folder, self.config.training.keep_checkpoints)
            self.saved_step = self.step
            self._last_save = time.perf_counter()
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raise `RunInterrupted` where a signal has come in; also in a validation and after the last step."""
        if not self._asked_to_stop:
            return
        saved = "which is saved"
        if self.saved_step < self.step:  # a validation is not broken off and gone on with
            saved = f"of which {self.saved_step or 'none'} are saved"
        if self._begins_anew:
            saved += f"; {self._begins_anew} begin anew"
        raise RunInterrupted(
            f"stopped by {self._asked_to_stop.name} after step {self.step} of {self.total_steps}, {saved}",
            self._asked_to_stop,
        )

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """In the block, a disk that is full, gone or forbidden is an error that says how the run goes on."""
        try:
            yield
        except OSError as error:
            if error.filename is None and error.errno not in DISK_ERRORS:  # a callback's, of a network
                raise
            step = self.saved_step
            kept = f"the checkpoint of step {step} is as it was" if step else "there is no checkpoint yet"
            raise TrainingError(
                f"{error.filename or self.folder.parent}: could not be written or read "
                f"({os_reason(error)}); {kept}; make room, or bring the disk back, and continue with --resume"
            ) from error

    def _capture(self) -> Checkpoint:
        state = {name: part.state for name, part in self.parts.items()}
        began_with = {"backend": keras.backend.backend(), "config": self.config.model_dump(mode="json")}
        return capture(self.model, self.step, {**state, **began_with, "seconds": self.seconds})


def find_checkpoint(output: Path, config: Config, resume: bool, console: Console) -> Checkpoint | None:
    """The newest checkpoint of a run, None of one that begins, and a line about it and each rejected one.

    Raises:
        ConfigError: the run began with another configuration or backend.
        TrainingError: none of its checkpoints is whole, or they are an earlier version's.
    """
    folder = output / "checkpoints"
    checkpoint, rejected = newest(folder)
    for line in rejected:
        console.print(f"not used: {line}", highlight=False)
    if checkpoint:
        if "config" not in checkpoint.state:
            raise TrainingError(
                f"{folder}: saved by an earlier version; continue with that, or begin a new run with another "
                f"--output and model.weights={output}"
            )
        require_same_settings(output, checkpoint.state["config"], config)
        began_with = checkpoint.state["backend"]
        if began_with != keras.backend.backend():
            raise ConfigError(
                f"{output}: the run began with the backend {began_with} and this is "
                f"{keras.backend.backend()}, which rounds otherwise; continue with --backend {began_with}"
            )
        console.print(f"going on after step {checkpoint.step}", highlight=False)
    elif rejected or (output / RESULT).exists():
        raise TrainingError(
            f"{folder}: no checkpoint in it is whole, and to begin anew would replace the models of the run "
            f"that was; choose another --output, or move {output} away"
        )
    elif resume:
        console.print(f"nothing to resume in {output}: a new run begins", highlight=False)
    return checkpoint
