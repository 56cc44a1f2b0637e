"""The Selector learns once more, from the network as it will be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from fornet_keras.config import Config
from fornet_keras.data.dataset import IGNORE, Dataset
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import PAD_COLOR
from fornet_keras.data.transforms import cover_sides
from fornet_keras.evaluation.evaluate import by_size, coarse_errors
from fornet_keras.losses import region_error_share, selector_loss, subsample_labels
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.checkpointing import Checkpointing
from fornet_keras.training.progress import ProgressLine
from fornet_keras.training.validation import Validation

LEARNING_RATE = 2e-3

MOST_JUDGED = 0.5
"""Share of the regions by which two Selectors are compared, where the model keeps more."""

BAR = 0.2
"""Share of a letterboxed image that is grey at either end, by which two Selectors are compared."""

SELECTOR_EPOCHS = "the Selector's epochs"
"""What begins anew where a run stops after the others, for its last line."""


def fit_selector_of_best(
    config: Config, batches: TrainingBatches, validation: Validation, saver: Checkpointing, line: ProgressLine
) -> None:
    """Let the Selector of the best model learn once more, and keep of the two the one that finds more errors.

    Both are judged here, as they are saved: `best` may already have the new one, where a run stopped after
    this part. A run that stops in here begins it anew.
    """

    def tell(epoch: int, logs: Any) -> None:
        line.say(f"Selector alone, epoch {epoch + 1}/{config.training.selector_epochs}")

    def coverage(model: FoRNet) -> float:
        return coverage_in_use(model, validation.dataset, saver.stop_if_asked)

    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=tell, on_train_batch_end=lambda batch, logs: saver.stop_if_asked()
    )
    best = validation.folder / "best"
    model, table = load_model(best)
    with saver.listening(line.console, SELECTOR_EPOCHS):
        before = coverage(model)
        line.show("the Selector alone …")
        fit_selector(model, batches, config, [callback])
        after = coverage(model)
        is_better = after >= before
        if is_better:
            save_model(model, table, best)
    line.say(
        f"Selector alone: error coverage {after:.3f} where half of the images are letterboxed, and "
        f"{before:.3f} before; the {'new' if is_better else 'earlier'} Selector is kept"
    )


def coverage_in_use(model: FoRNet, dataset: Dataset, on_image: Callable[[], None] = lambda: None) -> float:
    """Share of the coarse path's wrong pixels that lie in kept regions, 0…1; half of the images letterboxed.

    So a Selector that spends regions on the grey around a photograph finds less. Of all regions any finds all
    errors: at most half of them are kept here.

    Args:
        model: a `FoRNet`.
        dataset: images that it has not learnt from, every second of which loses its sides, or top and bottom.
        on_image: called before each.
    """
    predict = Predictor(model if model.top_k <= MOST_JUDGED else model.with_top_k(MOST_JUDGED))
    errors = covered = 0
    for index, sample in enumerate(by_size(dataset, model.short_side)):
        on_image()
        image, label = read_sample(sample, dataset.table, model.short_side)
        if index % 2:
            image, label = cover_sides(image, label, axis=index // 2 % 2, share=BAR)
        found = coarse_errors(label, predict(image))
        errors, covered = errors + found[0], covered + found[1]
    return covered / errors if errors else 1.0


class _SelectorAlone(keras.Model):
    """The part of a `FoRNet` that scores regions, with the Selector's loss alone."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """As at inference, also in `fit`: a backbone drops nothing, though it may have layers that do."""
        return super().call(inputs, training=False, mask=mask)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        coarse, importance = y_pred["coarse_logits"], y_pred["importance"]
        _, height, width, _ = coarse.shape
        labels = subsample_labels(ops.cast(y, "int32"), height, width)
        # In the bars of a letterbox nothing is wrong; of what else has no label that is not known.
        grey = ops.cast(ops.all(ops.equal(x, PAD_COLOR[0]), axis=-1), "int32")
        bars = ops.logical_and(subsample_labels(grey, height, width) > 0, ops.equal(labels, IGNORE))
        labels = ops.where(bars, ops.cast(ops.argmax(coarse, axis=-1), "int32"), labels)
        errors, valid = region_error_share(labels, coarse, *importance.shape[1:])
        return selector_loss(errors, valid, importance)


def fit_selector(
    model: FoRNet,
    batches: TrainingBatches,
    config: Config,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train the Selector anew, on a network whose other weights stay as they are.

    During training the Selector follows a coarse path that changes all the time, normalises by the batch and
    sees images whose sizes are changed: other errors than those it is asked for later. Colours are changed
    here too: of images that it knows by heart the coarse path gets little wrong. Half of the images are
    letterboxed, as in an exported model, so that no region is spent on the grey around them. What the
    Selector had learnt is forgotten, so that the result depends on the other weights and the seed alone.

    Args:
        model: a `FoRNet`; only its Selector's weights change.
        batches: the `TrainingBatches` of the run, of which it takes `as_in_use`.
        config: the `Config` of the run: `training.selector_epochs`, and how batches are made.
        callbacks: of the `fit` in here.
    """
    selector = model.get_layer("selector")
    for layer, scale in ((selector.reduce, 1.0), (selector.look, 1.0), (selector.correct, 0.0)):
        # A layer's own initializer has another seed in each model.
        initial = keras.initializers.GlorotUniform(config.training.seed)(layer.kernel.shape)
        layer.kernel.assign(scale * initial)
        layer.bias.assign(ops.zeros(layer.bias.shape))
    layers = [*model._flatten_layers()]
    trained = [layer.trainable for layer in layers]
    model.trainable = False
    selector.trainable = True
    outputs = {name: model.output[name] for name in ("coarse_logits", "importance")}
    alone = _SelectorAlone(model.input, outputs, name="selector_alone")
    epochs, steps = config.training.selector_epochs, batches.steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * steps)
    alone.compile(keras.optimizers.Adam(schedule), jit_compile=keras.backend.backend() == "jax")
    in_use = batches.as_in_use()
    try:
        with data_errors(in_use):
            inputs = fit_input(in_use, config.training.workers)
            alone.fit(
                inputs, epochs=epochs, steps_per_epoch=steps, callbacks=[*callbacks], shuffle=False, verbose=0
            )
    finally:
        for layer, trainable in zip(layers, trained, strict=True):
            layer.trainable = trainable
