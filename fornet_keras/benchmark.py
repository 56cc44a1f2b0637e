"""What a prediction costs on this machine: models in Keras, and exported ones in their runtimes."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Dataset
from fornet_keras.data.synthetic import MIN_SIDE, render_scene
from fornet_keras.errors import BudgetError
from fornet_keras.export.images import fit_sample
from fornet_keras.export.manifest import MANIFEST, read_manifest
from fornet_keras.export.runtimes import open_runtime
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model_folder import load_model
from fornet_keras.peers import open_peer, peer_runtimes
from fornet_keras.prediction.predictor import Predictor

WARM_UP = 2
PAUSE = 0.1
"""Seconds before a candidate runs, in which the threads of the one before fall asleep."""
BUDGET_RATIOS = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0)
BUDGET_ROUNDS = 7


@dataclass(frozen=True)
class Candidate:
    """Something that predicts one image.

    Args:
        name: what the user called it.
        runtime: the Keras backend, or the runtime of an exported model.
        precision: number format.
        size: height and width of the images in pixels.
        top_k: share of the regions that is refined; None for a peer.
        megabytes: on disk, 10⁶ bytes.
        label_agreement: with Keras, from the proof of an exported model; None for Keras itself.
        classes: names, None for a peer.
        run: from one uint8 image `(height, width, 3)` to label ids `(height, width)`.
        make: the same candidate once more, in another process too; None for a peer, whose conversion would
            count as its own memory.
    """

    name: str
    runtime: str
    precision: str
    size: tuple[int, int]
    top_k: float | None
    megabytes: float
    label_agreement: float | None
    classes: tuple[str, ...] | None
    run: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    make: Callable[[], Candidate] | None


def candidates(
    folders: Sequence[Path],
    size: tuple[int, int],
    top_k: Sequence[float],
    threads: int | None,
    against: Sequence[str] = (),
) -> list[Candidate]:
    """Load what is to be timed.

    Args:
        folders: models, and exported models.
        size: of the images of a model; an exported one has its own.
        top_k: shares that a model is timed at, none for its own; an exported one has its own.
        threads: threads of an exported model's runtime; None leaves it to the runtime.
        against: networks of `PEERS`, which are timed at all sizes: in float32 in every runtime that is here,
            in int8 where an artifact is.

    Raises:
        ExportError, ModelError: a folder is neither, or damaged.
        PeerError: a peer cannot be had here.
    """
    found: list[Candidate] = []
    for folder in folders:
        if (folder / MANIFEST).exists():
            found.append(_exported(folder, threads))
        else:
            found += [_in_keras(folder, size, share) for share in top_k or (None,)]
    sizes = list(dict.fromkeys(candidate.size for candidate in found))
    kinds = [(runtime, "float32") for runtime in peer_runtimes()]
    int8 = {candidate.runtime for candidate in found if candidate.precision == "int8"}
    kinds += [(runtime, "int8") for runtime in ("onnx", "openvino") if runtime in int8]
    asked = itertools.product(sizes, against, kinds)
    return found + [_peer(name, *kind, size, threads) for size, name, kind in asked]


def _exported(folder: Path, threads: int | None) -> Candidate:
    manifest = read_manifest(folder)
    run = open_runtime(folder, manifest.format, threads)
    return Candidate(
        str(folder),
        manifest.format,
        manifest.precision,
        manifest.size,
        manifest.top_k,
        _megabytes(folder),
        manifest.proof.at_top_k[0].label_agreement,
        manifest.table().names,
        lambda image: run(image[None])["label_ids"][0],
        partial(_exported, folder, threads),
    )


def _in_keras(folder: Path, size: tuple[int, int], top_k: float | None) -> Candidate:
    model, table = load_model(folder, top_k)
    predictor = Predictor(model)
    return Candidate(
        str(folder),
        f"keras {keras.backend.backend()}",
        "float32",
        size,
        model.top_k,
        _megabytes(folder / "best" if (folder / "best").is_dir() else folder),
        None,
        table.names,
        lambda image: predictor(image)["label_ids"],
        partial(_in_keras, folder, size, top_k),
    )


def _peer(name: str, runtime: str, precision: str, size: tuple[int, int], threads: int | None) -> Candidate:
    run, megabytes = open_peer(name, runtime, size, threads, precision)
    return Candidate(name, runtime, precision, size, None, megabytes, None, None, run, None)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(
    found: Sequence[Candidate], repeats: int, on_round: Callable[[], None], dataset: Dataset | None = None
) -> list[dict[str, Any]]:
    """Time all candidates in turn, so that what else the machine does falls on all of them alike.

    Args:
        found: what is timed.
        repeats: rounds.
        on_round: called after each round.
        dataset: whose middle image is predicted, at the size of each candidate; None takes a made-up scene.

    Returns:
        One row a candidate, ready for JSON; the figures are of one image a call.
    """
    images = {size: _image(size, dataset) for size in {candidate.size for candidate in found}}
    milliseconds: list[list[float]] = [[] for _ in found]
    for number in range(WARM_UP + repeats):
        for candidate, times in zip(found, milliseconds, strict=True):
            # Threads of ONNX Runtime and PyTorch spin on, and took 18 ms of the next one's time. The run that
            # is not counted wakes this one's own.
            time.sleep(PAUSE)
            candidate.run(images[candidate.size])
            started = time.perf_counter()
            candidate.run(images[candidate.size])
            if number >= WARM_UP:
                times.append(1000 * (time.perf_counter() - started))
        on_round()
    first = float(np.median(milliseconds[0]))
    return [_row(candidate, times, first) for candidate, times in zip(found, milliseconds, strict=True)]


def _image(size: tuple[int, int], dataset: Dataset | None) -> NDArray[np.uint8]:
    """A street scene: how long a network takes to decide its labels depends on how many borders they have."""
    if dataset is not None:
        return fit_sample(dataset.samples[len(dataset) // 2], dataset.table, size)[0]
    height, width = size
    return render_scene(0, (max(height, MIN_SIDE), max(width, MIN_SIDE))).image[:height, :width]


def peak_megabytes(candidate: Candidate) -> float | None:
    """The memory that loading a candidate and predicting adds to a process that has Keras, 10⁶ bytes.

    None for a peer, and where there was not enough.
    """
    if candidate.make is None:
        return None
    # A process of its own, and not a fork: the peak of this one cannot be set back.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_added_memory, candidate.make, candidate.size).result()
        except BrokenProcessPool:
            return None


def _added_memory(make: Callable[[], Candidate], size: tuple[int, int]) -> float:
    image = _image(size, None)
    before = _memory("VmRSS")
    candidate = make()
    for _ in range(WARM_UP):
        candidate.run(image)
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """What this process holds (`VmRSS`), or the most that it has held (`VmHWM`), 10⁶ bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage also counts what the parent had held
        return int(re.findall(rf"{field}:\s+(\d+) kB", status.read_text())[0]) * 1024 / 1e6
    import resource

    # macOS counts bytes, and tells the most alone: what rendering has let go is then missing.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def score(candidate: Candidate, dataset: Dataset) -> float | None:
    """MIoU on a labelled data set, at the candidate's image size, 0…1; None where its classes are others."""
    if candidate.classes != dataset.table.names:
        return None
    matrix = ConfusionMatrix(dataset.table.num_classes)
    for sample in dataset.samples:
        image, label = fit_sample(sample, dataset.table, candidate.size)
        matrix.add(label, candidate.run(image))
    return matrix.miou


