"""What OpenVINO's converter leaves slow: a converted graph changed in place, with the same results."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

VECTOR = 16
"""Channels that are computed at a time where they lie last; of a multiple of it nothing is turned."""


def forget_order_of_equals(converted: Any) -> None:
    """Let regions of exactly the same score be kept in any order.

    OpenVINO keeps the order of equals with a bubble sort, whose time grows with the square of their number:
    7.6 of 118 ms for the 2048 regions of 512×1024, on two cores.
    """
    from openvino import opset11

    for node in converted.get_ordered_ops():
        if node.get_type_name() == "TopK" and node.output(0).partial_shape[-1] != 1:  # 1: an argmax
            how = node.get_attributes()
            inputs = [node.input_value(0), node.input_value(1)]
            quick = opset11.topk(*inputs, how["axis"], how["mode"], how["sort"], how["index_element_type"])
            for old, new in zip(node.outputs(), quick.outputs(), strict=True):
                old.replace(new)


def normalize_as_it_lies(converted: Any) -> None:
    """Turn the image from channels last to channels first after it has been normalised, not before.

    OpenVINO convolves with channels last: turned first, the image is turned back again, which took 6 % of
    `nano`'s time.
    """
    from openvino import opset11

    node, chain = converted.get_parameters()[0], []
    for expected in ("Convert", "Transpose", "Multiply", "Add"):
        followers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
        if [follower.get_type_name() for follower in followers] != [expected]:
            return
        chain.append(node := followers[0])
    convert, turn, multiply, add = chain
    factor, offset = multiply.input_value(1), add.input_value(1)
    if any(n.get_node().get_type_name() != "Constant" or prod(n.shape) > 1 for n in (factor, offset)):
        return  # one number a channel lies as the image does
    readers = add.output(0).get_target_inputs()
    normalized = opset11.add(opset11.multiply(convert.output(0), factor), offset)
    turned = opset11.transpose(normalized, turn.input_value(1))
    for reader in readers:
        reader.replace_source_output(turned.output(0))


def keep_channels_last(converted: Any) -> None:
    """Double maps of few channels by two small convolutions, and compare channels as if they came first.

    OpenVINO turns such a map, the coarse logits, into planes and back to double it, and finds the highest of
    channels that come last one pixel after the other: 5 % of the time of `s` in int8.
    """
    from openvino import opset11

    for node in converted.get_ordered_ops():
        how = node.get_attributes()
        if node.get_type_name() == "Interpolate":
            source = node.input_value(0)
            height, width, channels = _map(source)
            doubles = _map(node.output(0)) == [2 * height, 2 * width, channels]
            bilinear = (how["mode"][:6], how["coordinate_transformation_mode"]) == ("linear", "half_pixel")
            if doubles and bilinear and channels % VECTOR:
                node.output(0).replace(_doubled(_doubled(source, 1), 2))
        if (
            node.get_type_name() == "TopK"
            and node.output(0).partial_shape.rank == 4
            and how["axis"] in (-1, 3)
        ):
            inputs = [_turned(node.input_value(0), 0, 3, 1, 2), node.input_value(1)]
            first = opset11.topk(*inputs, 1, how["mode"], how["sort"], how["index_element_type"])
            for old, new in zip(node.outputs(), first.outputs(), strict=True):
                old.replace(_turned(new, 0, 2, 3, 1))


def _doubled(values: Any, axis: int) -> Any:
    """A map `(batch, height, width, channels)` with twice as many rows (axis 1) or columns (axis 2)."""
    from openvino import opset11

    height, width, channels = _map(values)
    # Of the cell before, of its own and of the next, in the first and the second half of a cell.
    shares = np.array([[0.25, 0.75, 0], [0, 0.75, 0.25]], "float32")
    kernel = np.einsum("ps,oi->pois", shares, np.eye(channels, dtype="float32"))
    kernel = kernel.reshape(2 * channels, channels, *((3, 1) if axis == 1 else (1, 3)))
    pads = np.eye(4, dtype="int64")[axis + 1]
    x = opset11.pad(_turned(values, 0, 3, 1, 2), pads, pads, "edge")
    x = opset11.convolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    x = _shaped(_turned(x, 0, 2, 3, 1), -1, height, width, 2, channels)
    if axis == 1:
        return _shaped(_turned(x, 0, 1, 3, 2, 4), -1, 2 * height, width, channels)
    return _shaped(x, -1, height, 2 * width, channels)


def _map(values: Any) -> list[int]:
    """Height, width and channels."""
    return [values.partial_shape[axis].max_length for axis in (1, 2, 3)]


def _turned(values: Any, *order: int) -> Any:
    from openvino import opset11

    return opset11.transpose(values, np.array(order)).output(0)


def _shaped(values: Any, *shape: int) -> Any:
    from openvino import opset11

    return opset11.reshape(values, np.array(shape), False).output(0)
