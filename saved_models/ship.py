"""Make a shipped model of a run: half-size weights, its scores, its log and its card.

    python saved_models/ship.py RUN --name fornet_s_camvid --config configs/camvid.yaml --data DIR

What is scored is what is shipped: the weights as they are read back from float16. Of a run on train+val that
says nothing about other images, and `trained_on` in metrics.json says so.
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
from fornet_keras.data.sources import open_dataset
from fornet_keras.evaluation.evaluate import evaluate
from fornet_keras.export.export import versions
from fornet_keras.model_folder import load_model, save_model
from fornet_keras.prediction.pictures import colorize, overlay, side_by_side
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.summary import summarize

FOLDER = Path(__file__).parent
RATIOS = (0.25, 0.3, 0.5, 1.0)
BANDS = (1, 3, 5)


def score(folder, dataset):
    """Scores at each ratio, and the images by their own mIoU, the worst first."""
    results, worst = {}, []
    for ratio in RATIOS:
        model, table = load_model(folder, ratio)

        def after(sample, image, label, prediction, ratio=ratio, table=table):
            if ratio == RATIOS[-1]:
                found = prediction["label_ids"]
                right = (label == found)[label != 255].mean()
                parts = [image, colorize(label, table), overlay(image, found, table)]
                worst.append((right, parts, [colorize(found, table), mistakes(label, found)]))

        scores = evaluate(Predictor(model), dataset, after, BANDS, short_side=model.short_side).as_json()
        del scores["image_miou"]  # by path, which is nobody else's
        results[str(ratio)] = scores
    worst.sort(key=lambda entry: entry[0])
    _, parts, kept = zip(*worst[:3], strict=True)
    return results, parts, kept


def mistakes(label, found):
    """Wrong pixels red, right ones grey, those without a label black: nothing of the photograph."""
    states = np.where(label == 255, 0, np.where(label == found, 1, 2))
    return np.array([(0, 0, 0), (120, 120, 120), (230, 40, 40)], np.uint8)[states]


def without_paths(config):
    """The configuration without folders of the machine that it ran on; of other models the names stay."""
    data = config.data.model_copy(update={"root": None, "cache": None})
    weights, teacher = (path and Path(path).name for path in (config.model.weights, config.loss.teacher))
    model = config.model.model_copy(update={"weights": weights})
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
    config = read_config(arguments.config)
    folder = FOLDER / arguments.name
    model, table = load_model(arguments.run)
    with TemporaryDirectory() as name:
        save_model(model, table, Path(name) / "model", half=True)
        # Beside the card, which is written by hand.
        shutil.copytree(Path(name) / "model", folder, dirs_exist_ok=True)
    dataset = open_dataset(config.data.format, arguments.data, config.data.val_split)
    results, worst, kept = score(folder, dataset)
    Image.fromarray(side_by_side(kept)).quantize(64).save(folder / "worst.png", optimize=True)
    run = json.loads((arguments.run / "result.json").read_text())
    cost = summarize(model, (360, 480), 1.0)
    settings = read_config(arguments.run / "config.yaml")
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
        "versions": versions(),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    text = dump_config(without_paths(settings))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    shutil.copy(arguments.run / "log.csv", folder / "log.csv")
    shutil.copy(arguments.run / "pictures" / "curves.png", folder / "curves.png")
    print(f"{folder}: mIoU " + ", ".join(f"{k}: {v['miou']:.4f}" for k, v in results.items()))
    return worst


if __name__ == "__main__":
    pictures = main()
    if pictures:
        Image.fromarray(side_by_side(pictures)).save("worst.png")
        print("the three worst images are in worst.png: look at them and describe them in the card")
