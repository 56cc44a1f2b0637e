"""The configuration's sections and keys: types, ranges and defaults.

A description reads "type and range (meaning)": it is the "expected ..." of every error about its key.
A key without a usable default has an example, which the error shows too.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

CropSide = Annotated[int, Field(ge=64)]
Scale = Annotated[float, Field(gt=0)]
Prefix = Annotated[str, Field(min_length=1)]
Backbone = Annotated[str, Field(pattern=r"^(efficientnet_lite0|keras_(hub|cv):.+)$")]
Splits = Annotated[str, Field(pattern=r"^[\w-]+(\+[\w-]+)*$")]


class Section(BaseModel):
    """Frozen, refuses unknown keys and converts nothing, except int to float and list to tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the images and labels are, and which of them train and validate."""

    format: Literal["cityscapes", "camvid", "folder"] = Field(
        description="cityscapes, camvid or folder (how the data's files are laid out)", examples=["camvid"]
    )
    root: Prefix | None = Field(
        default=None,
        description="null or a str (folder of the data, quoted if it looks like a number; --data wins)",
        examples=["/data/camvid"],
    )
    train_split: Splits = Field(
        default="train",
        description="a str of split names joined by '+' (images to train on, as in train+val)",
    )
    val_split: Splits = Field(
        default="val", description="a str of split names joined by '+' (images to validate on)"
    )
    exclude: tuple[Prefix, ...] = Field(
        default=(),
        strict=False,
        description="a list of quoted strings (beginnings of the file names left out of training)",
        examples=[["0001TP"]],
    )
    on_error: Literal["fail", "skip"] = Field(
        default="fail",
        description="fail or skip (what becomes of images and labels with a problem: skip trains and scores "
        "without them, and says how many)",
    )
    cache: Prefix | None = Field(
        default=None,
        description="null or a str (folder for the training images decoded once, which saves decoding them "
        "in each epoch; null decodes anew)",
        examples=["/scratch/decoded"],
    )

    def trains_on(self, split: str) -> bool:
        """Whether training has images of a split, or of one of those joined by '+'."""
        return not {*split.split("+")}.isdisjoint(self.train_split.split("+"))


class AugmentConfig(Section):
    """Random changes of the training images; validation images stay as they are."""

    crop: tuple[CropSide, CropSide] = Field(
        strict=False,
        description="a list of two ints >= 64 (height and width of the training crop in pixels)",
        examples=[[360, 480]],
    )
    scale: tuple[Scale, Scale] = Field(
        default=(0.5, 2.0),
        strict=False,
        description="a list of two numbers > 0, the smaller first (range of the random zoom; 1 is none)",
    )
    flip: float = Field(
        default=0.5, ge=0, le=1, description="a number in 0..1 (probability that left and right are swapped)"
    )
    brightness: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (largest change of brightness, as a fraction)",
    )
    contrast: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (largest change of contrast, as a fraction)",
    )
    saturation: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (largest change of saturation, as a fraction)",
    )
    hue: float = Field(
        default=0.02,
        ge=0,
        le=0.5,
        description="a number in 0..0.5 (largest turn of the hue, as a fraction of a circle)",
    )
    gamma: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="a number in 0..2 (largest logarithm of the exponent of all values: 0.4 is 0.67 to 1.49, "
        "lighter to darker)",
    )

    @field_validator("scale")
    @classmethod
    def _smaller_first(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smaller scale comes first")
        return scale


class ModelConfig(Section):
    """Which FoR-Net is built."""

    preset: Literal["pico", "nano", "s", "m"] = Field(
        default="s", description="nano, s or m (size of the network); pico tries a pipeline, not for scores"
    )
    backbone: Backbone | None = Field(
        default=None,
        description="null, efficientnet_lite0, or keras_hub: or keras_cv: with a preset's name or folder "
        "(pre-trained backbone in the place of the preset's own)",
        examples=["keras_hub:resnet_18_imagenet"],
    )
    region_size: int = Field(
        default=16,
        ge=16,
        le=1024,
        multiple_of=16,
        description="a multiple of 16 up to 1024 (side of a square region in pixels)",
    )
    top_k: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="a number > 0 and <= 1 (share of the regions refined at inference)",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (share of the channels that the coarse path and the branch learn "
        "without: against learning the training images by heart)",
    )
    world_dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (share of the training images whose mean features the coarse path is "
        "not told: they give away which street it is)",
    )
    weights: Prefix | None = Field(
        default=None,
        description="null or a str (folder of a model to begin with: its weights instead of random ones, the "
        "layers that name the classes excepted where their number is another)",
        examples=["saved_models/fornet_s_camvid"],
    )
    freeze_backbone: bool = Field(
        default=False, description="a bool (keep the backbone as it is and train the rest)"
    )
    freeze_epochs: int = Field(
        default=0,
        ge=0,
        description="an int >= 0 (epochs at the beginning in which the backbone's weights stay)",
    )


class LossConfig(Section):
    """What training minimises."""

    class_weights: Literal["none", "inverse_log", "inverse_sqrt", "median_frequency"] = Field(
        default="inverse_log",
        description="none, inverse_log, inverse_sqrt or median_frequency (how rare classes gain weight)",
    )
    ohem: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="null or a number > 0 and < 1 (share of the hardest pixels that count; null counts all)",
        examples=[0.25],
    )
    coarse_weight: float = Field(
        default=0.4,
        ge=0,
        description="a number >= 0 (weight of the coarse path's loss; the final loss has 1)",
    )
    dice_weight: float = Field(
        default=0.0,
        ge=0,
        description="a number >= 0 (weight of the Dice loss, good for rare classes; cross-entropy has 1)",
    )
    selector_weight: float = Field(
        default=0.2, ge=0, description="a number >= 0 (weight of the selector's loss; the final loss has 1)"
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        le=0.3,
        description="a number in 0..0.3 (probability spread evenly over the classes)",
    )


class TrainingConfig(Section):
    """How long, how fast and how exactly the network is trained."""

    epochs: int = Field(ge=1, description="an int >= 1 (passes over the training images)", examples=[8])
    batch_size: int = Field(ge=1, description="an int >= 1 (images a step)", examples=[8])
    optimizer: Literal["sgd", "adamw"] = Field(default="adamw", description="sgd or adamw")
    learning_rate: float = Field(
        default=1e-3, gt=0, description="a number > 0 (highest rate, reached after the warm-up)"
    )
    backbone_lr_mult: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a number > 0 and <= 1 (the backbone's share of the learning rate, such as 0.1 for a "
        "pre-trained one)",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="a number >= 0 and < 1 (sgd only)")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="a number >= 0 (pull of the weights towards 0)"
    )
    warmup_steps: int = Field(
        default=200, ge=0, description="an int >= 0 (steps in which the rate rises from 0)"
    )
    decay_power: float = Field(
        default=0.9,
        gt=0,
        description="a number > 0 (power of the rate's polynomial decay; 1 is a straight line)",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="null or a number > 0 (largest norm of the gradient)", examples=[1.0]
    )
    ema_momentum: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="null or a number > 0 and < 1 (momentum of the weights' moving average, which is what is "
        "validated and saved; null keeps the weights as they are)",
        examples=[0.998],
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="an int >= 1 (steps whose gradients are averaged before the weights change: as if the "
        "batch were so many times as large, in the memory of one)",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"] = Field(
        default="float32",
        description="float32, mixed_bfloat16, mixed_float16 or auto (number format of the computation; auto "
        "is mixed_bfloat16 on a GPU or TPU that has bfloat16, else float32)",
    )
    jit_compile: bool | None = Field(
        default=None,
        description="null or a bool (compile the training step with XLA, or torch.compile on PyTorch; null "
        "compiles on JAX alone)",
        examples=[True],
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="an int in 0..4294967295 (start of every random choice)"
    )
    validate_every: int = Field(
        default=1, ge=1, description="an int >= 1 (epochs from one validation to the next)"
    )
    selector_epochs: int = Field(
        default=0,
        ge=0,
        description="an int >= 0 (epochs at the end in which the Selector learns once more, alone)",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="null or an int >= 1 (validations without a better mIoU after which training stops)",
        examples=[10],
    )
    checkpoint_minutes: float = Field(
        default=5.0,
        ge=0,
        description="a number >= 0 (minutes from one checkpoint to the next; 0 saves after every step)",
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="an int >= 1 (checkpoints that are kept)")
    devices: int = Field(
        default=1,
        ge=1,
        description="an int >= 1 (devices that share each batch; with PyTorch 1, and torchrun for more)",
    )
    workers: int = Field(default=2, ge=1, description="an int >= 1 (threads that decode images)")


class Config(Section):
    """One experiment: the sections of a configuration file."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig


SECTIONS: dict[str, type[Section]] = dict(Config.__annotations__)
