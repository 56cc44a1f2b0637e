import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from fornet_keras.config import Config, dump_config, read_config
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ConfigError
from fornet_keras.model_folder import save_model
from fornet_keras.shipped import SHIPPED
from fornet_keras.training import run_log
from fornet_keras.training.absolute_paths import with_absolute_paths
from fornet_keras.training.run_folder import (
    clear,
    only_run,
    require_same_settings,
    result_at,
    write_config,
)
from fornet_keras.training.run_log import RunLog
from fornet_keras.training.settled import settled
from tests.model.tiny import tiny_model

Train = Callable[..., Any]
MakeConfig = Callable[..., Config]


def test_paths_mean_the_same_from_anywhere(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir("/")
    places: dict[str, dict[str, str]] = {
        "data": {"root": "tmp", "cache": "~/cache"},
        "model": {"weights": "runs/first"},
    }
    config = make_config(**places, loss={"teacher": "fornet_s_camvid"})
    found = with_absolute_paths(config)
    assert (found.data.root, found.data.cache) == ("/tmp", "/home/somebody/cache")
    assert (found.model.weights, found.loss.teacher) == ("/runs/first", str(SHIPPED / "fornet_s_camvid"))


@pytest.mark.parametrize("section", [{"data": {"cache": "here"}}, {"loss": {"teacher": "here"}}])
def test_a_path_that_a_configuration_cannot_have(
    section: dict[str, Any], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "\udcff").mkdir()
    monkeypatch.chdir(tmp_path / "\udcff")
    with pytest.raises(ConfigError, match=r"/\\udcff/here: its name is not UTF-8, .* name a link to it$"):
        with_absolute_paths(make_config(**section))


def test_a_run_goes_on_with_the_sizes_of_weights_that_are_gone(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    table = LabelTable(("a", "b", "c"), ((0, 0, 0),) * 3, {})
    save_model(tiny_model(context_filters=16), table, tmp_path / "model")
    config = make_config(model={"preset": None, "weights": str(tmp_path / "model")})
    began = settled(config, tmp_path / "run", resume=False)
    assert (began.model.preset, began.model.context_filters, began.model.widths) == ("s", 16, (8, 8, 8, 8))
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run", began)
    shutil.rmtree(tmp_path / "model")
    assert settled(config, tmp_path / "run", resume=True) == began
    assert settled(make_config(model={"preset": None}), tmp_path, resume=False).model.preset == "s"


def test_what_may_not_go_stays_when_a_run_folder_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows that is the lock, which is held."""
    for name in (".lock", "config.yaml", "pictures/curves.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    unlink = Path.unlink

    def held(path: Path) -> None:
        if path.name == ".lock":
            raise PermissionError(path)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", held)
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_table_that_is_open_elsewhere_is_written_with_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunLog(tmp_path, Mock(class_iou={}, pictures=[]), Mock(batch_size=2, steps_per_epoch=1))
    log.close()
    log.rows = [{"epoch": 1, "loss": 0.5}]
    monkeypatch.setattr(run_log, "write_text", Mock(side_effect=PermissionError))
    log._write()
    monkeypatch.undo()
    log.close()
    assert (tmp_path / "log.csv").read_text().splitlines()[1].startswith("1,,0.5,")


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_share_of_the_time_in_which_batches_were_waited_for(
    ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two batches comes 3 s after the epoch's begin, the second while the first is learnt.

    On a GPU, Keras on JAX waits for the batch after each.
    """
    if ahead:
        monkeypatch.setattr("keras.backend.backend", lambda: "jax")
        monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    batches = Mock(batch_size=2, steps_per_epoch=2, ready={4 + ahead: 103.0, 5 + ahead: 104.0})
    log = RunLog(tmp_path, Mock(class_iou={}, pictures=[]), batches)
    log.set_params({"steps": 2})
    log.set_model(Mock(optimizer=Mock(learning_rate=0.1)))
    now = iter([100.0, 106.0, 112.0, 120.0])
    monkeypatch.setattr(run_log, "time", Mock(perf_counter=lambda: next(now)))
    log.on_epoch_begin(2)
    for batch in range(2):
        log.on_train_batch_end(batch, {})
    log.on_epoch_end(2, {"loss": 0.5})
    log.close()
    (row,) = log.rows
    assert (row["data_wait"], row["seconds"], row["images_per_second"]) == (3 / 12, 20, 4 / 12)
    assert not batches.ready


def test_the_time_of_an_epoch_that_was_broken_off_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off 7 s after its begin, its rest takes 5 s, and the whole epoch after it 2 s."""
    now = 100.0
    monkeypatch.setattr(run_log, "time", Mock(perf_counter=lambda: now))
    batches = Mock(batch_size=2, steps_per_epoch=2, ready={})
    states: list[dict[str, Any]] = [{"rows": [], "learning_rate": 0.1, "seconds": 0.0}]
    for steps, seconds in ((2, 7.0), (1, 5.0), (2, 2.0)):
        log = RunLog(tmp_path, Mock(class_iou={}, pictures=[]), batches)
        log.state = states[-1]
        log.set_params({"steps": steps})
        log.set_model(Mock(optimizer=Mock(learning_rate=0.1)))
        log.on_epoch_begin(0)
        now += seconds
        log.on_train_batch_end(0, {})
        states.append(log.state)
        if seconds < 7:
            log.on_epoch_end(0, {"loss": 0.5})
        log.close()
    assert [row["seconds"] for row in log.rows] == [12, 2]


def test_what_may_lie_elsewhere_when_a_run_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """What else would be learnt is refused by its content: the images, the teacher, the network's shapes."""

    def set_to(**values: Any) -> Config:
        data = config.data.model_copy(update={k: v for k, v in values.items() if k == "exclude"})
        model = config.model.model_copy(update={k: v for k, v in values.items() if k == "backbone"})
        return config.model_copy(update={"data": data, "model": model})

    config = make_config()
    began_with = set_to(backbone="keras_hub:/there", exclude=("bad_",)).model_dump(mode="json")
    require_same_settings(tmp_path, began_with, set_to(backbone="keras_hub:/here"))
    for other in ("keras_cv:/here", "keras_hub:resnet_18_imagenet", None):
        with pytest.raises(ConfigError, match="model.backbone was keras_hub:/there and is "):
            require_same_settings(tmp_path, began_with, set_to(backbone=other))


def test_what_the_command_sets_otherwise_is_to_be_left_out(make_config: MakeConfig, tmp_path: Path) -> None:
    """Where the run's own file is as it was; a run that is to be longer is a new one."""
    config = make_config()
    began_with = config.model_dump(mode="json")
    own = tmp_path / "config.yaml"
    own.write_text(dump_config(config))
    with pytest.raises(ConfigError) as error:
        require_same_settings(tmp_path, began_with, read_config(own, ["training.epochs=99"]))
    new = f"or begin a new run in another --output, to train longer with model.weights={tmp_path}"
    assert str(error.value).endswith(
        f" and is 99 here; resume with --config {own} and without another training.epochs, {new}"
    )
    own.write_text(dump_config(read_config(own, ["training.epochs=99"])))
    with pytest.raises(ConfigError) as error:
        require_same_settings(tmp_path, began_with, read_config(own, ["model.preset=s"]))
    back = "set back in it what was edited, training.epochs and without another model.preset, or begin"
    assert back in str(error.value)


def test_a_damaged_result_is_none(tmp_path: Path) -> None:
    """The run makes it again; but where it is whole, and only there, the run had ended."""
    for text, found in (('{"steps": 9}', {"steps": 9}), ("{", None), ("[]", None), ("{}", None)):
        (tmp_path / "result.json").write_text(text)
        assert (result_at(tmp_path, 9), result_at(tmp_path, 6)) == (found, None)


def test_a_run_folder_in_use(train: Train, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch")
    with pytest.raises(
        ConfigError, match="the run folder is not empty; .* --output, or continue its run with --resume"
    ):
        train(make_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_run_folder_that_another_run_writes_into(
    train: Train, make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with only_run(folder), pytest.raises(ConfigError, match="another run is writing into it; .* --output"):
        train(make_config(), folder)
    assert not folder.exists()


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_that_knows_no_locks_takes_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("fcntl.flock", refuse)
    tmp_path.joinpath("run").mkdir()
    with only_run(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()  # made by the user
