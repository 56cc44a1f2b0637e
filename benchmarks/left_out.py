"""A street left out: train on all sequences of CamVid but one, in train and val, and score on that one.

    python benchmarks/left_out.py 0006R0 --config configs/camvid.yaml --data DIR --output runs/left_out \
        --seeds 3 --set training.epochs=100 --set model.dropout=0.15

What is not known here goes to `cli.py train`. Only the last epoch is scored: the best of several would be
chosen on the street that is to be unknown. Two seeds can be 0.03 apart: compare nothing by one.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

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


def train_and_score(arguments, rest, seed):
    """Train in `run_SEED` and return the scores of what was left out."""
    run = arguments.output / f"run_{seed}"
    command = [sys.executable, ROOT / "cli.py", "train", "--config", arguments.config, *rest]
    command += ["--data", arguments.output / "data", "--output", run, "--set", f"training.seed={seed}"]
    command += ["--set", "training.validate_every=1000000"]  # the last epoch is scored whatever this is
    code = subprocess.run(command).returncode
    if code:
        sys.exit(code)
    return json.loads((run / "result.json").read_text())["val"]


def main():
    """Read the arguments, train, and print what the sequence left out scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sequence", help="how the names of the frames to leave out begin, such as 0006R0")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings, with seeds 0, 1, …")
    arguments, rest = parser.parse_known_args()
    parts = split_off(arguments.data, arguments.sequence)
    if not all(parts.values()):
        counts = {split: len(samples) for split, samples in parts.items()}
        parser.error(f"{arguments.data}: {counts} labelled frames without and of {arguments.sequence}")
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists; choose another --output")
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: expected at least 1")
    if any("training.seed=" in argument for argument in rest):
        parser.error("training.seed is what --seeds decides; leave it out of --set")
    link(parts, arguments.output / "data")
    found = []
    for seed in range(arguments.seeds):
        scores = train_and_score(arguments, rest, seed)
        found.append(scores["miou"])
        print(f"{arguments.sequence}, left out, seed {seed}: mIoU {scores['miou']:.4f}")
        occurring = {name: value for name, value in scores["iou"].items() if value is not None}
        print(*(f"{name} {value:.3f}" for name, value in occurring.items()), sep=", ", flush=True)
    if len(found) > 1:
        print(f"mean {mean(found):.4f}, standard deviation {stdev(found):.4f}")


if __name__ == "__main__":
    main()
