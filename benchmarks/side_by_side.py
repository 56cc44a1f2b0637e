"""FoR-Net beside KerasHub's SegFormer-B0 and DeepLabV3+, all from scratch, in one run.

    python benchmarks/side_by_side.py --config configs/camvid_cpu.yaml --data DIR --output FILE.json

The same images in the same order, augmentation, optimizer, schedule and evaluation. A peer learns by the
cross-entropy and Dice loss of its logits, as FoR-Net's final logits do; FoR-Net also has its two inner
losses. `model.*` is FoR-Net's, but for the preset. Nets that are in the file already are not trained again.
Needs `fornet_keras[keras-hub]`.

KerasHub's SegFormer takes square images only: it is padded to a square, in training, scoring and timing,
which costs it a third more at 3:4. Its attention's products of queries, keys and values are not in the MACs.
"""

import argparse
import json
import os
import threading
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from fornet_keras.atomic import write_text
from fornet_keras.backbones.library import import_library
from fornet_keras.cli.settings import read_settings
from fornet_keras.config import dump_config
from fornet_keras.data.pipeline import TrainingBatches, data_errors, fit_input
from fornet_keras.data.sizes import shrunk
from fornet_keras.errors import ConfigError, FoRNetError
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.layers.resize import UpsampleToImage
from fornet_keras.model import FoRNet
from fornet_keras.pixel_losses import Pixels, cross_entropy, dice_loss
from fornet_keras.prediction.enlarge import enlarged_label_ids
from fornet_keras.prediction.label_ids import LabelIds
from fornet_keras.prediction.predictor import PerSize, Predictor
from fornet_keras.summary import count_macs, summarize
from fornet_keras.training.build import build_model, compile_model
from fornet_keras.training.class_weights import class_weights
from fornet_keras.training.open_data import open_data
from fornet_keras.training.validation import averaged_weights

NETS = ("fornet_nano", "fornet_s", "segformer_b0", "deeplab_v3_plus_resnet18")
BAND = 3


class PixelLoss(keras.losses.Loss):
    """What `FoRNetLoss` asks of the final logits, for a net that has no others."""

    def __init__(self, options, weights):
        super().__init__(name="pixel_loss", dtype="float32")
        self.options, self.weights = options, weights

    def __call__(self, labels, logits, sample_weight=None):
        pixels = Pixels(keras.ops.cast(labels, "int32"), logits)
        loss = cross_entropy(pixels, self.weights, self.options.label_smoothing, self.options.ohem)
        return loss + self.options.dice_weight * dice_loss(pixels)


class PeerPredictor:
    """Predicts as `Predictor` does; a peer's coarse labels are its labels, and all of it is refined."""

    top_k = 1.0

    def __init__(self, model, short_side):
        self.num_classes, self.short_side = model.output.shape[-1], short_side
        turn = threading.Lock()
        self.predict = PerSize(keras.Model(model.input, {"label_ids": LabelIds()(model.output)}), turn)
        self.to_enlarge = PerSize(keras.Model(model.input, {"logits": model.output}), turn)

    @property
    def compiled(self):
        """How often a function was compiled."""
        return self.predict.compiled + self.to_enlarge.compiled

    def __call__(self, image):
        """Predict one image, with labels of its own size."""
        seen = shrunk(image, self.short_side)
        if seen.shape == image.shape:
            labels = self.predict(image[None])["label_ids"][0].astype(np.uint8)
            coarse = labels[2::4, 2::4]
        else:
            logits = self.to_enlarge(seen[None])["logits"][0]
            labels = enlarged_label_ids(logits, 1, seen.shape[:2], image.shape[:2])
            coarse = logits[2::4, 2::4].argmax(-1).astype(np.uint8)
        kept = np.ones(coarse.shape, bool)
        return {"label_ids": labels, "coarse_label_ids": coarse, "kept": kept}


def segformer(models, num_classes, side):
    """SegFormer-B0 of KerasHub, for squares."""
    encoder = models.MiTBackbone(
        layerwise_depths=[2, 2, 2, 2],
        num_layers=4,
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        hidden_dims=[32, 64, 160, 256],
        image_shape=(side, side, 3),
    )
    return models.SegFormerImageSegmenter(models.SegFormerBackbone(encoder, 256), num_classes=num_classes)


def deeplab(models, num_classes, size):
    """DeepLabV3+ of KerasHub with ResNet-18."""
    encoder = models.ResNetBackbone(
        [64], [7], [64, 128, 256, 512], [2, 2, 2, 2], [1, 2, 2, 2], "basic_block", image_shape=(*size, 3)
    )
    backbone = models.DeepLabV3Backbone(
        encoder,
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        low_level_feature_key="P2",
        projection_filters=48,
        image_shape=(*size, 3),
    )
    return models.DeepLabV3ImageSegmenter(backbone, num_classes=num_classes)


