"""What can be timed: models in Keras, exported ones in their runtimes, and peers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import is_artifact, read_manifest
from fornet_keras.artifacts.runtimes import open_artifact
from fornet_keras.benchmark.memory import Make
from fornet_keras.benchmark.other_backend import OtherBackend
from fornet_keras.benchmark.peers import open_peer, peer_runtimes
from fornet_keras.errors import FoRNetError
from fornet_keras.model_description import MODEL_JSON, find_model_json
from fornet_keras.model_folder import WEIGHTS, load_model
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.training.accelerator import find_accelerator, tensorflow_gpu


@dataclass(frozen=True)
class Candidate:
    """Something that predicts one image.

    Args:
        name: what the user called it.
        runtime: the Keras backend, or the runtime of an exported model.
        precision: number format.
        size: height and width of the images in pixels.
        top_k: share of the regions that is refined; None for a peer.
        megabytes: what it needs on disk, 10⁶ bytes: of a model description and weights, of an artifact the
            files of its manifest, without the requests that TensorFlow Serving warms up with.
        label_agreement: with Keras, from the proof of an exported model; None for Keras itself, and on a GPU,
            where float32 is rounded otherwise than in the proof.
        classes: names, None for a peer.
        run: from one uint8 image `(height, width, 3)` to label ids `(height, width)`.
        make: opens what predicts once more, in another process too; None for a peer, whose conversion would
            count as its own memory, and for another backend, which is in another process already.
        timed: seconds that a run takes, where it runs in another process.
        device: the GPU or TPU that it runs on; None for the CPU.
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
    make: Make | None
    timed: Callable[[NDArray[np.uint8]], float] | None = None
    device: str | None = None

    def seconds(self, image: NDArray[np.uint8]) -> float:
        """What one run takes."""
        if self.timed:
            return self.timed(image)
        started = time.perf_counter()
        self.run(image)
        return time.perf_counter() - started


def candidates(
    folders: Sequence[Path],
    size: tuple[int, int],
    top_k: Sequence[float],
    threads: int | None,
    against: Sequence[str] = (),
    backends: Sequence[str] = (),
    device: str = "cpu",
    short_side: int = 0,
) -> list[Candidate]:
    """Load what is to be timed.

    Args:
        folders: models, and exported models.
        size: of the images of a model; an exported one has its own.
        top_k: shares that a model is timed at, none for its own; an exported one has its own.
        threads: threads of the runtime of an exported model or a peer; None takes every core.
        against: networks of `PEERS`, which are timed at all sizes: in float32 in every runtime that is here,
            in int8 where an artifact is.
        backends: of Keras, that a model is also timed in, each in a process of its own.
        device: that an exported model runs on, of `artifacts.runtimes.DEVICES`.
        short_side: pixels to which a model brings the shorter side of larger images down; 0 takes their own.

    Raises:
        ExportError, ModelError: a folder is neither, or damaged.
        FoRNetError: a peer cannot be had here, or would run on the CPU beside something on a GPU.
    """
    found: list[Candidate] = []
    for folder in folders:
        if is_artifact(folder):
            found.append(_exported(folder, threads, device))
        else:
            for share in top_k or (None,):
                here = _in_keras(folder, size, share, short_side)
                found += [here, *(_in_backend(here, backend, folder, share) for backend in backends)]
    on_gpu = next((candidate for candidate in found if candidate.device), None)
    if against and on_gpu:
        raise FoRNetError(
            f"--against is timed on the CPU, and {on_gpu.name} runs on {on_gpu.device}; expected both on the "
            "CPU; set the environment variable CUDA_VISIBLE_DEVICES to -1, for an Apple GPU "
            "KERAS_TORCH_DEVICE to cpu, or leave --against out"
        )
    sizes = list(dict.fromkeys(candidate.size for candidate in found))
    kinds = [(runtime, "float32") for runtime in (peer_runtimes() if against else ())]
    int8 = {candidate.runtime for candidate in found if candidate.precision == "int8"}
    kinds += [(runtime, "int8") for runtime in ("onnx", "openvino") if runtime in int8]
    asked = itertools.product(sizes, against, kinds)
    return found + [_peer(name, *kind, size, threads) for size, name, kind in asked]


def _exported(folder: Path, threads: int | None, device: str) -> Candidate:
    manifest = read_manifest(folder)
    run = open_artifact(folder, manifest, threads, device)
    gpu = "GPU" if device == "gpu" else None
    if manifest.format == "saved_model":
        gpu = tensorflow_gpu()
    return Candidate(
        str(folder),
        manifest.format,
        manifest.precision,
        manifest.size,
        manifest.top_k,
        _megabytes(folder / name for name in manifest.sha256 if not name.startswith("assets.extra/")),
        manifest.proof.at_top_k[0].label_agreement if gpu is None else None,
        tuple(entry.name for entry in manifest.classes),
        lambda image: run(image[None])["label_ids"][0],
        partial(ArtifactPredictor, folder, threads, device),
        device=gpu,
    )


def _in_keras(folder: Path, size: tuple[int, int], top_k: float | None, short_side: int) -> Candidate:
    model, table = load_model(folder, top_k)
    predictor, inside = Predictor(model, short_side), find_model_json(folder).parent
    return Candidate(
        str(folder),
        f"keras {keras.backend.backend()}",
        "float32",
        size,
        model.top_k,
        _megabytes((inside / MODEL_JSON, inside / WEIGHTS)),
        None,
        table.names,
        lambda image: predictor(image)["label_ids"],
        partial(_predictor, folder, top_k, short_side),
        device=find_accelerator(),
    )


def _predictor(folder: Path, top_k: float | None, short_side: int) -> Predictor:
    """In another process, which has not gone through `start_backend`."""
    keras.config.set_image_data_format("channels_last")
    return Predictor(load_model(folder, top_k)[0], short_side)


def _in_backend(here: Candidate, backend: str, folder: Path, top_k: float | None) -> Candidate:
    there = OtherBackend(backend, folder, top_k)
    runtime = f"keras {backend}"
    return replace(here, runtime=runtime, run=there, make=None, timed=there.seconds, device=there.device)


def _peer(name: str, runtime: str, precision: str, size: tuple[int, int], threads: int | None) -> Candidate:
    run, megabytes = open_peer(name, runtime, size, threads, precision)
    return Candidate(name, runtime, precision, size, None, megabytes, None, None, run, None)


def _megabytes(files: Iterable[Path]) -> float:
    return sum(path.stat().st_size for path in files) / 1e6
