import errno
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.images import image_size, read_image
from fornet_keras.data.label_files import read_label
from fornet_keras.errors import DataError, ServingError
from fornet_keras.model import FoRNet
from fornet_keras.prediction import record
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.outputs import KINDS
from fornet_keras.prediction.predict import FolderPrediction, Outcome
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import images
from tests.prediction.conftest import SIZE
from tests.prediction.test_video import read_video, write_video

TABLE = LabelTable(("water", "quay", "sky"), ((0, 0, 200), (90, 90, 90), (130, 180, 230)), {0: 0, 1: 1, 2: 2})


def run(predict: Predictor, path: Path, *kinds: str, overwrite: bool = False) -> list[Outcome]:
    output = path.parent.parent / "out"
    prediction = FolderPrediction(predict, TABLE, output, kinds or ("labels",), overwrite)
    return prediction(find_inputs([str(path)], output))


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


SHARED = [".lock", "legend.png", "settings.json", "sources.json"]


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


@pytest.mark.parametrize("step", ["predict.read_image", "predictor.shrunk", "predict.overlay"])
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


def test_a_second_recording_is_not_taken_for_one_that_is_there(predict: Predictor, tmp_path: Path) -> None:
    (tmp_path / "camera_7_overlay.mp4").touch()
    camera = find_inputs(["camera:7"], tmp_path)
    (failed,) = FolderPrediction(predict, TABLE, tmp_path, overwrite=True)(camera)
    assert "gives no frame" in str(failed.error)
    (tmp_path / "camera_7_overlay.mp4").touch()
    (failed,) = FolderPrediction(predict, TABLE, tmp_path)(camera)
    assert re.fullmatch("camera:7: .*overlay.mp4 is there already; move it away or .*", str(failed.error))


def test_runs_into_one_folder_at_once_record_all_their_sources(
    predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = picture.parent.parent / "out"
    for name in "bcdefgh":
        picture.with_name(f"{name}.png").write_bytes(picture.read_bytes())
    read = record._read_dict
    monkeypatch.setattr(record, "_read_dict", lambda path: [read(path), time.sleep(0.02)][0])
    with ThreadPoolExecutor(8) as pool:
        runs = [
            pool.submit(FolderPrediction(predict, TABLE, output).begin, find_inputs([str(path)], output))
            for path in picture.parent.iterdir()
        ]
        for begun in runs:
            begun.result()
    assert set(json.loads((output / "sources.json").read_text())) == set("abcdefgh")


def test_a_folder_of_another_model_is_refused(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    FolderPrediction(predict, TABLE, output)(find_inputs([str(picture)], output))
    other = LabelTable(("road", "quay", "sky"), TABLE.colors, TABLE.train_ids)
    with pytest.raises(DataError, match="other classes., such as a_labels.png; .* --overwrite"):
        FolderPrediction(predict, other, output)(find_inputs([str(picture)], output))
    FolderPrediction(predict, other, output, overwrite=True)(find_inputs([str(picture)], output))


def test_a_record_that_cannot_be_read_is_another(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    run(predict, picture)
    (tmp_path / "out" / "settings.json").write_text("[1")
    with pytest.raises(DataError, match="1 predictions .* .no settings.json says which"):
        run(predict, picture)


def test_what_stays_is_never_of_other_settings(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    """To overwrite some is refused, and one that is broken off leaves nothing old to be kept."""
    output, second = tmp_path / "out", picture.with_name("b.png")
    second.write_bytes(picture.read_bytes())
    both = find_inputs([str(picture.parent)], output)
    FolderPrediction(predict, TABLE, output, settings={"top_k": 0.5})(both)
    again = FolderPrediction(predict, TABLE, output, overwrite=True, settings={"top_k": 0.25})
    with pytest.raises(DataError, match="1 predictions .*top_k is 0.5 there and 0.25 here.*b_labels.png"):
        again(find_inputs([str(picture)], output))
    again.begin(both)
    assert sorted(path.name for path in output.iterdir()) == SHARED
    assert [outcome.status for outcome in again(both)] == ["written", "written"]


def test_what_stays_is_never_of_another_state_of_the_image(predict: Predictor, picture: Path) -> None:
    """Of no kind, whether it was asked for in between or not."""
    run(predict, picture, "labels", "overlay")
    Image.fromarray(images(80, 90)[0]).save(picture)
    run(predict, picture, "labels")
    assert run(predict, picture, "labels", "overlay")[0].status == "written"
    for kind in ("labels", "overlay"):
        assert image_size(picture.parent.parent / "out" / f"a_{kind}.png") == (80, 90)


def test_a_disk_that_is_not_mounted_takes_no_predictions_with_it(predict: Predictor, picture: Path) -> None:
    away, labels = picture.with_name("away"), picture.parent.parent / "out" / "a_labels.png"
    run(predict, picture)
    (picture.parent / "list.txt").write_text("a.png")
    picture.rename(away)
    listed = find_inputs([f"@{picture.parent / 'list.txt'}"], labels.parent)
    for overwrite in (False, True):
        (outcome,) = FolderPrediction(predict, TABLE, labels.parent, overwrite=overwrite)(listed)
        assert outcome.status == "failed" and "no such file" in str(outcome.error)
        assert labels.exists()
    away.rename(picture)
    assert run(predict, picture)[0].status == "kept"


def test_predictions_of_nobody_knows_what_are_refused(predict: Predictor, picture: Path) -> None:
    out = picture.parent.parent / "out"
    run(predict, picture, "labels", "overlay")
    (out / "sources.json").write_text("{")
    with pytest.raises(DataError, match=r"is there already, of a file that sources.json does not name, and"):
        run(predict, picture)
    assert run(predict, picture, overwrite=True)[0].status == "written"
    assert not (out / "a_overlay.png").exists()


def test_a_name_too_long_for_its_predictions_does_not_stop_the_others(
    predict: Predictor, picture: Path
) -> None:
    picture.with_name("0" * 246 + ".png").write_bytes(picture.read_bytes())
    failed, written = run(predict, picture.with_name("*.png"))
    assert "predictions are too long for the disk; rename the file" in str(failed.error)
    assert written.status == "written"


def test_a_full_disk_ends_the_run(predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fornet_keras.prediction.predict.write_labels", full)
    with pytest.raises(OSError, match="No space left"):
        run(predict, picture)


def test_what_could_not_be_overwritten_is_gone(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    """The old labels must not pass for those of the new file."""
    run(predict, picture)
    other = tmp_path / "other" / "a.png"
    other.parent.mkdir()
    other.write_bytes(b"damaged")
    for overwrite in (True, False):
        assert run(predict, other, overwrite=overwrite)[0].status == "failed"
    assert not (tmp_path / "out" / "a_labels.png").exists()


def test_hidden_images_are_of_one_model_too(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    output, hidden = tmp_path / "out", picture.rename(picture.with_name(".a.png"))
    for top_k, known in ((0.5, False), (0.25, True)):
        prediction = FolderPrediction(predict, TABLE, output, settings={"top_k": top_k})
        if known:
            with pytest.raises(DataError, match="top_k is 0.5 there and 0.25 here.*, such as .a_labels.png"):
                prediction(find_inputs([str(hidden)], output))
        else:
            prediction(find_inputs([str(hidden)], output))
