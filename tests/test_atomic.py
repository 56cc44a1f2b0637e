import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from fornet_keras.atomic import new_folder, write_text, written_whole


def test_file_replaces_the_old_one_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("龍" * 83 + ".txt"), "new")
    assert len(list(tmp_path.iterdir())) == 1


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), written_whole(path) as temporary:
        temporary.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_to_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, written_whole(tmp_path / "a.txt") as temporary:
        temporary.read_text()
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(OSError, match="a.txt") as caught, written_whole(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write, which names no file
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_text_takes_the_place_of_older_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "né")
    assert (tmp_path / "a.txt").read_bytes() == "né".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.usefixtures("windows_line_ends")
def test_lines_end_as_they_are_on_windows_too(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a\nb\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"a\nb\r\n"


def test_files_are_synced_as_windows_demands_and_folders_where_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(descriptor)

    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "a")
    with new_folder(tmp_path / "folder") as writing:
        (writing / "b.txt").write_text("b")
    assert len(synced) == 2 and (tmp_path / "folder" / "b.txt").exists()


def test_a_file_that_none_may_write_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a link to a photograph; root may open all, so what it is opened for is looked at."""
    opened: list[int] = []
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(
        os, "fsync", lambda file: opened.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
    )
    write_text(tmp_path / "a.txt", "a")
    assert opened and {*opened} == {os.O_RDONLY}


def test_a_folder_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with new_folder(path) as writing:
        (writing / "below").mkdir()
        (writing / "below" / "a.txt").write_text("a")
        assert not path.exists()
    assert (path / "below" / "a.txt").read_text() == "a"
    assert list(path.parent.iterdir()) == [path]


def test_two_writers_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(OSError, match="not empty"), new_folder(path) as first:
        (first / "a.txt").write_text("a")
        with new_folder(path) as second:
            (second / "b.txt").write_text("b")
    assert [entry.name for entry in path.iterdir()] == ["b.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_folder_that_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "new" / "folder") as writing:
        (writing / "a.txt").write_text("a")
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_folder_that_was_to_be(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(OSError) as missing, new_folder(path) as outer, new_folder(outer / "below") as writing:
        (writing / "none" / "a.txt").touch()
    assert missing.value.filename == str(path / "below" / "none" / "a.txt")
    with pytest.raises(OSError, match="not empty") as taken, new_folder(path):
        (path / "another").mkdir(parents=True)
    assert taken.value.filename == str(path)
