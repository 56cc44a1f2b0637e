import re
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE
from fornet_keras.losses import FoRNetLoss
from fornet_keras.metrics import ConfusionMatrix, MeanIoU
from fornet_keras.model import FoRNet
from tests.layers.gradients import ValueAndGradients, value_and_gradients
from tests.model.tiny import NUM_CLASSES, images, numpy_outputs, randomize, tiny_model

pytestmark = pytest.mark.backend

LOSSES = {"loss", "logits_loss", "coarse_loss", "selector_loss"}


def easy_problem() -> tuple[np.ndarray, np.ndarray]:
    """Upright bands, each class with a brightness of its own, under some noise; a few pixels are ignored."""
    labels = np.repeat(np.arange(96) // 16 % NUM_CLASSES, 64).reshape(96, 64).T
    labels = np.stack([labels, np.roll(labels, 16, axis=1)]).astype("uint8")
    noise = np.random.default_rng(0).integers(0, 40, (*labels.shape, 3))
    labels[:, :3, :5] = IGNORE
    return (80 * (labels % 200)[..., None] + noise).clip(0, 255).astype("uint8"), labels


@pytest.fixture(scope="module")
def trained() -> tuple[FoRNet, dict[str, list[float]]]:
    """As a notebook does it: `compile`, then `fit` on arrays."""
    keras.utils.set_random_seed(0)
    model = tiny_model()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # 30 steps are few
    model.compile(
        keras.optimizers.Adam(0.01),
        metrics=[MeanIoU(NUM_CLASSES)],
        jit_compile=keras.backend.backend() == "jax",  # without XLA, TensorFlow is ready in half the time
    )
    return model, model.fit(*easy_problem(), batch_size=2, epochs=30, verbose=0).history


def test_fit_learns(trained: tuple[FoRNet, dict[str, list[float]]]) -> None:
    _, history = trained
    assert set(history) == LOSSES | {"miou"}
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["miou"][-1] > 0.8
    parts = [history[name] for name in sorted(LOSSES - {"loss"})]
    np.testing.assert_allclose(history["loss"], np.sum(parts, axis=0), rtol=1e-4)


def test_what_was_learnt_holds_at_inference(trained: tuple[FoRNet, dict[str, list[float]]]) -> None:
    """`evaluate` agrees with the confusion matrix of the predictions, counted on the host.

    The second batch is smaller: a loss is still the sum of its parts.
    """
    model, _ = trained
    image, labels = (np.concatenate([x, x[:1]]) for x in easy_problem())
    labels[2, :40] = 0  # wrong, so that the batches cost differently
    found = model.evaluate(image, labels, batch_size=2, verbose=0, return_dict=True)
    assert set(found) == LOSSES | {"miou"}
    matrix = ConfusionMatrix(NUM_CLASSES)
    matrix.add(labels, numpy_outputs(model, image)["logits"].argmax(-1))
    assert matrix.miou > 0.3
    parts = [found[name] for name in LOSSES - {"loss"}]
    assert found["loss"] == pytest.approx(sum(parts), rel=1e-4)
    assert found["miou"] == pytest.approx(matrix.miou, rel=1e-3)


def test_keras_stops_where_val_miou_no_longer_grows(trained: tuple[FoRNet, dict[str, list[float]]]) -> None:
    model, history = trained
    data = easy_problem()
    stop = keras.callbacks.EarlyStopping(monitor="val_miou")
    more = model.fit(*data, batch_size=2, verbose=0, validation_data=data, callbacks=[stop]).history
    assert set(more) == {*history, *(f"val_{name}" for name in history)}
    assert stop.best == more["val_miou"][0]
    assert stop.monitor_op is keras.ops.greater


def test_to_compile_again_without_a_loss_is_to_take_the_default_one() -> None:
    model = tiny_model()
    model.compile("sgd", FoRNetLoss(ohem=0.25))
    model.compile("sgd")
    assert model.loss.get_config() == FoRNetLoss().get_config()


def test_a_step_computes_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX traces it once for all of them; TensorFlow does here without, which is quicker for two."""
    backend = keras.backend.backend()
    model = tiny_model()
    model.compile("sgd", run_eagerly=backend == "tensorflow")
    called = []
    monkeypatch.setattr(
        FoRNet, "call", lambda *data, call=FoRNet.call, **n: called.append(1) or call(*data, **n)
    )
    for _ in range(2):
        model.train_on_batch(*easy_problem())
    assert len(called) == (1 if backend == "jax" else 2)


@pytest.fixture(scope="module")
def learner() -> tuple[FoRNet, ValueAndGradients]:
    """A network in training, and its loss and gradients as a function of the labels of `images(64, 96)`."""
    model = randomize(tiny_model())
    loss = FoRNetLoss([0.5, 1.0, 2.0], label_smoothing=0.1, ohem=0.5)

    def loss_of(labels: Any) -> Any:
        return loss(labels, model(images(64, 96), training=True))

    return model, value_and_gradients(loss_of, model.trainable_variables)


def test_an_all_void_crop_costs_nothing_and_moves_nothing(learner: tuple[FoRNet, ValueAndGradients]) -> None:
    _, differentiate = learner
    loss, gradients = differentiate(np.full((2, 64, 96), IGNORE, "uint8"))
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_every_part_learns(learner: tuple[FoRNet, ValueAndGradients]) -> None:
    """The gradient reaches each weight: the Selector's through its loss and through the gate."""
    model, differentiate = learner
    loss, gradients = differentiate(easy_problem()[1])
    assert loss > 0
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert gradient.any(), variable.path


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="to compile it takes ten seconds; in test_compile it learns so"
)
def test_a_mixed_precision_step_with_a_loss_of_ones_own() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    model = tiny_model()
    loss = FoRNetLoss(coarse_weight=0, selector_weight=0)
    eagerly = keras.backend.backend() == "tensorflow"  # for one step it is quicker not to trace it
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=[MeanIoU(NUM_CLASSES)], run_eagerly=eagerly)
    before = model.get_weights()
    found = model.train_on_batch(*easy_problem(), return_dict=True)
    assert found["loss"] == found["logits_loss"] > 0
    assert found["coarse_loss"] == found["selector_loss"] == 0
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


