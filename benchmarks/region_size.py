"""What smaller or larger regions would give: error coverage and mIoU by region size, without training anew.

    python benchmarks/region_size.py MODEL --config FILE --data DIR [--json FILE]

The branch's correction of a cell does not depend on which other regions are kept, so one prediction with
every region refined is enough: the correction is then left out of the regions that a ranking drops, whatever
their size. The rankings need no training: the coarse path's entropy, the same weighted by the expected class
weight (rare classes count more), and an oracle that knows the coarse path's errors. All images must be of
one size.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from fornet_keras.config import read_config
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import FoRNetError
from fornet_keras.layers.resize import UpsampleToImage
from fornet_keras.layers.topk_gate import num_kept
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model_folder import load_model

STRIDE = 4
REGION_SIZES = (8, 16, 32)
RATIOS = (0.1, 0.25, 0.3, 0.35, 0.5)


def predict(model, dataset):
    """Each sample's label, coarse logits and refined logits at stride 4, one image after another."""
    refined = model.get_layer("refined_logits").output
    network = keras.Model(model.input, {"coarse": model.output["coarse_logits"], "refined": refined})
    network.compile(jit_compile=keras.backend.backend() == "jax")
    for sample in dataset.samples:
        image, label = read_sample(sample, dataset.table, model.short_side)
        outputs = network.predict_on_batch(image[None])
        yield label, np.asarray(outputs["coarse"][0]), np.asarray(outputs["refined"][0])


def rankings(label, coarse, class_weights):
    """One score a cell for each ranking; the last is 1 where the coarse path is wrong."""
    exponent = np.exp(coarse - coarse.max(-1, keepdims=True))
    probability = exponent / exponent.sum(-1, keepdims=True)
    entropy = -(probability * np.log(probability + 1e-9)).sum(-1)
    label = label[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    height, width = label.shape
    wrong = np.zeros(entropy.shape)
    wrong[:height, :width] = (coarse.argmax(-1)[:height, :width] != label) & (label != IGNORE)
    return {"entropy": entropy, "weighted": entropy * (probability @ class_weights), "oracle": wrong}


def keep(scores, cells, ratio):
    """Bool map of the cells in the regions of `cells × cells` whose summed scores are the highest."""
    rows, columns = (side // cells for side in scores.shape)
    sums = scores.reshape(rows, cells, columns, cells).sum((1, 3)).ravel()
    kept = np.zeros(sums.size, bool)
    kept[np.argsort(-sums, kind="stable")[: num_kept(ratio, sums.size)]] = True
    return kept.reshape(rows, columns).repeat(cells, 0).repeat(cells, 1)


def label_ids(logits, label):
    """Class of each pixel, upsampled as the model does."""
    image = np.zeros((1, *label.shape, 1), "float32")
    full = UpsampleToImage(STRIDE)([logits[None].astype("float32"), image])
    return keras.ops.convert_to_numpy(keras.ops.argmax(full, axis=-1))[0]


def measure(model, dataset):
    """One row a ranking, region size and ratio; the full map's mIoU is that of ratio 1."""
    samples = list(predict(model, dataset))
    seen = np.concatenate([label[label != IGNORE] for label, _, _ in samples])
    pixels = np.maximum(np.bincount(seen, minlength=samples[0][1].shape[-1]), 1)
    class_weights = 1 / np.sqrt(pixels / pixels.sum())
    scores = [rankings(label, coarse, class_weights) for label, coarse, _ in samples]
    every = np.ones(samples[0][1].shape[:2], bool)
    rows = [{"ranking": "all", "size": None, "ratio": 1.0, **score(samples, scores, [every] * len(samples))}]
    whole = [size for size in REGION_SIZES if not any(side % (size // STRIDE) for side in every.shape)]
    for size in whole:
        for ratio in RATIOS:
            for ranking in scores[0]:
                kept = [keep(maps[ranking], size // STRIDE, ratio) for maps in scores]
                found = score(samples, scores, kept)
                rows.append({"ranking": ranking, "size": size, "ratio": ratio, **found})
                print("{size:3} px  {ratio:<5} {ranking:<9}".format(**rows[-1]), end="")
                print(f" coverage {found['coverage']:.3f}  mIoU {found['miou'] - rows[0]['miou']:+.4f}")
    return rows


def score(samples, scores, kept):
    """Error coverage, and mIoU where the kept cells alone are refined."""
    matrix = ConfusionMatrix(samples[0][1].shape[-1])
    for (label, coarse, refined), mask in zip(samples, kept, strict=True):
        matrix.add(label, label_ids(np.where(mask[..., None], refined, coarse), label))
    covered = sum(maps["oracle"][mask].sum() for maps, mask in zip(scores, kept, strict=True))
    return {"coverage": covered / sum(maps["oracle"].sum() for maps in scores), "miou": matrix.miou}


def main():
    """Read the arguments, measure, and print a row a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    dataset = open_dataset(config.data.format, arguments.data, config.data.val_split)
    model, _ = load_model(arguments.model, 1.0)
    rows = measure(model, dataset)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
