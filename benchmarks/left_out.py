"""A street left out: train on all sequences of CamVid but one, in train and val, and score on that one.

    python benchmarks/left_out.py 0006R0 --config configs/camvid.yaml --data DIR --output runs/left_out \
        --set training.epochs=100 --set model.dropout=0.15

What is not known here goes to `cli.py train`. Only the last epoch is scored: the best of several would be
chosen on the street that is to be unknown.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from fornet_keras.config import read_config
from fornet_keras.data.camvid import find_samples, find_splits

ROOT = Path(__file__).parents[1]


def link_without(data, sequence, output):
    """Lay the frames out anew, as links: `val` holds the sequence, `train` all others."""
    count = {"train": 0, "val": 0}
    for sample in (sample for split in find_splits(data) for sample in find_samples(data, split)):
        split = "val" if sample.image.name.startswith(sequence) else "train"
        count[split] += 1
        for file, folder in ((sample.image, "images"), (sample.label, "labels")):
            link = output / split / folder / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
    return count


def main():
    """Read the arguments, train, and print what the sequence left out scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sequence", help="how the names of the frames to leave out begin, such as 0006R0")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder that is made new")
    arguments, rest = parser.parse_known_args()
    overrides = [value for name, value in zip(rest, rest[1:], strict=False) if name == "--set"]
    epochs = read_config(arguments.config, overrides).training.epochs
    arguments.output.mkdir(parents=True)
    count = link_without(arguments.data, arguments.sequence, arguments.output / "data")
    if not all(count.values()):
        parser.error(f"{arguments.sequence}: no sequence of several in {arguments.data}; frames: {count}")
    command = [sys.executable, ROOT / "cli.py", "train", "--config", arguments.config, *rest]
    command += ["--data", arguments.output / "data", "--output", arguments.output / "run"]
    command += ["--set", f"training.validate_every={epochs}"]
    subprocess.run(command, check=True)
    scores = json.loads((arguments.output / "run" / "result.json").read_text())["val"]
    print(f"{arguments.sequence}, left out: mIoU {scores['miou']:.4f}")
    print(*(f"{name} {value:.3f}" for name, value in scores["iou"].items()), sep=", ")


if __name__ == "__main__":
    main()
