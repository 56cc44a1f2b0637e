"""What each part of FoR-Net is worth: the same seed and schedule, one part changed at a time.

    python benchmarks/ablation.py --config configs/camvid_cpu.yaml --data DIR --output runs/ablation

Each training is a run of the package's own `train`, in a folder of its own; rows are added to `table.json`.
Started again after an interruption, it goes on where it stopped: a changed package wants a new folder. Rows
that differ only in which regions are refined share one training. What a configuration has no key for, layers
that stay, is set here: of `coarse_only` and `dense`, `config.yaml` tells the rest.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from hard_regions import STRIDE, model_with_given_scores, region_scores
from rich.console import Console
from rich.table import Table

from fornet_keras.atomic import write_text
from fornet_keras.cli.settings import read_settings
from fornet_keras.config import config_from_mapping, dump_config
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.images import read_image
from fornet_keras.data.sizes import shrunk
from fornet_keras.data.sources import open_split
from fornet_keras.errors import ConfigError, FoRNetError
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.enlarge import enlarged_label_ids
from fornet_keras.prediction.label_ids import UpsampledLabelIds
from fornet_keras.prediction.predictor import Predictor, label_ids
from fornet_keras.summary import summarize
from fornet_keras.training.begin_with import sized_as_weights
from fornet_keras.training.build import build_model
from fornet_keras.training.train import train

RATIO = 0.3
BAND = 3


@dataclass(frozen=True)
class Training:
    """What is changed: settings, and layers that stay as they were made."""

    settings: dict = field(default_factory=dict)
    frozen: tuple = ()


NO_SELECTOR = {"loss": {"selector_weight": 0.0}, "training": {"selector_epochs": 0}}
TRAININGS = {
    "base": Training(),
    # The branch's last convolution begins as zeros: frozen, it corrects nothing, at any size.
    "coarse_only": Training({**NO_SELECTOR, "model": {"branch_filters": 4}}, frozen=("branch",)),
    # The coarse path of `s` with 1.5 times the channels: the time of the whole network at RATIO.
    "dense": Training(
        {
            **NO_SELECTOR,
            "model": {"widths": (48, 96, 192, 192), "context_filters": 96, "branch_filters": 4},
        },
        frozen=("branch",),
    ),
    "no_selector_loss": Training(NO_SELECTOR),
    "single_scale": Training({"model": {"scales": (1,)}}),
    "regions_32": Training({"model": {"region_size": 32}}),
    "regions_64": Training({"model": {"region_size": 64}}),
}
# Row → training, share of the regions, and how they are chosen.
ROWS = {
    "coarse only": ("coarse_only", RATIO, "none"),
    "dense net of equal time": ("dense", RATIO, "none"),
    "branch everywhere": ("base", 1.0, "selector"),
    "random regions": ("base", RATIO, "random"),
    "entropy": ("base", RATIO, "entropy"),
    "learned Selector": ("base", RATIO, "selector"),
    "without the Selector's loss": ("no_selector_loss", RATIO, "selector"),
    "one scale, not three": ("single_scale", RATIO, "selector"),
    "regions of 32 pixels": ("regions_32", RATIO, "selector"),
    "regions of 64 pixels": ("regions_64", RATIO, "selector"),
}
DENSE = "dense net of equal time"
SIZES = (
    *("backbone", "widths", "depths", "stem_filters", "stem_depth"),
    *("context_filters", "branch_filters", "scales"),
)
COLUMNS = ("miou", "band_miou", "thin_miou", "error_coverage", "gmacs", "ms")


class RankedPredictor:
    """Refines the regions of the highest entropy, or random ones, in the place of the Selector's."""

    compiled = 0  # it times itself

    def __init__(self, model, choice):
        self.top_k, self.choice = model.top_k, choice
        self.num_classes, self.short_side = model.num_classes, model.short_side
        outputs = {name: model.output[name] for name in ("coarse_logits", "importance")}
        self.scorer = keras.Model(model.input, outputs)
        self.scorer.compile(jit_compile=keras.backend.backend() == "jax")
        self.ranked = model_with_given_scores(model)
        self.random = np.random.default_rng(0)
        self.seconds = []

    def __call__(self, image):
        """Predict as `Predictor` does."""
        size, image = image.shape[:2], shrunk(image, self.short_side)
        seen = self.scorer.predict_on_batch(image[None])
        coarse, importance = np.asarray(seen["coarse_logits"][0]), np.asarray(seen["importance"][0])
        void = np.full(image.shape[:2], IGNORE, np.uint8)
        scores = region_scores(coarse, importance, void, self.random)[0][self.choice]
        started = time.perf_counter()
        outputs = self.ranked.predict_on_batch([image[None], scores.astype("float32")[None]])
        self.seconds.append(time.perf_counter() - started)
        labels, own = np.asarray(outputs["label_ids"][0]).astype(np.uint8), image.shape[:2]
        if size != own:
            labels = enlarged_label_ids(np.asarray(outputs["cells"][0]), STRIDE, own, size)
        return {
            "label_ids": labels,
            "coarse_label_ids": coarse.argmax(-1).astype(np.uint8),
            "kept": np.asarray(outputs["kept"][0]) > 0.5,
        }


