import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

from fornet_keras.artifacts.manifest import FILES, Manifest, Tensor
from fornet_keras.artifacts.runtimes import open_artifact, open_runtime, usable_cores
from fornet_keras.errors import ExportError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("threads", "expected"), [(None, usable_cores()), (1, 1)])
def test_litert_takes_every_core(
    threads: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the other runtimes do; left to itself it takes one."""
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", opened := Mock())
    open_runtime(tmp_path, "litert", threads)
    assert opened.call_args.kwargs == {"num_threads": expected}


@pytest.mark.parametrize(
    ("limit", "threads"), [("150000 100000", 2), ("20000 100000", 1), ("6500000 100000", 0), ("max", 0)]
)
def test_a_container_s_share_of_the_cores(
    limit: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the runtimes do not look at: they would take all of the machine's, and be held back."""
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr("fornet_keras.artifacts.runtimes.CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(64))
    assert usable_cores() == (threads or 64)
    monkeypatch.setattr("onnxruntime.InferenceSession", session := MagicMock())
    open_runtime(tmp_path, "onnx")
    assert session.call_args.args[1].intra_op_num_threads == threads
    open_runtime(tmp_path, "onnx", threads=5)
    assert session.call_args.args[1].intra_op_num_threads == 5


@pytest.mark.parametrize(
    ("format", "package", "why"),
    [
        ("saved_model", "tensorflow", ".+"),
        ("litert", "ai_edge_litert", ".+"),
        ("onnx", "onnxruntime", ".+"),
        ("openvino", "openvino", "Unable to read the model: .+"),  # and not where in its source
    ],
)
def test_what_a_runtime_cannot_load_is_said_in_a_line(
    format: str, package: str, why: str, tmp_path: Path
) -> None:
    for name in FILES[format]:
        (tmp_path / name).write_bytes(b"nothing of the kind")
    expected = rf"^{tmp_path}: {package} \d+\.\S+ cannot load it \({why}\); expected a version like"
    with pytest.raises(ExportError, match=expected):
        open_runtime(tmp_path, format)


@pytest.mark.parametrize(
    ("gives", "finding"),
    [
        ({"label_ids": (1, 4, 6), "logits": (1, 9)}, ""),
        ({"labels": (1, 4, 6)}, r"gives {}, and not {'label_ids': \(4, 6\)}; expected what `export` has"),
        ({"label_ids": (1, 6, 4)}, r"gives {'label_ids': \(6, 4\)}, and not {'label_ids': \(4, 6\)}; ex"),
        (ValueError("Got 4\nExpected 8"), "does not take 4x6 pixels: Got 4; expected what `export` has"),
    ],
)
def test_a_manifest_of_another_model(
    gives: Any, finding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = (Tensor(name="label_ids", dtype="uint8", shape=(None, 4, 6)),)
    manifest = Manifest.model_construct(format="onnx", size=(4, 6), outputs=outputs)
    outcome = [gives] if isinstance(gives, Exception) else [{n: np.zeros(s) for n, s in gives.items()}]
    run = Mock(side_effect=outcome)
    monkeypatch.setattr("fornet_keras.artifacts.runtimes.open_runtime", lambda *_: run)
    message = rf"^{tmp_path}/manifest.json: is not of the model beside it, which {finding}"
    with pytest.raises(ExportError, match=message) if finding else nullcontext():
        assert open_artifact(tmp_path, manifest) is run
    assert run.call_args.args[0].shape == (1, 4, 6, 3)


class Session:
    """An ONNX Runtime with CUDA, which may turn out not to work."""

    def __init__(self, working: bool) -> None:
        self.working = working

    def disable_fallback(self) -> None:
        self.falls_back = False

    def __call__(self, path: str, options: object, providers: list[object]) -> "Session":
        self.asked = providers
        return self

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"] * self.working + ["CPUExecutionProvider"]

    def get_outputs(self) -> list[object]:
        return []


def test_onnx_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    preload = Mock(side_effect=lambda: print("Failed to load libcudnn.so.9\nPlease follow"))
    monkeypatch.setattr("onnxruntime.preload_dlls", preload)
    monkeypatch.setattr("onnxruntime.InferenceSession", session := Session(working=True))
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    open_runtime(tmp_path, "onnx")
    assert (session.asked, preload.called) == (["CPUExecutionProvider"], False)
    without = (
        "^--device gpu: ONNX Runtime has .*CPUExecutionProvider; expected CUDAExecutionProvider; install "
    )
    with pytest.raises(ExportError, match=without + "onnxruntime-gpu, or leave it out$"):
        open_runtime(tmp_path, "onnx", device="gpu")
    monkeypatch.setattr("onnxruntime.get_available_providers", session.get_providers)
    open_runtime(tmp_path, "onnx", device="gpu")
    assert session.asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    session.working = False
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(
        ExportError, match=without + r".* wants them \(Failed to load libcudnn.so.9\), or leave"
    ):
        open_runtime(tmp_path, "onnx", device="gpu")
    assert (preload.call_count, capsys.readouterr().out) == (3, "")


def test_openvino_reports_to_nobody() -> None:
    """Its package for that, which NNCF has too, sends from the first import on, without having asked."""
    script = """if True:
        import sys
        from fornet_keras.artifacts.runtimes import import_openvino
        import_openvino()
        sys.exit(sys.modules["openvino_telemetry"] is not None)
    """
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
    sources = ROOT.glob("fornet_keras/**/*.py")
    assert [path.stem for path in sources if "import openvino\n" in path.read_text("utf-8")] == ["runtimes"]


def test_openvino_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    monkeypatch.setattr("openvino.Core", lambda: core)
    core = MagicMock(available_devices=["CPU", "NPU"])
    core.read_model().outputs = []
    image = np.zeros((1, 8, 8, 3), np.uint8)
    open_runtime(tmp_path, "openvino", threads=2)(image)
    assert core.compile_model.call_args.args[1:] == ("CPU", {**float32, "INFERENCE_NUM_THREADS": 2})
    with pytest.raises(ExportError, match="^--device gpu: OpenVINO has CPU, NPU; expected GPU; install the"):
        open_runtime(tmp_path, "openvino", device="gpu")
    core.available_devices = ["CPU", "GPU.0", "GPU.1"]
    open_runtime(tmp_path, "openvino", threads=2, device="gpu")(image)
    assert core.compile_model.call_args.args[1:] == ("GPU", float32)


@pytest.mark.parametrize(("format", "more"), [("litert", "$"), ("saved_model", ", and TensorFlow takes a")])
def test_what_has_no_device_to_choose(format: str, more: str, tmp_path: Path) -> None:
    message = f": --device gpu is not of {format}; expected an onnx or openvino artifact; leave it out{more}"
    with pytest.raises(ExportError, match=message):
        open_runtime(tmp_path, format, device="gpu")
