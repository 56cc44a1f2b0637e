import io
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fornet_keras.config import TrainingConfig
from fornet_keras.data.camvid import TABLE as CAMVID
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sources import open_split
from fornet_keras.errors import RunInterrupted
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.losses import region_error_share, selector_loss, subsample_labels
from fornet_keras.model_folder import load_model, named_weights, save_model
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training import fit_selector as module
from fornet_keras.training.fit_selector import coverage_in_use, fit_selector
from fornet_keras.training.progress import ProgressLine
from tests.model.tiny import randomize, tiny_model
from tests.training.test_resume import cut_off
from tests.training.test_stops import GoneTerminal
from tests.training.test_train import val_labels
from tests.untraced import untraced

pytestmark = pytest.mark.backend


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in named_weights(model).items()}


def loss(model: keras.Model, batches: TrainingBatches) -> float:
    images, labels = batches.batch(0, 0)
    outputs = model.predict_on_batch(images)
    _, height, width, _ = outputs["coarse_logits"].shape
    sampled = subsample_labels(labels.astype("int32"), height, width)
    shares = region_error_share(sampled, outputs["coarse_logits"], *outputs["importance"].shape[1:])
    return float(selector_loss(*shares, keras.ops.convert_to_tensor(outputs["importance"])))


def test_only_the_bars_of_a_letterbox_are_easy_without_a_label() -> None:
    """Of what else has no label, such as the outlines in coarse labels, nothing is known."""
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)
    labels = np.full((1, 32, 64), 255, np.uint8)
    model = randomize(tiny_model(num_classes=11))
    alone = module._SelectorAlone(
        model.input, {name: model.output[name] for name in ("coarse_logits", "importance")}
    )

    def loss_of(images: np.ndarray) -> tuple[np.ndarray, ...]:
        outputs = alone(images)
        found = alone.compute_loss(keras.ops.convert_to_tensor(images), labels, outputs)
        return tuple(map(keras.ops.convert_to_numpy, (found, outputs["importance"])))

    assert loss_of(images)[0] == 0
    images[:, :, 32:] = 127
    found, importance = loss_of(images)
    assert found == pytest.approx(np.log1p(np.exp(importance[:, :, 2:])).mean(), rel=1e-5)


def with_dropout(backbone: keras.Model) -> keras.Model:
    dropped = {name: keras.layers.Dropout(0.5)(x) for name, x in backbone.output.items()}
    return keras.Model(backbone.input, dropped, name="backbone")


def test_the_selector_alone_learns_and_forgets_what_it_knew(make_config: Callable[..., Any]) -> None:
    """From a network that drops nothing, as it is used."""
    config = make_config(training={"selector_epochs": 3})
    batches = TrainingBatches(open_split(config.data, "train"), config.augment, 2, 0)
    backbones = tiny_model().backbone, with_dropout(tiny_model().backbone)
    models = [randomize(tiny_model(num_classes=11, backbone=backbone)) for backbone in backbones]
    before = arrays(models[0])
    untrained = loss(models[0], batches)
    models[0].backbone.trainable = False
    frozen = [layer.trainable for layer in models[0]._flatten_layers()]
    selector = models[1].get_layer("selector")
    selector.set_weights([2 * weight for weight in selector.get_weights()])
    with untraced():
        for model in models:
            fit_selector(model, batches, config)
    after, other = map(arrays, models)
    changed = {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"selector"}
    assert loss(models[0], batches) < untrained
    for name, weight in after.items():
        np.testing.assert_array_equal(weight, other[name], err_msg=name)
    assert [layer.trainable for layer in models[0]._flatten_layers()] == frozen
    assert len(models[1].trainable_weights) == len(tiny_model(num_classes=11).trainable_weights)


def covering_less(shares: list[int]) -> Callable[..., float]:
    """`coverage_in_use`, by which a network finds this share of the errors that it does: before the
    Selector's epochs, after them.
    """
    left = iter(shares)
    return lambda *arguments: coverage_in_use(*arguments) * next(left)


