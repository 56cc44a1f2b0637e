"""What the branch alone takes: the dense form against the gathered one, by size of the regions and ratio.

    KERAS_BACKEND=tensorflow python benchmarks/branch_time.py [--filters 208] [--channels 64] [--plain]

On random features of a 512×1024 image at stride 4, 19 classes, all cases in turn in one process.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from fornet_keras.layers.multi_scale_branch import MultiScaleBranch
from fornet_keras.layers.topk_gate import num_kept

HEIGHT, WIDTH, CLASSES = 128, 256, 19
CASES = [(cells, ratio) for cells in (4, 8, 16) for ratio in (1.0, 0.5, 0.3, 0.25, 0.1)]
REPEATS = 15


def prepare(branch, channels, cells, ratio):
    """A function without arguments that runs the branch once on fixed inputs."""
    rows, columns = HEIGHT // cells, WIDTH // cells
    random = np.random.default_rng(0)
    kept = random.permutation(rows * columns)[: num_kept(ratio, rows * columns)]
    arrays = [
        random.normal(size=(1, HEIGHT, WIDTH, channels)).astype("float32"),
        np.ones((1, rows, columns), "float32"),
        kept[None].astype("int32"),
    ]
    inputs = [keras.Input(batch_shape=array.shape, dtype=array.dtype) for array in arrays]
    model = keras.Model(inputs, branch(inputs))
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return lambda: model.predict_on_batch(arrays)


def main():
    """Read the arguments, time every case in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--filters", type=int, default=208)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--scales", default="1,2,4")
    parser.add_argument("--plain", action="store_true", help="gathered without Winograd's transforms")
    arguments = parser.parse_args()
    scales = tuple(map(int, arguments.scales.split(",")))
    branch = MultiScaleBranch(arguments.filters, CLASSES, scales)
    branch.winograd = not arguments.plain
    runs = {case: prepare(branch, arguments.channels, *case) for case in CASES}
    seconds: dict[tuple, list[float]] = {case: [] for case in CASES}
    for repeat in range(REPEATS + 2):
        for case, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat >= 2:  # the first ones compile
                seconds[case].append(time.perf_counter() - started)
    for cells, ratio in CASES:
        median, dense = (1000 * np.median(seconds[cells, r]) for r in (ratio, 1.0))
        print(f"regions of {4 * cells:3} pixels, ratio {ratio:<4}  {median:7.1f} ms  {dense / median:5.2f}x")


if __name__ == "__main__":
    main()
