"""What all tests share: the backend, and a Keras unchanged by a user's settings or an earlier test."""

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version

import pytest

# Before anything imports Keras. Its home is an empty folder, so that float32 and channels-last hold whatever
# the user's own keras.json says.
_KERAS_HOME = tempfile.TemporaryDirectory(prefix="keras_home_")
os.environ["KERAS_HOME"] = _KERAS_HOME.name
os.environ["XDG_CACHE_HOME"] = _KERAS_HOME.name
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The tests run each compiled function once or twice: XLA's optimisation takes longer than it saves.
_QUICK_TO_COMPILE = (
    "backend_optimization_level=0",
    "cpu_use_fusion_emitters=false",
    "cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_{option}" for option in _QUICK_TO_COMPILE))
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# And the same function once, in the processes that a test starts too.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(_KERAS_HOME.name, "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_report_header() -> str:
    backend = os.environ["KERAS_BACKEND"]
    return f"backend: {backend} {version(backend)}, keras {version('keras')}"


def pytest_unconfigure() -> None:
    _KERAS_HOME.cleanup()


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    """A mixed-precision policy ends with the test that set it. Keras is not imported for this."""
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")
