import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.data.dataset import IGNORE, Dataset, Sample
from fornet_keras.errors import DataError, ExportError
from fornet_keras.export.images import export_images
from tests.export.conftest import SIZE, TABLE, scenes


def test_a_size_too_small_for_the_scenes() -> None:
    with pytest.raises(
        ExportError, match="32x160: made-up street scenes need at least 64 pixels a side; take more, or"
    ):
        export_images(None, None, (32, 160), calibrates=False)


def test_hidden_files_do_not_calibrate(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scenes(1)[0])
    (tmp_path / "._a.png").write_text("what macOS leaves")
    (tmp_path / "folder.png").mkdir()
    calibration, proof = export_images(tmp_path, None, SIZE, calibrates=True)
    assert (len(calibration), len(proof.images)) == (1, 1)


@pytest.mark.parametrize(
    ("count", "calibrates", "expected", "note"),
    [(16, True, (12, 4), ""), (15, True, (15, 4), ", which it was calibrated on"), (10, False, (0, 4), "")],
)
def test_int8_is_proven_on_images_that_it_was_not_calibrated_on(
    tmp_path: Path, count: int, calibrates: bool, expected: tuple[int, int], note: str
) -> None:
    for number in range(count):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((*SIZE, 3), number, np.uint8))
    calibration, proof = export_images(tmp_path, None, SIZE, calibrates)
    assert (len(calibration), len(proof.images)) == expected
    seen = {int(image[0, 0, 0]) for image in calibration} & {int(image[0, 0, 0]) for image in proof.images}
    assert bool(seen) == bool(note)
    assert proof.source == f"of {tmp_path.name}{note}"


def test_images_of_other_proportions_are_letterboxed(tmp_path: Path) -> None:
    """Labels stay at their own size, for the artifact's to be brought back to it."""
    for name, value in (("a", 200), ("b", 200), ("label", 1)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((50, 50), value, np.uint8))
    sample = Sample(tmp_path / "a.png", tmp_path / "label.png", label_holds_train_ids=True)
    dataset = Dataset("city", "val", tmp_path, TABLE, (sample,))
    calibration, proof = export_images(tmp_path, dataset, SIZE, calibrates=True)
    for values in (calibration[1], proof.images[0]):
        assert values.shape[:2] == SIZE
        assert (values[:, 32:128] == 200).all()
        assert (values[:, :32] == 127).all() and (values[:, 128:] == 127).all()
    assert proof.labels is not None
    assert (proof.labels[0].shape, proof.windows[0]) == ((50, 50), (slice(0, 96), slice(32, 128)))


@pytest.mark.parametrize(
    ("count", "expected", "note"), [(28, 12, ""), (27, 27, ", which it was calibrated on"), (0, 5, "")]
)
def test_int8_is_not_calibrated_on_the_labelled_images_of_its_proof(
    tmp_path: Path, count: int, expected: int, note: str
) -> None:
    """Of the folder `frames` the first so many are the data set; or others are, and none is held out."""
    for number in range(count or 5):
        for name in ("frames", "others", "labels"):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.zeros((*SIZE, 3), np.uint8)[..., 0])
    folder = tmp_path / ("frames" if count else "others")
    samples = tuple(
        Sample(folder / f"{n}.png", tmp_path / "labels" / f"{n}.png", label_holds_train_ids=True)
        for n in range(min(count, 16) or 5)
    )
    dataset = Dataset("city", "val", tmp_path, TABLE, samples)
    calibration, proof = export_images(tmp_path / "frames", dataset, SIZE, calibrates=True)
    assert (len(calibration), len(proof.images)) == (expected, len(samples))
    assert proof.labels is not None
    assert proof.source == f"of {tmp_path.name}, split val{note}"


@pytest.mark.parametrize("beside", [True, False])
def test_label_pictures_do_not_calibrate(tmp_path: Path, beside: bool) -> None:
    folders = [tmp_path / "train" / ("images" if beside else name) for name in ("images", "labels")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes(2)):
        cv2.imwrite(str(folders[0] / f"{number}.jpg"), scene)
        cv2.imwrite(
            str(folders[1] / f"{number}.png"), np.arange(SIZE[1], dtype=np.uint8)[None].repeat(9, 0) // 20
        )
    fix = "move the labels out of it" if beside else f"give their folder, {folders[0]}"
    with pytest.raises(ExportError, match=f"0.png: is a label picture, by its few flat colours, .*; {fix}; "):
        export_images(tmp_path, None, SIZE, calibrates=False)
    if not beside:
        _, proof = export_images(folders[0], None, SIZE, calibrates=False)
        assert len(proof.images) == 2
        with pytest.raises(ExportError, match="and not a photograph; .*; give the folder of the images; "):
            export_images(folders[1], None, SIZE, calibrates=False)


def test_a_folder_of_a_name_that_is_not_utf8_can_be_written_down(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "0.png"), scenes(1)[0])
    (tmp_path / "0.png").rename(folder / "0.png")
    assert export_images(folder, None, SIZE, calibrates=False)[1].source == r"of caf\udce9"


def test_a_dark_frame_is_no_label_picture(tmp_path: Path) -> None:
    """Of few colours too, and nowhere flat."""
    for number, scene in enumerate(scenes(2)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene if number else scene[..., :1] // 8)
    _, proof = export_images(tmp_path, None, SIZE, calibrates=False)
    assert len(proof.images) == 2


def test_a_proof_of_void_labels_is_refused(tmp_path: Path) -> None:
    for name, value in (("image", 0), ("label", IGNORE)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(SIZE, value, np.uint8))
    sample = Sample(tmp_path / "image.png", tmp_path / "label.png", label_holds_train_ids=True)
    with pytest.raises(
        DataError, match="the 1 labels of split 'val' that the proof takes have no pixel of any"
    ):
        export_images(None, Dataset("city", "val", tmp_path, TABLE, (sample,)), SIZE, calibrates=False)
