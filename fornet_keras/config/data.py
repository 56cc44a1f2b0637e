"""The sections of the images: where they are, and how training changes them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fornet_keras.config.section import Section, Text, TextOrNull

MIN_CROP = 64
"""Pixels of a side of the training images and crops, at least."""

Side = Annotated[int, Field(ge=MIN_CROP, le=65535)]
Scale = Annotated[float, Field(ge=0.1, le=10)]
# Any folder's name but a hidden one: which of them there are, the data says.
Splits = Annotated[str, Field(pattern=r"^[^.+/\\][^+/\\]*(\+[^.+/\\][^+/\\]*)*$")]


class DataConfig(Section):
    """Where the images and labels are, and which of them train and validate."""

    format: Literal["cityscapes", "camvid", "folder"] = Field(
        description="cityscapes, camvid or folder (how the data's files are laid out)", examples=["camvid"]
    )
    root: TextOrNull = Field(
        default=None,
        description="null or a str (folder of the data, quoted if it looks like a number; --data wins)",
        examples=["/data/camvid"],
    )
    train_split: Splits = Field(
        default="train",
        description="a str of split names joined by '+' (images to train on, as in train+val, quoted if "
        "it looks like a number)",
    )
    val_split: Splits = Field(
        default="val",
        description="a str of split names joined by '+' (images to validate on, quoted if it looks like "
        "a number)",
    )
    exclude: tuple[Text, ...] = Field(
        default=(),
        strict=False,
        description="a list of quoted strings (beginnings of the file names left out of training)",
        examples=[["0001TP"]],
    )
    short_side: Side | None = Field(
        default=None,
        description="null or an int in 64..65535 (pixels to which the shorter side of larger images is "
        "brought down, in training and wherever the model is used; null takes each image at its own size)",
        examples=[360],
    )
    on_error: Literal["fail", "skip"] = Field(
        default="fail",
        description="fail or skip (what becomes of images and labels with a problem: skip trains and scores "
        "without them, and says how many)",
    )
    cache: TextOrNull = Field(
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

    crop: tuple[Side, Side] = Field(
        strict=False,
        description="a list of two ints in 64..65535 (height and width of the training crop in pixels)",
        examples=[[360, 480]],
    )
    scale: tuple[Scale, Scale] = Field(
        default=(0.5, 2.0),
        strict=False,
        description="a list of two numbers in 0.1..10, the smaller first (range of the random zoom; 1 is "
        "none)",
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
            raise ValueError(f"write [{scale[1]:g}, {scale[0]:g}]")
        return scale
