"""What photographs of other proportions score in a network of one size: stretched or letterboxed to it.

    python benchmarks/proportions.py MODEL --config FILE --data DIR [--every 4]

Each image is cropped to other proportions in its middle and doubled, as a photograph that is larger than the
network's size, which is that of the image. "Own size" is the crop itself, which only a network that takes any
size can be given; "refined" the share of the letterboxed photograph's own area that is refined.
"""

import argparse
import os
from pathlib import Path
from statistics import mean

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2

from fornet_keras.config import read_config
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import letterboxed, resize_nearest, stretched
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import FoRNetError
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model_folder import load_model
from fornet_keras.prediction.predictor import Predictor

PROPORTIONS = {"16:9": 16 / 9, "2:1": 2, "3:2": 3 / 2, "1:1": 1, "3:4": 3 / 4, "9:16": 9 / 16}
"""Width by height."""


def cropped(size, proportion):
    """Rows and columns of the largest part in the middle that has these proportions."""
    height, width = size
    rows, columns = min(height, round(width / proportion)), min(width, int(height * proportion))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def found(predict, image, size):
    """Label ids of the image brought to the size in each way, at its own size, and what is refined of it."""
    own = image.shape[:2]
    photograph = cv2.resize(image, (2 * own[1], 2 * own[0]), interpolation=cv2.INTER_CUBIC)
    fitted, window = letterboxed(photograph, size)
    outputs = predict(fitted)
    edge = predict.region_size
    kept = outputs["kept"].repeat(edge, axis=0).repeat(edge, axis=1)[window]
    labels = {
        "stretched": predict(stretched(photograph, size))["label_ids"],
        "letterboxed": outputs["label_ids"][window],
        "own size": predict(image)["label_ids"],
    }
    return {way: resize_nearest(label_ids, own) for way, label_ids in labels.items()}, kept.mean()


def main():
    """Read the arguments, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take every so many-th image")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    dataset = open_dataset(config.data.format, arguments.data, config.data.val_split)
    model, _ = load_model(arguments.model)
    predict = Predictor(model)
    print("| width:height | stretched | letterboxed | own size | refined |\n|---|---|---|---|---|")
    for name, proportion in PROPORTIONS.items():
        matrices: dict[str, ConfusionMatrix] = {}
        shares = []
        for sample in dataset.samples[:: arguments.every]:
            image, label = read_sample(sample, dataset.table, model.short_side)
            part = cropped(label.shape, proportion)
            ways, share = found(predict, image[part], label.shape)
            shares.append(share)
            for way, labels in ways.items():
                matrix = matrices.setdefault(way, ConfusionMatrix(dataset.table.num_classes))
                matrix.add(label[part], labels)
        scores = [f"{matrix.miou:.3f}" for matrix in matrices.values()]
        print(f"| {' | '.join([name, *scores, f'{mean(shares):.2f}'])} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
