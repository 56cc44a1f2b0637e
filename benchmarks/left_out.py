"""A street left out: train on all sequences of CamVid but one, in train and val, and score on that one.

    python benchmarks/left_out.py 0006R0 --config configs/camvid.yaml --data DIR --output runs/left_out \
        --seeds 3 --set training.epochs=100 --set model.dropout=0.15

What is not known here goes to `cli.py train`. Whatever that or the configuration says, only the last epoch
is scored, and the Selector does not learn once more: the best of several would be chosen on the street that
is to be unknown. Two seeds can be 0.03 apart: compare nothing by one. Started again after an interruption, or
with more seeds, it goes on where it stopped; all scores are in `scores.json`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from fornet_keras.atomic import write_text
from fornet_keras.config import dump_config, read_config
from fornet_keras.data.camvid import find_samples
from fornet_keras.data.dataset import Sample
from fornet_keras.errors import ConfigError, FoRNetError

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "data.train_split=train",  # as they are laid out here
    "data.val_split=val",
    "training.validate_every=1000000",  # the last epoch is scored whatever this is
    "training.selector_epochs=0",
)


def split_off(data, sequence):
    """The labelled frames of train and val, none of test: `val` is the sequence, `train` all others."""
    parts: dict[str, list[Sample]] = {"train": [], "val": []}
    for sample in (sample for split in ("train", "val") for sample in find_samples(data, split)):
        if sample.label:
            parts["val" if sample.image.name.startswith(sequence) else "train"].append(sample)
    return parts


def link(parts, output):
    """Lay the frames out anew, as links, those of a start before excepted."""
    wanted = {
        output / split / folder / file.name: file.resolve()
        for split, samples in parts.items()
        for sample in samples
        for file, folder in ((sample.image, "images"), (sample.label, "labels"))
    }
    if any(wanted.get(there) != there.resolve() for there in output.glob("*/*/[!.]*")):
        raise ConfigError(f"{output}: holds other frames; choose another --output")
    for path, file in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(file)


def train_and_score(arguments, rest, seed):
    """Train in `run_SEED`, or go on there, and return the scores of what was left out."""
    run = arguments.output / f"run_{seed}"
    if not (run / "result.json").exists():
        command = [sys.executable, ROOT / "cli.py", "train", "--config", arguments.config, *rest, "--resume"]
        command += ["--data", arguments.output / "data", "--output", run]
        for setting in (f"training.seed={seed}", *SETTINGS):
            command += ["--set", setting]
        code = subprocess.run(command).returncode
        if code:
            sys.exit(code)
    return json.loads((run / "result.json").read_text("utf-8"))["val"]


def require_the_same(asked, output):
    """Refuse a folder whose runs were made with other settings."""
    file = output / "scores.json"
    if file.exists() and json.loads(file.read_text("utf-8"))["settings"] != asked:
        raise ConfigError(f"{output}: holds runs with other settings; choose another --output")


def main():
    """Read the arguments, train, and print what the sequence left out scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sequence", help="how the names of the frames to leave out begin, such as 0006R0")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a new folder, or one to go on in")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings, with seeds 0, 1, …")
    arguments, rest = parser.parse_known_args()
    parts = split_off(arguments.data, arguments.sequence)
    if not all(parts.values()):
        counts = {split: len(samples) for split, samples in parts.items()}
        parser.error(f"{arguments.data}: {counts} labelled frames without and of {arguments.sequence}")
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: expected at least 1")
    if any("training.seed=" in argument for argument in rest):
        parser.error("training.seed is what --seeds decides; leave it out of --set")
    settings = {"config": dump_config(read_config(arguments.config)), "arguments": rest}
    require_the_same(settings, arguments.output)
    link(parts, arguments.output / "data")
    every = []
    for seed in range(arguments.seeds):
        scores = train_and_score(arguments, rest, seed)
        every.append(scores)
        text = json.dumps({"settings": settings, "by_seed": every}, indent=2) + "\n"
        write_text(arguments.output / "scores.json", text)
        print(f"{arguments.sequence}, left out, seed {seed}: mIoU {scores['miou']:.4f}")
        occurring = {name: value for name, value in scores["iou"].items() if value is not None}
        print(*(f"{name} {value:.3f}" for name, value in occurring.items()), sep=", ", flush=True)
    if len(every) > 1:
        found = [scores["miou"] for scores in every]
        print(f"mean {mean(found):.4f}, standard deviation {stdev(found):.4f}")


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
