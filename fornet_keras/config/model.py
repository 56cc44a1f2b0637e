"""The section of the network."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fornet_keras.config.section import Section, Text, TextOrNull

Width = Annotated[int, Field(ge=1, le=1024)]
Blocks = Annotated[int, Field(ge=1, le=16)]
Backbone = Annotated[str, Field(pattern=r"^(efficientnet_lite0|keras_(hub|cv):.+)$")]


class ModelConfig(Section):
    """Which FoR-Net is built."""

    preset: Literal["pico", "nano", "s", "m"] | None = Field(
        default=None,
        description="null, pico, nano, s or m (size of the network; null takes that of model.weights, with "
        "its backbone, or s where there are none; pico tries a pipeline, not for scores)",
        examples=["s"],
    )
    widths: tuple[Annotated[int, Field(ge=2, le=1024)], Width, Width, Width] | None = Field(
        default=None,
        strict=False,
        description="null or a list of four ints up to 1024, the first >= 2, the others >= 1 (channels of "
        "the backbone at strides 4, 8, 16, 32; null takes the preset's)",
        examples=[[32, 64, 128, 128]],
    )
    depths: tuple[Annotated[int, Field(ge=0, le=16)], Blocks, Blocks, Blocks] | None = Field(
        default=None,
        strict=False,
        description="null or a list of four ints up to 16, each >= 1 but the first (residual blocks of the "
        "backbone at strides 4, 8, 16, 32; null takes the preset's)",
        examples=[[0, 2, 2, 1]],
    )
    stem_filters: Width | None = Field(
        default=None,
        description="null or an int in 1..1024 (channels of the backbone at stride 2; null takes half of "
        "those at stride 4)",
        examples=[32],
    )
    stem_depth: Blocks | None = Field(
        default=None,
        description="null or an int in 1..16 (convolutions of the backbone at stride 2; null takes the "
        "preset's)",
        examples=[3],
    )
    context_filters: Width | None = Field(
        default=None,
        description="null or an int in 1..1024 (channels of the coarse path; null takes the preset's)",
        examples=[64],
    )
    branch_filters: int | None = Field(
        default=None,
        ge=4,
        le=2048,
        multiple_of=4,
        description="null or a multiple of 4 up to 2048 (channels of the branch; null takes the preset's)",
        examples=[208],
    )
    scales: tuple[int, ...] | None = Field(
        default=None,
        strict=False,
        min_length=1,
        description="null or a list of some of 1, 2 and 4, each once (parallel convolutions of the branch, "
        "on means of 1x1, 2x2 and 4x4 cells of 4 pixels; null takes the preset's)",
        examples=[[1]],
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
    image_pool_dropout: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="a number in 0..0.9 (share of training images whose image-pooling feature is dropped: "
        "that feature tells which street it is)",
    )
    weights: TextOrNull = Field(
        default=None,
        description="null or a str (a run, a saved model or a shipped name to begin with: its weights "
        "instead of random ones; what belongs to a class is taken where both have one of its name)",
        examples=["fornet_s_camvid"],
    )
    known_as: dict[Text, Text] | None = Field(
        default=None,
        description="null or a mapping (from names of the data's classes to those by which model.weights "
        "know them, where they do not by their own; names that look like numbers are quoted)",
        examples=[{"sidewalk": "pavement", "person": "pedestrian"}],
    )
    freeze_backbone: bool = Field(
        default=False, description="a bool (keep the backbone as it is and train the rest)"
    )
    freeze_epochs: int = Field(
        default=0,
        ge=0,
        description="an int >= 0 (epochs at the beginning in which the backbone's weights stay)",
    )

    @field_validator("scales")
    @classmethod
    def _each_once(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        # A Literal of them would take true and 1.0 for 1.
        if scales and (len({*scales}) < len(scales) or not {*scales} <= {1, 2, 4}):
            raise ValueError("leave the others out")
        return scales
