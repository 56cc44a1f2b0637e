"""How label files store their values, and whether one value means the same in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fornet_keras.data.dataset import Color
from fornet_keras.data.images import opened

_BITS = {"1": 1, "L;2": 2, "L;4": 4, "L": 8, "LA": 8, "RGB": 8, "RGBA": 8}


@dataclass(frozen=True)
class LabelForm:
    """How a file stores its values, which in a file stored otherwise may mean something else.

    Args:
        name: of the file.
        palette: the colour of each index; empty without a palette.
        bits: of each channel of a file without a palette, 1 to 8; 0 where it has one.
        is_picture: it is a PNG of several channels, which may hold the classes' colours.
    """

    name: str
    palette: tuple[Color, ...]
    bits: int
    is_picture: bool


def label_form(path: Path) -> LabelForm:
    """How a label file stores its values.

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as image:
        bits = _BITS.get(str(image.tile[0].args), 0) if image.tile else 0
        colors = np.reshape(image.getpalette() or [], (-1, 3)).tolist()
        palette = tuple((red, green, blue) for red, green, blue in colors)
        is_picture = image.format == "PNG" and len(image.getbands()) > 1
        return LabelForm(path.name, palette, bits, is_picture)


class CommonForm:
    """What the values of label files mean, as far as the files so far tell: one may have few of them."""

    def __init__(self) -> None:
        # Each with the name of the first file that has it.
        self._colors: dict[int, tuple[Color, str]] = {}
        self._bits: tuple[int, str] | None = None

    @property
    def colors(self) -> dict[int, Color]:
        """Of the values, where palettes tell."""
        return {value: color for value, (color, _) in self._colors.items()}

    def contradiction(self, form: LabelForm, values: NDArray[np.integer]) -> str | None:
        """Why values of one more file may mean something else, as "finding; fix"; else they count too.

        Args:
            form: how the file stores them.
            values: those that occur in it.
        """
        colors = {value: form.palette[value] for value in values.tolist() if value < len(form.palette)}
        for value, color in colors.items():
            known, name = self._colors.get(value, (color, ""))
            if color != known:
                return (
                    f"value {value} is another colour than {[*known]} as in {name}; expected one "
                    "palette for all labels; set label_colors, or save them anew with one palette"
                )
        bits = form.bits if values.any() else 0  # black is 0 at every depth
        if bits:
            depth, name = self._bits or (bits, form.name)
            if (bits == 8) != (depth == 8):
                return (
                    f"{bits}-bit grey where {name} has {depth} bits: white is {2 ** min(bits, depth) - 1} in "
                    "one and 255 in the other; expected one depth; save all with 8 bits"
                )
            self._bits = depth, name
        self._colors = {value: (color, form.name) for value, color in colors.items()} | self._colors
        return None
