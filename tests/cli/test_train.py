import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from PIL import Image

from fornet_keras.cli.train import _run_folder
from fornet_keras.data.camvid import TABLE
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.errors import TrainingError
from tests.cli.conftest import Run, only_line
from tests.untraced import untraced


def test_train_leaves_a_run_folder_and_says_what_next(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    joined = ("--set", "data.train_split=train+test")
    with untraced():
        result = run("train", "--config", config, "--data", data, "--json", "result.json", *joined)
    assert result.exit_code == 0
    assert "run folder: runs/harbour\n" in result.stderr.partition("epoch 1/1")[0]
    assert "harbour train+test: 4 images, 0 missing labels, 0 corrupt\n" in result.stderr
    assert re.search(r"^(TensorFlow|JAX|PyTorch) on .+$", result.stderr, re.MULTILINE)
    assert "epoch 1/1  loss " in result.stderr
    assert "Best model (epoch 1) on test" in result.stdout
    assert "the model was trained on test: these scores say nothing about other images" in result.stdout
    report = "fornet evaluate runs/harbour --report runs/harbour/report"
    assert report in result.stdout
    assert run(*report.split()[1:]).exit_code == 0 and Path("runs/harbour/report/index.html").is_file()
    assert "fornet predict runs/harbour IMAGE --output harbour_predicted" in result.stdout
    found = json.loads(Path("result.json").read_text())
    assert found == json.loads(Path("runs/harbour/result.json").read_text())
    assert {"backend", "epochs", "steps", "best_miou", "seconds", "model"} <= found.keys()
    assert (found["steps"], found["model"]) == (2, "runs/harbour/best")
    assert {path.name for path in Path("runs/harbour").iterdir()} >= {
        "best",
        "last",
        "config.yaml",
        "log.csv",
    }

    again = run("train", "--config", config, "--data", data)
    assert again.exit_code == 1
    assert "runs/harbour: the run folder is not empty" in only_line(again.stderr)

    resumed = run("train", "--config", "runs/harbour/config.yaml", "--resume")
    assert (resumed.exit_code, [*Path("runs").iterdir()]) == (0, [Path("runs/harbour")])
    assert "going on after step 2" in resumed.stderr


def test_resume_means_the_folder_of_its_configuration(tmp_path: Path) -> None:
    """Where that is a run's: also one killed before its first checkpoint, or copied without its lock."""
    for name in ("config.yaml", "pictures/first_batches.png", "checkpoints/other.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert _run_folder(tmp_path / "config.yaml", begins_none=True) == Path("runs/config")
    for begun in (".lock", "checkpoints/step_000000003"):
        (tmp_path / begun).mkdir()
        assert _run_folder(tmp_path / "config.yaml", begins_none=True) == tmp_path
        (tmp_path / begun).rmdir()
    (tmp_path / ".lock").touch()
    assert _run_folder(Path("configs/folder.yaml"), begins_none=True) == Path("runs/folder")


def test_a_run_does_not_begin_anew_where_resume_is_forgotten(
    run: Run, config: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "run" / "config.yaml"
    own.parent.mkdir()
    shutil.copy(config, own)
    (own.parent / ".lock").touch()
    result = run("train", "--config", own, "--data", data)
    ways = "expected --resume, which goes on with it, or --output DIR, in which a new one begins"
    assert (result.exit_code, f"Error: {own} is that of a run; {ways}\n" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "training.epoch=5"), "--set: unknown key 'training.epoch'; did you mean 'epochs'?"),
        (("--set", "training.epochs=two"), "--set: training.epochs='two' is a str, expected an int >= 1"),
        (("--set", "training.epochs"), "--set 'training.epochs': no '=', expected SECTION.KEY=VALUE"),
    ],
)
def test_wrong_setting(run: Run, config: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("train", "--config", config, *arguments)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {message}")


def test_wrong_key_in_the_file(run: Run, config: Path) -> None:
    config.write_text(config.read_text().replace("epochs", "epoch"))
    result = run("train", "--config", config)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(
        f"Error: {config}:5: unknown key 'training.epoch'; did you mean"
    )


def test_data_that_cannot_be_used(run: Run, config: Path, data: Path) -> None:
    result = run("train", "--config", config, "--output", data.parent / "run")
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith("Error: no data folder; expected `--data DIR`")
    (data / "labels" / "train" / "a.png").unlink()
    result = run("train", "--config", config, "--data", data, "--output", data.parent / "run")
    assert result.exit_code == 1
    summary, error = result.stderr.splitlines()
    assert summary == "harbour train: 2 images, 1 missing label, 0 corrupt"
    assert error.startswith("Error: harbour train: 2 images, 1 missing label, 0 corrupt; ")
    assert error.endswith("see all with `data check --config FILE --data DIR --split train`")
    assert not (data.parent / "run").exists()


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        (("--data", "harbuor"), "harbuor: no such folder"),
        (("--set", "data.val_split=val"), "harbour: has no split 'val'; expected one of test, train"),
        (("--set", "data.format=camvid"), "harbour: is not laid out as camvid data"),
    ],
)
def test_a_wrong_folder_is_said_before_a_backend_starts(
    settings: tuple[str, str],
    finding: str,
    run: Run,
    config: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(data.parent)
    monkeypatch.setattr("fornet_keras.cli.train.start_backend", None)
    result = run("train", "--config", config, "--data", data.name, *settings)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"Error: {finding}")


