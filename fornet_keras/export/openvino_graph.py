"""What OpenVINO's converter leaves slow: a converted graph changed in place, with the same results."""

from __future__ import annotations

from math import prod
from typing import Any


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
