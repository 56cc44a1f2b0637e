"""Each kind of bad input, and the same answer of every command that reads it."""

import os
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from fornet_keras.data.images import read_image
from tests.cli.conftest import Run, only_line

# Not marked `backend`: reading a file is the same whatever computes.

IMAGE, LABEL = Path("images/test/a.png"), Path("labels/test/a.png")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def png(path: Path, height: int, width: int, depth: int = 8, pixels: bytes = b"") -> None:
    """A PNG that says what it likes about itself."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with path.open("ab") as file:
        header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")):
            file.write(
                struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            )


def unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)  # root may read whatever the mode: a link to itself, nobody can


def save(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(pixels).save(path)


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, "cannot be read (.*); expected an intact image; copy or download it again"),
    "corrupt": (flip, "cannot be read (.*); expected an intact image"),
    "too few pixels": (lambda path: png(path, 64, 96), "cannot be read (.*); expected an intact image"),
    "0 bytes": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\); expected an image; copy or"),
    "no image": (lambda path: path.write_text("PNG"), "is not an image, whatever its name says; expected"),
    "bomb": (lambda path: png(path, 20_000, 20_000), "too large to be read safely; .*; resize or crop it"),
}
BAD_LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, "cannot be read"),
    "corrupt": (flip, "cannot be read"),
    "0 bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "bomb": (lambda path: png(path, 20_000, 20_000), "too large to be read safely"),
    "missing": (Path.unlink, "no label; expected labels/test/\\*.png; add the file or leave the image out"),
    "out of range": (save(np.full((64, 96), 5, np.uint8)), "value 5; declare it as a class or under ignore"),
    "of another size": (save(np.full((32, 96), 3, np.uint8)), "label of 32×96 for an image of 64×96 .he"),
    "an RGB mask": (
        save(np.tile(np.uint8([1, 2, 3]), (64, 96, 1))),
        "holds RGB pixels; expected one 8-bit channel",
    ),
    "16 bits": (save(np.full((64, 96), 999, np.uint16)), "holds 16-bit values up to 999; expected class"),
    "a link to itself": (unreadable, "no label; expected labels/test"),
}
COMMANDS = ("check", "train", "evaluate")


def command(name: str, model: Path, config: Path, data: Path, tmp_path: Path) -> tuple[object, ...]:
    settings = ("--config", config, "--data", data)
    if name == "train":
        splits = ("--set", "data.train_split=test", "--set", "data.val_split=train")
        return ("train", *settings, *splits, "--output", tmp_path / "run")
    return {
        "check": ("data", "check", *settings),
        "evaluate": ("evaluate", model, *settings),
        "predict": ("predict", model, data / IMAGE.parent, "--output", tmp_path / "out"),
    }[name]


@pytest.mark.parametrize(
    ("name", "kind"), [*product(COMMANDS, BAD_IMAGES), ("predict", "truncated"), ("predict", "bomb")]
)
def test_a_bad_image(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path, name: str, kind: str
) -> None:
    spoil, message = BAD_IMAGES[kind]
    spoil(data / IMAGE)
    refused(run(*command(name, model, config, data, tmp_path)), data / IMAGE, message, tmp_path)
    if name == "predict":
        written = {path.name for path in (tmp_path / "out").iterdir()}
        assert written == {".lock", "b_labels.png", "legend.png", "settings.json", "sources.json"}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_label(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path, name: str, kind: str
) -> None:
    spoil, message = BAD_LABELS[kind]
    spoil(data / LABEL)
    file = IMAGE if kind in ("missing", "a link to itself") else LABEL
    refused(run(*command(name, model, config, data, tmp_path)), data / file, message, tmp_path)


def refused(result: Result, file: Path, message: str, tmp_path: Path) -> None:
    """Exit code 1, and one line that names the file, the finding and the remedy."""
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.output.splitlines() if str(file) in line)
    pattern = message.replace("(.*)", r"\(.*\)")
    assert re.search(f"{file}: {pattern}", line), line
    assert not (tmp_path / "run").exists()


# === What is read, and not refused ===


def grey(path: Path) -> None:
    Image.open(path).convert("L").save(path)


def palette(path: Path) -> None:
    Image.open(path).convert("P").save(path)


def alpha(path: Path) -> None:
    Image.open(path).convert("RGBA").save(path)


def deep(path: Path) -> None:
    cv2.imwrite(str(path), np.full((64, 96), 40_000, np.uint16))


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def cmyk(path: Path) -> None:
    Image.open(path).convert("CMYK").save(path.with_suffix(".jpg"))
    path.unlink()


def label_of(path: Path) -> Path:
    return path.parents[2] / "labels" / path.parent.name / path.name


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)
    Image.new("L", (1, 1), 7).save(label_of(path))


def named(name: str) -> Callable[[Path], None]:
    def rename(path: Path) -> None:
        for file in (path, label_of(path)):
            file.rename(file.with_name(f"{name}.png"))

    return rename


GOOD = {
    "grey": grey,
    "palette": palette,
    "RGBA": alpha,
    "16 bits": deep,
    "rotated by EXIF": rotated,
    "CMYK": cmyk,
    "one pixel": one_pixel,
    "spaces": named(" a  b "),
    "Unicode": named("Straße 東京 🚗"),
    "line break": named("a\nb\x1b[31m"),
    "a pattern": named("[a]*%s{0}"),
    "a JPEG's suffix": lambda path: path.rename(path.with_suffix(".jpg")),
}


def test_images_that_every_command_reads(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    for kind, change in GOOD.items():
        path = (data / IMAGE).with_name(f"{kind}.png")
        shutil.copy(data / LABEL, label_of(path))
        change(shutil.copy(data / IMAGE, path))
    for name in ("check", "evaluate", "predict"):
        result = run(*command(name, model, config, data, tmp_path))
        said, _, _ = result.stderr.partition(" a channel in 1 image of 'test', ")
        assert (result.exit_code, said) == (0, "note: 16 bits" if name == "evaluate" else ""), name
    assert len([*(tmp_path / "out").glob("*_labels.png")]) == len(GOOD) + 2


def test_a_line_break_in_a_name_breaks_no_message(run: Run, model: Path, config: Path, data: Path) -> None:
    named("a\nb")(data / IMAGE)
    (data / "images/test/a\nb.png").write_bytes(b"")
    result = run("evaluate", model, "--config", config, "--data", data)
    assert result.exit_code == 1
    assert r"images/test/a\nb.png: is empty (0 bytes)" in only_line(result.stderr)


def test_a_cmyk_image_keeps_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 32), (200, 100, 50)).save(path)
    cmyk(path)
    assert np.abs(read_image(path.with_suffix(".jpg")).mean((0, 1)) - (200, 100, 50)).max() < 6


def test_an_empty_folder(run: Run, model: Path, config: Path, data: Path, tmp_path: Path) -> None:
    for image in (data / IMAGE.parent).iterdir():
        image.unlink()
    for name in (*COMMANDS, "predict"):
        result = run(*command(name, model, config, data, tmp_path))
        assert result.exit_code == 1
        assert "holds no images" in only_line(result.stderr) or "no image or video" in result.stderr


# === What becomes of the others ===


def test_skip_says_how_many(run: Run, model: Path, config: Path, data: Path, tmp_path: Path) -> None:
    (data / IMAGE).write_bytes(b"")
    result = run(*command("evaluate", model, config, data, tmp_path), "--on-error", "skip")
    assert (result.exit_code, result.stderr.startswith("harbour test: skipped 1 of 2 images: ")) == (0, True)
    result = run(*command("predict", model, config, data, tmp_path), "--on-error", "skip")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"1 of 2 inputs skipped:\n  {data / IMAGE}: is empty")
    (nowhere := tmp_path / "link.json").symlink_to(config / "below a file")
    result = run(*command("predict", model, config, data, tmp_path), "--on-error", "fail", "--json", nowhere)
    assert f"1 of 2 inputs failed:\n  {data / IMAGE}: is empty" in result.stderr
    assert (result.exit_code, str(nowhere) in result.stderr.splitlines()[-1]) == (1, True)
    result = run(*command("predict", model, config, data, tmp_path), "--on-error", "fail")
    assert (result.exit_code, result.stdout[:11]) == (1, "0 predicted")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name files in Unicode")
def test_a_data_folder_that_no_configuration_can_name(
    run: Run, config: Path, data: Path, tmp_path: Path
) -> None:
    """The run could never be resumed from its own config.yaml."""
    folder = data.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    result = run("train", "--config", config, "--data", folder, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "its name is not UTF-8, and the run could not be resumed" in only_line(result.stderr)
    assert not (tmp_path / "run").exists()
