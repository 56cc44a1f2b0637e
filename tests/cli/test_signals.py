"""How a command ends on Ctrl-C and SIGTERM."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fornet_keras.cli.group import Group
from fornet_keras.errors import ExportError

ROOT = Path(__file__).parents[2]
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def ends(action: Callable[[], None]) -> tuple[int, str]:
    """The exit code and the last line of a command that does nothing else."""

    @click.group(cls=Group)
    def group() -> None: ...

    group.command(name="act")(action)
    result = CliRunner().invoke(group, ["act"])
    return result.exit_code, result.stderr.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals to another process")
@pytest.mark.parametrize(("number", "code"), CODES)
def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    output = tmp_path / "city"
    command = [sys.executable, "cli.py", "data", "synthesize", "--output", str(output), "--train", "100000"]
    # A job in the background of a script starts with SIGINT ignored, and hands that down.
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        while not list(output.glob(".*.writing/train")) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            _, errors = process.communicate(timeout=30)
        process.kill()  # nothing, if it has ended; a test must not wait for 100,000 scenes
    assert (process.returncode, errors.strip()) == (code, "Interrupted")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [("KeyboardInterrupt", 130, "Interrupted"), ("FoRNetError('why')", 1, "Error: why")],
)
def test_what_is_still_computed_does_not_crash_the_end(raised: str, code: int, said: str) -> None:
    """It did while Python took down what JAX's and tf.data's threads use; here what runs at its end does."""
    script = f"""if True:
        import atexit, os, sys
        from fornet_keras.cli import root
        from fornet_keras.errors import FoRNetError

        @root.root.command()
        def stopped():
            print("shown")
            raise {raised}

        atexit.register(os.abort)
        sys.argv[1:] = ["stopped"]
        root.main()
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (code, "shown", said)


def test_a_failure_without_stdout_keeps_its_exit_code() -> None:
    command = f"{sys.executable} cli.py data check --nope >&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_processes_of_a_command_that_fails_leave_no_complaint() -> None:
    script = """if True:
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        from fornet_keras.cli import root
        from fornet_keras.errors import FoRNetError

        @root.root.command()
        def fails():
            global pool
            pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            pool.submit(abs, -1).result()
            raise FoRNetError("why")

        if __name__ == "__main__":
            sys.argv[1:] = ["fails"]
            root.main()
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (1, "Error: why")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_one_that_python_loses_is_sent_again(number: signal.Signals, code: int) -> None:
    """Which it does where an object is destroyed, or JAX calls back while garbage is collected."""

    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def action() -> None:
        Destroyed()
        time.sleep(30)

    started = time.perf_counter()
    assert ends(action) == (code, "Interrupted")
    assert time.perf_counter() - started < 20


def test_one_that_comes_at_the_very_end_goes_no_further() -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def action() -> None:
        Destroyed()

    assert ends(action) == (0, "")
    time.sleep(0.3)  # sent to this process, it would end the tests


@pytest.mark.parametrize(("number", "code"), CODES)
def test_what_fails_after_it_is_no_traceback(number: signal.Signals, code: int) -> None:
    """As in Keras, which asks JAX for the weights that the step had taken away."""

    def action() -> None:
        try:
            signal.raise_signal(number)
        finally:
            raise RuntimeError("Array has been deleted")

    assert ends(action) == (code, "Interrupted")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_what_a_library_makes_of_it_is_no_error(number: signal.Signals, code: int) -> None:
    """As OpenVINO's C++, which keeps nothing of the exception but a text."""

    def action() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        raise ExportError("the converter failed; install it again") from RuntimeError("Check failed")

    assert ends(action) == (code, "Interrupted")


def test_what_fails_after_one_that_was_heeded_is_an_error() -> None:
    """As a recording that Ctrl-C ends, and what comes after it."""

    def action() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ExportError("the disk is full")

    assert ends(action) == (1, "Error: the disk is full")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals send nothing there")
def test_a_closed_terminal_ends_it_once() -> None:
    """The shell and the system may both say so, and what is half-written takes a while to go."""
    gone = []

    def action() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            gone.append("half-written")

    assert (ends(action), gone) == ((143, "Interrupted"), ["half-written"])
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="terminals send nothing there")
def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ends(lambda: signal.raise_signal(signal.SIGHUP)) == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)
