"""FoR-Net: light semantic segmentation that spends its computation on the hard regions of an image.

Keras is imported only when the network is first touched, so that `KERAS_BACKEND` can still be chosen.
"""

from importlib import import_module
from typing import Any

from fornet_keras.version import __version__

_HOMES = {
    "FoRNet": "fornet_keras.model",
    "FoRNetLoss": "fornet_keras.losses",
    "LabelTable": "fornet_keras.data.dataset",
    "MeanIoU": "fornet_keras.metrics",
    "MultiScaleBranch": "fornet_keras.layers.multi_scale_branch",
    "Predictor": "fornet_keras.prediction.predictor",
    "Selector": "fornet_keras.layers.selector",
    "TopKGate": "fornet_keras.layers.topk_gate",
    "evaluate": "fornet_keras.evaluation.evaluate",
    "load_model": "fornet_keras.model_folder",
    "open_dataset": "fornet_keras.data.sources",
    "overlay": "fornet_keras.prediction.pictures",
    "read_config": "fornet_keras.config",
    "read_image": "fornet_keras.data.images",
    "save_model": "fornet_keras.model_folder",
    "train": "fornet_keras.training.train",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fornet_keras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
