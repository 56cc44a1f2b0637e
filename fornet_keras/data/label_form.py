"""How label files store their values, and whether one value means the same in all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Color
from fornet_keras.data.images import opened
from fornet_keras.errors import one_line

_BITS = {"1": 1, "L;2": 2, "L;4": 4, "L": 8, "LA": 8, "RGB": 8, "RGBA": 8}

_DEPTH = -1
"""Stands where a value would: not what one means, but what white does."""

_ONE_PALETTE = "expected one palette for all labels; set label_colors, or save them anew with one palette"

Palette = tuple[tuple[int, Color, str], ...]
"""Values, their colours, and a label each that has it so."""


@dataclass(frozen=True)
class LabelForm:
    """How a file stores its values, which in a file stored otherwise may mean something else.

    Args:
        palette: red, green and blue of each index; empty without a palette.
        bits: of each channel of a file without a palette, 1 to 8; 0 where it has one.
        is_picture: it is a PNG of several channels, which may hold the classes' colours.
    """

    palette: bytes
    bits: int
    is_picture: bool

    def color(self, value: int) -> Color:
        """That of an index of the palette."""
        red, green, blue = self.palette[3 * value : 3 * value + 3]
        return red, green, blue

    def meanings(self, values: bytes) -> dict[int, Color | bool]:
        """What a file tells of the values in it: colours, or whether it has eight bits."""
        if not self.palette:  # black is 0 at every depth
            return {_DEPTH: self.bits == 8} if self.bits and any(values) else {}
        colors = {value: self.color(value) for value in values if 3 * value < len(self.palette)}
        if any(values) and all(color == (value,) * 3 for value, color in colors.items()):
            return {}  # greys are values, as without a palette
        return {**colors}


def label_form(path: Path) -> LabelForm:
    """How a label file stores its values.

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as image:
        bits = _BITS.get(str(image.tile[0].args), 0) if image.tile else 0
        is_picture = image.format == "PNG" and len(image.getbands()) > 1
        return LabelForm(bytes(image.getpalette() or []), bits, is_picture)


class CommonForm:
    """What the values of label files mean, as most of them tell: any one may be odd, or have few of them."""

    def __init__(self) -> None:
        self._forms: dict[LabelForm, LabelForm] = {}  # most labels have the same
        self._labels: list[tuple[Path, LabelForm, bytes, bool]] = []

    def add(self, label: Path, form: LabelForm, values: NDArray[np.integer], is_sound: bool = True) -> None:
        """Count one more file.

        Args:
            label: the file.
            form: how it stores its values.
            values: those that occur in it, 0…255.
            is_sound: nothing else is wrong with it; what these tell comes before what the others do.
        """
        self._labels.append((label, self._forms.setdefault(form, form), bytes(values.tolist()), is_sound))

    def settle(self) -> tuple[Palette, list[tuple[Path, str]]]:
        """The colours of the values, and the files that contradict most others, each with "finding; fix"."""
        norm = self._norm()
        palette = (
            (value, form.color(value), name) for value, (form, name) in norm.items() if value != _DEPTH
        )
        found = ((label, _contradiction(form, values, norm)) for label, form, values, _ in self._labels)
        return tuple(sorted(palette)), [(label, text) for label, text in found if text]

    def _norm(self) -> dict[int, tuple[LabelForm, str]]:
        """The form that gives each value its meaning, with the name of a file that has it.

        File by file, those first that agree with most others: value by value palettes would be mixed.
        """
        told = Counter(pair for _, form, values, _ in self._labels for pair in form.meanings(values).items())
        told_of = Counter[int]()
        for (value, _), number in told.items():
            told_of[value] += number

        def agreement(entry: tuple[Path, LabelForm, bytes, bool]) -> tuple[bool, float]:
            _, form, values, is_sound = entry
            shares = (told[pair] / told_of[pair[0]] for pair in form.meanings(values).items())
            return is_sound, min(shares, default=1.0)

        norm: dict[int, tuple[LabelForm, str]] = {}
        for label, form, values, _ in sorted(self._labels, key=agreement, reverse=True):
            if not _contradiction(form, values, norm):
                for value in form.meanings(values):
                    norm.setdefault(value, (form, one_line(label.name)))
        return norm


def _contradiction(form: LabelForm, values: bytes, norm: Mapping[int, tuple[LabelForm, str]]) -> str | None:
    for value, meaning in form.meanings(values).items():
        other, name = norm.get(value, (form, ""))
        if value == _DEPTH and (other.bits == 8) != meaning:
            return (
                f"{form.bits}-bit grey where {name} has {other.bits} bits: white is "
                f"{2 ** min(form.bits, other.bits) - 1} in one and 255 in the other; expected one depth; "
                "save all with 8 bits"
            )
        if value != _DEPTH and (color := other.color(value)) != meaning:
            return f"value {value} is another colour than {[*color]} as in {name}; {_ONE_PALETTE}"
    return None


def palette_problem(palettes: Mapping[str, Palette]) -> str | None:
    """A line where a value has another colour in one split than in another, and so means another class.

    As within a split: what one has taught would be scored as another class. Which of them `dataset.yaml`
    means only a person knows, so there is nothing to skip.

    Args:
        palettes: by split.
    """
    known: dict[int, tuple[Color, str, str]] = {}
    for split, palette in palettes.items():
        for value, color, name in palette:
            other, where, its = known.setdefault(value, (color, split, name))
            if other != color:
                return (
                    f"value {value} is {[*other]} in '{where}', as in {its}, and {[*color]} in '{split}', as "
                    f"in {name}; {_ONE_PALETTE}"
                )
    return None
