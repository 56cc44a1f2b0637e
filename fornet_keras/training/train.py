"""One training run, from a configuration to a folder with the models, the logs and the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
from rich.console import Console

from fornet_keras.atomic import last_complete
from fornet_keras.config import Config, TrainingConfig
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.errors import RunInterrupted, TrainingError
from fornet_keras.evaluation.evaluate import Scores
from fornet_keras.model import FoRNet
from fornet_keras.training.absolute_paths import with_absolute_paths
from fornet_keras.training.accelerator import announce_device
from fornet_keras.training.build import make_model
from fornet_keras.training.checkpoint import Checkpoint
from fornet_keras.training.checkpointing import Checkpointing, Stateful, find_checkpoint
from fornet_keras.training.conclude import conclude
from fornet_keras.training.devices import ALONE, Processes, on_devices, require_same_step, synchronize
from fornet_keras.training.finite import StopOnNaN
from fornet_keras.training.fit_selector import SELECTOR_EPOCHS, fit_selector_of_best
from fornet_keras.training.open_data import LabelState, at_learnt_side, open_data, open_decoded
from fornet_keras.training.progress import ProgressLine
from fornet_keras.training.report import save_first_batches
from fornet_keras.training.run_folder import (
    RESULT,
    check_run_folder,
    clear,
    is_empty,
    only_run,
    result_at,
    write_config,
)
from fornet_keras.training.run_log import RunLog
from fornet_keras.training.schedule import require_all_steps, schedule_notes
from fornet_keras.training.settled import settled
from fornet_keras.training.teacher import TeacherState
from fornet_keras.training.validation import Validation


def train(
    config: Config,
    output: str | Path,
    console: Console | None = None,
    resume: bool = False,
    processes: Processes = ALONE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[dict[str, Any], Scores]:
    """Train a `FoRNet` as a configuration says.

    Args:
        config: a `Config` whose `data.root` is set.
        output: path of the run folder; made new.
        console: where progress is shown; None shows none.
        resume: go on with the run in `output`, from its newest checkpoint that is whole, as if it had never
            stopped; a run that was not there or had saved nothing yet begins anew.
        processes: those that train together, from `join_processes`.
        callbacks: also called, after the run's own, in each process: an epoch's logs have its `val_miou`,
            whose direction must be said: `EarlyStopping("val_miou", mode="max")`. One may end the run, at the
            end of an epoch. What they know is theirs: a run that goes on restores nothing of it, and begins
            them twice where an epoch was broken off, for its rest and for the other epochs.

    Returns:
        The result that is also written to `result.json`, and the `Scores` of the best model.

    Raises:
        ConfigError: no data folder is given, a path is not UTF-8, the run folder is in use, of another
            run that goes on or of another configuration, its run has learnt from other images or another
            teacher, or with another backend, several processes find it at different steps, or Keras' own
            limits would end it early.
        DataError: the data cannot be used.
        ModelError: the backbone, `model.weights` or the teacher cannot be read, the network is larger than
            can be saved, `model.weights` do not fit it, or the teacher has other classes.
        TrainingError: the loss became NaN or infinite, a checkpoint could not be written, none of the run's
            is whole, or a callback ended it before its first validation.
        TypeError: `config` is something else, such as the name of one, or `callbacks` is one alone.
        RunInterrupted: Ctrl-C, SIGTERM or a closed terminal; the run is saved, in a validation what its last
            checkpoint has, and can be resumed.

    Example, with Weights & Biases:
        wandb.init(project="city", config=config.by_key())
        log = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: wandb.log(logs, epoch + 1))
        train(config, Path("runs/city"), callbacks=[log])
    """
    if not isinstance(config, Config):
        raise TypeError(f"config must be a Config, which read_config gives; received {config!r}")
    if isinstance(callbacks, keras.callbacks.Callback):
        raise TypeError(
            f"callbacks must be a list, such as [{type(callbacks).__name__}(...)]; received one alone"
        )
    output = Path(output)
    config = settled(with_absolute_paths(config), output, resume)
    resumed = partial(find_checkpoint, output, config, resume)
    if processes.rank:
        # Other ranks train identically; their output goes to a temporary folder.
        with TemporaryDirectory() as folder:
            # The best model and the result from before the resume.
            if (best := last_complete(output / "best")).exists():
                shutil.copytree(best, Path(folder) / "best")
            if (output / RESULT).exists():
                shutil.copy(output / RESULT, folder)
            return _train(config, Path(folder), Console(quiet=True), processes, resumed, callbacks)
    check_run_folder(output, resume)
    with only_run(output):
        return _train(config, output, console or Console(quiet=True), processes, resumed, callbacks)


def _train(
    config: Config,
    output: Path,
    console: Console,
    processes: Processes,
    find_resumed: Callable[[Console], Checkpoint | None],
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[dict[str, Any], Scores]:
    """Train in this process, alone or with others."""
    require_all_steps()
    training = config.training
    resumed = find_resumed(console)  # first: another run's is refused before its data are looked through
    require_same_step(resumed.step if resumed else 0, processes)
    train_set, val_set, report, val_report = open_data(config, console)
    console.print(f"run folder: {output}", highlight=False, markup=False)
    decoded = open_decoded(train_set, config, console)
    is_new = is_empty(output)
    ended = result_at(output, resumed.step) if resumed else None

    batches = TrainingBatches.of_run(train_set, config, decoded, (processes.rank, processes.count))
    steps = batches.steps_per_epoch
    for note in schedule_notes(config, training.epochs * steps):
        console.print(note, highlight=False)
    line = ProgressLine(console, training, steps)

    def on_val_image(done: int, total: int) -> None:
        line.show(f"validating {done}/{total}")
        saver.stop_if_asked()

    validation = Validation(val_set, output, training, on_val_image)
    log = RunLog(output, validation, batches)
    parts: dict[str, Stateful] = {"validation": validation, "data": batches}
    if config.loss.teacher:
        parts["teacher"] = TeacherState(Path(config.loss.teacher))
    parts["labels"] = LabelState(train_set.root, report, val_report)
    parts["log"] = log
    saver = Checkpointing(output / "checkpoints", config, steps, parts, resumed)
    with (
        _free_if_nothing_was_learnt(output, is_new, log, saver),
        saver.disk_errors(),
        closing(log),
        closing(line),
    ):
        write_config(output, config)  # before all else: nothing goes on without it
        if not is_new:
            log.rewind(saver.step // steps)
        log.note_settings(config.by_key())
        pictures = output / "pictures"
        pictures.mkdir(exist_ok=True)
        line.begin(saver.step)
        with saver.listening(console), on_devices(training.devices, training.batch_size, processes):
            save_first_batches(pictures / "first_batches.png", batches)
            device = announce_device(max(training.devices, processes.count), console)
            learnt = at_learnt_side(config, report)
            model = make_model(learnt, batches, report.pixels, console, not resumed)
            synchronize(model, processes)
            own = [StopOnNaN(batches), validation, log, line]
            _fit(model, config, batches, [*own, *callbacks, saver], validation, saver)
            if saver.step < saver.total_steps:
                _require_scored(validation, saver)
                _say_who_ended(training, validation, saver, line)
        if ended and saver.step > ended["steps"]:
            ended = None  # a callback had ended it, and it went on
        if training.selector_epochs and not ended:
            fit_selector_of_best(config, batches, validation, saver, line)
        begins_anew = SELECTOR_EPOCHS if training.selector_epochs and not ended else ""
        with saver.listening(console, begins_anew):
            if ended:
                line.say("the run had ended: its best model is scored once more")
                return ended, validation.score_best()
            return conclude(device, validation, log, saver, model.count_params())


@contextmanager
def _free_if_nothing_was_learnt(
    output: Path, is_new: bool, log: RunLog, saver: Checkpointing
) -> Iterator[None]:
    """In the block, a new run that fails before its first epoch or checkpoint leaves nothing in its folder.

    So the corrected command may use the same one.
    """
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, RunInterrupted)  # and told to go on, with the folder's config.yaml
        if is_new and not log.rows and not saver.saved_step and not stopped:
            clear(output)
        raise


def _fit(
    model: FoRNet,
    config: Config,
    batches: TrainingBatches,
    callbacks: Sequence[keras.callbacks.Callback],
    validation: Validation,
    saver: Checkpointing,
) -> None:
    """Train from where `saver` stands to the end."""
    steps = batches.steps_per_epoch
    while saver.step < saver.total_steps and not validation.out_of_patience:
        # Of a run that a callback had ended, and that now goes on.
        (validation.folder / RESULT).unlink(missing_ok=True)
        epoch, done = divmod(saver.step, steps)
        saver.restore(model)
        with data_errors(batches):
            model.fit(
                fit_input(batches, config.training.workers, saver.step),
                initial_epoch=epoch,
                # The rest of an epoch that was broken off comes by itself: one `fit`, one number of steps.
                epochs=epoch + 1 if done else config.training.epochs,
                steps_per_epoch=steps - done,
                callbacks=[*callbacks],
                shuffle=False,
                verbose=0,
            )
        if model.stop_training:
            return


def _require_scored(validation: Validation, saver: Checkpointing) -> None:
    if not validation.best_epoch:
        raise TrainingError(
            f"a callback ended the run after step {saver.step}, before its first validation; expected one; "
            "set a smaller training.validate_every, or go on with --resume"
        )


def _say_who_ended(
    training: TrainingConfig, validation: Validation, saver: Checkpointing, line: ProgressLine
) -> None:
    epoch = -(-saver.step // saver.steps_per_epoch)
    patience = f"no better mIoU in {training.patience} validations (training.patience)"
    why = patience if validation.out_of_patience else "a callback asked for it"
    line.say(f"stopped after epoch {epoch} of {training.epochs}: {why}")
