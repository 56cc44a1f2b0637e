import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from fornet_keras.artifacts.manifest import FILES
from fornet_keras.artifacts.runtimes import open_runtime
from fornet_keras.errors import ExportError


@pytest.mark.parametrize(("threads", "expected"), [(None, len(os.sched_getaffinity(0))), (1, 1)])
def test_litert_takes_every_core(
    threads: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the other runtimes do; left to itself it takes one."""
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", opened := Mock())
    open_runtime(tmp_path, "litert", threads)
    assert opened.call_args.kwargs == {"num_threads": expected}


@pytest.mark.parametrize(
    ("format", "package"),
    [
        ("saved_model", "tensorflow"),
        ("litert", "ai_edge_litert"),
        ("onnx", "onnxruntime"),
        ("openvino", "openvino"),
    ],
)
def test_what_a_runtime_cannot_load_is_said_in_a_line(format: str, package: str, tmp_path: Path) -> None:
    for name in FILES[format]:
        (tmp_path / name).write_bytes(b"nothing of the kind")
    expected = rf"^{tmp_path}: {package} \d+\.\S+ cannot load it \(.+\); expected a version like"
    with pytest.raises(ExportError, match=expected):
        open_runtime(tmp_path, format)
