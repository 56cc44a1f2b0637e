import errno
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.images import image_size, read_image
from fornet_keras.data.label_files import read_label
from fornet_keras.errors import ServingError
from fornet_keras.model import FoRNet
from fornet_keras.prediction.folder import FolderPrediction, Outcome
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.outputs import KINDS
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import images
from tests.prediction.conftest import SHARED, SIZE, TABLE, run
from tests.prediction.videos import read_video, write_video


@pytest.mark.backend
def test_a_large_image_is_predicted_smaller_and_labelled_at_its_own_size(
    model: FoRNet, predict: Predictor, tmp_path: Path
) -> None:
    large, small = images(96, 160)[0], images(32, 48)[0]
    for name, image in (("large", large), ("small", small)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    kinds = ("labels", "overlay", "importance")
    prediction = FolderPrediction(Predictor(model, short_side=48), TABLE, tmp_path / "out", kinds)
    assert [outcome.status for outcome in prediction(find_inputs([str(tmp_path)], tmp_path / "out"))] == [
        "written",
        "written",
    ]
    pictures = {
        kind: read_image(tmp_path / "out" / f"large_{kind}.png") for kind in ("overlay", "importance")
    }
    assert {picture.shape for picture in pictures.values()} == {(96, 160, 3)}
    hard = predict(cv2.resize(large, (80, 48), interpolation=cv2.INTER_AREA))["importance"]
    assert hard.shape == (3, 5)
    labels = np.asarray(Image.open(tmp_path / "out" / "large_labels.png"))
    assert (model.predict_image(large, short_side=48)["label_ids"] == labels).all()
    assert (
        np.asarray(Image.open(tmp_path / "out" / "small_labels.png")) == predict(small)["label_ids"]
    ).all()


def test_images_of_one_size_come_after_each_other(predict: Predictor, tmp_path: Path) -> None:
    """Each size is compiled for; what was found has the inputs' order."""
    (tmp_path / "in").mkdir()
    for number, side in enumerate((96, 64, 96, 32, 64)):
        Image.new("RGB", (96, side)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "1_broken.png").write_bytes(b"no image")
    order: list[str] = []

    def track(items: Any, total: int | None, description: str) -> Any:
        items = [*items]
        order.extend(entry.path.stem for entry in items)
        return items

    inputs = find_inputs([str(tmp_path / "in")], tmp_path / "out")
    outcomes = FolderPrediction(predict, TABLE, tmp_path / "out", track=track)(inputs)
    assert order == ["3", "1", "4", "0", "2", "1_broken"]
    assert [outcome.path for outcome in outcomes] == [entry.path for entry in inputs]
    assert [outcome.status for outcome in outcomes].index("failed") == [
        entry.path.stem for entry in inputs
    ].index("1_broken")


def test_labels_are_the_prediction_at_the_image_size(predict: Predictor, picture: Path) -> None:
    (outcome,) = run(predict, picture)
    out = picture.parent.parent / "out"
    assert outcome == Outcome(picture, "written", {"labels": out / "a_labels.png"})
    expected = predict(read_image(picture))["label_ids"]
    assert np.mean(read_label(out / "a_labels.png") == expected) > 0.999
    assert sorted(path.name for path in out.iterdir()) == sorted(["a_labels.png", *SHARED])


def test_all_kinds_are_written_at_the_image_size(predict: Predictor, picture: Path) -> None:
    (outcome,) = run(predict, picture, *KINDS)
    assert set(outcome.files) == set(KINDS)
    assert {image_size(file) for file in outcome.files.values()} == {SIZE}


def test_what_is_there_is_kept_and_what_is_missing_is_written(predict: Predictor, picture: Path) -> None:
    labels = picture.parent.parent / "out" / "a_labels.png"
    assert run(predict, picture)[0].status == "written"
    labels.write_text("mine")
    assert run(predict, picture)[0].status == "kept"
    assert run(predict, picture, "labels", "overlay")[0].status == "written"
    assert labels.read_text() == "mine"
    assert run(predict, picture, overwrite=True)[0].status == "written"
    assert read_label(labels).shape == SIZE


def test_bad_file_does_not_stop_the_others(predict: Predictor, picture: Path) -> None:
    bad = picture.with_name("0.png")
    bad.write_text("no picture")
    failed, written = run(predict, picture.parent)
    assert (failed.status, failed.path) == ("failed", bad)
    assert failed.error is not None
    assert "is not an image" in failed.error
    assert written.status == "written"


def test_a_file_of_another_kind_is_told_all_that_can_be_predicted(predict: Predictor, picture: Path) -> None:
    other = picture.with_name("a.flv")
    other.touch()
    (failed,) = run(predict, other)
    assert re.search("files ending in '.flv' are not supported; expected .png, .*.mp4", str(failed.error))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
    ],
)
def test_an_image_too_large_for_the_memory_does_not_stop_the_others(
    predict: Predictor, picture: Path, error: Exception
) -> None:
    Image.fromarray(images(96, 160)[0]).save(picture.with_name("b.png"))

    class Small:
        region_size, compiled, short_side = predict.region_size, 0, None

        def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
            if image.shape[0] > SIZE[0]:
                raise error
            return {"label_ids": np.zeros(image.shape[:2], np.uint8)}

    written, failed = run(Small(), picture.with_name("*.png"))  # type: ignore[arg-type]
    assert written.status == "written"
    assert "b.png: 96x160 pixels are too many for the memory; predict it with a" in str(failed.error)


