"""Reading images into arrays.

Pillow reads them: unlike OpenCV it refuses a truncated file instead of filling it up, and knows the size
before it decodes.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from fornet_keras.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Endings of the image files that can be read, in lower case."""

MAX_PIXELS = 100_000_000
"""An image with more pixels is refused before it is decoded: 300 MB as an RGB array."""

MAX_SCANS = 100
"""A JPEG that goes over its pixels more often is refused: a scan of 65 bytes takes as long as an image."""

_EXPECTED = ", ".join(SUFFIXES)
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
_QUARTER_TURNS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}

# Pillow warns from 89 megapixels on, where the limit above is an error that says what to do, and of damaged
# EXIF data, which does not touch the pixels.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def image_size(path: Path) -> tuple[int, int]:
    """`(height, width)` in pixels of the array that `read_image` returns, from the file's header alone.

    Raises:
        DataError: the file is missing, not an image, or larger than `MAX_PIXELS`.
    """
    with opened(path) as image:
        return _upright_size(image)


def verify_image(path: Path) -> tuple[int, int]:
    """`image_size`, and an error where `read_image` would end with one.

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as image:
        size = _upright_size(image)
        image.load()
        return size


def turns_unseen(path: Path) -> bool:
    """Whether `read_image` turns an image without another size, which would betray a label that is not.

    Raises:
        DataError: as `image_size`.
    """
    with opened(path) as image:
        turn = _turn(image)
        return turn is not None and (turn not in _QUARTER_TURNS or image.width == image.height)


def has_16_bits(path: Path) -> bool:
    """Whether `read_image` leaves out the lower half of what each channel of an image has.

    Raises:
        DataError: as `image_size`.
    """
    with opened(path) as image:
        return any(str(tile.args).endswith(";16B") for tile in image.tile)


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """An image as RGB, upright.

    Grey becomes three equal channels, palettes their colours, 16 bits their upper 8; alpha is dropped; the
    EXIF orientation is applied.

    Returns:
        uint8 array `(height, width, 3)`, 0…255.

    Raises:
        DataError: the file is missing, not an image, damaged, or larger than `MAX_PIXELS`.
    """
    with opened(Path(path)) as image:
        return _upright_rgb(image)


def as_rgb(image: Path | str | Image.Image | ArrayLike) -> NDArray[Any]:
    """An image of a caller's as RGB: `read_image` of a file, the same of Pillow's, an array as it is.

    Returns:
        uint8 or float32 array `(height, width, 3)`, 0…255.

    Raises:
        DataError: as `read_image`.
        ValueError: an array of another shape.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    # What white is in Pillow's images of 32 bits, nobody knows: they are refused, as their arrays are.
    if isinstance(image, Image.Image) and image.mode not in ("I", "F"):
        return _upright_rgb(image.copy())
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(f"image must be an RGB array (height, width, 3); received shape {pixels.shape}")
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


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


def opened(path: Path) -> AbstractContextManager[ImageFile.ImageFile]:
    """A file's image, header read and not decoded; whatever goes wrong is a `DataError`."""
    return _decoding(path, str(path), MAX_PIXELS)


@contextmanager
def _decoding(source: Path | BytesIO, path: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """As `opened`, of a file or its content."""
    try:
        if isinstance(source, Path):
            _check_file(source)
        with Image.open(source, formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            if isinstance(image, JpegImageFile):
                _limit_scans(image, path)
            if image.format == "BMP":
                _check_bmp(image, path)
            yield image
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: is not an image, whatever its name says; expected {_EXPECTED}; replace or remove it"
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


def _check_bmp(image: ImageFile.ImageFile, path: str) -> None:
    # Pillow takes them apart pixel by pixel in Python: seconds for a few kilobytes.
    if image.info.get("compression") in (1, 2):
        raise DataError(f"{path}: a BMP with run-length compression; expected one without; save it as a PNG")
    # Pillow takes two greys for one bit a pixel and more for eight, whatever the file says.
    bits = {"1": 1, "L": 8}.get(image.mode)
    if bits and list(image.tile[0].args or ())[1] != (image.width * bits + 31 >> 3) & ~3:
        raise DataError(f"{path}: a BMP whose greys would be misread; expected colours; save it as a PNG")


def _limit_scans(image: JpegImageFile, path: str) -> None:
    """Let decoding end with an error at more scans than `MAX_SCANS`.

    They are counted as they are decoded: a video behind the image holds the two bytes by chance.
    """
    file, scans = image.fp, 0
    assert file is not None

    def read(read_bytes: int) -> bytes:
        nonlocal scans
        block = file.read(read_bytes)
        scans += block.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise DataError(
                f"{path}: a JPEG of more than {MAX_SCANS} scans, which would take minutes to decode; "
                "expected a dozen; save it again"
            )
        return block

    image.load_read = read  # type: ignore[method-assign]


def _check_file(path: Path) -> None:
    require_file(path, "an image")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: files ending in '{path.suffix}' are not supported; expected {_EXPECTED}; convert it"
        )


def require_file(path: Path, kind: str) -> None:
    """Whether there is a file with something in it, such as "an image".

    Raises:
        DataError: there is not.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected {kind} file; name a file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file; expected {kind}; check the path")
    if not path.is_file():
        raise DataError(f"{path}: is not a regular file; expected {kind} file; copy it to one")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); expected {kind}; copy or download it again")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright, according to its EXIF data; None where nothing is to be done."""
    if "exif" not in image.info:  # or Pillow decodes a whole PNG in search of EXIF data at its end
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (SyntaxError, struct.error):  # damaged, which does not touch the pixels
        return None


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return image.size if _turn(image) in _QUARTER_TURNS else (image.height, image.width)
