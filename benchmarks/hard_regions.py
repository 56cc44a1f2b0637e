"""How well the kept regions are chosen, and what the dial costs: score, coverage and time by ratio.

    python benchmarks/hard_regions.py MODEL --config FILE --data DIR [--json FILE]

One model, one run. For each share of regions kept, the regions are chosen four ways: by the Selector, by the
entropy of the same coarse path, at random, and by an oracle that knows the coarse path's errors. On
TensorFlow all images must be of one size.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from fornet_keras.benchmark.measure import benchmark_image
from fornet_keras.config import read_config
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import FoRNetError
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.label_ids import UpsampledLabelIds
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.summary import summarize

RATIOS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.5, 0.75, 1.0)
CHOICES = ("selector", "entropy", "random", "oracle")
STRIDE = 4


def model_with_given_scores(model):
    """The same network, but the regions are ranked by scores that are handed in."""
    image = model.input
    scores = keras.Input((None, None), name="scores")
    kept, indices = model.get_layer("gate")(scores)
    coarse = model.output["coarse_logits"]
    correction = model.get_layer("branch")([model.get_layer("detail_relu").output, kept, indices])
    cells = keras.layers.Add()([coarse, correction])
    labels = UpsampledLabelIds(STRIDE)([cells, image])
    ranked = keras.Model([image, scores], {"label_ids": labels, "cells": cells, "kept": kept})
    ranked.compile(jit_compile=keras.backend.backend() == "jax")
    return ranked


def region_scores(coarse_logits, importance, label, random):
    """One score a region for each choice, and the coarse path's errors in each region."""
    rows, columns = importance.shape
    exponent = np.exp(coarse_logits - coarse_logits.max(-1, keepdims=True))
    probability = exponent / exponent.sum(-1, keepdims=True)
    entropy = -(probability * np.log(probability + 1e-9)).sum(-1)
    label = label[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    wrong = np.zeros(entropy.shape)
    height, width = label.shape
    wrong[:height, :width] = (coarse_logits.argmax(-1)[:height, :width] != label) & (label != IGNORE)
    by_region = [
        array.reshape(rows, array.shape[0] // rows, columns, array.shape[1] // columns).sum((1, 3))
        for array in (entropy, wrong)
    ]
    choices = {
        "selector": importance,
        "entropy": by_region[0],
        "random": random.random((rows, columns)),
        "oracle": by_region[1],
    }
    return choices, by_region[1]


def measure(model, dataset):
    """Score every choice at every ratio on every image."""
    scorer = keras.Model(model.input, {n: model.output[n] for n in ("coarse_logits", "importance")})
    scorer.compile(jit_compile=keras.backend.backend() == "jax")
    ranked = {ratio: model_with_given_scores(model.with_top_k(ratio)) for ratio in RATIOS}
    cells = [(choice, ratio) for ratio in RATIOS for choice in CHOICES]
    matrices = {cell: ConfusionMatrix(dataset.table.num_classes) for cell in cells}
    covered, errors, random = dict.fromkeys(cells, 0.0), 0.0, np.random.default_rng(0)
    for number, sample in enumerate(dataset.samples):
        image, label = read_sample(sample, dataset.table, model.short_side)
        seen = scorer.predict_on_batch(image[None])
        choices, wrong = region_scores(seen["coarse_logits"][0], seen["importance"][0], label, random)
        errors += wrong.sum()
        for choice, ratio in cells:
            scores = choices[choice].astype("float32")[None]
            outputs = ranked[ratio].predict_on_batch([image[None], scores])
            matrices[choice, ratio].add(label, np.asarray(outputs["label_ids"][0]))
            covered[choice, ratio] += wrong[np.asarray(outputs["kept"][0]) > 0.5].sum()
        print(f"\r{number + 1}/{len(dataset)} images", end="", flush=True)
    print()
    return [
        {
            "choice": choice,
            "ratio": ratio,
            "miou": matrices[choice, ratio].miou,
            "error_coverage": covered[choice, ratio] / max(errors, 1.0),
        }
        for choice, ratio in cells
    ]


def time_dial(model, image, repeats=15):
    """Median milliseconds of a prediction at each ratio, the ratios in turn."""
    size = image.shape[:2]
    predictors = {ratio: Predictor(model.with_top_k(ratio), short_side=0) for ratio in RATIOS}
    for predict in predictors.values():
        predict(image)
    seconds: dict[float, list[float]] = {ratio: [] for ratio in RATIOS}
    for _ in range(repeats):
        for ratio, predict in predictors.items():
            started = time.perf_counter()
            predict(image)
            seconds[ratio].append(time.perf_counter() - started)
    dense = np.median(seconds[1.0])
    rows = []
    for ratio in RATIOS:
        cost = summarize(model, size, ratio)
        median = np.median(seconds[ratio])
        rows.append(
            {
                "size": list(size),
                "ratio": ratio,
                "median_ms": 1000 * median,
                "speedup": dense / median,
                "macs": cost["macs"],
                "macs_saved": 1 - cost["macs"] / cost["dense_macs"],
            }
        )
    return rows


def main():
    """Read the arguments, measure, and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-scores", action="store_true", help="only time the dial")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    dataset = open_dataset(config.data.format, arguments.data, config.data.val_split)
    model, _ = load_model(arguments.model)
    result = {"backend": keras.backend.backend(), "scores": [], "times": []}
    for size in ((512, 1024), (1024, 2048)):
        result["times"] += time_dial(model, benchmark_image(size, dataset))
    for row in result["times"]:
        print("{size}  ratio {ratio:<5} {median_ms:7.1f} ms  {speedup:.2f}x".format(**row), end="")
        print("  {:.2f} G MACs, {:.0%} saved".format(row["macs"] / 1e9, row["macs_saved"]))
    if not arguments.no_scores:
        result["scores"] = measure(model, dataset)
    for row in result["scores"]:
        print("{ratio:<5} {choice:<9} mIoU {miou:.4f}  error coverage {error_coverage:.3f}".format(**row))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
