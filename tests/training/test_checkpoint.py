"""Checkpoints on disk: exact, checked, kept, and never half-written. No network: arrays are arrays."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fornet_keras.errors import TrainingError
from fornet_keras.training.checkpoint import SUMS, Checkpoint, newest, save_checkpoint

ROOT = Path(__file__).parents[2]


def checkpoint(step: int, size: int = 1000) -> Checkpoint:
    arrays = {
        "model/0/kernel": np.random.default_rng(step).normal(size=size).astype("float32"),
        "optimizer/0/iteration": np.array(step, "int32"),
        "model/1/seed": np.array([7, step], "uint32"),
        "model/2/transposed": np.arange(6, dtype="float32").reshape(2, 3).T,  # not as it lies in memory
    }
    return Checkpoint(step, arrays, {"log": {"rows": [{"epoch": 1, "loss": 0.1 + 0.2}]}, "seconds": 1.5})


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert (found.step, found.state) == (expected.step, expected.state)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(3), tmp_path, keep=2)
    found, rejected = newest(tmp_path)
    assert_same(found, checkpoint(3))
    assert rejected == []


def test_no_checkpoint(tmp_path: Path) -> None:
    assert newest(tmp_path) == newest(tmp_path / "nowhere") == (None, [])


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        save_checkpoint(checkpoint(step), tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000000010", "step_000000011"]


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    folder = save_checkpoint(checkpoint(1), tmp_path, keep=1)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=True, capture_output=True)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """200 single bits, in either file; the one before is used and the damaged one named."""
    save_checkpoint(checkpoint(1), tmp_path, keep=2)
    folder = save_checkpoint(checkpoint(2), tmp_path, keep=2)
    chance = random.Random(0)
    for number in range(200):
        path = folder / SUMS if number % 4 == 0 else folder / "state.safetensors"
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        found, rejected = newest(tmp_path)
        assert_same(found, checkpoint(1))
        assert rejected == [f"{folder}: state.safetensors is not what SHA256SUMS says: damaged or cut short"]
        path.write_bytes(content)
    assert_same(newest(tmp_path)[0], checkpoint(2))


@pytest.mark.parametrize("length", [0, 1, 50, -1])
@pytest.mark.parametrize("name", ["state.safetensors", SUMS])
def test_a_file_cut_short(name: str, length: int, tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path, keep=2)
    path = save_checkpoint(checkpoint(2), tmp_path, keep=2) / name
    content = path.read_bytes()[:length]
    path.write_bytes(content)
    assert_same(newest(tmp_path)[0], checkpoint(1))


@pytest.mark.parametrize("name", ["state.safetensors", SUMS])
def test_a_file_that_is_missing(name: str, tmp_path: Path) -> None:
    folder = save_checkpoint(checkpoint(2), tmp_path, keep=2)
    (folder / name).unlink()
    found, rejected = newest(tmp_path)
    assert found is None
    assert rejected[0].startswith(f"{folder}: ")


def test_nothing_that_is_not_finite_is_saved(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path, keep=1)
    worse = checkpoint(2)
    worse.arrays["model/0/kernel"][5] = np.inf
    message = (
        "'kernel' of the model is not finite after step 2; expected finite numbers; begin anew with a lower "
    )
    with pytest.raises(
        TrainingError, match=f"{message}.*; nothing is saved, and the earlier checkpoints stay"
    ):
        save_checkpoint(worse, tmp_path, keep=1)
    assert_same(newest(tmp_path)[0], checkpoint(1))


def test_a_damaged_one_is_written_again(tmp_path: Path) -> None:
    folder = save_checkpoint(checkpoint(2), tmp_path, keep=2)
    (folder / SUMS).write_text("?")
    save_checkpoint(checkpoint(2), tmp_path, keep=2)
    assert_same(newest(tmp_path)[0], checkpoint(2))


def test_damaged_ones_of_later_steps_do_not_push_out_a_whole_one(tmp_path: Path) -> None:
    """The run went back behind them, and goes another way."""
    for step in (7, 9):
        (save_checkpoint(checkpoint(step), tmp_path, keep=2) / SUMS).write_text("?")
    save_checkpoint(checkpoint(5), tmp_path, keep=1)
    assert_same(newest(tmp_path)[0], checkpoint(5))
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000005"]


def test_a_file_size_limit_leaves_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(1), tmp_path, keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(TrainingError, match=r"not be written \(File too large\); the one of step 1 is"):
            save_checkpoint(checkpoint(2, size=10_000), tmp_path, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001"]
    assert_same(newest(tmp_path)[0], checkpoint(1))


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full when the data is brought to the disk, which is when some file systems notice."""
    save_checkpoint(checkpoint(1), tmp_path, keep=1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"\(No space left on device\); .*; make room and continue with"):
        save_checkpoint(checkpoint(2), tmp_path, keep=1)
    assert_same(newest(tmp_path)[0], checkpoint(1))


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from tests.training.test_checkpoint import assert_same, checkpoint
from fornet_keras.training.checkpoint import newest, save_checkpoint
folder, chance = Path(sys.argv[1]), random.Random(0)
started = time.monotonic()
save_checkpoint(checkpoint(0, size=200_000), folder, keep=2)
longest = max(0.1, 3 * (time.monotonic() - started))  # on a slow disk too some are written
half_written = 0
for _ in range(25):
    first = newest(folder)[0].step + 1
    writer = os.fork()
    if not writer:
        for number in range(first, first + 10_000):
            save_checkpoint(checkpoint(number, size=200_000), folder, keep=2)
    time.sleep(chance.uniform(0, longest))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    half_written += any(path.name.startswith(".") for path in folder.iterdir())
    found, rejected = newest(folder)
    assert rejected == []
    assert_same(found, checkpoint(found.step, size=200_000))
print(half_written, found.step)
"""


def test_a_kill_inside_the_write_leaves_a_whole_one(tmp_path: Path) -> None:
    """`kill -9` at 25 random moments of processes that do nothing but write checkpoints."""
    command = [sys.executable, "-c", KILLS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    half_written, step = map(int, done.stdout.split())
    assert half_written > 1 and step > 5, "kills hit the writing itself, and writing went on after them"


FULL = """
import sys
from pathlib import Path
from tests.training.test_checkpoint import assert_same, checkpoint
from fornet_keras.errors import TrainingError
from fornet_keras.training.checkpoint import newest, save_checkpoint
folder = Path(sys.argv[1])
save_checkpoint(checkpoint(1), folder, keep=1)
try:
    save_checkpoint(checkpoint(2, size=500_000), folder, keep=1)
except TrainingError as error:
    print(error)
assert_same(newest(folder)[0], checkpoint(1))
assert [path.name for path in folder.iterdir()] == ["step_000000001"]
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of one megabyte, mounted where only this test's process sees it."""
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    if not shutil.which("unshare") or subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("a file system of one's own needs Linux' user namespaces, which are not allowed here")
    command = [*own, "sh", "-c", mount, str(tmp_path), sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "could not be written (No space left on device); the one of step 1 is as it was" in done.stdout
