import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from fornet_keras import shipped
from fornet_keras.cli.group import Group
from fornet_keras.cli.options import READ_AGAIN
from fornet_keras.cli.result import write_json
from fornet_keras.cli.root import main, root
from fornet_keras.cli.screen import quoted
from fornet_keras.errors import DataError, ModelError
from fornet_keras.version import __version__
from tests.cli.conftest import Run, only_line, parse

ROOT = Path(__file__).parents[2]


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, and the group, with the words that lead to it."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(root))


@pytest.mark.parametrize("path", [*COMMANDS], ids=" ".join)
def test_help_ends_with_an_example_that_can_be_pasted(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    _, _, examples = result.output.partition("\nExample")
    assert f"  fornet {' '.join(path)}".rstrip() in examples
    for example in COMMANDS[path].examples:
        parse(example)


@pytest.mark.parametrize(
    "path", [("benchmark",), ("data", "synthesize"), ("export",), ("predict",), ("summary",)], ids=" ".join
)
def test_help_writes_a_size_as_it_is_given(run: Run, path: tuple[str, ...]) -> None:
    assert re.search(r"--(size|window) HxW ", run(*path, "--help").output)


@pytest.mark.usefixtures("windows_line_ends")
def test_the_lines_of_json_end_as_they_do_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    (tmp_path / "link.json").symlink_to(path)
    for place in (path, tmp_path / "link.json"):
        write_json(place, {"a": 1})
        assert path.read_bytes() == b'{\n  "a": 1\n}\n'


def test_every_command_can_write_json() -> None:
    options = {
        path: {name for parameter in command.params for name in parameter.opts}
        for path, command in COMMANDS.items()
        if not isinstance(command, click.Group)
    }
    assert len(options) == 16
    assert all("--json" in names for names in options.values())


def test_version(run: Run) -> None:
    assert run("--version").output == f"fornet_keras {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evalute",), "No such command 'evalute'. Did you mean 'evaluate'?"),
        (("data", "chek"), "No such command 'chek'. (Did you mean one of: 'cache', 'check'?)"),
        (("train", "--ouput", "x"), "No such option '--ouput'. Did you mean '--output'?"),
        (("train", "--learning-rate", "1e-3"), "Did you mean '--set training.learning_rate=VALUE'?"),
        (("evaluate", ".", "--epochs", "1"), "No such option '--epochs'."),
        (("train",), "Missing option '--config'.\nFor example: fornet train --config configs/"),
        (("predict", ".", "--output", "x"), "Missing argument 'INPUT...'"),
        (
            ("train", "--config", "x.yaml", "--backend", "theano"),
            "'theano' is not one of 'tensorflow', ",
        ),
        (
            ("data", "synthesize", "--output", "x", "--size", "256"),
            "256 is not a size; expected HEIGHTx",
        ),
        (
            ("data", "synthesize", "--output", "x", "--size", "0x64"),
            "0x64 is not a size; expected HEIGHTx",
        ),
        (("data", "synthesize", "--output", "x", "--train", "0"), "0 is not in the range x>=1"),
        (("summary", ".", "--num-classes", "11"), "--num-classes is for a CONFIG (.yaml)"),
        (("evaluate", ".", "--config", "x.yaml", "--json", "."), "File '.' is a directory"),
        (
            ("evaluate", ".", "--config", "x.yaml", "--json", f"{__file__}/below/x.json"),
            f"{__file__}: is a file; expected a folder to write in; choose another",
        ),
        (("predict", ".", "x.png", "--output", ""), "'--output': is empty; expected a path; look whether a"),
        (
            ("predict", ".", "x.png", "--output", f"{__file__}/x"),
            f"'--output': {__file__}: is a file; expected a folder to write in; choose another",
        ),
        (("evaluate", ".", "--json", "-"), "-: there the command says other things; expected a FILE"),
        (("evaluate", ".", "--json", "/dev/stdout"), "/dev/stdout: there the command says other things"),
        (("data", "check", "--config", "camvid", "--data", ""), "'--data': is empty; expected a path; look"),
        (("compare", ".", ""), "'RUN...': is empty; expected a path; look whether a variable in its place"),
        (("evaluate", ".", "--json", ""), "'--json': is empty; expected a path; look whether a variable in"),
        (
            ("predict", "fornet_nano_camvid", str(ROOT / "docs" / "city.png"), "--device", "gpu"),
            "--device is for exported models; leave it out. Keras",
        ),
        (
            ("benchmark", "fornet_nano_camvid", "--threads", "2"),
            "--threads is for exported models and --against; leave it out",
        ),
        (
            ("benchmark", "fornet_nano_camvid", "--device", "gpu", "--against", "segformer_b0"),
            "--against is timed on the CPU; leave --device out",
        ),
        (
            ("export", ".", "--format", "openvino", "--size", "64x96", "--output", "x", "--static"),
            "--static needs --format onnx; LiteRT's graph always is",
        ),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (("evaluate", ".", "--top-k", value), f"'--top-k': {float(value)} is not in the range 0<x<=1.")
            for value in ("0", "1.01", "-0.5")
        ),
        (("evaluate", ".", "--top-k", "nan"), "'nan' is not a valid number."),
        (("evaluate", ".", "--top-k", "half"), "'half' is not a valid number."),
        (("evaluate", ".", "--curve", "0.5,nan"), "'nan' is not a valid number."),
        (("evaluate", ".", "--curve", "0.5;1"), "'0.5;1' is not a valid number."),
        (("evaluate", ".", "--scales", "0.5,5"), "'--scales': 5.0 is not in the range 0.1<=x<=4."),
        (("evaluate", ".", "--scales", ""), "'' is not a valid number."),
        (("predict", ".", "x.png", "--budget-ms", "nan"), "'nan' is not a valid number."),
        (("predict", ".", "x.png", "--budget-ms", "inf"), "'inf' is not a valid number."),
        (("data", "describe", ".", "--val", "nan"), "'nan' is not a valid number."),
        (("data", "describe", ".", "--val", "1"), "1.0 is not in the range 0<x<1."),
    ],
)
def test_numbers_are_in_their_range(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_the_home_folder_is_meant_where_something_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    command = ("data", "synthesize", "--train", 1, "--val", 1, "--size", "64x64")
    assert run(*command, "--output=~/city", "--json=~/made.json").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"city", "made.json"}
    assert run("data", "inspect", "--config=synthetic", "--data=~/city", "--output=~/seen").exit_code == 0
    assert (tmp_path / "seen").is_dir()
    assert shipped.find_config("~/city/x.yaml") == tmp_path / "city" / "x.yaml"


