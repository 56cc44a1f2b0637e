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

from fornet_keras.data.camvid import find_samples, find_splits

ROOT = Path(__file__).parents[1]


def split_off(data, sequence):
    """The labelled frames of all splits: `val` is the sequence, `train` all others."""
    parts = {"train": [], "val": []}
    for sample in (sample for split in find_splits(data) for sample in find_samples(data, split)):
        if sample.label:
            parts["val" if sample.image.name.startswith(sequence) else "train"].append(sample)
    return parts


def link(parts, output):
    """Lay the frames out anew, as links."""
    for split, samples in parts.items():
        for folder in ("images", "labels"):
            (output / split / folder).mkdir(parents=True)
        for sample in samples:
            for file, folder in ((sample.image, "images"), (sample.label, "labels")):
                (output / split / folder / file.name).symlink_to(file.resolve())


def main():
    """Read the arguments, train, and print what the sequence left out scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sequence", help="how the names of the frames to leave out begin, such as 0006R0")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    arguments, rest = parser.parse_known_args()
    parts = split_off(arguments.data, arguments.sequence)
    if not all(parts.values()):
        counts = {split: len(samples) for split, samples in parts.items()}
        parser.error(f"{arguments.data}: {counts} labelled frames without and of {arguments.sequence}")
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists; choose another --output")
    link(parts, arguments.output / "data")
    command = [sys.executable, ROOT / "cli.py", "train", "--config", arguments.config, *rest]
    command += ["--data", arguments.output / "data", "--output", arguments.output / "run"]
    command += ["--set", "training.validate_every=1000000"]  # the last epoch is scored whatever this is
    code = subprocess.run(command).returncode
    if code:
        sys.exit(code)
    scores = json.loads((arguments.output / "run" / "result.json").read_text())["val"]
    print(f"{arguments.sequence}, left out: mIoU {scores['miou']:.4f}")
    print(*(f"{name} {value:.3f}" for name, value in scores["iou"].items()), sep=", ")


if __name__ == "__main__":
    main()
