"""What a `FoRNet` is built and learns with, refused where it would fail or mislead only later."""

import warnings
from numbers import Real

import keras
import numpy as np

from fornet_keras.backbones.strides import PROBE, STRIDES, probe_size
from fornet_keras.data.dataset import IGNORE
from fornet_keras.losses import FoRNetLoss


def require_valid(
    num_classes, backbone, context_filters, branch_filters, scales, region_size, top_k, short_side
):
    """Refuse arguments of a `FoRNet` of another type or outside their ranges.

    Raises:
        ValueError: one of them is.
    """
    if not (backbone is None or isinstance(backbone, keras.Model)):
        raise ValueError(
            "backbone must be a model, such as imagenet_efficientnet_lite0() of "
            "fornet_keras.backbones.efficientnet_lite, or None (in from_preset also a dict of sizes); "
            f"received {backbone!r}"
        )
    if not (isinstance(num_classes, int | np.integer) and 2 <= num_classes <= 255):
        raise ValueError(f"num_classes must be a whole number of 2…255; received {num_classes}")
    for name, filters in (("context_filters", context_filters), ("branch_filters", branch_filters)):
        if not (isinstance(filters, int | np.integer) and filters >= 1):
            raise ValueError(f"{name} must be a whole number of 1 or more; received {filters!r}")
    if not isinstance(region_size, int | np.integer) or region_size < 16 or region_size % 16:
        raise ValueError(f"region_size must be a multiple of 16 pixels; received {region_size!r}")
    if not (isinstance(top_k, Real) and 0 < float(top_k) <= 1):
        raise ValueError(f"top_k must be in (0, 1]; received {top_k!r}; use 1 to keep every region")
    if short_side is not None and not (isinstance(short_side, int | np.integer) and 1 <= short_side <= 65535):
        raise ValueError(
            f"short_side must be a whole number of 1…65535 pixels, or None; received {short_side}"
        )
    if not (
        isinstance(scales, tuple | list) and all(isinstance(scale, int | np.integer) for scale in scales)
    ):
        raise ValueError(f"scales must be a tuple of whole numbers; received {scales!r}")
    edge = region_size // STRIDES[0]
    if any(scale < 1 or branch_filters % scale or edge % scale for scale in scales):
        raise ValueError(
            f"scales must divide branch_filters and region_size / 4; received {scales}, {branch_filters} and "
            f"{region_size} pixels"
        )


def require_rates(**rates):
    """Refuse rates of dropout that are none.

    Raises:
        ValueError: one is no number of 0…1.
    """
    for name, rate in rates.items():
        if not (isinstance(rate, Real) and 0 <= float(rate) <= 1):
            raise ValueError(f"{name} must be a rate of 0…1; received {rate!r}")


def features_by_stride(backbone, x):
    """The backbone's features of `x`, by the names of their strides.

    Raises:
        ValueError: it gives something else, or features at another stride than their name says.
    """
    features = backbone(x)
    names = {f"stride_{stride}": stride for stride in STRIDES}
    if not isinstance(features, dict) or not {*names} <= {*features}:
        found = list(features) if isinstance(features, dict) else f"a {type(features).__name__}"
        raise ValueError(f"backbone must give a dict of {', '.join(names)}; received {found}")
    try:
        shapes = backbone.compute_output_shape(PROBE)
        sizes = {name: shapes[name][1:3] for name in names}
    except Exception:  # a backbone of one's own need not know its shapes, and has its own way to say so
        return features
    for name, stride in names.items():
        cells, expected = tuple(sizes[name]), probe_size(stride)
        # Of more cells all but the upper left would be cut off, and the network learn from that corner.
        if None not in cells and cells != expected:
            raise ValueError(
                f"backbone's {name} is at stride {PROBE[1] / cells[0]:g}: {cells[0]}x{cells[1]} cells of "
                f"{PROBE[1]}x{PROBE[2]} pixels; expected {expected[0]}x{expected[1]}"
            )
    return features


