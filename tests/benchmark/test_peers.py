"""Peers for the benchmark, without the packages that they come from."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fornet_keras.benchmark.peers import PEERS, open_peer, peer_runtimes
from fornet_keras.errors import FoRNetError
from tests.cli.conftest import model, only_line, run

__all__ = ["model", "run"]


def test_a_missing_package_names_the_extra(run: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fornet_keras.benchmark.peers.find_spec", lambda name: None if name in PEERS.values() else 1
    )
    result = run("benchmark", model, "--size", "64x96", "--against", "segformer_b0")
    assert result.exit_code == 1
    line = only_line(result.stderr)
    assert line == "Error: segformer_b0 needs the package transformers: pip install 'fornet_keras[peers]'"


def test_without_torch_there_is_no_peer(run: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.benchmark.peers.find_spec", lambda name: None)
    result = run("benchmark", model, "--size", "64x96", "--against", "segformer_b0")
    assert result.exit_code == 1
    line = only_line(result.stderr)
    assert line == "Error: --against needs the package torch: pip install 'fornet_keras[peers]'"


def test_a_peer_on_the_cpu_is_not_timed_beside_a_model_on_a_gpu(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.benchmark import candidates

    monkeypatch.setattr(candidates, "find_accelerator", lambda: "NVIDIA H200")
    with pytest.raises(FoRNetError, match="timed on the CPU, and .* runs on NVIDIA H200; .*TORCH_DEVICE to"):
        candidates.candidates([model], (64, 96), (), None, against=["segformer_b0"])


def test_a_package_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision beside a torch of another build."""

    def broken(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr("fornet_keras.benchmark.peers.find_spec", lambda name: 1)
    monkeypatch.setattr("fornet_keras.benchmark.peers.import_module", broken)
    with pytest.raises(FoRNetError, match="does not import here .operator torchvision::nms does not exist"):
        open_peer("deeplabv3plus_mobilenetv3", "torch", (64, 96))


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter, about itself
def test_each_runtime_gives_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels in, labels of the same size out, from a network that answers at a quarter of the size."""
    import torch

    def build(*_: Any, classes: int, **__: Any) -> Any:
        return torch.nn.Sequential(torch.nn.Conv2d(3, classes, 4, stride=4))

    monkeypatch.setattr("fornet_keras.benchmark.peers.find_spec", lambda name: 1)
    monkeypatch.setattr(
        "fornet_keras.benchmark.peers.import_module", lambda name: types.SimpleNamespace(DeepLabV3Plus=build)
    )
    size = (40, 60)  # no multiples of what such networks take
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = []
    kinds = [*((runtime, "float32") for runtime in peer_runtimes()), ("onnx", "int8"), ("openvino", "int8")]
    for runtime, precision in kinds:
        peer, megabytes = open_peer("deeplabv3plus_mobilenetv3", runtime, size, 1, precision)
        weights = (3 * 16 + 1) * 19 / 1e6
        assert 4 * weights <= megabytes < 1 if precision == "float32" else weights <= megabytes < 1
        found.append(peer(image))
        assert found[-1].shape == size
    assert len(found) == 5 and found[0].dtype == np.uint8 and len(np.unique(found[0])) > 1
    for (_, precision), other in zip(kinds, found, strict=True):
        assert (found[0] == other).mean() > {"float32": 0.999, "int8": 0.9}[precision]


def test_the_threads_of_a_peer_are_not_those_of_keras_on_pytorch() -> None:
    import torch

    from fornet_keras.benchmark.peers import _in_torch

    class Counting(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            threads.append(torch.get_num_threads())
            return image[..., 0]

    threads: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run, _ = _in_torch(Counting(), (4, 4), 1, "float32")
        run(np.zeros((4, 4, 3), np.uint8))
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
