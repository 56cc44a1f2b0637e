"""Networks of other packages with random weights, as a yardstick: same images in, label ids out.

The command line asks which there are, so whatever imports Keras is imported inside the functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.runtimes import (
    OPENVINO_FILE,
    allowed_cores,
    import_openvino,
    open_onnx,
    openvino_settings,
)
from fornet_keras.errors import FoRNetError, reason

PEERS = {"deeplabv3plus_mobilenetv3": "segmentation_models_pytorch", "segformer_b0": "transformers"}
"""Network → the package that has it."""

NUM_CLASSES = 19

MULTIPLE = 32
"""Sides that every peer takes are multiples of this."""


def peer_runtimes() -> list[str]:
    """Where a peer can be run here, in float32.

    Raises:
        FoRNetError: nowhere, for every peer is made with PyTorch.
    """
    if find_spec("torch") is None:
        raise FoRNetError("--against needs the package torch: pip install 'fornet_keras[peers]'")
    packages = {"onnx": "onnxruntime", "openvino": "openvino"}
    return ["torch", *(runtime for runtime, package in packages.items() if find_spec(package))]


def open_peer(
    name: str, runtime: str, size: tuple[int, int], threads: int | None = None, precision: str = "float32"
) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], float]:
    """Build a peer for 19 classes.

    Args:
        name: of `PEERS`.
        runtime: of `peer_runtimes()`.
        size: height and width of the image in pixels.
        threads: of the runtime; None takes every core, or what a container may have of them.
        precision: "float32", in "onnx" and "openvino" also "int8", with noise for calibration.

    Returns:
        A function from an image, uint8 `(height, width, 3)`, to label ids, uint8 `(height, width)`; and its
        megabytes, of its weights in "torch" and else of its files.

    Raises:
        FoRNetError: its package is missing, or does not import here.
    """
    threads = threads or allowed_cores()
    deployed = _deployed(_network(name), size)
    opener = {"torch": _in_torch, "onnx": _in_onnx, "openvino": _in_openvino}[runtime]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: sizes become constants, as they should
        run, size_in_bytes = opener(deployed, size, threads, precision)
    return run, size_in_bytes / 1e6


def _network(name: str) -> Any:
    package = PEERS[name]
    if find_spec(package) is None:
        raise FoRNetError(f"{name} needs the package {package}: pip install 'fornet_keras[peers]'")
    import torch

    try:
        library = import_module(package)
        torch.manual_seed(0)
        if name == "segformer_b0":
            # The configuration's defaults are those of B0.
            config = library.SegformerConfig(num_labels=NUM_CLASSES)
            return library.SegformerForSemanticSegmentation(config).eval()
        return library.DeepLabV3Plus(
            "tu-mobilenetv3_large_100", encoder_weights=None, classes=NUM_CLASSES
        ).eval()
    except (ImportError, RuntimeError) as error:
        raise FoRNetError(
            f"{name}: {package} does not import here ({reason(error)}); "
            "expected torch and torchvision of one build; install both from the same place"
        ) from None


def _deployed(network: Any, size: tuple[int, int]) -> Any:
    """With what our artifacts have too: raw pixels of any size in, upsampled, one label a pixel."""
    import torch

    height, width = size
    padded = tuple(-(-side // MULTIPLE) * MULTIPLE for side in size)

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            x = image.permute(0, 3, 1, 2).float() / 127.5 - 1
            if padded != size:
                x = torch.nn.functional.pad(x, (0, padded[1] - width, 0, padded[0] - height))
            logits = self.network(x)
            logits = logits if isinstance(logits, torch.Tensor) else logits["logits"]
            if tuple(logits.shape[-2:]) != padded:
                logits = torch.nn.functional.interpolate(logits, padded, mode="bilinear")
            return logits.argmax(1).to(torch.uint8)[:, :height, :width]

    return Deployed().eval()


def _in_torch(deployed: Any, size: tuple[int, int], threads: int | None, precision: str) -> Any:
    import torch

    def run(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            with torch.inference_mode():
                found: NDArray[np.uint8] = deployed(torch.from_numpy(image[None]))[0].numpy()
        finally:
            torch.set_num_threads(before)  # which is Keras' too, where it runs on PyTorch
        return found

    weights = deployed.state_dict().values()
    return run, sum(weight.numel() * weight.element_size() for weight in weights)


def _in_onnx(deployed: Any, size: tuple[int, int], threads: int | None, precision: str) -> Any:
    import torch

    from fornet_keras.export.formats import ONNX_FILE, ONNX_OPSET
    from fornet_keras.export.quantize import quantize_onnx

    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    names = {"input_names": ["image"], "output_names": ["label_ids"]}
    with TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_FILE
        # dynamo=False: the newer exporter needs a package more.
        torch.onnx.export(deployed, (example,), str(path), opset_version=ONNX_OPSET, dynamo=False, **names)
        if precision == "int8":
            quantize_onnx(path, _noise(size))
        run, size_in_bytes = open_onnx(path, threads), path.stat().st_size
    return lambda image: run(image[None])["label_ids"][0], size_in_bytes


def _in_openvino(deployed: Any, size: tuple[int, int], threads: int | None, precision: str) -> Any:
    import torch

    from fornet_keras.export.quantize import quantize_openvino

    openvino = import_openvino()
    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    converted = openvino.convert_model(deployed, example_input=example, input=[1, *size, 3])
    if precision == "int8":
        converted = quantize_openvino(converted, _noise(size))
    with TemporaryDirectory() as folder:
        openvino.save_model(converted, Path(folder) / OPENVINO_FILE, compress_to_fp16=False)
        size_in_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
    compiled = openvino.Core().compile_model(converted, "CPU", openvino_settings(threads))
    return lambda image: np.array(compiled(image[None])[0][0]), size_in_bytes


def _noise(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """What random weights are calibrated on: here only the time of a network counts, not what it finds."""
    return [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]
