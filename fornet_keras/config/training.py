"""The sections of how the network learns: from what loss, and how long, how fast and how exactly."""

from typing import Annotated, Literal

from pydantic import Field

from fornet_keras.config.section import Section, Text, TextOrNull

ClassWeights = Literal["none", "inverse_log", "inverse_sqrt", "median_frequency"]


class LossConfig(Section):
    """What training minimises."""

    class_weights: ClassWeights | dict[Text, Annotated[float, Field(ge=0)]] = Field(
        default="inverse_log",
        description="none, inverse_log, inverse_sqrt, median_frequency, or a mapping from names of classes, "
        "quoted if they look like numbers, to numbers >= 0, where the others have 1 (how rare classes gain "
        "weight in the cross-entropy)",
        examples=[{"person": 3}],
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
    teacher: TextOrNull = Field(
        default=None,
        description="null or a str (a run, a saved model or a shipped name, of the same classes, whose "
        "predictions are learnt beside the labels)",
        examples=["fornet_s_camvid"],
    )
    teacher_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="a number > 0 and <= 1 (share of the teacher's predictions in the final logits' "
        "cross-entropy; the labels have its rest, and all of the Dice and the coarse path's loss)",
    )


class TrainingConfig(Section):
    """How long, how fast and how exactly the network is trained."""

    epochs: int = Field(ge=1, description="an int >= 1 (passes over the training images)", examples=[8])
    batch_size: int = Field(ge=1, description="an int >= 1 (images a step)", examples=[8])
    optimizer: Literal["sgd", "adamw"] = Field(
        default="adamw",
        description="sgd or adamw (sgd has Nesterov's momentum)",
    )
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
        default=200,
        ge=0,
        description="an int >= 0 (steps in which the rate rises; at most a tenth of all)",
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
        description="an int >= 1 (steps whose gradients are averaged before the weights change; batch "
        "normalisation still sees one step's images)",
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
        description="an int >= 0 (epochs at the end in which the Selector learns once more, alone; "
        "the better of the two is kept)",
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