def trained(name, config, folder):
    """The best model of a training, which is made, or gone on with, where it is not finished."""
    training = TRAININGS[name]
    if not (folder / "result.json").exists():
        sections = config.model_dump()
        for section, changes in training.settings.items():
            sections[section].update(changes)
        changed = config_from_mapping(sections, source=name)

        def build(config, num_classes, begins):
            model = build_model(config, num_classes, begins)
            for layer in training.frozen:
                model.get_layer(layer).trainable = False
            return model

        with patch("fornet_keras.training.build.build_model", build):
            train(changed, folder, Console(), resume=True)
    return folder / "best"


def measure(folder, ratio, choice, dataset):
    """One row: scores on a data set, multiply-accumulates at its first image's size, milliseconds."""
    model, _ = load_model(folder, ratio)
    predictor = RankedPredictor(model, choice) if choice in ("entropy", "random") else Predictor(model)
    scores = evaluate(predictor, dataset, bands=(BAND,))
    image = shrunk(read_image(dataset.samples[0].image), model.short_side)
    cost = summarize(model, image.shape[:2], ratio)
    macs = {part: numbers["macs"] for part, numbers in cost["by_part"].items()}
    left_out = {"none": ("selector", "branch input", "branch"), "selector": ()}.get(choice, ("selector",))
    # Where the scores are given, only what follows them is timed.
    if isinstance(predictor, RankedPredictor):
        seconds = predictor.seconds[1:]  # the first compiles
        milliseconds = 1000 * float(np.median(seconds)) if seconds else None
    else:
        milliseconds = time_labels(model, image, coarse=choice == "none")
    found = scores.as_json()
    return {
        "ratio": ratio,
        "miou": found["miou"],
        "band_miou": found["band_miou"][str(BAND)],
        "thin_miou": found["thin_miou"],
        "error_coverage": None if choice == "none" else found["error_coverage"],
        "gmacs": sum(count for part, count in macs.items() if part not in left_out) / 1e9,
        "ms": milliseconds,
    }


def time_labels(model, image, coarse, repeats=20):
    """Median milliseconds of the labels of the network, or of its coarse path alone, and of nothing else."""
    if coarse:
        upsample = UpsampledLabelIds(model.get_layer("logits").scale)
        labels = upsample([model.output["coarse_logits"], model.input])
    else:
        labels = label_ids(model)
    timed = keras.Model(model.input, labels)
    timed.compile(jit_compile=keras.backend.backend() == "jax")
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        timed.predict_on_batch(image[None])
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds[2:]))


def show(rows):
    """Print the table."""
    table = Table("variant", *COLUMNS)
    for name, row in rows.items():
        table.add_row(name, *("–" if row[c] is None else f"{row[c]:.3f}" for c in COLUMNS))
    Console().print(table)


def main():
    """Read the arguments, train and measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any setting")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=[*ROWS], metavar="ROW", help="default: all"
    )
    arguments = parser.parse_args()
    config = read_settings(arguments.config, arguments.data, arguments.set)
    options = sized_as_weights(config.model)
    if DENSE in arguments.rows and (options.preset != "s" or any(map(vars(options).get, SIZES))):
        raise ConfigError(f"'{DENSE}' is made for model.preset s with its own sizes; name the other --rows")
    dataset = open_split(config.data, config.data.val_split)
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "table.json"
    asked, recorded = dump_config(config), arguments.output / "config.yaml"
    if recorded.exists() and recorded.read_text("utf-8") != asked:
        raise ConfigError(f"{arguments.output}: holds rows of another configuration; choose another --output")
    write_text(recorded, asked)
    rows = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for name in arguments.rows:
        if name not in rows:
            training, ratio, choice = ROWS[name]
            folder = trained(training, config, arguments.output / training)
            rows[name] = measure(folder, ratio, choice, dataset)
            write_text(file, json.dumps(rows, indent=2) + "\n")
            show(rows)
    show(rows)


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
