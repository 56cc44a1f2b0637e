"""How fast training images come: bare decoding, batches with and without the cache, tf.data, PyDataset.

    python benchmarks/input_pipeline.py --config FILE --data DIR [--workers 2] [--json FILE]

Bare decoding reads the image and its label and does nothing else: the others are compared with it. All rows
are measured in turn, several times over, and the median of each counts, so that other work on the machine
slows all of them alike. The processor's time for an image says what an input costs when the machine is busy.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.table import Table

from fornet_keras.config import read_config
from fornet_keras.data.decoded import decoded_samples
from fornet_keras.data.pipeline import BatchSequence, TrainingBatches, tf_dataset
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import FoRNetError

Batches = Generator[object, None, None]


def decoded(batches: TrainingBatches, workers: int) -> Batches:
    """The samples of one batch after another, decoded and nothing else."""

    def read(index: int) -> object:
        return read_sample(batches.dataset.samples[index], batches.dataset.table, batches.short_side)

    with ThreadPoolExecutor(workers) as pool:
        for position in range(10**9):
            indices = batches.indices(*divmod(position, batches.steps_per_epoch))
            yield list(pool.map(read, indices) if workers > 1 else map(read, indices))


def from_sequence(batches: TrainingBatches, workers: int) -> Batches:
    """What `fit` gets where TensorFlow is missing."""
    sequence = BatchSequence(batches, workers)
    return (sequence[position] for position in range(10**9))


def from_tf_data(batches: TrainingBatches, workers: int) -> Batches:
    """What `fit` gets where TensorFlow is there."""
    return (tensors for tensors in tf_dataset(batches, workers))


def rows(batches: TrainingBatches, cached: TrainingBatches, workers: int) -> dict[str, Batches]:
    """By name, an endless iterator over batches; the first is what the others are compared with."""
    found = {"bare decoding, 1 thread": decoded(batches, 1)}
    if workers > 1:
        found[f"bare decoding, {workers} threads"] = decoded(batches, workers)
    positions = range(10**9)
    return found | {
        "TrainingBatches, 1 thread": (batches.batch_at(position) for position in positions),
        "TrainingBatches from data.cache, 1 thread": (cached.batch_at(position) for position in positions),
        f"PyDataset, {workers} threads": from_sequence(batches, workers),
        f"tf.data, {workers} threads": from_tf_data(batches, workers),
    }


def timed(endless: Batches, num_images: int, batch_size: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor for an image, after the first batch, which starts threads."""
    next(endless)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(num_images // batch_size):
        next(endless)
    return (time.perf_counter() - clock) / num_images, (time.process_time() - processor) / num_images


def measure(
    batches: TrainingBatches, cached: TrainingBatches, workers: int, num_batches: int, rounds: int
) -> list[dict[str, Any]]:
    """One row an input, with the medians over the rounds, and its rate in terms of the first row's."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    size = batches.batch_size
    for _ in range(rounds):
        for name, endless in rows(batches, cached, workers).items():
            with closing(endless):
                seconds.setdefault(name, []).append(timed(endless, num_batches * size, size))
    clock, processor = (
        {name: statistics.median(pair[which] for pair in pairs) for name, pairs in seconds.items()}
        for which in (0, 1)
    )
    bare = next(iter(clock.values()))
    return [
        {
            "name": name,
            "images_per_second": 1 / clock[name],
            "ratio": bare / clock[name],
            "cpu_ms_per_image": 1000 * processor[name],
        }
        for name in seconds
    ]


def show(found: list[dict[str, Any]], title: str) -> None:
    """Print the rows as a table."""
    table = Table("input", title=title, title_justify="left")
    for heading in ("images/s", "to bare decoding", "CPU ms an image"):
        table.add_column(heading, justify="right")
    for row in found:
        rate, ratio, cpu = row["images_per_second"], row["ratio"], row["cpu_ms_per_image"]
        table.add_row(row["name"], f"{rate:.1f}", f"{ratio:.2f}", f"{cpu:.2f}")
    Console().print(table)


def main() -> None:
    """Read the arguments, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="configuration file")
    parser.add_argument("--data", type=Path, help="folder of the data; default: the configuration's")
    parser.add_argument("--workers", type=int, help="threads; default: the configuration's")
    parser.add_argument("--batches", type=int, default=16, help="batches a row and round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the rows into this file")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    root = arguments.data or (config.data.root and Path(config.data.root))
    if not root:
        parser.error("no data folder; add --data DIR")
    dataset = open_dataset(config.data.format, root, config.data.train_split, config.data.exclude)
    training = config.training
    batches = TrainingBatches.of_run(dataset, config)
    workers = arguments.workers or training.workers
    with TemporaryDirectory() as folder:
        decoded = decoded_samples(dataset, Path(folder), workers, print, short_side=config.data.short_side)
        cached = TrainingBatches.of_run(dataset, config, decoded)
        found = measure(batches, cached, workers, arguments.batches, arguments.rounds)
    height, width = config.augment.crop
    crop = f"{height}x{width}"
    show(found, f"{dataset.name}, batches of {training.batch_size} crops of {crop}, {os.cpu_count()} CPUs")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except FoRNetError as error:
        raise SystemExit(f"Error: {error}") from None