@pytest.mark.parametrize("arguments", [("summary", ""), ("train", "--config", ""), ("predict", "", "x.png")])
def test_an_empty_name_is_not_the_working_folder(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    expected = "is empty; expected a path or a name; look whether a variable in its place is set"
    assert only_line(result.stderr).endswith(expected)


def test_where_nothing_may_be_written_is_said_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "old.json").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    monkeypatch.chdir(tmp_path)
    message = f"{tmp_path}: no permission to write in it; expected a folder to write in; choose another"
    for name in ("old.json", "new.json"):
        assert message in run("evaluate", ".", "--json", name).stderr
    for option in ((), ("--output", "new"), ("--output", tmp_path)):
        assert message in run("predict", ".", "x.png", *option).stderr


def test_json_replaces_json_alone(run: Run, model: Path, tmp_path: Path) -> None:
    """Who takes it for a flag names a photograph after it."""
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (tmp_path / "link").symlink_to("a.png")
    (tmp_path / "old.JSON").write_text("old")
    photograph = (tmp_path / "a.png").read_bytes()
    (tmp_path / "latest").symlink_to("old.JSON")
    (tmp_path / "empty").touch()
    for name in ("a.png", "link"):
        result = run("predict", model, "--json", tmp_path / name, tmp_path / "a.png")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{tmp_path / name}: is there already and is no .json; expected the FILE" in result.stderr
    assert (tmp_path / "a.png").read_bytes() == photograph
    for name in ("old.JSON", "latest", "empty"):
        assert "no .json" not in run("evaluate", ".", "--json", tmp_path / name).stderr


