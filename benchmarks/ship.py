"""Make a shipped model of a run: half-size weights, its scores, its log and its card.

    python benchmarks/ship.py RUN --name fornet_s_camvid --config configs/camvid.yaml --data DIR

What is scored is what is shipped: the weights as they are read back from float16. Of a run on train+val that
says nothing about other images, and `trained_on` in metrics.json says so. What was shipped before is replaced
once all of it is there. The photographs of the worst images stay in the run: they are not ours to publish.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from fornet_keras.config import dump_config, read_config
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import FoRNetError
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.prediction.pictures import colorize, overlay, side_by_side
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.summary import summarize
from fornet_keras.training.conclude import run_versions

FOLDER = Path(__file__).parents[1] / "saved_models"
RATIOS = (0.25, 0.3, 0.5, 1.0)
BANDS = (1, 3, 5)


def score(folder, dataset):
    """Scores at each ratio; of the three images with the lowest mIoU, pictures with and without the photo."""
    results = {}
    for ratio in RATIOS:
        model, table = load_model(folder, ratio)
        predict = Predictor(model)
        scores = evaluate(predict, dataset, bands=BANDS)
        results[str(ratio)] = scores.as_json()
        del results[str(ratio)]["image_miou"]  # by path, which is nobody else's
    ranked = sorted(dataset.samples, key=lambda sample: np.nan_to_num(scores.image_miou[sample.image], nan=1))
    photographs, kept = [], []
    for image, label in (read_sample(sample, dataset.table, model.short_side) for sample in ranked[:3]):
        found = predict(image)["label_ids"]
        photographs.append([image, colorize(label, table), overlay(image, found, table)])
        kept.append([colorize(found, table), mistakes(label, found)])
    return results, photographs, kept


def mistakes(label, found):
    """Wrong pixels red, right ones grey, those without a label black: nothing of the photograph."""
    states = np.where(label == IGNORE, 0, np.where(label == found, 1, 2))
    return np.array([(0, 0, 0), (120, 120, 120), (230, 40, 40)], np.uint8)[states]


def without_paths(config):
    """The configuration without folders of the machine that it ran on; of other models the names stay."""
    data = config.data.model_copy(update={"root": None, "cache": None})
    weights, teacher = (path and Path(path).name for path in (config.model.weights, config.loss.teacher))
    library, colon, preset = (config.model.backbone or "").partition(":")
    local = colon and Path(preset).is_absolute()
    backbone = f"{library}:{Path(preset).name}" if local else config.model.backbone
    model = config.model.model_copy(update={"weights": weights, "backbone": backbone})
    loss = config.loss.model_copy(update={"teacher": teacher})
    return config.model_copy(update={"data": data, "model": model, "loss": loss})


def main():
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    result = arguments.run / "result.json"
    if not result.exists():
        parser.error(f"{result}: no such file; expected a run that has come to its end")
    config = read_config(arguments.config)
    dataset = open_dataset(config.data.format, arguments.data, config.data.val_split)
    folder = FOLDER / arguments.name
    with TemporaryDirectory() as name:
        results, photographs = make(
            arguments.run, json.loads(result.read_text()), dataset, Path(name) / "model"
        )
        # Beside the card, which is written by hand.
        shutil.copytree(Path(name) / "model", folder, dirs_exist_ok=True)
    print(f"{folder}: mIoU " + ", ".join(f"{k}: {v['miou']:.4f}" for k, v in results.items()))
    file = arguments.run / "pictures" / "worst.png"
    Image.fromarray(side_by_side(photographs)).save(file)
    print(f"the three worst images are in {file}: look at them and describe them in the card")


def make(source, run, dataset, folder):
    """Write all that is shipped, but the card, into a new folder; return the scores and the worst images."""
    model, table = load_model(source)
    settings = read_config(source / "config.yaml")
    save_model(model, table, folder, half=True)
    results, photographs, kept = score(folder, dataset)
    Image.fromarray(side_by_side(kept)).quantize(64).save(folder / "worst.png", optimize=True)
    cost = summarize(model, (360, 480), 1.0)
    metrics = {
        "trained_on": settings.data.train_split,
        "split": dataset.split,
        "num_images": len(dataset),
        "parameters": model.count_params(),
        "macs_360x480_top_k_1": cost["macs"],
        "by_top_k": results,
        "best_epoch": run["best_epoch"],
        "epochs": run["epochs"],
        "seconds": run["seconds"],
        **{key: run[key] for key in ("backend", "versions") if key in run},
        "scored_with": run_versions(),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    text = dump_config(without_paths(settings))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    shutil.copy(source / "log.csv", folder / "log.csv")
    shutil.copy(source / "pictures" / "curves.png", folder / "curves.png")
    return results, photographs


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