@pytest.mark.backend
def test_a_dry_run_estimates_and_leaves_nothing(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    output, result_file = tmp_path / "run", tmp_path / "estimate.json"
    options = ("--output", output, "--dry-run", "--json", result_file, "--set", "training.selector_epochs=2")
    with untraced():
        result = run("train", "--config", config, "--data", data, *options)
    assert result.exit_code == 0, result.stderr
    assert "time of the whole run" in result.stdout and not output.exists()
    found = json.loads(result_file.read_text())
    training = found["steps"] * found["seconds_per_step"]
    validations = 2 * 2 * found["seconds_per_validation_image"]
    assert found["seconds"] > training + validations > training > 0, "the Selector's epochs come on top"
    assert found["checkpoint_bytes"] > 3 * 4 * 17_000, "the weights, and two moments of each"
    assert found["peak_memory_bytes"] > 10_000_000


def test_an_estimate_counts_the_first_step_with_what_comes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from fornet_keras.training import dry_run

    now = iter([100, 130, *range(132, 150, 2)])
    monkeypatch.setattr(dry_run.time, "perf_counter", lambda: next(now))
    clock = dry_run._Clock()
    clock.set_model(SimpleNamespace(stop_training=False))
    steps = 0
    while not clock.model.stop_training:
        clock.on_train_batch_end(steps % 2, {"loss": 0.5})
        steps += 1
    assert (steps, clock.first, clock.seconds) == (1 + dry_run.TIMED_STEPS, 30, 2)
    assert clock.total(11) == 30 + 10 * 2


def test_an_estimate_counts_the_sizes_that_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten validations with one network and one with another; images brought down are one kind of two."""
    from fornet_keras.training import dry_run

    samples = []
    for height in (64, 64, 128, 100):
        samples.append(Sample(tmp_path / f"{height}.png"))
        Image.new("RGB", (height * 2, height)).save(samples[-1].image)
    val_set = Dataset("harbour", "val", tmp_path, TABLE, tuple(samples))

    def config(short_side: int | None) -> SimpleNamespace:
        return SimpleNamespace(
            data=SimpleNamespace(short_side=short_side), training=SimpleNamespace(workers=2)
        )

    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    for most, short_side, compiled in ((8, None, 3 * 2), (2, None, 3 * 11), (2, 100, 3 * 2), (1, 64, 2 * 2)):
        monkeypatch.setattr(dry_run, "MAX_SIZES", most)
        assert dry_run._compiled_sizes(val_set, config(short_side), passes=10, others=1) == compiled
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    assert dry_run._compiled_sizes(val_set, config(None), passes=10, others=1) == 2


def test_devices_are_a_setting(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Mock(side_effect=TrainingError("enough"))
    monkeypatch.setattr("fornet_keras.training.train.train", train)
    result = run("train", "--config", config, "--data", data, "--output", tmp_path / "run", "--devices", 3)
    assert only_line(result.stderr) == "Error: enough"
    assert train.call_args.args[0].training.devices == 3


def test_a_dry_run_of_several_processes(
    run: Run, config: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.training.devices import Processes

    monkeypatch.setattr("fornet_keras.training.devices.join_processes", lambda: Processes(0, 2))
    result = run("train", "--config", config, "--data", data, "--dry-run")
    assert result.exit_code == 2
    assert "--dry-run measures one process; start it without the launcher" in result.stderr


def test_a_dry_run_of_the_rest_of_a_run_is_refused(run: Run, config: Path) -> None:
    result = run("train", "--config", config, "--dry-run", "--resume")
    assert result.exit_code == 2
    assert "--dry-run measures a whole run, not the rest of one; give --resume alone" in result.stderr


def test_processes_part_after_a_run_but_not_after_an_error(
    run: Run, config: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom the others wait for must end, and not wait for them."""
    from fornet_keras.training import devices

    here, command = devices.Processes(1, 2), ("train", "--config", config, "--data", data)
    train = Mock(side_effect=[TrainingError("enough"), ({}, None)])
    monkeypatch.setattr(devices, "join_processes", lambda: here)
    monkeypatch.setattr(devices, "leave_processes", leave := Mock())
    monkeypatch.setattr("fornet_keras.training.train.train", train)
    assert only_line(run(*command).stderr) == "Error: enough"
    assert not leave.called
    assert run(*command).exit_code == 0
    leave.assert_called_once_with(here)
