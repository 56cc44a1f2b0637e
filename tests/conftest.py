"""What all tests share: the backend, and a Keras unchanged by a user's settings or an earlier test."""

import _pyio
import atexit
import io
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

_IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if _IN_WORKER:
    # Registered first, called last: the session would wait seconds for TensorFlow or JAX to be taken apart.
    atexit.register(os._exit, 0)

# Before anything imports Keras. Its home is an empty folder, so that float32 and channels-last hold whatever
# the user's own keras.json says.
_KERAS_HOME = tempfile.TemporaryDirectory(prefix="keras_home_")
atexit.register(_KERAS_HOME.cleanup)
os.environ["KERAS_HOME"] = _KERAS_HOME.name
os.environ["XDG_CACHE_HOME"] = _KERAS_HOME.name
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Rich would take what a test reads for a terminal, and draw progress bars into it.
for _name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
    os.environ.pop(_name, None)
# What the tests compare is computed on the CPU, where there is a GPU too.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests import OpenVINO too, and report that to nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# The tests run each compiled function once or twice: XLA's optimisation takes longer than it saves.
_QUICK_TO_COMPILE = (
    "backend_optimization_level=0",
    "cpu_use_fusion_emitters=false",
    "cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_{option}" for option in _QUICK_TO_COMPILE))
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# And the same function once, in all processes of a session.
if not _IN_WORKER:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(_KERAS_HOME.name, "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

if _IN_WORKER:  # which will need it; a single file of tests may not
    from fornet_keras.cli.backend import UNUSED, _without

    with _without(UNUSED):
        import keras  # noqa: F401


def pytest_report_header() -> str:
    backend = os.environ["KERAS_BACKEND"]
    return f"backend: {backend} {version(backend)}, keras {version('keras')}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the tests of a backend alone: files that have none are not even imported."""
    if config.option.markexpr != "backend" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.backend" not in collection_path.read_text("utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms with the longest files first: no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("export", "training"))


@pytest.fixture
def windows_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that is written with the system's line ends has those of Windows."""
    monkeypatch.setattr(os, "linesep", "\r\n")
    monkeypatch.setattr(io, "open", _pyio.open)  # unlike C's it looks at that


@pytest.fixture(autouse=True, scope="module")
def _same_weights_each_time() -> None:
    """A test fails always or never: Keras takes the seeds of its initial weights from here."""
    random.seed(0)


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    """A mixed-precision policy ends with the test that set it. Keras is not imported for this."""
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")
