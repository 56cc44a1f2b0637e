import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.images import as_rgb, decode_image, image_size, read_image, verify_image
from fornet_keras.data.label_files import read_label
from fornet_keras.errors import DataError

READERS = (image_size, verify_image, read_image, read_label)
COLORS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)  # height, width, RGB
VALUES = np.arange(35, dtype=np.uint8).reshape(5, 7)


def write(path: Path, pixels: np.ndarray) -> Path:
    """Encode with OpenCV, which is not what reads, under any name."""
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    cv2.imencode(path.suffix, pixels)[1].tofile(path)
    return path


def write_huge_png(path: Path, height: int, width: int) -> Path:
    """A PNG of a few bytes whose header announces an enormous image."""
    return write_png(path, height, width, 8, 2, b"")


def write_png(path: Path, height: int, width: int, bits: int, color_type: int, content: bytes) -> Path:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", content), (b"IEND", b"")
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "Straße 東京.png", "A.PNG"])
def test_lossless_images_are_exact(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, COLORS)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, COLORS)
    assert image_size(path) == verify_image(path) == (5, 7)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_images_are_close(tmp_path: Path, suffix: str) -> None:
    smooth = np.broadcast_to(np.linspace(0, 250, 32)[:, None, None] * [1, 0.5, 0.2], (32, 48, 3))
    path = write(tmp_path / f"a{suffix}", smooth.astype(np.uint8))
    assert np.abs(read_image(path) - smooth).mean() < 4
    assert image_size(path) == verify_image(path) == (32, 48)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", VALUES))
    np.testing.assert_array_equal(image, np.repeat(VALUES[..., None], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    transparent = np.dstack([COLORS, np.zeros((5, 7), np.uint8)])
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", transparent)), COLORS)


@pytest.mark.parametrize("pixels", [COLORS, VALUES])
def test_16_bits_keep_their_upper_8(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write(tmp_path / "a.png", pixels.astype(np.uint16) * 256 + 255)
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_palette_gives_an_image_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    picture.save(path, transparency=b"\x00\x80\xff")
    assert read_image(path).tolist() == [[[10, 20, 30], [200, 100, 50], [7, 8, 9]]]


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLORS).save(path, exif=exif)
    image = read_image(path)
    np.testing.assert_array_equal(image, UPRIGHT[orientation](COLORS))
    assert image_size(path) == verify_image(path) == image.shape[:2]
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_rgb(opened), read_image(path))
        with pytest.raises(ValueError, match="image must be an RGB array"):
            as_rgb(opened.convert("F"))  # 0…1 or 0…255, nobody knows
        assert opened.getexif()[0x0112] == orientation  # the caller's image stays as it is


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
@pytest.mark.parametrize("exif", [b"II*\0\x08\0\0\0\x09\0", b"garbage", b"II*\0"])
def test_damaged_exif_does_not_touch_the_pixels(tmp_path: Path, suffix: str, exif: bytes) -> None:
    path, plain = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    Image.fromarray(COLORS).save(path, exif=b"Exif\0\0" + exif)
    Image.fromarray(COLORS).save(plain)
    np.testing.assert_array_equal(read_image(path), read_image(plain))
    assert image_size(path) == verify_image(path) == (5, 7)


# === Files that cannot be read ===


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "missing.png: no such file; expected an image; check the path"),
        ("empty.jpg", b"", r"empty.jpg: is empty \(0 bytes\); .*download it again"),
        (
            "junk.jpg",
            b"not a picture" * 9,
            "junk.jpg: is not an image, whatever its name says; expected .png",
        ),
        (
            "a.heic",
            b"ftypheic",
            "a.heic: files ending in '.heic' are not supported; expected .png, .*convert it",
        ),
        ("none", b"x", "none: files ending in '' are not supported"),
        ("x" * 300 + ".png", None, "png: cannot be read .*name too long"),
    ],
)
def test_a_file_that_is_no_image(
    tmp_path: Path, read: Callable[[Path], object], name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    assert (read_image(str(write(tmp_path / "a.png", COLORS))) == COLORS).all()
    with pytest.raises(DataError, match="b.png: no such file; expected an image; check the path"):
        read_image(str(tmp_path / "b.png"))


@pytest.mark.parametrize("read", READERS)
def test_a_folder_is_no_image(tmp_path: Path, read: Callable[[Path], object]) -> None:
    folder = tmp_path / "frames.png"
    folder.mkdir()
    with pytest.raises(DataError, match="frames.png: is a folder; expected an image file; name a file in it"):
        read(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="pipe.png: is not a regular file"):
        read_image(tmp_path / "pipe.png")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.png", COLORS)
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match="a.png: no permission to read it; .*change its mode"):
        read_image(path)