def test_a_further_part_is_learnt_too() -> None:
    class WithPenalty(FoRNetLoss):
        def parts(self, labels: Any, outputs: Any, sample_weight: Any = None) -> Any:
            return {
                **super().parts(labels, outputs, sample_weight),
                "penalty": keras.ops.convert_to_tensor(7.0),
            }

    model, (image, labels) = tiny_model(), easy_problem()
    shapes = {"logits": (2, 64, 96, 3), "coarse_logits": (2, 16, 24, 3), "importance": (2, 4, 6)}
    outputs = {name: keras.ops.ones(shape) for name, shape in shapes.items()}
    losses = []
    for loss in (FoRNetLoss(), WithPenalty()):
        model.compile("sgd", loss)
        loss_of = model.compute_loss(image, keras.ops.convert_to_tensor(labels), outputs)
        losses.append(float(keras.ops.convert_to_numpy(loss_of)))
    assert losses[1] == pytest.approx(losses[0] + 7)


def test_what_would_be_ignored_is_refused() -> None:
    image, labels = easy_problem()
    model = tiny_model()
    model.compile("sgd")
    with pytest.raises(ValueError, match="samples cannot be weighted"):
        model.compute_loss(image, labels, model.output, sample_weight=np.ones(2))
    with pytest.raises(
        ValueError, match="loss must be a FoRNetLoss, or None for the default one; received 'mse'"
    ):
        model.compile("sgd", loss="mse")

    class Doubled(FoRNetLoss):
        def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return 2 * super().__call__(y_true, y_pred, sample_weight)

    with pytest.raises(
        ValueError, match="loss must override `parts` alone; received one with its own `__call__`"
    ):
        model.compile("sgd", loss=Doubled())
    with pytest.raises(ValueError, match="loss_weights are not taken; received .*; use FoRNetLoss"):
        model.compile("sgd", loss_weights={"logits": 2.0})
    with pytest.raises(ValueError, match=r"class_weight is not taken; use compile\(loss=FoRNetLoss\(class_w"):
        model.fit(image, labels, class_weight={0: 1.0, 1: 2.0, 2: 1.0})
    for name in ("metrics", "weighted_metrics"):
        with pytest.raises(
            ValueError, match=f"^{name} must be a list, of the logits; received a dict of kept"
        ):
            model.compile("sgd", **{name: {"kept": MeanIoU(NUM_CLASSES)}})


