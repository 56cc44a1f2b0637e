"""What every layer must do, in one check; what is special to a layer stays in that layer's own test."""

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

Arrays = list[np.ndarray]


def random(*shape: int, scale: float = 1, seed: int = 0) -> np.ndarray:
    """Normally distributed inputs or weights."""
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype("float32")


def check_layer(
    make_layer: Callable[[], keras.layers.Layer], make_inputs: Callable[[int, int], Arrays], sizes: list
) -> None:
    """Round trip of the configuration, shapes, precision, one training step, saving.

    Args:
        make_layer: builds the layer.
        make_inputs: one array an input, for a map of a height and a width; the first axis is the batch.
        sizes: two or more rectangular maps, `(height, width)`.
    """
    layer = make_layer()
    for size in sizes:
        _check_shapes(layer, make_inputs(*size))
    inputs = make_inputs(*sizes[0])
    _check_config(layer, inputs)
    _check_frozen(layer, inputs)
    _check_fit_and_save(layer, inputs)
    keras.config.set_dtype_policy("mixed_float16")
    _check_shapes(make_layer(), inputs)
    keras.config.set_dtype_policy("float32")


def run(layer: keras.layers.Layer, inputs: Arrays) -> Arrays:
    """Outputs of a layer as NumPy arrays, one each."""
    return [keras.ops.convert_to_numpy(x) for x in _flat(layer(_call_with(inputs)))]


def _call_with(inputs: list) -> Any:
    """One input is passed as it is, several as a list."""
    return inputs[0] if len(inputs) == 1 else inputs


def _flat(outputs: Any) -> list:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _describe(outputs: Any) -> list[tuple]:
    return [(tuple(x.shape), keras.backend.standardize_dtype(x.dtype)) for x in _flat(outputs)]


def _check_shapes(layer: keras.layers.Layer, inputs: Arrays) -> None:
    """Symbolic and eager calls agree in shape and dtype, also where the size is not known."""
    symbols = [keras.KerasTensor(x.shape, x.dtype) for x in inputs]
    eager = layer(_call_with(inputs))
    assert _describe(layer(_call_with(symbols))) == _describe(eager)
    for output in _flat(eager):
        assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))).all()

    unknown = [keras.KerasTensor((None, None, None, *x.shape[3:]), x.dtype) for x in inputs]
    if all(x.ndim > 2 for x in inputs):
        for symbol, (shape, dtype) in zip(_flat(layer(_call_with(unknown))), _describe(eager), strict=True):
            assert keras.backend.standardize_dtype(symbol.dtype) == dtype
            assert all(dim in (None, known) for dim, known in zip(symbol.shape, shape, strict=True))


def _check_config(layer: keras.layers.Layer, inputs: Arrays) -> None:
    """The configuration holds the constructor's arguments, unchanged, and makes an equal layer."""
    config = layer.get_config()
    arguments = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    assert set(config) == arguments | {"name", "trainable", "dtype"}
    twin = type(layer).from_config(config)
    assert twin.get_config() == config
    run(twin, inputs)
    twin.set_weights(layer.get_weights())
    for ours, theirs in zip(run(layer, inputs), run(twin, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _check_frozen(layer: keras.layers.Layer, inputs: Arrays) -> None:
    """A layer that is made frozen, as from a file, learns nothing: no statistics either."""
    frozen = type(layer).from_config({**layer.get_config(), "trainable": False})
    run(frozen, inputs)
    before = [weight.copy() for weight in frozen.get_weights()]
    frozen(_call_with(inputs), training=True)
    assert not any(inner.trainable for inner in frozen._flatten_layers())
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _trained(layer: keras.layers.Layer) -> Arrays:
    """What a step changes by its gradient: not batch normalisation's statistics, which change anyway."""
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in layer.trainable_weights]


def _check_fit_and_save(layer: keras.layers.Layer, inputs: Arrays) -> None:
    """One compiled training step reaches the layer's weights; `.keras` gives the same outputs back."""
    symbols = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in inputs]
    outputs = _flat(layer(_call_with(symbols)))
    # A layer without weights would leave nothing to fit.
    head = keras.layers.Dense(1)(outputs[0])
    before = _trained(layer)
    model = keras.Model(symbols, head)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    loss = model.train_on_batch(inputs, np.ones(head.shape[1:], "float32")[None].repeat(len(inputs[0]), 0))
    assert np.isfinite(loss)
    assert all(np.isfinite(weight).all() for weight in layer.get_weights())
    if layer.trainable_weights:
        assert any((old != new).any() for old, new in zip(before, _trained(layer), strict=True))

    model = keras.Model(symbols, outputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
    for ours, theirs in zip(_flat(model(inputs)), _flat(loaded(inputs)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs))
