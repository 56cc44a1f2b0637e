"""What a scan has found is kept: nothing is read twice that has not changed."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Barrier

import cv2
import numpy as np
import pytest

from fornet_keras.atomic import locked
from fornet_keras.data import scan as scan_module
from fornet_keras.data import scan_sample
from fornet_keras.data.camvid import TABLE
from fornet_keras.data.dataset import Dataset, LabelTable, Sample
from fornet_keras.data.images import verify_image
from fornet_keras.data.scan import scan, usable
from fornet_keras.data.scan_report import load_report
from fornet_keras.errors import DataError
from tests.data.test_scan import LABEL, make_dataset


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that are read from now on."""

    def verify(path: Path) -> tuple[int, int]:
        read.append(path)
        return verify_image(path)

    read: list[Path] = []
    monkeypatch.setattr(scan_sample, "verify_image", verify)
    return read


def test_a_report_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path, [LABEL, LABEL])
    cache = tmp_path / "new" / "cache"
    report = scan(dataset, cache=cache)
    assert len(list(cache.glob("*.json"))) == 1
    monkeypatch.setattr(scan_sample, "verify_image", None)
    assert scan(dataset, cache=cache) == report


def test_of_what_is_kept_only_bad_samples_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first time each is read once, also for the report on what may be used."""
    found = make_dataset(tmp_path, [LABEL, LABEL + 1, LABEL, np.zeros((4, 4), np.uint8), LABEL])
    (tmp_path / "2.jpg").write_bytes(b"no image")
    twin = Sample(tmp_path / "0.jpeg", found.samples[0].label)
    cv2.imwrite(str(twin.image), np.zeros((2, 3, 3), np.uint8))
    dataset = replace(found, samples=(*found.samples, twin))
    read = count_reads(monkeypatch)
    report = scan(dataset, cache=tmp_path / "cache")
    sound = usable(dataset, report, "skip", print)
    assert [sample.image.name for sample in sound.samples] == ["3.jpg", "4.jpg"]
    kept = scan(sound, cache=tmp_path / "cache")
    assert len(read) == 6
    assert kept == scan(sound) and kept.pixels[0] == 18
    read.clear()
    done: list[tuple[int, int]] = []
    again = scan(dataset, on_sample=lambda *counts: done.append(counts), cache=tmp_path / "cache")
    assert again == report and done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(path.name for path in read) == ["0.jpeg", "0.jpg", "1.jpg", "2.jpg"]


def test_what_is_looked_through_at_once_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the processes that train together."""
    dataset = make_dataset(tmp_path, [LABEL] * 5)
    read = count_reads(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(scan, dataset, cache=tmp_path / "cache") for _ in range(4)]
    assert {report.result() for report in found} == {scan(dataset)}
    assert len(read) == 2 * 5


def test_a_run_that_waits_says_so_and_none_waits_for_what_is_kept(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL, None])
    cache = tmp_path / "cache"
    report = scan(dataset, cache=cache)
    [kept] = [path for path in cache.glob("*.json") if load_report(path) == report]
    said: Queue[str] = Queue()
    with ThreadPoolExecutor(1) as pool, locked(kept.with_suffix(".lock")):
        assert pool.submit(scan, dataset, cache=cache, tell=said.put).result(timeout=30) == report
        kept.unlink()
        waiting = pool.submit(scan, dataset, cache=cache, tell=said.put)
        assert said.get(timeout=30) == "waiting for another run, which looks through train"
        assert not waiting.done()


@pytest.mark.parametrize("known", [True, False], ids=["bad ones again", "nothing can be kept"])
def test_many_read_at_once_what_nobody_has_to_wait_for(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first report cannot be kept, one reads alone, and then the others together."""
    dataset = make_dataset(tmp_path, [None])
    report = scan(dataset, cache=tmp_path / "cache" if known else None)
    together, said = Barrier(3, timeout=30), Queue[str]()
    alone = iter([] if known else [True])

    def verify(path: Path) -> tuple[int, int]:
        if next(alone, False):
            for _ in range(3):
                said.get(timeout=30)
        else:
            together.wait()
        return verify_image(path)

    monkeypatch.setattr(scan_sample, "verify_image", verify)
    monkeypatch.setattr(scan_module, "store_report", lambda *_: None)
    with ThreadPoolExecutor(4) as pool:
        number = 3 if known else 4
        found = [pool.submit(scan, dataset, cache=tmp_path / "cache", tell=said.put) for _ in range(number)]
    assert {each.result() for each in found} == {report}


def test_a_report_on_what_changes_meanwhile_is_not_kept(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL, None])
    scan(dataset, on_sample=lambda *_: os.utime(tmp_path / "0.png", ns=(0, 0)), cache=tmp_path / "cache")
    assert not [*(tmp_path / "cache").glob("*.json")]


def test_problems_that_are_gone_are_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mending may leave a file's size and time of change as they were: a mode, a disk that failed."""
    dataset = make_dataset(tmp_path, [LABEL])

    def unreadable(path: Path) -> None:
        raise DataError(f"{path}: no permission to read it; change its mode")

    with monkeypatch.context() as patch:
        patch.setattr(scan_sample, "verify_image", unreadable)
        assert len(scan(dataset, cache=tmp_path / "cache").problems) == 1
    assert not scan(dataset, cache=tmp_path / "cache").problems


def test_a_report_is_not_used_after_a_change(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL])
    cache = tmp_path / "cache"
    assert scan(dataset, cache=cache).pixels[0] == 2
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((2, 3), np.uint8))
    os.utime(tmp_path / "0.png", ns=(1, 1))
    assert scan(dataset, cache=cache).pixels[0] == 6
    more_void = LabelTable(TABLE.names, TABLE.colors, {**TABLE.train_ids, 0: 255})
    assert scan(Dataset("harbour", "train", tmp_path, more_void, dataset.samples), cache=cache).pixels[0] == 0
    (tmp_path / "0.jpg").unlink()
    assert scan(dataset, cache=cache).summary() == "1 image, 0 missing labels, 1 corrupt"


def test_a_damaged_or_unwritable_cache_is_no_error(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL])
    cache = tmp_path / "cache"
    report = scan(dataset, cache=cache)
    [kept] = cache.glob("*.json")
    kept.write_text("{")
    assert scan(dataset, cache=cache) == report
    assert list(cache.glob("*.json")) == [kept]
    assert scan(dataset, cache=tmp_path / "0.png") == report
