import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Queue

import cv2
import numpy as np
import pytest

from fornet_keras.atomic import locked
from fornet_keras.config import AugmentConfig
from fornet_keras.data import decoded as decoded_module
from fornet_keras.data.dataset import Dataset, LabelTable, Sample
from fornet_keras.data.decoded import decoded_samples
from fornet_keras.data.pipeline import TrainingBatches
from fornet_keras.data.samples import read_sample
from fornet_keras.errors import DataError

TABLE = LabelTable(("a", "b"), ((0, 0, 0), (1, 1, 1)), {0: 0, 1: 1})
SIZES = [(64, 96), (70, 130), (65, 64), (128, 64), (64, 64)]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    random = np.random.default_rng(0)
    samples = []
    for index, size in enumerate(SIZES):
        sample = Sample(tmp_path / f"{index}.png", tmp_path / f"{index}_label.png")
        cv2.imwrite(str(sample.image), random.integers(0, 256, (*size, 3), np.uint8))
        cv2.imwrite(str(sample.label), random.integers(0, 2, size, np.uint8))
        samples.append(sample)
    return Dataset("test", "train", tmp_path, TABLE, tuple(samples))


def kept(cache: Path) -> list[Path]:
    """What lies in a cache, but for the empty file by which runs wait for each other."""
    return [path for path in cache.iterdir() if path.name != ".lock"]


def test_the_same_batches_to_the_last_bit(dataset: Dataset, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    decoded = decoded_samples(dataset, tmp_path / "cache", 2, print, lambda *counts: done.append(counts))
    count = len(dataset)
    assert done == [(number, count) for number in range(1, count + 1)]
    for index, sample in enumerate(dataset.samples):
        for ours, theirs in zip(decoded.read(index), read_sample(sample, TABLE), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    options = AugmentConfig(crop=(64, 96))
    ours, theirs = (TrainingBatches(dataset, options, 2, 0, source) for source in (decoded, None))
    for position in range(4):
        for found, wanted in zip(ours.batch_at(position), theirs.batch_at(position), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_brought_down_before_they_are_written(dataset: Dataset, tmp_path: Path) -> None:
    """Of each size the samples are kept, and the smaller ones take less room."""
    cache = tmp_path / "cache"
    decoded = decoded_samples(dataset, cache, 2, print, short_side=64)
    assert [decoded.read(index)[1].shape for index in range(5)] == [
        (64, 96),
        (64, 119),
        (65, 64),
        (128, 64),
        (64, 64),
    ]
    said: list[str] = []
    for short_side in (None, 64, None, 48):
        decoded = decoded_samples(dataset, cache, 2, said.append, short_side=short_side)
        for index, sample in enumerate(dataset.samples):
            for ours, theirs in zip(decoded.read(index), read_sample(sample, TABLE, short_side), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert len(said) == 2 and len(kept(cache)) == 3


def test_written_once_and_again_when_a_file_changes(dataset: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    cache = tmp_path / "cache"
    for _ in range(2):
        decoded_samples(dataset, cache, 2, said.append)
    assert said == [f"decoding 5 samples of train once: 0.00 GB in {cache}"]
    (first,) = kept(cache)
    (cache / "other-train-1").mkdir()
    black = np.zeros((64, 96, 3), np.uint8)
    cv2.imwrite(str(dataset.samples[0].image), black)
    np.testing.assert_array_equal(decoded_samples(dataset, cache, 2, said.append).read(0)[0], black)
    assert len(said) == 2 and not first.exists()
    assert len(kept(cache)) == 2, "another data set's samples stay"


def test_the_same_data_by_a_relative_path_is_the_same(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    near = tuple(Sample(Path(x.image.name), Path(str(x.label and x.label.name))) for x in dataset.samples)
    told: list[str] = []
    for samples, root in ((dataset.samples, tmp_path), (near, Path())):
        same = replace(dataset, samples=samples, root=root)
        decoded_samples(same, tmp_path / "cache", 1, told.append)
    assert len(told) == 1


def test_runs_that_begin_at_once_decode_once(dataset: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(decoded_samples, dataset, tmp_path / "cache", 2, said.append) for _ in range(8)]
    for decoded in found:
        np.testing.assert_array_equal(decoded.result().read(4)[1], read_sample(dataset.samples[4], TABLE)[1])
    assert sum(line.startswith("decoding 5 samples") for line in said) == 1


def test_a_run_that_waits_says_so_and_reads_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    said: Queue[str] = Queue()
    with ThreadPoolExecutor(1) as pool:
        with locked(cache / ".lock"), monkeypatch.context() as patch:
            patch.setattr(decoded_module, "image_size", None)
            decoded = pool.submit(decoded_samples, dataset, cache, 2, said.put)
            assert said.get(timeout=30) == f"waiting for another run, which decodes into {cache}"
        assert decoded.result().read(4)[1].shape == (64, 64)
    assert said.get(timeout=30).startswith("decoding 5 samples")


def test_runs_that_leave_out_other_samples_share_a_folder(dataset: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    part = replace(dataset, samples=dataset.samples[1:])
    for each in (dataset, part, dataset, part):
        decoded_samples(each, tmp_path / "cache", 2, said.append)
    assert len(said) == 2


def test_data_sets_of_one_format_share_a_folder(dataset: Dataset, tmp_path: Path) -> None:
    other = replace(dataset, root=tmp_path / "elsewhere")
    for each in (dataset, other):
        decoded_samples(each, tmp_path / "cache", 2, print)
    assert len(kept(tmp_path / "cache")) == 2


def test_a_name_cannot_lead_out_of_the_folder(dataset: Dataset, tmp_path: Path) -> None:
    decoded_samples(replace(dataset, name="../[ho] me"), tmp_path / "cache", 2, print)
    (folder,) = kept(tmp_path / "cache")
    assert folder.name.startswith("____ho__me-train-")


def test_a_name_of_letters_of_many_bytes(dataset: Dataset, tmp_path: Path) -> None:
    decoded_samples(replace(dataset, name="𝔸" * 100), tmp_path / "cache", 2, print)
    assert len(kept(tmp_path / "cache")) == 1


def test_a_damaged_cache_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    decoded_samples(dataset, tmp_path / "cache", 2, print)
    (folder,) = kept(tmp_path / "cache")
    images = folder / "images.bin"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is damaged; expected decoded samples; delete it"):
        decoded_samples(dataset, tmp_path / "cache", 2, print)


def test_nothing_is_left_of_a_cache_that_could_not_be_written(dataset: Dataset, tmp_path: Path) -> None:
    sample = dataset.samples[-1]
    sample.image.write_bytes(sample.image.read_bytes()[:-200])
    with pytest.raises(DataError, match=f"{sample.image.name}: cannot be read"):
        decoded_samples(dataset, tmp_path / "cache", 2, print)
    assert not kept(tmp_path / "cache")


def test_a_disk_that_is_too_small(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(decoded_module.shutil, "disk_usage", lambda _: usage)
    big = [(20_000, 40_000)] * len(SIZES)
    monkeypatch.setattr(decoded_module, "image_size", lambda path: big[0])
    message = r"cannot be written \(0.01 GB are free\); expected room for 16.00 GB; name another folder"
    with pytest.raises(DataError, match=message):
        decoded_samples(dataset, tmp_path / "cache", 2, print)
    assert not kept(tmp_path / "cache")