def require_arrays(images, labels):
    """Refuse arrays for `fit` of other shapes, which in the first step cost a model on JAX its weights.

    Raises:
        ValueError: images are not `(batch, height, width, 3)`, or labels are one-hot.
    """
    shape = getattr(images, "shape", None)  # a tf.data.Dataset or a PyDataset has none
    if shape is not None and (len(shape) != 4 or shape[-1] != 3):
        raise ValueError(
            f"images must be (batch, height, width, 3); received {tuple(shape)}; "
            "channels first are np.moveaxis(images, 1, -1), and one image is image[None]"
        )
    shape = getattr(labels, "shape", None)
    if shape is not None and (len(shape) not in (3, 4) or shape[3:] not in ((), (1,))):
        raise ValueError(
            f"labels must be class ids (batch, height, width); received shape {tuple(shape)}; of one-hot "
            "labels take the argmax"
        )


def warn_of_nearly_black(images):
    """Warn where the values of float images, a NumPy array, are at most 1: what others normalise to."""
    if images.dtype.kind == "f" and images.max() <= 1:
        warnings.warn("image: float values up to 1 only, nearly black; expected 0…255", stacklevel=3)


def warn_of_ignored_class(labels):
    """Warn where labels, a NumPy array, are 0 and 255 alone: masks, whose second class would be ignored.

    They are looked at one by one, up to one with another value, which mostly is the first.
    """
    has_void = False
    for label in labels:
        void = label == IGNORE
        if not (void | (label == 0)).all():
            return
        has_void = has_void or void.any()
    if has_void:
        warnings.warn(
            f"labels: no value but 0 and {IGNORE}, which is ignored, so that one class alone is learnt; "
            f"where {IGNORE} is the other class, take labels // {IGNORE}",
            stacklevel=3,
        )


def warn_of_unknown_class(labels, num_classes):
    """Warn where labels, a NumPy array, hold what is no class and not ignored: loss and mIoU become NaN.

    They are looked at one by one, up to one that does, and compared: each pixel looked up among the classes
    would take a minute for all of Cityscapes, and this takes seconds.
    """
    for label in labels:
        unknown = (label < 0) | ((label >= num_classes) & (label != IGNORE))
        if label.dtype.kind == "f":
            unknown |= label != np.rint(label)
        if unknown.any():
            warnings.warn(
                f"labels: {label[unknown][0]} is none of the {num_classes} classes, 0…{num_classes - 1}, and "
                f"makes loss and mIoU NaN; expected one of them, or {IGNORE}, which is ignored",
                stacklevel=3,
            )
            return


def require_parts(parts, names):
    """Refuse the terms of a loss of one's own that lack one of those that are reported.

    Raises:
        ValueError: one is missing.
    """
    for name in names:
        if name not in parts:
            raise ValueError(
                f"parts of the loss must keep the inherited '{name}'; received {', '.join(parts)}; "
                "make it 0 to leave it out"
            )


def require_learnable(loss, loss_weights, metrics, weighted_metrics):
    """Refuse what a `FoRNet` would be compiled with and not heed.

    Raises:
        ValueError: another loss than a `FoRNetLoss`, one that overrides more than `parts`, weights beside it,
            or a dict of metrics.
    """
    if not isinstance(loss, FoRNetLoss):
        raise ValueError(f"loss must be a FoRNetLoss, or None for the default one; received {loss!r}")
    for name in ("__call__", "call"):
        if getattr(type(loss), name) is not getattr(FoRNetLoss, name):
            raise ValueError(f"loss must override `parts` alone; received one with its own `{name}`")
    if loss_weights is not None:
        raise ValueError(
            f"loss_weights are not taken; received {loss_weights}; use FoRNetLoss(coarse_weight=…)"
        )
    for name, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        if isinstance(given, dict):
            raise ValueError(f"{name} must be a list, of the logits; received a dict of {', '.join(given)}")