@pytest.fixture(scope="module")
def whole(
    make_config: Callable[..., Any], train: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A run on images below `data.short_side`, whose new Selector is better than the one before, which finds
    nothing.
    """
    folder = tmp_path_factory.mktemp("whole") / "run"
    data = {"short_side": 100, "cache": str(folder.with_name("cache"))}
    config = make_config(data=data, training={"selector_epochs": 1})
    said = Console(file=io.StringIO(), width=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "coverage_in_use", covering_less([0, 1]))
        result, scores = train(config, folder, said)
    return SimpleNamespace(
        config=config, folder=folder, result=result, scores=scores, said=said.file.getvalue()
    )


def test_a_run_ends_with_the_selector_alone(whole: SimpleNamespace) -> None:
    models = [load_model(whole.folder / name)[0] for name in ("best", "last")]
    best, last = map(arrays, models)
    differ = {name.split("/")[0] for name in best if not np.array_equal(best[name], last[name])}
    assert differ == {"selector"}
    val = open_split(whole.config.data, "val")
    coverage = evaluate(Predictor(models[0]), val).error_coverage
    assert whole.result["val"]["error_coverage"] == pytest.approx(coverage)
    line = f"error coverage {coverage_in_use(models[0], val):.3f} where half of the images are "
    line += "letterboxed, and 0.000 before; the new Selector is kept\n"
    assert line in whole.said


def test_regions_spent_on_the_grey_find_nothing(
    make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whole images alone the two would be as good: they keep all of these."""

    def network(keeps_grey: bool) -> Any:
        def predict(image: np.ndarray) -> dict[str, np.ndarray]:
            grey = (image == 127).all(-1)[8::16, 8::16]
            kept = grey == keeps_grey if grey.any() else ~grey
            return {"coarse_label_ids": np.full(4 * np.array(kept.shape), 99), "kept": kept}

        predict.top_k, predict.short_side = 0.5, None  # type: ignore[attr-defined]
        return predict

    monkeypatch.setattr(module, "Predictor", lambda model: model)
    dataset = open_split(make_config().data, "train")  # of whole regions
    assert coverage_in_use(network(keeps_grey=False), dataset) > 0.9  # but at the grey's edge
    assert 0.2 < coverage_in_use(network(keeps_grey=True), dataset) < 0.8


def test_a_run_learns_validates_and_is_used_at_one_size(whole: SimpleNamespace) -> None:
    """That of its own images: larger ones are brought down, their labels scored at their own size."""
    val = whole.result["val"]
    assert val["short_side"] == 64
    assert "note: no image of 'train' is as large as data.short_side, 100: the model learns at" in whole.said
    labels = val_labels(whole.config)
    assert np.sum(val["confusion_matrix"]) == sum(int((label != 255).sum()) for label in labels)
    for name in ("best", "last"):
        assert load_model(whole.folder / name)[0].short_side == 64
    scores = evaluate(Predictor(load_model(whole.folder)[0]), open_split(whole.config.data, "val"))
    assert scores.matrix.counts.tolist() == val["confusion_matrix"]
    found = EventAccumulator(str(whole.folder / "tensorboard")).Reload().Images("val/0")[-1]
    assert found.height == 64, "shown as it was predicted"


def test_of_all_regions_half_are_judged(make_config: Callable[..., Any]) -> None:
    """Else any Selector would find all errors."""
    dataset = open_split(make_config().data, "val")
    half, every = (randomize(tiny_model(num_classes=11, top_k=top_k)) for top_k in (0.5, 1))
    assert coverage_in_use(every, dataset) == coverage_in_use(half, dataset) < 1


def test_a_selector_that_is_worse_than_before_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = tmp_path / "best"
    save_model(randomize(tiny_model(num_classes=11)), CAMVID, best)
    monkeypatch.setattr(
        module, "fit_selector", lambda model, *_: model.set_weights([0 * w for w in model.get_weights()])
    )
    saver = SimpleNamespace(listening=lambda *_: nullcontext(), stop_if_asked=lambda: None)
    said = Console(file=io.StringIO(), width=200)
    line = ProgressLine(said, TrainingConfig(epochs=1, batch_size=1), 1)
    validation = SimpleNamespace(folder=tmp_path, dataset=None)
    for after, kept in ((0.4, "earlier"), (0.6, "new")):
        coverages = iter([0.5, after])
        monkeypatch.setattr(module, "coverage_in_use", lambda *_, found=coverages: next(found))
        before = (best / "weights.safetensors").read_bytes()
        module.fit_selector_of_best(None, None, validation, saver, line)
        assert (before == (best / "weights.safetensors").read_bytes()) is (kept == "earlier")
        assert said.file.getvalue().endswith(f"and 0.500 before; the {kept} Selector is kept\n")


def test_the_selectors_epochs_outlive_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(randomize(tiny_model(num_classes=11)), CAMVID, tmp_path / "best")
    ended = []

    def fit(model: keras.Model, batches: None, config: Any, callbacks: list[Any]) -> None:
        callbacks[0].on_epoch_end(0, {})
        ended.append(0)

    monkeypatch.setattr(module, "fit_selector", fit)
    config = SimpleNamespace(training=TrainingConfig(epochs=1, batch_size=1, selector_epochs=1))
    saver = SimpleNamespace(listening=lambda *_: nullcontext(), stop_if_asked=lambda: None)
    validation = SimpleNamespace(folder=tmp_path, dataset=None)
    monkeypatch.setattr(module, "coverage_in_use", lambda *_: 0.5)
    line = ProgressLine(Console(file=GoneTerminal()), config.training, 1)
    module.fit_selector_of_best(config, None, validation, saver, line)
    assert ended == [0]


def test_a_signal_in_the_selectors_epochs(
    whole: SimpleNamespace, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops, and when it goes on the Selector learns anew, to what it would have been."""
    fits = module.fit_selector

    def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        fits(*arguments)

    cut_off(whole.folder, tmp_path / "run", 3)
    shutil.rmtree(tmp_path / "run" / "best")
    shutil.copytree(tmp_path / "run" / "last", tmp_path / "run" / "best")  # as it was before that part
    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_selector", interrupted)
        with pytest.raises(
            RunInterrupted, match="step 3 of 3, which is saved; the Selector's epochs begin anew"
        ):
            train(whole.config, tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.setattr(module, "coverage_in_use", covering_less([0, 1]))
    train(whole.config, tmp_path / "run", resume=True)
    best = [
        (folder / "best" / "weights.safetensors").read_bytes() for folder in (tmp_path / "run", whole.folder)
    ]
    assert best[0] == best[1]


def test_a_run_that_had_ended_keeps_its_selector(
    whole: SimpleNamespace, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    said = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(module, "fit_selector", pytest.fail)
    result, _ = train(whole.config, tmp_path / "run", said, resume=True)
    assert result["val"]["error_coverage"] == whole.result["val"]["error_coverage"]
    assert "the run had ended: its best model is scored once more\n" in said.file.getvalue()
