"""FoRNet: the whole network, from the image to the logits, and what it learns from."""

import math
import threading

import keras
import numpy as np

import fornet_keras.backbones.efficientnet_lite
import fornet_keras.backbones.library
import fornet_keras.metrics  # noqa: F401 - these three: a .keras file may name their classes
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.empty_build import empty_build
from fornet_keras.layers.multi_scale_branch import MultiScaleBranch
from fornet_keras.layers.neck import drop_channels, fuse_top_down, join_detail, upsample
from fornet_keras.layers.resize import CropToRegions, PadToMultiple, UpsampleToImage
from fornet_keras.layers.selector import Selector
from fornet_keras.layers.topk_gate import TopKGate
from fornet_keras.losses import FoRNetLoss
from fornet_keras.model_arguments import (
    features_by_stride,
    require_arrays,
    require_learnable,
    require_parts,
    require_rates,
    require_valid,
    warn_of_ignored_class,
    warn_of_nearly_black,
    warn_of_unknown_class,
)
from fornet_keras.prediction.predictor import Predictor
from fornet_keras.presets import PRESETS

DETAIL_STRIDE = 4
CONTEXT_STRIDE = 8
DEEPEST_STRIDE = 32


@keras.saving.register_keras_serializable("fornet_keras")
class FoRNet(keras.Model):
    """Semantic segmentation that spends its computation on the hard regions of an image.

    A coarse path predicts every region at stride 8. The Selector scores how much of each region it expects to
    be wrong, the TopKGate keeps the highest-scoring ones, and the MultiScaleBranch corrects their logits at
    stride 4.

    Args:
        num_classes: number of classes, 2…255.
        backbone: a model from an image normalised to -2…2 (`pixel / 63.75 - 2`) to a dict of features at
            `stride_4`, `stride_8`, `stride_16` and `stride_32`; None builds a `ResidualBackbone`. Of a class
            of your own, `register_keras_serializable` lets `with_top_k` and `keras.saving` build it again.
        context_filters: channels of the coarse path, and of what the branch sees.
        branch_filters: channels of the branch.
        scales: one scale a parallel convolution of the branch, in cells of stride 4; each divides
            `branch_filters` and `region_size / 4`.
        region_size: edge of a region in pixels, a multiple of 16.
        top_k: share of the regions that is corrected at inference, in (0, 1].
        dropout: share of the channels that the coarse path and the branch learn without, 0…1; against
            learning the training streets by heart.
        image_pool_dropout: share of the images whose mean over all pixels is kept from the coarse path in
            training, 0…1: that mean tells which street it is. Neither rate is kept in a model folder.
        short_side: pixels to which the shorter side of larger images is brought down before they are learnt
            or predicted, by the training and the commands and by `predict_image`, not by a call; None takes
            each image at its own size.

    Input shape: RGB image, uint8 or float, 0…255, `(batch, height, width, 3)`, any height and width.

    Output: dict of float32
        - `logits` `(batch, height, width, num_classes)`,
        - `coarse_logits` `(batch, rows * cells, columns * cells, num_classes)` at stride 4, where
          `cells = region_size / 4`,
        - `importance` `(batch, rows, columns)`, any real numbers: `sigmoid` gives the expected share of
          wrong pixels,
        - `kept` `(batch, rows, columns)`, 1 for a region that was corrected, else 0,

        where `rows = ceil(height / region_size)` and `columns = ceil(width / region_size)`.

    Raises:
        ValueError: an argument outside its range, or a backbone that lacks a stride or has another.

    Example:
        >>> import numpy as np
        >>> model = FoRNet.from_preset("nano", num_classes=11)
        >>> outputs = model(np.zeros((1, 90, 120, 3), "uint8"))
        >>> tuple(outputs["logits"].shape)
        (1, 90, 120, 11)

    Reference: FoR-Net (arXiv 2605.02764). Widths, region size, losses and supervision are this package's own.
    """

    def __init__(
        self,
        num_classes,
        backbone=None,
        context_filters=64,
        branch_filters=64,
        scales=(1, 2, 4),
        region_size=16,
        top_k=0.5,
        dropout=0.0,
        image_pool_dropout=0.0,
        short_side=None,
        name=None,
    ):
        require_valid(
            num_classes, backbone, context_filters, branch_filters, scales, region_size, top_k, short_side
        )
        require_rates(dropout=dropout, image_pool_dropout=image_pool_dropout)
        # These may be NumPy numbers.
        num_classes, region_size, top_k = int(num_classes), int(region_size), float(top_k)
        context_filters, branch_filters = int(context_filters), int(branch_filters)
        scales = tuple(map(int, scales))
        short_side = short_side and int(short_side)
        # === Layers ===
        backbone = ResidualBackbone(name="backbone") if backbone is None else backbone
        selector = Selector(region_size // CONTEXT_STRIDE, name="selector")
        gate = TopKGate(top_k, name="gate")
        branch = MultiScaleBranch(branch_filters, num_classes, scales, name="branch")

        # === Functional model ===
        image = keras.Input((None, None, 3), name="image")
        x = keras.layers.Rescaling(1 / 63.75, offset=-2.0, name="normalize")(image)
        padding = math.lcm(region_size, DEEPEST_STRIDE)
        pyramid = features_by_stride(backbone, PadToMultiple(padding, name="pad")(x))

        context = fuse_top_down(pyramid, context_filters, image_pool_dropout)
        context = drop_channels(context, dropout, "context_drop")
        context = CropToRegions(region_size, CONTEXT_STRIDE, name="context_crop")([context, image])
        # float32, as are logits to the end: mixed precision has too few steps to tell close classes apart.
        coarse = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="coarse_logits")(context)
        importance = selector([context, coarse])
        kept, indices = gate(importance)

        detail = CropToRegions(region_size, DETAIL_STRIDE, name="detail_crop")([pyramid["stride_4"], image])
        detail = join_detail(detail, context, context_filters)
        detail = drop_channels(detail, dropout, "detail_drop")
        correction = branch([detail, kept, indices])
        coarse = upsample(coarse, "coarse_logits_up", dtype="float32")
        refined = keras.layers.Add(dtype="float32", name="refined_logits")([coarse, correction])
        logits = UpsampleToImage(DETAIL_STRIDE, name="logits")([refined, image])
        outputs = {"logits": logits, "coarse_logits": coarse, "importance": importance, "kept": kept}
        super().__init__(inputs=image, outputs=outputs, name=name)

        # === Config ===
        self.num_classes = num_classes
        self.backbone = backbone
        self.context_filters = context_filters
        self.branch_filters = branch_filters
        self.scales = scales
        self.region_size = region_size
        self.dropout = dropout
        self.image_pool_dropout = image_pool_dropout
        self.short_side = short_side
        self._predictor = None
        self._turn = threading.Lock()  # shared by all its predictors: JAX donates the weights during a call
        self.loss_parts = [
            keras.metrics.Mean(name=name) for name in ("logits_loss", "coarse_loss", "selector_loss")
        ]

    @classmethod
    def from_preset(cls, preset, num_classes, **kwargs):
        """A new network of a given size, with random weights.

        Args:
            preset: `"nano"`, `"s"` or `"m"` (about 0.43, 1.04 and 4.8 million parameters), or `"pico"`, with
                every part and no room to learn much: to try a pipeline.
            num_classes: number of classes.
            **kwargs: further arguments of `FoRNet`, for example `top_k` or `region_size`; `backbone`
                may also be a dict of arguments of a `ResidualBackbone`, in the place of the preset's.

        Raises:
            ValueError: a preset that does not exist, or a backbone that is neither a model nor a dict.
        """
        if preset not in PRESETS:
            raise ValueError(
                f"preset must be one of {', '.join(PRESETS)}; received {preset!r}; "
                "a trained model, shipped ones too, is read by load_model"
            )
        arguments = {**PRESETS[preset], **kwargs}
        backbone = arguments["backbone"]
        if backbone is None or isinstance(backbone, dict):
            sizes = {**PRESETS[preset]["backbone"], **(backbone or {})}
            arguments["backbone"] = ResidualBackbone(**sizes, name="backbone")
        return cls(num_classes, **arguments)

    @property
    def top_k(self):
        """Share of the regions that is corrected at inference, in (0, 1]."""
        return self.get_layer("gate").ratio

    @top_k.setter
    def top_k(self, value):
        raise AttributeError(f"top_k is fixed; model.with_top_k({value}) gives the same weights with it")

    def predict_image(self, image, short_side=None):
        """Predict one image of any size.

        Args:
            image: path of an image file, an image of Pillow's, which is turned as its EXIF says, or an RGB
                array `(height, width, 3)`, uint8 or float, 0…255.
            short_side: pixels to which the shorter side of a larger image is brought down before it is
                predicted; None takes the model's own `short_side`, 0 the image at its own size.

        Returns:
            dict of NumPy arrays: `label_ids` uint8 `(height, width)`; `importance` float32 `(rows, columns)`,
            0…1, the expected share of wrong pixels of each region; `kept` bool `(rows, columns)`; and
            `coarse_label_ids`, the coarse path's labels at stride 4. Regions and coarse labels are those of
            the image as it was predicted. `label_ids` are positions in the classes (Cityscapes' train ids),
            not the values of a data set's label files.

        Raises:
            DataError: the file cannot be read.
            ValueError: an array of another shape, or a shorter side below 0.
        """
        self._predictor = self._predictor or Predictor(self)
        short_side = self.short_side if short_side is None else short_side  # which may have been set since
        return self._predictor(image, short_side or 0)

    def with_top_k(self, top_k):
        """The same network, with a copy of the weights, that corrects another share of the regions.

        It has the same precision, and is not compiled.

        Raises:
            ValueError: a share outside (0, 1], or a layer with LoRA, which saving as `.keras` merges into it.
        """
        model = empty_build(lambda: type(self).from_config({**self.get_config(), "top_k": top_k}))
        model.set_weights(self.get_weights())
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):  # which computes with copies of its weights
                layer.finalize_state()
        return model

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **options):
        """As `keras.Model.compile`, but None as the loss is always a `FoRNetLoss` with default weights.

        Args:
            optimizer: as in Keras.
            loss: a `FoRNetLoss`.
            loss_weights: not taken: the parts are weighted by `FoRNetLoss`'s own arguments.
            metrics: list of metrics, which are given the logits.
            **options: as in Keras.

        Raises:
            ValueError: another loss, one that overrides more than `parts`, weights beside it, or a dict of
                metrics.
        """
        loss = FoRNetLoss() if loss is None else loss
        require_learnable(loss, loss_weights, metrics, options.get("weighted_metrics"))
        super().compile(optimizer, loss, metrics=metrics, **options)
        # Keras would trace the network once more before each `fit` to build it, though it is not called.
        self._compile_loss.built = True

    def fit(self, x=None, y=None, *args, class_weight=None, **options):
        """As `keras.Model.fit`, but without `class_weight`: Keras weights whole images by it.

        Warns of an array, of `validation_data` too, whose first images are 0…1, not 0…255, and of an array of
        labels that are 0 and 255 alone, for 255 is ignored, or of which one is neither 255 nor a class.

        Raises:
            ValueError: classes are weighted here, or images or labels are arrays of another shape.
        """
        if class_weight is not None:
            raise ValueError(
                "class_weight is not taken; use compile(loss=FoRNetLoss(class_weights=…)), one weight a class"
            )
        given = [(x, y)]
        if isinstance(validation := options.get("validation_data"), tuple | list) and len(validation) > 1:
            given.append((validation[0], validation[1]))
        for images, labels in given:
            require_arrays(images, labels)
            if isinstance(images, np.ndarray) and len(images):
                warn_of_nearly_black(images[:8])
            if isinstance(labels, np.ndarray):
                warn_of_ignored_class(labels)
                warn_of_unknown_class(labels, self.num_classes)
        return super().fit(x, y, *args, **options)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled `FoRNetLoss`, or one with default weights before `compile`.

        Raises:
            ValueError: samples are weighted, there are no labels, or a part of the loss is missing.
        """
        parts = (self.loss or FoRNetLoss()).parts(y, y_pred, sample_weight)
        require_parts(parts, [tracker.name for tracker in self.loss_parts])
        for tracker in self.loss_parts:
            # Weighted as Keras weights the loss, of which they are the parts.
            tracker.update_state(parts[tracker.name], sample_weight=keras.ops.shape(y)[0])
        # TensorFlow adds up the gradients of several devices, so Keras makes each loss a share.
        return sum(self._aggregate_additional_loss(loss) for loss in (*parts.values(), *self.losses))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def quantize(self, *args, **kwargs):
        """Not possible: Keras quantizes no convolutions, of which a FoRNet is made."""
        raise ValueError("a FoRNet cannot be quantized in Keras; use `fornet export --precision int8`")

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **options):
        """As `keras.Model.export`, where that can; `fornet export` can everywhere, and proves what it wrote.

        Raises:
            ValueError: no `input_signature`, which says the size of the images.
        """
        if input_signature is None:
            raise ValueError(
                "a FoRNet is exported for images of one size; use `fornet export --size`, or name it in "
                "input_signature"
            )
        super().export(filepath, format, verbose, input_signature, **options)

    def get_config(self):
        sizes = ("num_classes", "context_filters", "branch_filters", "scales", "region_size", "top_k")
        plain = ("name", "trainable", *sizes, "dropout", "image_pool_dropout", "short_side")
        return {
            **{name: getattr(self, name) for name in plain},
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            # By number: a layer of the backbone may have the name of one here.
            "frozen": [
                number
                for number, layer in enumerate(self._flatten_layers(include_self=False))
                if not layer.trainable
            ],
            "dtype_policy": self.dtype_policy.name,
            # Which its own configuration need not have.
            "backbone_dtype_policy": self.backbone.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        trainable, frozen = config.pop("trainable", True), {*config.pop("frozen", ())}
        before = keras.config.dtype_policy()
        policy = config.pop("dtype_policy", before)
        try:
            keras.config.set_dtype_policy(config.pop("backbone_dtype_policy", policy))
            backbone = keras.saving.deserialize_keras_object(
                config.pop("backbone"), custom_objects=custom_objects
            )
            keras.config.set_dtype_policy(policy)
            model = cls(backbone=backbone, **config)
            if not trainable:
                model.trainable = False
            for number, layer in enumerate(model._flatten_layers(include_self=False)):
                if number in frozen:
                    layer.trainable = False
            return model
        finally:
            keras.config.set_dtype_policy(before)
