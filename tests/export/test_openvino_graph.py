"""Graphs that are changed for OpenVINO must compute what they computed."""

from typing import Any

import numpy as np
import pytest

from fornet_keras.export.openvino_graph import keep_channels_last

openvino = pytest.importorskip("openvino")


def graph(channels: int, mode: str = "linear_onnx") -> Any:
    """Double a map of 3×5 cells, and find the highest channel of each cell."""
    from openvino import opset11

    image = opset11.parameter([-1, 3, 5, channels], np.float32)
    sizes, axes = np.array([6, 10]), np.array([1, 2])
    doubled = opset11.interpolate(
        image, sizes, mode, "sizes", axes=axes, coordinate_transformation_mode="half_pixel"
    )
    highest = opset11.topk(doubled, np.int64(1), -1, "max", "none")
    return openvino.Model([doubled.output(0), highest.output(1)], [image])


def run(model: Any, values: np.ndarray) -> list[np.ndarray]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(found) for found in compiled(values).values()]


def kinds(model: Any) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


@pytest.mark.parametrize("channels", [2, 11, 19])
def test_doubled_by_convolutions(channels: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 5, channels)).astype("float32")
    model = graph(channels)
    before = run(model, values)
    keep_channels_last(model)
    assert "Interpolate" not in kinds(model)
    after = run(model, values)
    np.testing.assert_allclose(after[0], before[0], atol=1e-5)
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize(("channels", "mode"), [(32, "linear_onnx"), (11, "nearest")])
def test_what_is_otherwise_stays(channels: int, mode: str) -> None:
    model = graph(channels, mode)
    keep_channels_last(model)
    assert "Interpolate" in kinds(model)