@pytest.mark.parametrize(("name", "beside"), READ_AGAIN.items())
def test_json_replaces_nothing_that_commands_read(run: Run, tmp_path: Path, name: str, beside: str) -> None:
    """A person's own files may be called alike."""
    (tmp_path / name).write_text("{}")
    message = f"{tmp_path / name}: is there already, and other commands read it; expected the FILE to write"
    assert (message in run("evaluate", ".", "--json", tmp_path / name).stderr) == (beside == name)
    (tmp_path / beside).write_text("{}")
    assert message in run("evaluate", ".", "--json", tmp_path / name).stderr


def test_json_does_not_replace_what_the_command_reads(run: Run, tmp_path: Path) -> None:
    scores = tmp_path / "b.json"
    scores.write_text("{}")
    (tmp_path / "link.json").symlink_to(scores)
    for name in ("b.json", "link.json"):
        result = run("compare", tmp_path / "a.json", scores, "--json", tmp_path / name)
        assert (result.exit_code, scores.read_text()) == (2, "{}")
        assert f"--json {tmp_path / name}: this command reads it; expected a FILE to write" in result.stderr


def test_a_table_in_a_pipe_is_not_broken() -> None:
    show = "from fornet_keras.cli.screen import show_table; show_table('', 'ab', [('x' * 70, 'y' * 70)])"
    environment = {**os.environ, "COLUMNS": "60"}
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, env=environment, capture_output=True)
    assert b"x" * 70 + b"  " + b"y" * 70 in done.stdout


def test_a_folder_in_a_command_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (quoted(Path("my run")), quoted(Path("run"))) == ("'my run'", "run")
    monkeypatch.setattr("fornet_keras.cli.screen.os", SimpleNamespace(name="nt"))
    assert (quoted(Path("my run")), quoted(Path("it's"))) == ('"my run"', "it's")


def test_unknown_model_lists_the_shipped_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("fornet_s_camvid", "fornet_nano_city"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    result = run("evaluate", "fornet_s_camvd", "--config", "x.yaml")
    assert result.exit_code == 1
    assert only_line(result.stderr) == (
        "Error: fornet_s_camvd: no such folder; expected a run folder, a saved model's folder "
        "or one of fornet_nano_city, fornet_s_camvid"
    )
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "none")
    with pytest.raises(ModelError, match="no model is shipped .*; a clone of the repository has"):
        shipped.find_model("fornet_s_camvid")