@pytest.mark.parametrize("step", ["folder.read_image", "predictor.shrunk", "folder.overlay"])
@pytest.mark.parametrize(
    "error",
    [MemoryError(), cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes in 'OutOfMemory'")],
)
def test_so_it_is_around_the_network(
    predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    monkeypatch.setattr(f"fornet_keras.prediction.{step}", Mock(side_effect=error))
    (failed,) = run(predict, picture, "overlay")
    assert "a.png: 70x100 pixels are too many for the memory; predict it with a" in str(failed.error)


def test_an_error_of_the_predictors_own_ends_the_run(predict: Predictor, picture: Path) -> None:
    broken = Mock(side_effect=RuntimeError("shapes differ"), compiled=0, short_side=None)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(broken, picture)


def test_a_server_without_memory_ends_the_run(predict: Predictor, picture: Path) -> None:
    """It is no finding on the image, and the images after it would fail too."""
    there = Mock(
        side_effect=ServingError("city did not answer (RESOURCE_EXHAUSTED: queue)"),
        compiled=0,
        short_side=None,
    )
    with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED"):
        run(there, picture)


def test_video_becomes_an_overlay_video(predict: Predictor, picture: Path) -> None:
    video = write_video(picture.with_name("v.avi"), 3, 64, 96)
    (outcome,) = run(predict, video, *KINDS)
    assert outcome.files == {"overlay": picture.parent.parent / "out" / "v_overlay.mp4"}
    frames, _ = read_video(outcome.files["overlay"])
    assert (len(frames), frames[0].shape) == (3, (64, 96, 3))
    assert run(predict, video)[0].status == "kept"


def test_notes_on_a_video_are_handed_on(predict: Predictor, picture: Path) -> None:
    (outcome,) = run(predict, write_video(picture.with_name("v.avi"), 2, 64, 96, 1000))
    assert [note.partition(": ")[2] for note in outcome.notes] == [
        "says 1000 frames a second; written with 25"
    ]


def test_a_name_too_long_for_its_predictions_does_not_stop_the_others(
    predict: Predictor, picture: Path
) -> None:
    picture.with_name("0" * 246 + ".png").write_bytes(picture.read_bytes())
    failed, written = run(predict, picture.with_name("*.png"))
    assert "predictions are too long for the disk; rename the file" in str(failed.error)
    assert written.status == "written"


def test_so_may_a_streams_name_be(predict: Predictor, tmp_path: Path) -> None:
    stream = find_inputs([f"http://127.0.0.1:9/{'0' * 246}"], tmp_path)
    (failed,) = FolderPrediction(predict, TABLE, tmp_path)(stream)
    assert str(failed.error).endswith("too long for the disk; predict it from a shorter address")


def test_a_full_disk_ends_the_run(predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fornet_keras.prediction.folder.write_labels", full)
    with pytest.raises(OSError, match="No space left"):
        run(predict, picture)
