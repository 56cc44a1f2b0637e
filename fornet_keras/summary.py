"""What a model costs: parameters and multiply-accumulates (MAC), by part, at a size and a top-k."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Any

import keras

from fornet_keras.layers.conv_block import ConvBlock
from fornet_keras.layers.multi_scale_branch import MultiScaleBranch, runs_dense
from fornet_keras.layers.selector import Selector
from fornet_keras.layers.topk_gate import num_kept
from fornet_keras.model import FoRNet

KERNEL_LAYERS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.EinsumDense,
)
PARTS = ("backbone", "coarse path", "selector", "branch input", "branch")


def summarize(model: FoRNet, size: tuple[int, int], top_k: float | None = None) -> dict[str, Any]:
    """Count the parameters, and the multiply-accumulates of one image.

    Every convolution and dense layer is counted at the size it runs at, padding of the image included;
    additions, resizing, normalisation and activations are not.

    Args:
        model: a `FoRNet`.
        size: height and width of the image in pixels.
        top_k: share of the regions corrected, in (0, 1]; None takes the model's own.

    Returns:
        dict with `parameters`, `macs`, `by_part` (part → `parameters` and `macs`), `dense_macs` (at a top-k
        of 1), `size`, `top_k` and `refined_share` (of the regions, of which at least one is refined).
    """
    top_k = model.top_k if top_k is None else top_k
    regions = prod(-(-side // model.region_size) for side in size)
    kept = num_kept(top_k, regions)
    share = 1 if runs_dense(kept, regions) else kept / regions
    macs: dict[str, int] = defaultdict(int)
    for part, layer, shapes in _calls(model, size):
        macs[part] += _layer_macs(layer, shapes)
    dense_macs = sum(macs.values())
    macs["branch"] = round(share * macs["branch"])
    parameters: dict[str, int] = defaultdict(int)
    for layer in model.layers:
        parameters[_part(model, layer)] += layer.count_params()
    return {
        "parameters": model.count_params(),
        "macs": sum(macs.values()),
        "by_part": {part: {"parameters": parameters[part], "macs": macs[part]} for part in PARTS},
        "dense_macs": dense_macs,
        "size": list(size),
        "top_k": top_k,
        "refined_share": kept / regions,
    }


def _part(model: FoRNet, layer: keras.Layer) -> str:
    if layer is model.backbone:
        return "backbone"
    if layer.name in ("selector", "branch"):
        return str(layer.name)
    return "branch input" if layer.name.startswith("detail") else "coarse path"


def _calls(model: FoRNet, size: tuple[int, int]) -> list[tuple[str, keras.Layer, list[Any]]]:
    """Each layer's part, the layer, and its input shapes, for one image of a size."""
    calls: list[tuple[str, keras.Layer, list[Any]]] = []

    def follow(network: keras.Model, shape: tuple[int, ...], part: str | None) -> None:
        def record(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            owner = part or _part(model, layer)
            # What has no graph, or is its own graph's only layer, is looked into like any other layer.
            if hasattr(layer, "operations"):
                follow(layer, args[0].shape, owner)
            elif owner == "backbone":
                calls.extend((owner, inner, [shape]) for inner, shape in _inner_calls(layer, args))
            else:
                calls.append((owner, layer, [x.shape for x in keras.tree.flatten(args)]))
            return layer(*args, **kwargs)

        keras.models.clone_model(
            keras.Model(network.input, network.output),
            input_tensors=keras.Input(batch_shape=shape),
            clone_function=lambda layer: layer,
            call_function=record,
        )

    follow(model, (1, *size, 3), None)
    return calls


def _inner_calls(layer: keras.Layer, inputs: tuple[Any, ...]) -> list[tuple[keras.Layer, Any]]:
    """The layers with kernels in a layer, itself included, and the shape each is called on."""
    found: list[tuple[keras.Layer, Any]] = []
    if not isinstance(layer, keras.Layer):  # an operation of keras.ops
        return found
    inner_layers = layer._flatten_layers()
    blocks = [inner for inner in inner_layers if isinstance(inner, ConvBlock)]
    of_blocks = {id(block.convolution) for block in blocks}  # which only training calls
    kernels = [x for x in inner_layers if isinstance(x, KERNEL_LAYERS) and id(x) not in of_blocks] + blocks
    if not kernels:
        return found

    def listen(inner: keras.Layer) -> None:
        call = inner.call

        def noted(x: Any, *args: Any, **kwargs: Any) -> Any:
            found.append((inner, tuple(x.shape)))
            return call(x, *args, **kwargs)

        inner.call = noted

    for inner in kernels:
        listen(inner)
    try:
        # Not the layer's own: that may know its output's shape without calling what is inside.
        keras.Operation.compute_output_spec(layer, *inputs)
    finally:
        for inner in kernels:
            del inner.call
    return found


def count_macs(model: keras.Model, size: tuple[int, int]) -> int:
    """Multiply-accumulates of any Keras model for one image: those of its convolutions and dense layers.

    Of a `FoRNet`, whose branch reads its kernels itself, `summarize` counts all.
    """
    inner = _inner_calls(model, (keras.KerasTensor((1, *size, 3)),))
    return sum(_layer_macs(layer, [shape]) for layer, shape in inner)


def _layer_macs(layer: keras.Layer, shapes: list[Any]) -> int:
    """Multiply-accumulates of one call for one image; 0 for a layer without convolutions."""
    height, width = (*shapes[0], 1, 1)[1:3]
    if isinstance(layer, ConvBlock):
        return prod(layer.compute_output_shape(shapes[0])[1:3]) * prod(layer.convolution.kernel.shape)
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = [prod(kernel.shape) for kernel in (layer.depthwise_kernel, layer.pointwise_kernel)]
        return prod(layer.compute_output_shape(shapes[0])[1:3]) * sum(kernels)
    if isinstance(layer, keras.layers.EinsumDense):  # of attention: (batch, position, …)
        return prod(shapes[0][:2]) * prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return prod(shapes[0][:-1]) * prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return height * width * prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return prod(layer.compute_output_shape(shapes[0])[1:3]) * prod(layer.kernel.shape)
    if isinstance(layer, MultiScaleBranch):
        kernels = prod(layer.project.kernel.shape)
        for scale, look, fuse in zip(layer.scales, layer.looks, layer.fuses, strict=True):
            kernels += (prod(look.kernel.shape) + prod(fuse.kernel.shape)) / scale**2
        return round(height * width * kernels)
    if isinstance(layer, Selector):
        cells = height * width * sum(prod(conv.kernel.shape) for conv in (layer.reduce, layer.look))
        return cells + height * width // layer.region_cells**2 * prod(layer.correct.kernel.shape)
    return 0