@pytest.mark.parametrize("read", [verify_image, read_image])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused(
    tmp_path: Path, read: Callable[[Path], object], suffix: str, kept: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    path = write(tmp_path / f"a{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=f"a{suffix}: "):
        read(path)


def test_what_follows_the_end_of_a_file_is_harmless(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg"):
        path = write(tmp_path / f"a{suffix}", COLORS)
        path.write_bytes(path.read_bytes() + b"a camera's own data")
        assert verify_image(path) == read_image(path).shape[:2] == (5, 7)


def test_a_flipped_byte_in_a_png_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read .*; expected an intact image; copy or download"):
        read_image(path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("shape", [(10_000, 10_001), (100_000, 100_000)])
def test_a_huge_image_is_refused_from_its_header(
    tmp_path: Path, read: Callable[[Path], object], shape: tuple[int, int]
) -> None:
    with pytest.raises(
        DataError, match="too large to be read safely; expected at most 100,000,000 pixels; resize"
    ):
        read(write_huge_png(tmp_path / "a.png", *shape))


def test_bytes_are_decoded_as_files_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    content = write(tmp_path / "a.png", pixels).read_bytes()
    np.testing.assert_array_equal(decode_image(content, "it"), read_image(tmp_path / "a.png"))
    with pytest.raises(DataError, match="^it: too large to be read safely; expected at most 34 pixels"):
        decode_image(content, "it", max_pixels=34)
    with pytest.raises(DataError, match="^it: cannot be read .*; expected an intact image"):
        decode_image(content[:-30], "it")
    with pytest.raises(DataError, match="^it: is not an image"):
        decode_image(b"", "it")


def repeated_scans(count: int, behind: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan is there so often."""
    file = BytesIO()
    Image.new("L", (64, 64), 127).save(file, "JPEG", progressive=True)
    content, end = file.getvalue()[:-2], file.getvalue()[-2:]
    return content + content[content.rindex(b"\xff\xda") :] * (count - 1) + end + behind


@pytest.mark.parametrize("read", [verify_image, read_image])
def test_a_jpeg_that_would_be_decoded_for_hours_is_refused(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """A motion photo is not: what its video holds is none of its scans."""
    path = tmp_path / "a.jpg"
    path.write_bytes(repeated_scans(90, behind=bytes(100_000) + b"\xff\xda" * 200))
    read(path)
    path.write_bytes(repeated_scans(101))
    assert image_size(path) == (64, 64)
    with pytest.raises(DataError, match="a.jpg: a JPEG of more than 100 scans, .*; save it again"):
        read(path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
def test_a_bmp_that_is_taken_apart_in_python_is_refused(
    tmp_path: Path, read: Callable[[Path], object], bits: int, compression: int
) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 65_500, 610, 1, bits, compression, 4, 0, 0, 2, 0)
    start = struct.pack("<2sIHHI", b"BM", 66, 0, 0, 62)
    (tmp_path / "a.bmp").write_bytes(start + header + bytes(8) + b"\x00\x02\xff\xff")
    with pytest.raises(DataError, match="a BMP with run-length compression; expected one without; save it"):
        read(tmp_path / "a.bmp")


@pytest.mark.parametrize("greys", [2, 3])
def test_a_bmp_of_few_greys(tmp_path: Path, greys: int) -> None:
    """Pillow takes two in eight bits a pixel, as it writes them itself, for one bit."""
    pixels = np.arange(4 * 40, dtype=np.uint8).reshape(4, 40) % greys
    image = Image.fromarray(pixels, mode="P")
    image.putpalette([0, 0, 0, *([255] * 3 if greys == 2 else [1] * 3), 2, 2, 2][: 3 * greys])
    image.save(tmp_path / "a.bmp")
    if greys == 2:
        with pytest.raises(DataError, match="a.bmp: a BMP whose greys would be misread; .* as a PNG"):
            read_image(tmp_path / "a.bmp")
        image.convert("1").save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp")[..., 0], pixels * (255 if greys == 2 else 1))
