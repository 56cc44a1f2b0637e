"""Samples decoded once into memory-mapped files, for training that would else wait for PNG decoding."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.atomic import locked, new_folder, remove_unfinished
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.fingerprint import fingerprint
from fornet_keras.data.images import image_size
from fornet_keras.data.samples import read_sample
from fornet_keras.data.sizes import shrunk_size
from fornet_keras.errors import DataError, os_reason

_VERSION = 1  # of the files' layout
_IMAGES, _LABELS, _SIZES = "images.bin", "labels.bin", "sizes.json"

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class DecodedSamples:
    """The samples of a data set as they are after decoding, on disk: a crop reads only its own part.

    Args:
        folder: what `write_decoded` made.

    Raises:
        DataError: a file is missing or of another length than it was written with.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._sizes = [tuple(size) for size in json.loads((folder / _SIZES).read_bytes())]
            self._starts = np.cumsum([0, *map(math.prod, self._sizes)])
            pixels = int(self._starts[-1])
            self._images = np.memmap(folder / _IMAGES, np.uint8, "r")
            self._labels = np.memmap(folder / _LABELS, np.uint8, "r")
            intact = (self._images.size, self._labels.size) == (3 * pixels, pixels)
        except (OSError, ValueError, TypeError):
            intact = False
        if not intact:
            raise DataError(f"{folder}: is damaged; expected decoded samples; delete it, it is made again")

    def read(self, index: int) -> Pair:
        """What `read_sample` returns for a sample, to the last bit; read-only."""
        height, width = self._sizes[index]
        start, stop = (int(at) for at in self._starts[index : index + 2])
        image = self._images[3 * start : 3 * stop].reshape(height, width, 3)
        return image, self._labels[start:stop].reshape(height, width)


def decoded_samples(
    dataset: Dataset,
    folder: Path,
    workers: int,
    tell: Callable[[str], None],
    on_sample: Callable[[int, int], None] = lambda done, total: None,
    short_side: int | None = None,
) -> DecodedSamples:
    """Open the decoded samples of a data set; write them first where there are none of it as it is now.

    Of several runs that begin at once, one writes them and the others wait for it.

    Args:
        dataset: a `Dataset` whose samples all have labels.
        folder: where decoded data sets are kept; those of an earlier state of these samples are removed.
        workers: threads that decode.
        tell: called with a line that says how large they will be, before they are written, or that another
            run is waited for.
        on_sample: called with (samples written, samples in all) after each.
        short_side: pixels to which the shorter side of larger samples is brought down first.

    Raises:
        DataError: a sample cannot be read, or the disk is too small.
    """
    # Hash the images and short_side too, so that runs with others keep their cache.
    which = [os.path.abspath(path) for path in (dataset.root, *(sample.image for sample in dataset.samples))]
    which += [f"{short_side} px"] if short_side else []
    digest = hashlib.sha256(json.dumps(which).encode()).hexdigest()[:8]
    # Cut, as a letter may be four of the 255 bytes that a name may have.
    stem = re.sub(r"[^\w+-]", "_", f"{dataset.name}-{dataset.split}")[:40] + f"-{digest}-"
    path = folder / f"{stem}{fingerprint(dataset, _VERSION)}"
    if not path.exists():
        room = "the decoded samples"
        try:
            waiting = f"waiting for another run, which decodes into {folder}"
            with locked(folder / ".lock", on_wait=lambda: tell(waiting)):
                if not path.exists():
                    sizes = _sizes(dataset, workers, short_side)
                    room = f"{_bytes(sizes) / 1e9:.2f} GB"
                    tell(f"decoding {len(dataset)} samples of {dataset.split} once: {room} in {folder}")
                    remove_unfinished(folder)
                    outdated = [old for old in folder.glob(f"{stem}*") if old.is_dir()]
                    _write(dataset, path, sizes, workers, on_sample, short_side)
                    for old in outdated:
                        shutil.rmtree(old, ignore_errors=True)  # another run may hold it
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written ({os_reason(error)}); expected room for {room}; "
                "name another folder, or leave data.cache out"
            ) from error
    return DecodedSamples(path)


def _sizes(dataset: Dataset, workers: int, short_side: int | None) -> list[tuple[int, int]]:
    with ThreadPoolExecutor(workers) as pool:
        sizes = pool.map(image_size, [sample.image for sample in dataset.samples])
        return [shrunk_size(size, short_side) for size in sizes]


def _bytes(sizes: list[tuple[int, int]]) -> int:
    """Of images and labels."""
    return 4 * sum(map(math.prod, sizes))


def _write(
    dataset: Dataset,
    path: Path,
    sizes: list[tuple[int, int]],
    workers: int,
    on_sample: Callable[[int, int], None],
    short_side: int | None,
) -> None:
    with new_folder(path) as writing:
        free = shutil.disk_usage(writing).free
        if free < _bytes(sizes):
            raise OSError(f"{free / 1e9:.2f} GB are free")
        with (writing / _IMAGES).open("wb") as images, (writing / _LABELS).open("wb") as labels:
            for done, (image, label) in enumerate(_decode(dataset, workers, short_side), 1):
                images.write(image.data)
                labels.write(label.data)
                on_sample(done, len(dataset))
        (writing / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")


def _decode(dataset: Dataset, workers: int, short_side: int | None) -> Iterator[Pair]:
    """The samples in order; only a few wait in memory, however slow the disk."""
    read = partial(read_sample, table=dataset.table, short_side=short_side)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(read, sample) for sample in dataset.samples[: 2 * workers])
        for sample in (*dataset.samples[2 * workers :], *[None] * len(waiting)):
            yield waiting.popleft().result()
            if sample:
                waiting.append(pool.submit(read, sample))