def fit_budget(folder: Path, size: tuple[int, int], milliseconds: float) -> tuple[float, float]:
    """The largest share of the regions that this machine refines within a budget.

    Args:
        folder: a model.
        size: height and width of the images in pixels.
        milliseconds: most that a prediction may take; the median counts.

    Returns:
        The share, of `BUDGET_RATIOS`, and the milliseconds that a prediction took at it.

    Raises:
        BudgetError: even the smallest share takes longer.
    """
    rows = measure(candidates([folder], size, BUDGET_RATIOS, None), BUDGET_ROUNDS, lambda: None)
    within = [row for row in rows if row["median_ms"] <= milliseconds]
    if not within:
        raise BudgetError(
            f"a budget of {milliseconds:g} ms is too small: at {size[0]}x{size[1]} this model takes "
            f"{rows[0]['median_ms']:.1f} ms here with {BUDGET_RATIOS[0]:.0%} of the regions; "
            "allow more, or take smaller images or a smaller preset"
        )
    best = within[-1]
    return best["top_k"], best["median_ms"]


def _row(candidate: Candidate, milliseconds: Sequence[float], first: float) -> dict[str, Any]:
    median = float(np.median(milliseconds))
    return {
        "name": candidate.name,
        "runtime": candidate.runtime,
        "precision": candidate.precision,
        "size": list(candidate.size),
        "top_k": candidate.top_k,
        "median_ms": median,
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "min_ms": float(np.min(milliseconds)),
        "ratio_to_first": median / first,
        "images_per_second": 1000 / median,
        "megabytes": candidate.megabytes,
        "label_agreement": candidate.label_agreement,
    }