def make(name, num_classes, size, config):
    """A net with random weights for images of a size, which gives logits of that size."""
    if name.startswith("fornet_"):
        options = config.model.model_copy(update={"preset": name.removeprefix("fornet_")})
        return build_model(config.model_copy(update={"model": options}), num_classes)
    models = import_library("keras_hub")
    padded = tuple(-(-side // 32) * 32 for side in size)
    if name == "segformer_b0":
        padded = (max(padded),) * 2
    image = keras.Input((*size, 3), name="image")
    x = keras.layers.Rescaling(1 / 63.75, offset=-2.0)(image)
    x = keras.layers.ZeroPadding2D(tuple((0, p - s) for p, s in zip(padded, size, strict=True)))(x)
    net = (
        segformer(models, num_classes, padded[0])
        if name == "segformer_b0"
        else deeplab(models, num_classes, padded)
    )
    return keras.Model(image, UpsampleToImage(1)([net(x), image]), name=name)


def train_and_score(name, config, train_set, val_set, pixels, size):
    """Train a net as the configuration says and score it: one row of the table."""
    training = config.training
    keras.utils.set_random_seed(training.seed)
    batches = TrainingBatches.of_run(train_set, config)
    model = make(name, train_set.table.num_classes, config.augment.crop, config)
    weights = class_weights(config.loss.class_weights, pixels, train_set.table)
    compile_model(model, config, weights, batches.steps_per_epoch)
    if not isinstance(model, FoRNet):
        model.compile(model.optimizer, loss=PixelLoss(config.loss, weights), jit_compile=model.jit_compile)
    started = time.perf_counter()
    with data_errors(batches):
        model.fit(
            fit_input(batches, training.workers),
            epochs=training.epochs,
            steps_per_epoch=batches.steps_per_epoch,
            shuffle=False,
            verbose=2,
        )
    seconds = time.perf_counter() - started
    scored = make(name, train_set.table.num_classes, size, config)
    with averaged_weights(model):
        scored.set_weights(model.get_weights())
    fornet = isinstance(scored, FoRNet)
    predictor = Predictor(scored) if fornet else PeerPredictor(scored, config.data.short_side)
    scores = evaluate(predictor, val_set, bands=(BAND,)).as_json()
    return {
        "miou": scores["miou"],
        "band_miou": scores["band_miou"][str(BAND)],
        "thin_miou": scores["thin_miou"],
        "parameters": scored.count_params(),
        "macs": summarize(scored, size)["macs"] if fornet else count_macs(scored, size),
        "ms": scores["milliseconds"],
        "epochs": training.epochs,
        "train_seconds": seconds,
    }


def known_rows(file, settings):
    """The rows of a start before, which must have had the same settings."""
    if not file.exists():
        return {}
    found = json.loads(file.read_text("utf-8"))
    if found.get("settings") != settings:
        raise ConfigError(f"{file}: holds rows of other settings; choose another --output")
    return found["rows"]


def show(rows):
    """Print the table."""
    table = Table("net", "mIoU", f"in {BAND} px of borders", "thin", "M parameters", "G MACs", "ms", "epochs")
    for name, row in rows.items():
        found = (row[key] for key in ("miou", "band_miou", "thin_miou"))
        scores = ("–" if score is None else f"{score:.3f}" for score in found)
        ms = "–" if row["ms"] is None else f"{row['ms']:.0f}"  # each of the images was compiled for
        costs = (f"{row['parameters'] / 1e6:.2f}", f"{row['macs'] / 1e9:.2f}", ms)
        table.add_row(name, *scores, *costs, str(row["epochs"]))
    Console().print(table)


def main():
    """Read the arguments, train and score each net that is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any setting")
    parser.add_argument("--epochs", type=int, help="default: the configuration's")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS, help="default: all")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(360, 480), help="of the val images (%(default)s)"
    )
    arguments = parser.parse_args()
    epochs = [f"training.epochs={arguments.epochs}"] if arguments.epochs else []
    config = read_settings(arguments.config, arguments.data, [*arguments.set, *epochs])
    asked = {"config": dump_config(config), "size": [*arguments.size]}
    rows = known_rows(arguments.output, asked)
    train_set, val_set, report, _ = open_data(config, Console())
    for name in arguments.nets:
        if name not in rows:
            size = tuple(arguments.size)
            rows[name] = train_and_score(name, config, train_set, val_set, report.pixels, size)
            write_text(arguments.output, json.dumps({"settings": asked, "rows": rows}, indent=2) + "\n")
    show(rows)


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