def test_arrays_of_another_shape_are_refused() -> None:
    """Before JAX' trainer takes the weights' values away, for a step that then fails."""
    model, labels = tiny_model(), np.zeros((2, 64, 96), "uint8")
    right = images(64, 96)
    for wrong in (np.moveaxis(right, -1, 1), right[0], right[..., :1], keras.ops.ones((2, 3, 64, 96))):
        said = re.escape(f"images must be (batch, height, width, 3); received {tuple(wrong.shape)}; channels")
        with pytest.raises(ValueError, match=said):
            model.fit(wrong, labels)
    for wrong in (np.eye(NUM_CLASSES)[labels], labels[0]):
        said = re.escape(f"received shape {wrong.shape}; of one-hot labels take the argmax")
        for given in ({"y": wrong}, {"y": labels, "validation_data": (right, wrong)}):
            with pytest.raises(ValueError, match=said):
                model.fit(right, **given)
    unknown = pytest.warns(UserWarning, match=f"labels: {NUM_CLASSES} is none of the {NUM_CLASSES} classes")
    with unknown, pytest.raises(ValueError, match="compile"):
        model.fit(right, labels, validation_data=(right, labels + NUM_CLASSES))


def test_masks_of_0_and_255_are_suspect() -> None:
    """Their 255 would be ignored. Labels of which some alone hold no class but 0 are as they should be."""
    model = tiny_model()
    masks = np.zeros((3, 64, 96), "uint8")
    masks[1:, :5] = IGNORE
    for wrong in (masks, masks[..., None].astype("float32")):
        fix = pytest.warns(UserWarning, match="no value but 0 and 255, .*; where .* take labels // 255")
        with fix, pytest.raises(ValueError, match="compile"):
            model.fit(images(64, 96), wrong)
    right = masks.copy()
    right[2, 7, 7] = 1
    for labels in (right, masks // 255, masks[:1]):
        with pytest.raises(ValueError, match="compile"):  # and no warning, which would be an error
            model.fit(images(64, 96), y=labels)


def test_labels_that_are_no_class_are_suspect() -> None:
    """They make the loss NaN; an array alone is looked at, all of it."""
    model = tiny_model()
    right = np.zeros((3, 64, 96), "uint8")
    right[:, :5], right[:, 5:9] = IGNORE, NUM_CLASSES - 1
    for value, dtype in ((3, "uint8"), (254, "int64"), (-1, "int32"), (0.5, "float32"), (np.nan, "float64")):
        wrong = right.astype(dtype)
        wrong[2, 7, 7] = value
        said = rf"labels: {value} is none of the 3 classes, 0…2, and makes loss and mIoU NaN; .* or 255, "
        with pytest.warns(UserWarning, match=said), pytest.raises(ValueError, match="compile"):
            model.fit(images(64, 96), wrong)
    for dtype in ("uint8", "int64", "float32"):
        with pytest.raises(ValueError, match="compile"):  # and no warning, which would be an error
            model.fit(images(64, 96), right.astype(dtype)[..., None])


def test_a_loss_that_lacks_a_part_is_refused() -> None:
    class WithoutSelector(FoRNetLoss):
        def parts(self, labels: Any, outputs: Any, sample_weight: Any = None) -> Any:
            return {"logits_loss": 1.0, "coarse_loss": 2.0}

    model = tiny_model()
    model.compile("sgd", WithoutSelector())
    with pytest.raises(
        ValueError,
        match="must keep the inherited 'selector_loss'; received logits_loss, coarse_loss; make it 0",
    ):
        model.compute_loss(*easy_problem(), model.output)
