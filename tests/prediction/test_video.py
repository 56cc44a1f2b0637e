import os
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from fornet_keras.errors import DataError
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.pictures import Picture
from fornet_keras.prediction.video import first_size, transform_video
from tests.prediction.videos import (
    read_video,
    untracked,
    video,
    write_table_first,
    write_trimmed,
    write_video,
    write_wide_pixels,
)


def test_result_plays_with_the_same_frames_size_and_rate(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 9, 48, 64)
    target = tmp_path / "out" / "a.mp4"

    def to_green(frame: Picture) -> Picture:
        assert frame[..., 0].mean() >= frame[..., 1:].max()  # RGB: the red comes first
        return frame[..., [1, 0, 2]]

    assert transform_video(video(source), target, to_green, untracked) == []
    frames, rate = read_video(target)
    assert (len(frames), frames[0].shape, rate) == (9, (48, 64, 3), 12)
    assert frames[8].mean(axis=(0, 1)) == pytest.approx((0, 160, 0), abs=12)
    assert list(target.parent.iterdir()) == [target]


def test_names_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of dash cameras: FFmpeg takes what is before the colon of a relative path for a protocol."""
    write_video(tmp_path / "2024-05-01T12:30.avi", 3, 48, 64)
    monkeypatch.chdir(tmp_path)
    target = Path("out:1") / "a.mp4"
    assert transform_video(video(Path("2024-05-01T12:30.avi")), target, lambda x: x, untracked) == []
    assert len(read_video(target.absolute())[0]) == 3


def test_a_video_that_is_not_whole_is_no_video(tmp_path: Path) -> None:
    """OpenCV says nothing where a disk is full, or a file may not become so large."""
    source = write_video(tmp_path / "a.avi", 9, 240, 320)
    random = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def noise(frame: Picture) -> Picture:
        return random.integers(0, 256, frame.shape, np.uint8)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(DataError, match="could not be written whole; make room on the disk"):
            transform_video(video(source), tmp_path / "b.mp4", noise, untracked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == [source]


def test_the_first_size_is_that_of_an_input_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((30, 40, 3), np.uint8))
    inputs = find_inputs([str(tmp_path)], tmp_path / "out")
    assert first_size(inputs) == (30, 40)
    with pytest.raises(DataError, match="is not an image"):
        first_size(inputs[:1])


def test_odd_size_loses_at_most_a_line(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 3, 49, 65)
    transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert read_video(tmp_path / "b.mp4")[0][0].shape == (48, 64, 3)


def test_number_of_frames_is_announced(tmp_path: Path) -> None:
    announced = []

    def track(frames: Iterable[Picture], total: int | None) -> Iterable[Picture]:
        announced.append(total)
        return frames

    transform_video(
        video(write_video(tmp_path / "a.avi", 5, 48, 64)), tmp_path / "b.mp4", lambda frame: frame, track
    )
    assert announced == [5]


@pytest.mark.parametrize("name", ["a.mp4", "100%.mp4"])
def test_what_is_no_video_leaves_no_file(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"no video" * 1000)
    with pytest.raises(DataError, match=f"{name}: no frame in it can be read; expected a video"):
        transform_video(video(tmp_path / name), tmp_path / "b.mp4", lambda frame: frame, untracked)
    with pytest.raises(DataError, match=f"{name}: no frame in it can be read; expected a video"):
        first_size([video(tmp_path / name)])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert capfd.readouterr().err == ""


def test_av1_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    source = write_trimmed(tmp_path / "a.mp4", 9, 0)
    # The codec's name, and that of a box that would say otherwise.
    source.write_bytes(source.read_bytes().replace(b"mp4v", b"av01").replace(b"esds", b"free"))
    with pytest.raises(DataError, match=r"a.mp4: is AV1, which OpenCV cannot .*; convert it to H.264"):
        transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)


def test_pixels_that_are_no_squares(tmp_path: Path) -> None:
    """As of camcorders, which record 1440x1080 to be shown at 1920x1080."""
    source = write_wide_pixels(tmp_path / "a.mp4", (4, 3))
    assert first_size([video(source)]) == (48, 85)
    seen = []
    transform_video(video(source), tmp_path / "b.mp4", lambda x: seen.append(x.shape) or x, untracked)
    assert seen == 9 * [(48, 85, 3)]
    assert read_video(tmp_path / "b.mp4")[0][0].shape == (48, 84, 3)


def test_a_video_that_is_no_file_with_something_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "closed.mp4").write_bytes(b"no video" * 1000)
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError))  # root may read whatever the mode
    for name, message in (
        ("empty", r"is empty \(0 bytes\); expected a video; copy"),
        ("folder", "is a folder; expected a video file; name a file in it"),
        ("closed", "no permission to read it; expected a readable file; change its mode"),
    ):
        with pytest.raises(DataError, match=f"{name}.mp4: {message}"):
            transform_video(video(tmp_path / f"{name}.mp4"), tmp_path / "b.mp4", lambda x: x, untracked)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.setattr(cv2, "VideoCapture", Mock(side_effect=AssertionError("it waits there")))
    pipe = video(tmp_path / "pipe.mp4")
    for reading in (
        lambda: transform_video(pipe, tmp_path / "b.mp4", lambda frame: frame, untracked),
        lambda: first_size([pipe]),
    ):
        with pytest.raises(DataError, match="pipe.mp4: is not a regular file; expected a video file; copy"):
            reading()


@pytest.mark.parametrize("size", [(2, 8192), (8192, 2), (2, 1)])
def test_a_size_that_mpeg_4_does_not_take(tmp_path: Path, size: tuple[int, int]) -> None:
    source = write_video(tmp_path / "a.avi", 3, 48, 64)
    with pytest.raises(DataError, match=f"{size[0]}x{size[1]} pixels .* takes 2…8191 pixels a side; make"):
        transform_video(
            video(source), tmp_path / "b.mp4", lambda _: np.zeros((*size, 3), np.uint8), untracked
        )


def test_failure_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 5, 48, 64)
    seen = []

    def fail_at_the_third(frame: Picture) -> Picture:
        seen.append(frame)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return frame

    with pytest.raises(KeyboardInterrupt):
        transform_video(video(source), tmp_path / "b.mp4", fail_at_the_third, untracked)
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_a_video_cut_short_is_not_written(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 60, 48, 64)
    capture = cv2.VideoCapture(str(source))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    capture.release()
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a.avi: cut short or damaged: \d+ of 60 frames can be read"):
        transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert list(tmp_path.iterdir()) == [source]


def test_a_short_video_that_counts_a_frame_too_many_is_whole(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 9, 48, 64)
    content = bytearray(source.read_bytes())
    # After the mark of the header of the file, or of its one stream: the number of frames there.
    for mark, place in ((b"avih", 24), (b"strh", 40)):
        struct.pack_into("<I", content, content.index(mark) + place, 10)
    source.write_bytes(content)
    capture = cv2.VideoCapture(str(source))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    capture.release()
    assert transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked) == []


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_video_whose_sound_is_longer_is_whole(tmp_path: Path, suffix: str) -> None:
    """Matroska does not count its frames; how many there are is guessed from its length."""
    source = tmp_path / f"a{suffix}"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"VP80"), 25, (64, 48))
    for _ in range(30):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    content = bytearray(source.read_bytes())
    length = content.index(b"\x44\x89\x88") + 3  # a double, in 1/1000 s
    struct.pack_into(">d", content, length, 1.5 * struct.unpack_from(">d", content, length)[0])
    source.write_bytes(content)
    (note,) = transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert f"a{suffix}: 30 of 45 frames can be read, going by its length; where the end is missing" in note
    assert len(read_video(tmp_path / "b.mp4")[0]) == 30


def test_a_trimmed_video_is_whole(tmp_path: Path) -> None:
    """It counts the frames that were cut away too."""
    source = write_trimmed(tmp_path / "a.mp4", 60, 30)
    capture = cv2.VideoCapture(str(source))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    capture.release()
    assert transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked) == []
    frames, _ = read_video(tmp_path / "b.mp4")
    assert (len(frames), frames[0].mean()) == (30, pytest.approx(120, abs=8))


def test_a_damaged_mp4_of_full_length_is_not_written(tmp_path: Path) -> None:
    """As a download that was broken off leaves it where its room was taken first."""
    source = write_trimmed(tmp_path / "a.mp4", 60, 0)
    content = bytearray(source.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[(start + end) // 2 : end] = bytes(end - (start + end) // 2)
    source.write_bytes(content)
    with pytest.raises(DataError, match=r"a.mp4: cut short or damaged: \d+ of 60 frames can be read"):
        transform_video(video(source), tmp_path / "c.mp4", lambda frame: frame, untracked)


def test_an_mp4_cut_short_is_not_written(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    whole, length = write_table_first(source, 60)
    assert transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked) == []
    assert len(read_video(tmp_path / "b.mp4")[0]) == 60
    source.write_bytes(whole[: -length // 2])
    with pytest.raises(DataError, match=r"a.mp4: cut short or damaged: \d+ of 60 frames can be read"):
        transform_video(video(source), tmp_path / "c.mp4", lambda frame: frame, untracked)


def test_a_few_frames_that_are_missing_are_told(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    whole, _ = write_table_first(source, 60)
    # What `stsz` counts last: the lengths of the frames.
    sizes = whole.index(b"stsz") + 16 + 4 * 57
    source.write_bytes(whole[: -sum(struct.unpack_from(">3I", whole, sizes))])
    (note,) = transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert note == f"{source}: 57 of 60 frames can be read; where the end is missing, copy it again"
    assert len(read_video(tmp_path / "b.mp4")[0]) == 57


@pytest.mark.parametrize(
    ("rate", "written"), [(959.04, 959), (119.913, 119.91), (29.97, 29.97), (23.976, 23.976)]
)
def test_rates_of_phones_and_action_cameras(tmp_path: Path, rate: float, written: float) -> None:
    """MPEG-4 counts a second in at most 65535 steps."""
    source = write_video(tmp_path / "a.avi", 3, 48, 64, rate)
    assert transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked) == []
    assert read_video(tmp_path / "b.mp4")[1] == pytest.approx(written, abs=1e-3)


def test_a_rate_that_is_none_is_told(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", 3, 48, 64, 1000)
    (note,) = transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert note == f"{source}: says 1000 frames a second; written with 25"
    assert read_video(tmp_path / "b.mp4")[1] == 25


def test_a_video_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_video(tmp_path / "a.avi", 3, 48, 64, 1000)
    monkeypatch.setattr("fornet_keras.prediction.video.USUAL_RATE", 119.913)
    with pytest.raises(
        DataError, match=r"no video of 48x64 pixels with 119.913 frames a second \(mp4v\) can"
    ):
        transform_video(video(source), tmp_path / "b.mp4", lambda frame: frame, untracked)
    assert capfd.readouterr().err == ""
