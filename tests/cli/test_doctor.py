import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fornet_keras import backend_choice, doctor
from fornet_keras.backend_choice import BACKENDS, NAMES, SHARED_GPU, Choice, choose_backend
from fornet_keras.doctor import Health, probe, unseen_gpu_note
from fornet_keras.errors import FoRNetError
from tests.cli.conftest import Run, only_line


def only(monkeypatch: pytest.MonkeyPatch, *backends: str) -> None:
    """Let these backends alone seem installed."""
    monkeypatch.setattr(backend_choice, "find_spec", lambda backend: backend in backends or None)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No KERAS_BACKEND, no keras.json; jax and torch are installed. Gives Keras' home."""
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    only(monkeypatch, "jax", "torch")
    return tmp_path


def test_the_first_installed_backend(bare: Path) -> None:
    assert choose_backend() == Choice("jax", "the first one installed")


def test_keras_json_counts_where_its_backend_is_installed(bare: Path) -> None:
    (bare / "keras.json").write_text('{"backend": "torch"}')
    assert choose_backend() == Choice("torch", str(bare / "keras.json"))
    (bare / "keras.json").write_text('{"backend": "tensorflow"}')
    assert choose_backend().backend == "jax"
    (bare / "keras.json").write_text("not JSON")
    assert choose_backend().backend == "jax"


def test_a_user_without_a_home_has_no_keras_json(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is where nothing names a home
    assert choose_backend() == Choice("jax", "the first one installed")


def test_the_environment_wins_over_keras_json_and_the_option_over_both(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "keras.json").write_text('{"backend": "torch"}')
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert choose_backend() == Choice("jax", "the environment variable KERAS_BACKEND")
    assert choose_backend("torch") == Choice("torch", "--backend")


def test_backend_that_cannot_be_used(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(FoRNetError, match="KERAS_BACKEND: backend 'theano' is unknown; expected one of ten"):
        choose_backend()
    monkeypatch.delenv("KERAS_BACKEND")
    only(monkeypatch)
    with pytest.raises(FoRNetError, match="no backend is installed; expected one of tensorflow, jax, torch"):
        choose_backend()


def test_backend_that_is_not_installed_names_its_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    only(monkeypatch, "tensorflow")
    result = run("summary", config, "--num-classes", 3, "--backend", "jax")
    assert result.exit_code == 1
    assert only_line(result.stderr) == (
        "Error: backend 'jax' (--backend) is not installed; "
        'pip install "fornet_keras[jax]", or use --backend tensorflow'
    )


def test_probe_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "raise ImportError('libfoo.so is missing')")
    assert probe("jax") == Health("jax", works=False, problem="ImportError: libfoo.so is missing")
    monkeypatch.setattr(doctor, "_PROBE", "import sys; sys.exit(3)")
    assert probe("jax").problem == "ended with code 3"
    monkeypatch.setattr(doctor, "_PROBE", "import time; time.sleep(60)")
    assert probe("jax", time_limit=0.2).problem == "did not start within 0.2 s"
    only(monkeypatch)
    assert probe("torch").problem == 'not installed; pip install "fornet_keras[torch]"'


@pytest.mark.backend
def test_what_the_probe_finds_on_this_backend(capsys: pytest.CaptureFixture[str]) -> None:
    exec(doctor._PROBE, {})
    devices = json.loads(capsys.readouterr().out)
    assert any("cpu" in device.lower() for device in devices)


def test_the_probe_of_a_backend_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["KERAS_BACKEND", *SHARED_GPU]
    program = f"import json, os; print('a message'); print(json.dumps([*map(os.environ.get, {names})]))"
    monkeypatch.setattr(doctor, "_PROBE", program)
    assert probe("jax") == Health("jax", works=True, devices=("jax", "false", "true"))


def healthy(backend: str) -> Health:
    return Health(backend, backend == "jax", ("cpu:0",) if backend == "jax" else (), "not installed")


def test_doctor_shows_versions_and_backends(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "probe", healthy)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    result = run("doctor", "--json", tmp_path / "doctor.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Without --backend: jax (the environment variable KERAS_BACKEND)\n" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["jax", "yes", "cpu:0"] in rows
    assert ["torch", "no", "not", "installed"] in rows
    findings = json.loads((tmp_path / "doctor.json").read_text())
    assert findings["python"] == sys.version.split()[0]
    assert (findings["default_backend"], findings["works"]) == ("jax", True)
    assert findings["packages"]["keras"] == version("keras")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gpu_that_the_backend_of_a_bare_command_does_not_see(
    backend: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_has_nvidia_gpu", lambda: True)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    for devices, seen in ((("CPU:0",), False), (("cpu", "NVIDIA H200"), True)):
        health = Health(backend, True, devices)
        monkeypatch.setattr(doctor, "probe", lambda backend, health=health: health)
        result = run("doctor")
        note = f"note: this machine has an NVIDIA GPU that {NAMES[backend]} does not see; --backend "
        _, noted, suggested = result.stdout.partition(note)
        assert bool(noted) is not seen
        assert backend not in suggested.split("\n")[0]


def test_a_gpu_that_is_hidden_on_purpose_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert unseen_gpu_note("tensorflow") == (
        "note: this machine has an NVIDIA GPU that TensorFlow does not see; --backend torch or jax may"
    )
    only(monkeypatch, "tensorflow")
    assert str(unseen_gpu_note("tensorflow")).endswith("see; docs/install.md says what to install")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unseen_gpu_note("tensorflow") is None


def test_doctor_fails_where_no_backend_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda backend: Health(backend, False, (), "broken"))
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (1, "Error: no backend works; install one of them\n")
