import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.camvid import TABLE
from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.data.label_files import WrongLabelError, read_label, to_train_ids
from fornet_keras.errors import DataError

VALUES = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLORS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)  # height, width, RGB
CLASSES = {(200, 100, 50): 1, (10, 20, 30): 0, (0, 0, 0): IGNORE}


def write(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


# === Values ===


def test_label_values_are_exact(tmp_path: Path) -> None:
    label = read_label(write(tmp_path / "a.png", VALUES))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, VALUES)


@pytest.mark.parametrize("channels", [3, 4])
def test_values_that_are_written_three_times_are_read(tmp_path: Path, channels: int) -> None:
    np.testing.assert_array_equal(
        read_label(write(tmp_path / "a.png", np.dstack([VALUES] * channels))), VALUES
    )


def test_values_that_are_written_three_times_with_16_bits_are_not_lost(tmp_path: Path) -> None:
    """Pillow hands out the upper eight."""
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([VALUES.astype(np.uint16)] * 3))
    with pytest.raises(WrongLabelError, match="holds RGB pixels"):
        read_label(tmp_path / "a.png")


def test_a_16_bit_label_of_small_values_is_read(tmp_path: Path) -> None:
    label = read_label(write(tmp_path / "a.png", VALUES.astype(np.uint16)))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, VALUES)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        (
            "a.png",
            COLORS,
            "a.png: holds RGB pixels; expected one 8-bit channel .* with label_colors",
        ),
        ("a.png", np.dstack([COLORS, VALUES]), "holds RGBA pixels"),
        (
            "a.png",
            VALUES.astype(np.uint16) * 1000,
            "16-bit values up to 34000; .*not the instance or depth map",
        ),
        ("a.jpg", VALUES, "a.jpg: is a JPEG file, which may not keep class values; expected a PNG"),
        ("a.webp", COLORS, "is a WEBP file"),
        ("a.bmp", VALUES, "is a BMP file"),
    ],
)
def test_a_file_that_is_no_label(tmp_path: Path, name: str, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(WrongLabelError, match=message):
        read_label(write(tmp_path / name, pixels))


def png(path: Path, width: int, bits: int, *chunks: tuple[bytes, bytes]) -> Path:
    """One row of grey, with these chunks behind the header."""
    header = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), *chunks)
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_a_label_without_pixels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a.png: cannot be read .*; expected an intact image"):
        read_label(png(tmp_path / "a.png", 4, 2, (b"IEND", b"")))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_label_of_few_bits_keeps_its_values(tmp_path: Path, bits: int) -> None:
    values = [*range(2**bits)]
    packed = int("".join(f"{value:0{bits}b}" for value in values).ljust(8, "0"), 2)
    row = packed.to_bytes(max(1, len(values) * bits // 8), "big")
    data = zlib.compress(b"\0" + row)
    path = png(tmp_path / "a.png", len(values), bits, (b"IDAT", data), (b"IEND", b""))
    assert read_label(path).tolist() == [values]


def test_a_palette_label_holds_its_indices(tmp_path: Path) -> None:
    assert read_label(palette(tmp_path / "a.png", [[0, 1, 2]])).tolist() == [[0, 1, 2]]


def palette(path: Path, indices: list[list[int]]) -> Path:
    picture = Image.fromarray(np.array(indices, np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    picture.save(path, transparency=b"\x00\x80\xff")
    return path


# === Colours ===


def colored(path: Path, ids: list[list[int]]) -> Path:
    """RGB: 0 and 1 in the colours of their classes, 2 ignored."""
    return write(path, np.array([[10, 20, 30], [200, 100, 50], [0, 0, 0]], np.uint8)[np.array(ids)])


def test_colors_become_values(tmp_path: Path) -> None:
    ids = [[0, 1, 2], [1, 1, 0]]
    expected = [[0, 1, IGNORE], [1, 1, 0]]
    path = colored(tmp_path / "a.png", ids)
    assert read_label(path, CLASSES).tolist() == expected
    Image.open(path).convert("RGBA").save(path)
    assert read_label(path, CLASSES).tolist() == expected
    assert read_label(palette(path, ids), CLASSES).tolist() == expected
    assert read_label(path, CLASSES).dtype == np.uint8


def test_grey_is_a_color(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.array([[0, 90]], np.uint8))
    assert read_label(path, {(90, 90, 90): 4, (0, 0, 0): 2}).tolist() == [[2, 4]]


@pytest.mark.parametrize("color", [(0, 0, 1), (10, 20, 31), (255, 255, 255)])  # below, among and above
def test_a_color_of_no_class_is_named(tmp_path: Path, color: tuple[int, ...]) -> None:
    path = write(tmp_path / "a.png", np.array([[(10, 20, 30), color]], np.uint8))
    message = f"a.png: colour \\[{color[0]}, {color[1]}, {color[2]}\\] of no class; .* under ignore_colors"
    with pytest.raises(WrongLabelError, match=message):
        read_label(path, CLASSES)


def test_many_colors_of_no_class_are_a_photo(tmp_path: Path) -> None:
    with pytest.raises(WrongLabelError, match="more than 8 colours of no class; .* without smoothed edges"):
        read_label(write(tmp_path / "a.png", COLORS), CLASSES)


@pytest.mark.parametrize("factor", [0, 1, 1000])
def test_sixteen_bits_are_no_colors(tmp_path: Path, factor: int) -> None:
    """Nor positions of classes, however small."""
    path = write(tmp_path / "a.png", VALUES.astype(np.uint16) * factor)
    message = "a.png: holds one 16-bit channel; expected a picture in the classes' colours; export the"
    with pytest.raises(WrongLabelError, match=message):
        read_label(path, {(255, 255, 255): 1, (0, 0, 0): 0})


def test_lossy_colors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongLabelError, match="is a JPEG file"):
        read_label(write(tmp_path / "a.jpg", COLORS), CLASSES)


# === Train ids ===


def test_label_values_become_train_ids() -> None:
    table = LabelTable(("a", "b"), ((0, 0, 0), (1, 1, 1)), {7: 0, 3: 1, 0: IGNORE, 255: IGNORE})
    label = np.array([[7, 3, 0], [255, 3, 7]], np.uint8)
    train_ids = to_train_ids(label, table, Path("a.png"))
    assert train_ids.dtype == np.uint8
    assert train_ids.tolist() == [[0, 1, IGNORE], [IGNORE, 1, 0]]


def test_train_ids_stay_as_they_are() -> None:
    table = LabelTable(("a", "b"), ((0, 0, 0), (1, 1, 1)), {7: 0, 3: 1})
    label = np.array([[0, 1, IGNORE]], np.uint8)
    assert to_train_ids(label, table, Path("a.png"), holds_train_ids=True).tolist() == label.tolist()
    with pytest.raises(WrongLabelError, match="a.png: value 7 not in the label table; expected 0…1, 255"):
        to_train_ids(np.full((2, 3), 7, np.uint8), table, Path("a.png"), holds_train_ids=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [0, 12],
            "a.png: value 12 not in the label table; expected 0…11; declare each as ignore or as a class",
        ),
        ([255, 3, 12], "values 12, 255 not in"),
        (range(5, 40), "values 12, 13, 14, 15, 16, 17, 18, 19, … not in"),
    ],
)
def test_an_undeclared_value_is_named(values: list[int], message: str) -> None:
    with pytest.raises(WrongLabelError, match=message):
        to_train_ids(np.array([values], np.uint8), TABLE, Path("a.png"))


def test_a_class_without_a_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="must have one colour a name; received 3 names and 2 colors"):
        LabelTable(("a", "b", "c"), ((0, 0, 0),) * 2, {0: 0, 1: 1, 2: 2})
