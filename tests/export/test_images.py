from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.errors import ExportError
from fornet_keras.export.images import folder_images, made_up_images
from tests.export.conftest import SIZE, scenes


def test_a_size_too_small_for_the_scenes() -> None:
    with pytest.raises(
        ExportError, match="32x160: made-up street scenes need at least 64 pixels a side; take more, or"
    ):
        made_up_images((32, 160))


def test_hidden_files_do_not_calibrate(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scenes(1)[0])
    (tmp_path / "._a.png").write_text("what macOS leaves")
    (tmp_path / "folder.png").mkdir()
    calibration, proof = folder_images(tmp_path, SIZE, calibrates=True)
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
    calibration, proof = folder_images(tmp_path, SIZE, calibrates)
    assert (len(calibration), len(proof.images)) == expected
    seen = {int(image[0, 0, 0]) for image in calibration} & {int(image[0, 0, 0]) for image in proof.images}
    assert bool(seen) == bool(note)
    assert proof.source == f"of {tmp_path}{note}"