def test_a_shipped_model_is_found_beside_what_is_named_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its predictions or a report are not it; a run that has only begun, or its exports, are meant."""
    (tmp_path / "shipped" / "one").mkdir(parents=True)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    files = {"index.html": False, "sources.json": False, "images/a.png": False}
    files |= dict.fromkeys(("config.yaml", "best/x", "model.json", "weights.safetensors"), True)
    files |= dict.fromkeys(("manifest.json", "k0.25/manifest.json"), True)
    for number, (file, is_model) in enumerate(files.items()):
        path = tmp_path / str(number) / "one" / file
        path.parent.mkdir(parents=True)
        path.touch()
        monkeypatch.chdir(tmp_path / str(number))
        assert shipped.find_model("one") == (Path("one") if is_model else tmp_path / "shipped" / "one"), file


def test_shipped_name_does_not_leave_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shipped" / "one").mkdir(parents=True)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(ModelError, match="no such folder"):
        shipped.find_model("one/../../shipped")


@pytest.mark.parametrize("command", ["predict", "serve", "request"])
def test_a_file_of_an_exported_model_leads_to_its_folder(run: Run, command: str, tmp_path: Path) -> None:
    for name in ("manifest.json", "model.onnx"):
        (tmp_path / name).touch()
    options = [] if command == "serve" else ["x.png", "--output", tmp_path / "out"]
    result = run(command, tmp_path / "model.onnx", *options)
    expected = f"model.onnx: is a file of an exported model; expected its folder; give {tmp_path}"
    assert (result.exit_code, only_line(result.stderr)) == (1, f"Error: {tmp_path}/{expected}")


def test_model_that_is_a_file(run: Run, config: Path) -> None:
    result = run("predict", config, "x.png", "--output", "out")
    assert (result.exit_code, "is a file; expected a run folder" in only_line(result.stderr)) == (1, True)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ModelError("it is broken"), 1, "Error: it is broken"),
        (PermissionError(13, "Permission denied", "/data"), 1, "Error: /data: Permission denied"),
        (OSError("disk full"), 1, "Error: disk full"),
        (MemoryError(), 1, "Error: out of memory (MemoryError); take less"),
        (MemoryError("9 GiB"), 1, "Error: out of memory (9 GiB); take less"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            1,
            "Error: out of memory (CUDA out of memory. Tried to allocate 2 GiB); take less",
        ),
        (
            ValueError("RESOURCE_EXHAUSTED: Out of memory\n at a line"),
            1,
            "Error: out of memory (RESOURCE_EXHAUSTED: Out of memory); take less",
        ),
        (
            RuntimeError("Graph execution error:\n\nDetected at node x\nOOM when allocating a tensor"),
            1,
            "Error: out of memory (OOM when allocating a tensor); take less",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas"),
            1,
            "Error: out of memory (CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas); take less",
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
            1,
            "Error: out of memory (cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED); "
            "take less",
        ),
        (click.ClickException("out of memory.png"), 1, "Error: out of memory.png"),
        (DataError("out of memory.png"), 1, "Error: out of memory.png"),
        (OSError("out of memory.png"), 1, "Error: out of memory.png"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.png"),
            1,
            "Error: a.png: No space left on device; make room on the disk and start the command again",
        ),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_how_a_command_ends(error: BaseException, code: int, line: str) -> None:
    @click.group(cls=Group)
    def group() -> None: ...

    @group.command(memory_advice="take less")
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert only_line(result.stderr.lstrip("\n")) == line


def test_mistake_is_one_line_at_once_in_a_process_of_its_own() -> None:
    command = [sys.executable, "cli.py", "predict", "nowhere", "x.png", "--output", "out"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert only_line(done.stderr).startswith("Error: nowhere: no such folder; expected a run folder")


@pytest.mark.parametrize("library", ["libGL.so.1", "libxcb.so.1"])
def test_without_a_display_library_there_is_one_line(tmp_path: Path, library: str) -> None:
    raised = f"ImportError('{library}: cannot open shared object file', name='cv2', path='cv2.abi3.so')"
    (tmp_path / "cv2.py").write_text(f"raise {raised}")
    command, environment = [sys.executable, "cli.py", "--help"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    line = only_line(done.stderr)
    assert line.startswith(f"Error: OpenCV cannot start ({library}: cannot open")
    assert line.endswith("pip install opencv-python-headless")


def test_a_library_of_another_package_is_not_called_opencvs(tmp_path: Path) -> None:
    raised = "ImportError('libx.so: cannot open shared object file', name='other', path='other.so')"
    (tmp_path / "cv2.py").write_text(f"raise {raised}")
    command, environment = [sys.executable, "cli.py", "--help"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "libx.so" in done.stderr and "OpenCV" not in done.stderr


def test_outside_the_environment_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        """raise ModuleNotFoundError("No module named 'click'", name="click")"""
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "cli.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert only_line(done.stderr).startswith("Error: No module named 'click'; activate the environment that")


def test_a_closed_standard_error_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "argv", ["fornet", "--version"])
    with pytest.raises(SystemExit):
        main()
    with sys.stderr as nowhere:
        assert nowhere.name == os.devnull


def test_usage_names_what_was_typed() -> None:
    done = subprocess.run([sys.executable, "cli.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.startswith("Usage: python cli.py [OPTIONS] COMMAND")


def test_a_configuration_by_its_name(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    named = run("data", "check", "--config", "synthetic", "--data", "nowhere").stderr
    assert "nowhere: " in only_line(named)
    assert named == run("data", "check", "--config", "configs/synthetic.yaml", "--data", "nowhere").stderr
    misspelt = only_line(run("data", "check", "--config", "synthetc").stderr)
    assert "synthetc: no such file; expected a YAML file, or one of camvid, camvid_cpu," in misspelt
    Path("synthetic").mkdir()  # the data's folder may have the name
    assert named == run("data", "check", "--config", "synthetic", "--data", "nowhere").stderr
    Path("synthetic").rmdir()
    Path("synthetic").write_text("data: {}")  # a file of that name wins
    assert "synthetic:1: " in only_line(run("data", "check", "--config", "synthetic").stderr)
