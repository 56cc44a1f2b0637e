"""A model in a Keras backend that this process does not run: in a process of its own, where it is timed too.

Keras is not imported at the top: here it has another backend than there.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.errors import ModelError


class OtherBackend:
    """A model in another backend; `(image)` gives its label ids.

    Args:
        backend: `tensorflow`, `jax` or `torch`.
        folder: a model.
        top_k: share of the regions that is refined; None takes the model's own.

    Attributes:
        device: the GPU or TPU that it computes on there; None for the CPU.

    Raises:
        ModelError: the folder is no model, or the process came to an end.
    """

    def __init__(self, backend: str, folder: Path, top_k: float | None) -> None:
        self._name = f"{folder} in {backend}"
        # Not a fork: Keras keeps its backend.
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_choose, initargs=(backend,)
        )
        self.device: str | None = self._ask(_open, folder, top_k)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label ids `(height, width)` of an image, uint8 `(height, width, 3)`."""
        found: NDArray[np.uint8] = self._ask(_predict, image)
        return found

    def seconds(self, image: NDArray[np.uint8]) -> float:
        """What a prediction takes there, without the image's way there and the labels' back."""
        return float(self._ask(_time, image))

    def _ask(self, function: Any, *arguments: Any) -> Any:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise ModelError(
                f"{self._name}: its process came to an end; expected one more copy of the model to fit into "
                "the memory; leave that backend out"
            ) from None


# === In the other process ===

_predictor: Any = None


def _choose(backend: str) -> None:
    os.environ["KERAS_BACKEND"] = backend


def _open(folder: Path, top_k: float | None) -> str | None:
    import keras

    from fornet_keras.model_folder import load_model
    from fornet_keras.prediction.predictor import Predictor
    from fornet_keras.training.accelerator import find_accelerator

    keras.config.set_image_data_format("channels_last")  # as `start_backend` does in the first process
    global _predictor
    model, _ = load_model(folder, top_k)
    _predictor = Predictor(model, short_side=0)  # at the size that is timed
    return find_accelerator()


def _predict(image: NDArray[np.uint8]) -> Any:
    return _predictor(image)["label_ids"]


def _time(image: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    _predict(image)
    return time.perf_counter() - started
