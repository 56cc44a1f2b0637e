"""Reading images and label files into arrays, and label values into train ids.

Pillow reads both: unlike OpenCV it refuses a truncated file instead of filling it up, hands out a palette
label's indices instead of its colours, and knows the size before it decodes.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Endings of the image files that can be read, in lower case."""

MAX_PIXELS = 100_000_000
"""An image with more pixels is refused before it is decoded: 300 MB as an RGB array."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # by which Pillow spreads grey of two and four bits over 0…255
_QUARTER_TURNS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}

# Pillow warns from 89 megapixels on, where the limit above is an error that says what to do, and of damaged
# EXIF data, which does not touch the pixels.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


class WrongLabelError(DataError):
    """A label file is intact but does not hold one class value a pixel."""


def image_size(path: Path) -> tuple[int, int]:
    """`(height, width)` in pixels of the array that `read_image` returns, from the file's header alone.

    Raises:
        DataError: the file is missing, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return _upright_size(image)


def verify_image(path: Path) -> tuple[int, int]:
    """`image_size`, and an error where `read_image` would end with one.

    Raises:
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        size = _upright_size(image)
        image.load()
        return size


def turns_unseen(path: Path) -> bool:
    """Whether `read_image` turns an image without another size, which would betray a label that is not.

    Raises:
        DataError: as `image_size`.
    """
    with _opened(path) as image:
        turn = _turn(image)
        return turn is not None and (turn not in _QUARTER_TURNS or image.width == image.height)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as RGB, upright.

    Grey becomes three equal channels, palettes their colours, 16 bits their upper 8; alpha is dropped; the
    EXIF orientation is applied.

    Returns:
        uint8 array `(height, width, 3)`, 0…255.

    Raises:
        DataError: the file is missing, not an image, damaged, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return _upright_rgb(image)


def decode_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image in the bytes of a file, as `read_image` gives it.

    Args:
        content: a PNG, JPEG, WebP or BMP file.
        name: what errors call it.
        max_pixels: an image with more is refused before it is decoded.

    Raises:
        DataError: not an image, damaged, or larger than `max_pixels`.
    """
    with _decoding(BytesIO(content), name, max_pixels) as image:
        return _upright_rgb(image)


def read_label(path: Path) -> NDArray[np.uint8]:
    """The values of a label file, as they are stored; of a palette file the indices, not the colours.

    A file of one, two or four bits a pixel holds values from 0 on.

    Returns:
        uint8 array `(height, width)`, 0…255.

    Raises:
        WrongLabelError: the file has several channels, a value above 255, or is a JPEG or WebP.
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        if image.format not in ("PNG", "BMP"):
            raise WrongLabelError(
                f"{path}: is a {image.format} file, whose compression can change class values; "
                "expected a PNG; export the labels again as PNG"
            )
        if image.mode not in ("1", "L", "P", "I;16"):
            raise WrongLabelError(
                f"{path}: holds {image.mode} pixels; expected one 8-bit channel of class values; "
                "replace each colour by its class's value and save a one-channel PNG"
            )
        step = _GREY_STEPS.get(str(image.tile[0].args))  # of the file's pixels, gone once they are decoded
        label = np.array(image)
        if step:
            label //= step
    if label.dtype != np.uint8 and label.max(initial=0) > 255:
        raise WrongLabelError(
            f"{path}: holds 16-bit values up to {label.max()}; expected class values of 0…255; "
            "use the class labels, not the instance or depth map"
        )
    return label.astype(np.uint8, copy=False)


def read_instances(path: Path) -> NDArray[np.int64]:
    """The values of an instance map, such as Cityscapes' `instanceIds`: 8 or 16 bits, one channel.

    Returns:
        int64 array `(height, width)`.

    Raises:
        WrongLabelError: the file has several channels.
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        if image.mode not in ("L", "I", "I;16"):
            raise WrongLabelError(f"{path}: holds {image.mode} pixels; expected one channel of instance ids")
        return np.array(image).astype(np.int64)


def to_train_ids(
    label: NDArray[np.uint8], table: LabelTable, path: Path, holds_train_ids: bool = False
) -> NDArray[np.uint8]:
    """Replace the values of a label file by train ids.

    Args:
        label: uint8 array `(height, width)` of label-file values.
        table: the data set's classes.
        path: the label file, for the error.
        holds_train_ids: the values already are train ids; they are only checked.

    Returns:
        uint8 array `(height, width)` of 0…`num_classes - 1` and `IGNORE`.

    Raises:
        WrongLabelError: a value is not in the table.
    """
    lookup, undeclared = train_id_lookup(table, holds_train_ids)
    if cv2.LUT(label, undeclared).any():
        values = [int(value) for value in np.unique(label) if undeclared[value]]
        listed = ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")
        raise WrongLabelError(
            f"{path}: value{'s' if len(values) > 1 else ''} {listed} not in the label table; expected "
            f"{_ranges(np.flatnonzero(undeclared == 0))}; declare each as ignore or as a class"
        )
    return np.asarray(cv2.LUT(label, lookup), np.uint8)


def train_id_lookup(
    table: LabelTable, holds_train_ids: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two uint8 arrays over the values 0…255 of a label file: its train id, and 1 where it has none."""
    train_ids = {value: value for value in (*range(table.num_classes), IGNORE)}
    if not holds_train_ids:
        train_ids = dict(table.train_ids)
    lookup = np.full(256, IGNORE, np.uint8)
    undeclared = np.ones(256, np.uint8)
    for value, train_id in train_ids.items():
        lookup[value] = train_id
        undeclared[value] = 0
    return lookup, undeclared


def _upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    turn = _turn(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # Pillow warns of a palette's transparency, which is dropped on purpose.
    image.info.pop("transparency", None)
    if image.mode != "RGB":  # where it is, Pillow would copy it
        image = image.convert("RGB")
    if turn is not None:
        image = image.transpose(turn)
    return np.array(image)


def _opened(path: Path) -> AbstractContextManager[ImageFile.ImageFile]:
    return _decoding(path, str(path), MAX_PIXELS)


@contextmanager
def _decoding(source: Path | BytesIO, path: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The image in `source`, header read and not decoded; whatever goes wrong is a `DataError`."""
    try:
        if isinstance(source, Path):
            _check_file(source)
        with Image.open(source, formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            yield image
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: is not an image, whatever its name says; expected {_listed()}; replace or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: too large to be read safely; expected at most {max_pixels:,} pixels; resize or crop it"
        ) from error
    except PermissionError as error:
        raise DataError(
            f"{path}: no permission to read it; expected a readable file; change its mode"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({reason}); expected an intact image; copy or download it again"
        ) from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected an image file; name a file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file; expected an image; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: files ending in '{path.suffix}' are not supported; expected {_listed()}; convert it"
        )
    if not path.is_file():
        raise DataError(f"{path}: is not a regular file; expected an image file; copy it to one")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); expected an image; copy or download it again")


def _listed() -> str:
    return ", ".join(SUFFIXES)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright, according to its EXIF data; None where nothing is to be done."""
    # Without this check Pillow decodes a whole PNG in search of EXIF data at its end.
    return _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1)) if "exif" in image.info else None


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return image.size if _turn(image) in _QUARTER_TURNS else (image.height, image.width)


def _ranges(values: NDArray[np.intp]) -> str:
    """`[0, 1, 2, 255]` as "0…2, 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]}…{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
