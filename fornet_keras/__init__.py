"""FoR-Net: light semantic segmentation that spends its computation on the hard regions of an image.

Keras is imported only when the network is first touched, so that `KERAS_BACKEND` can still be chosen.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fornet_keras.version import __version__

if TYPE_CHECKING:  # what `_HOMES` says, for editors
    from fornet_keras.config import read_config as read_config
    from fornet_keras.data.dataset import LabelTable as LabelTable
    from fornet_keras.data.images import read_image as read_image
    from fornet_keras.data.sources import open_dataset as open_dataset
    from fornet_keras.errors import FoRNetError as FoRNetError
    from fornet_keras.evaluation.evaluate import evaluate as evaluate
    from fornet_keras.layers.multi_scale_branch import MultiScaleBranch as MultiScaleBranch
    from fornet_keras.layers.selector import Selector as Selector
    from fornet_keras.layers.topk_gate import TopKGate as TopKGate
    from fornet_keras.losses import FoRNetLoss as FoRNetLoss
    from fornet_keras.metrics import MeanIoU as MeanIoU
    from fornet_keras.model import FoRNet as FoRNet
    from fornet_keras.model_folder import load_model as load_model
    from fornet_keras.model_folder import save_model as save_model
    from fornet_keras.prediction.pictures import overlay as overlay
    from fornet_keras.prediction.predictor import Predictor as Predictor
    from fornet_keras.training.train import train as train

_HOMES = {
    "FoRNet": "fornet_keras.model",
    "FoRNetError": "fornet_keras.errors",
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

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fornet_keras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
