from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.sources import open_split
from fornet_keras.losses import region_error_share, selector_loss, subsample_labels
from fornet_keras.model_folder import load_model, named_weights
from fornet_keras.training.fit_selector import fit_selector
from tests.model.tiny import randomize, tiny_model

pytestmark = pytest.mark.backend


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in named_weights(model).items()}


def loss(model: keras.Model, batches: TrainingBatches) -> float:
    images, labels = batches.batch(0, 0)
    outputs = model.predict_on_batch(images)
    _, height, width, _ = outputs["coarse_logits"].shape
    sampled = subsample_labels(labels.astype("int32"), height, width, 4)
    shares = region_error_share(sampled, outputs["coarse_logits"], *outputs["importance"].shape[1:])
    return float(selector_loss(*shares, keras.ops.convert_to_tensor(outputs["importance"])))


def test_the_selector_alone_learns_and_forgets_what_it_knew(make_config: Callable[..., Any]) -> None:
    config = make_config(training={"selector_epochs": 3})
    batches = TrainingBatches(open_split(config.data, "train"), config.augment, 2, 0)
    models = [randomize(tiny_model(num_classes=11)) for _ in range(2)]
    before = arrays(models[0])
    untrained = loss(models[0], batches)
    selector = models[1].get_layer("selector")
    selector.set_weights([2 * weight for weight in selector.get_weights()])
    for model in models:
        fit_selector(model, batches, config)
    after, other = map(arrays, models)
    changed = {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"selector"}
    assert loss(models[0], batches) < untrained
    for name, weight in after.items():
        np.testing.assert_array_equal(weight, other[name], err_msg=name)
    assert len(models[0].trainable_weights) == len(tiny_model(num_classes=11).trainable_weights)


def test_a_run_ends_with_the_selector_alone(
    make_config: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    config = make_config(training={"selector_epochs": 1})
    result, scores = train(config, tmp_path / "run")
    best, last = (arrays(load_model(tmp_path / "run" / name)[0]) for name in ("best", "last"))
    differ = {name.split("/")[0] for name in best if not np.array_equal(best[name], last[name])}
    assert differ == {"selector"}
    assert result["val"]["error_coverage"] == pytest.approx(scores.error_coverage)


def test_unchanged_batches_are_cut_from_the_images_as_they_are(make_config: Callable[..., Any]) -> None:
    config = make_config(augment={"flip": 0.0, "brightness": 0.9, "gamma": 1.0})
    dataset = open_split(config.data, "train")
    batches = TrainingBatches(dataset, config.augment, 2, 0)
    images, labels = batches.unchanged().batch(0, 0)
    from fornet_keras.data.samples import read_sample

    for image, label, index in zip(images, labels, batches.indices(0, 0), strict=True):
        whole, whole_label = read_sample(dataset.samples[int(index)], dataset.table)
        np.testing.assert_array_equal(image, whole)
        np.testing.assert_array_equal(label, whole_label)
