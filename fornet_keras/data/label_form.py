"""How label files store their values, and whether one value means the same in all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import IGNORE, Color, LabelTable
from fornet_keras.data.images import opened
from fornet_keras.errors import one_line

_BITS = {"1": 1, "L;2": 2, "L;4": 4, "L": 8, "LA": 8, "RGB": 8, "RGBA": 8}

_DEPTH = -1
"""Stands where a value would: not what one means, but what white does."""

_ONE_PALETTE = "expected one palette for all labels; set label_colors, or save them anew with one palette"

Palette = tuple[tuple[int, Color, str], ...]
"""Values, their colours, and the name of a label each that has it so."""


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


def label_form(path: Path) -> LabelForm:
    """How a label file stores its values.

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as image:
        bits = _BITS.get(str(image.tile[0].args), 0) if image.tile else 0
        is_picture = image.format == "PNG" and len(image.getbands()) > 1
        return LabelForm(bytes(image.getpalette() or []), bits, is_picture)


class _Label(NamedTuple):
    """Kept of each label of a data set: small, for there may be hundreds of thousands."""

    path: Path
    form: LabelForm
    values: bytes
    is_sound: bool

    def meanings(self) -> Mapping[int, Color | bool]:
        return _meanings(self.form, self.values)


@cache  # most labels have one form and few sets of values
def _meanings(form: LabelForm, values: bytes) -> Mapping[int, Color | bool]:
    """What a file tells of the values in it: colours, or whether it has eight bits."""
    palette = form.palette
    if not palette:  # black is 0 at every depth
        return {_DEPTH: form.bits == 8} if form.bits and any(values) else {}
    if palette == bytes(at // 3 for at in range(len(palette))):
        return {}  # greys are values, as without a palette
    return {value: form.color(value) for value in values if 3 * value < len(palette)}


class CommonForm:
    """What the values of label files mean, as most of them tell: any one may be odd, or have few of them."""

    def __init__(self) -> None:
        self._forms: dict[LabelForm, LabelForm] = {}  # most labels have the same
        self._labels: list[_Label] = []

    def add(self, label: Path, form: LabelForm, values: NDArray[np.integer], is_sound: bool = True) -> None:
        """Count one more file.

        Args:
            label: the file.
            form: how it stores its values.
            values: those that occur in it, 0…255.
            is_sound: nothing else is wrong with it; what these tell comes before what the others do.
        """
        form = self._forms.setdefault(form, form)
        self._labels.append(_Label(label, form, bytes(values.tolist()), is_sound))

    def settle(self) -> tuple[Palette, list[tuple[Path, str]]]:
        """The colours of the values, and the files that contradict most others, each with "finding; fix".

        Colours are of sound files alone: the others may be left out.
        """
        norm = self._norm()
        palette = (
            (value, label.form.color(value), one_line(label.path.name))
            for value, label in norm.items()
            if value != _DEPTH and label.is_sound
        )
        found = ((label.path, _contradiction(label, norm)) for label in self._labels)
        return tuple(sorted(palette)), [(path, text) for path, text in found if text]

    def _norm(self) -> dict[int, _Label]:
        """The first label of each value that gives it the meaning which is right.

        Label by label, those first that agree with most others: value by value palettes would be mixed.
        """
        told = Counter(pair for label in self._labels for pair in label.meanings().items())
        told_of = Counter[int]()
        for (value, _), number in told.items():
            told_of[value] += number

        def agreement(label: _Label) -> tuple[bool, float]:
            shares = (told[pair] / told_of[pair[0]] for pair in label.meanings().items())
            return label.is_sound, min(shares, default=1.0)

        norm: dict[int, _Label] = {}
        for label in sorted(self._labels, key=agreement, reverse=True):
            if not _contradiction(label, norm):
                norm = dict.fromkeys(label.meanings(), label) | norm
        return norm


def _contradiction(label: _Label, norm: Mapping[int, _Label]) -> str | None:
    for value, meaning in label.meanings().items():
        other = norm.get(value, label)
        name, bits, other_bits = other.path.name, label.form.bits, other.form.bits
        if value == _DEPTH and (other_bits == 8) != meaning:
            return (
                f"{bits}-bit grey where {name} has {other_bits} bits: white is "
                f"{2 ** min(bits, other_bits) - 1} in one and 255 in the other; expected one depth; save all "
                "with 8 bits"
            )
        if value != _DEPTH and (color := other.form.color(value)) != meaning:
            return f"value {value} is another colour than {[*color]} as in {name}; {_ONE_PALETTE}"
    return None


def palette_problem(palettes: Mapping[str, Palette], table: LabelTable) -> str | None:
    """A line where a value has another colour in one split than in another, and so means another class.

    As within a split: what one has taught would be scored as another class. Which of them `dataset.yaml`
    means only a person knows, so there is nothing to skip.

    Args:
        palettes: by split.
        table: what the values mean: of those that are ignored any colour will do.
    """
    known: dict[int, tuple[Color, str, str]] = {}
    for split, palette in palettes.items():
        for value, color, name in palette:
            if table.train_ids.get(value, IGNORE) == IGNORE:
                continue
            other, where, its = known.setdefault(value, (color, split, name))
            if other != color:
                return (
                    f"value {value} is {[*other]} in '{where}', as in {its}, and {[*color]} in '{split}', as "
                    f"in {name}; {_ONE_PALETTE}"
                )
    return None
