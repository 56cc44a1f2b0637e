"""Whose the files in an output folder are."""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from PIL import Image

from fornet_keras.atomic import locked
from fornet_keras.data.dataset import LabelTable
from fornet_keras.data.images import image_size
from fornet_keras.errors import DataError, FoRNetError
from fornet_keras.prediction import outputs
from fornet_keras.prediction.folder import FolderPrediction
from fornet_keras.prediction.inputs import find_inputs
from fornet_keras.prediction.predictor import Predictor
from tests.model.tiny import images
from tests.prediction.conftest import SHARED, TABLE, run
from tests.prediction.videos import write_trimmed


def test_a_second_recording_is_not_taken_for_one_that_is_there(predict: Predictor, tmp_path: Path) -> None:
    camera = find_inputs(["camera:7"], tmp_path)
    (failed,) = FolderPrediction(predict, TABLE, tmp_path, overwrite=True)(camera)
    assert "gives no frame" in str(failed.error)
    (tmp_path / "camera_7_overlay.mp4").write_bytes(b"recorded")
    other = FolderPrediction(predict, TABLE, tmp_path, overwrite=True, settings={"top_k": 0.5})
    (failed,) = other(camera)
    assert str(failed.error).endswith("overlay.mp4 stays as it was recorded, with the settings of then")
    assert (tmp_path / "camera_7_overlay.mp4").exists()
    (failed,) = FolderPrediction(predict, TABLE, tmp_path)(camera)
    assert re.fullmatch(
        "camera:7: .*overlay.mp4 is there already; replace it with --overwrite, or .*", str(failed.error)
    )


def test_a_camera_that_another_command_records_is_refused(predict: Predictor, tmp_path: Path) -> None:
    """Its end would take the place of the other's recording."""
    camera = find_inputs(["camera:7"], tmp_path)
    prediction = FolderPrediction(predict, TABLE, tmp_path)
    with prediction._record.recording(*camera):
        (refused,) = prediction(camera)
    video = tmp_path / "camera_7_overlay.mp4"
    assert (
        refused.error
        == f"camera:7: {video}: another command records it; end that one, or choose another --output"
    )
    assert "gives no frame" in str(prediction(camera)[0].error)


def test_an_empty_file_is_no_prediction(predict: Predictor, picture: Path) -> None:
    """As a power cut may leave one."""
    run(predict, picture)
    labels = picture.parent.parent / "out" / "a_labels.png"
    labels.write_bytes(b"")
    assert run(predict, picture)[0].status == "written" and labels.stat().st_size
    assert run(predict, picture)[0].status == "kept"


def test_runs_into_one_folder_at_once_record_all_their_sources(
    predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = picture.parent.parent / "out"
    for name in "bcdefgh":
        picture.with_name(f"{name}.png").write_bytes(picture.read_bytes())
    read = outputs._read
    monkeypatch.setattr(outputs, "_read", lambda *of: [read(*of), time.sleep(0.02)][0])
    with ThreadPoolExecutor(8) as pool:
        runs = [
            pool.submit(FolderPrediction(predict, TABLE, output).begin, find_inputs([str(path)], output))
            for path in picture.parent.iterdir()
        ]
        for begun in runs:
            begun.result()
    assert set(json.loads((output / "sources.json").read_text())) == set("abcdefgh")


def test_an_output_takes_its_place_only_in_a_folder_of_its_settings(
    predict: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands at once with other settings: as long as nothing is there, each may begin."""
    output = picture.parent.parent / "out"
    inputs = find_inputs([str(picture)], output)
    first, *second = (
        FolderPrediction(predict, TABLE, output, settings={"top_k": k}) for k in (0.5, 0.2, 0.2)
    )
    for prediction in (first, *second):
        prediction.begin(inputs)
    with pytest.raises(FoRNetError, match="out: is of other settings by now .top_k is 0.2 there") as caught:
        first.one(*inputs)
    assert type(caught.value) is FoRNetError, "it ends the run, whatever the other inputs are"
    assert sorted(path.name for path in output.iterdir()) == SHARED
    replace = Path.replace

    def while_nobody_else_can_begin(path: Path, target: Path) -> Path:
        with pytest.raises(Timeout), locked(output / ".lock", blocking=False):
            pass
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", while_nobody_else_can_begin)
    assert [prediction.one(*inputs).status for prediction in second] == ["written", "kept"]


def test_a_video_that_is_being_written_keeps_other_settings_out(predict: Predictor, picture: Path) -> None:
    """Or a recording, which cannot be made again, would find its place taken in the end."""
    output, video = picture.parent.parent / "out", write_trimmed(picture.with_name("b.mp4"), 3, 0)
    other = FolderPrediction(predict, TABLE, output, settings={"top_k": 0.5}, overwrite=True)

    def begin_other(frames: Iterable[Any], total: int | None, name: str) -> Iterator[Any]:
        for number, frame in enumerate(frames):
            if number and name == "b.mp4":
                with pytest.raises(DataError, match="mp4: a video that another command writes with other"):
                    other.begin(find_inputs([str(picture)], output))
            yield frame

    first = FolderPrediction(predict, TABLE, output, track=begin_other, settings={"top_k": 0.2})
    assert first(find_inputs([str(video)], output))[0].status == "written"


def test_a_folder_of_another_model_is_refused(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    FolderPrediction(predict, TABLE, output)(find_inputs([str(picture)], output))
    other = LabelTable(("road", "quay", "sky"), TABLE.colors, TABLE.train_ids)
    with pytest.raises(DataError, match="other classes., 1 in all, such as a_labels.png; .* --overwrite"):
        FolderPrediction(predict, other, output)(find_inputs([str(picture)], output))
    FolderPrediction(predict, other, output, overwrite=True)(find_inputs([str(picture)], output))


def test_predictions_whose_settings_nobody_knows_are_others(predict: Predictor, picture: Path) -> None:
    run(predict, picture)
    (picture.parent.parent / "out" / "settings.json").unlink()
    with pytest.raises(DataError, match="predictions .* .no settings.json says which.*with --overwrite"):
        run(predict, picture)
    assert run(predict, picture, overwrite=True)[0].status == "written"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("settings.json", '{"mine": 1}'),
        ("settings.json", "[1"),
        ("sources.json", '{"pypi": "https://pypi.org"}'),
        ("sources.json", "{"),
        ("sources.json", "[" * 100_000),
        ("legend.png", "mine"),
        ("a_labels.png", "mine"),
        ("a_overlay.png", "mine"),
    ],
)
def test_a_file_of_the_users_own_stays(
    predict: Predictor, picture: Path, name: str, content: str, overwrite: bool
) -> None:
    """Also what is only called like a prediction: it may be the label that belongs to the image."""
    path = picture.parent.parent / "out" / name
    path.parent.mkdir()
    path.write_text(content)
    finding = (
        "is not of an earlier" if name.endswith("json") else "is there already, and no sources.json says"
    )
    with pytest.raises(DataError, match=f"out/{name}: {finding} .*; choose another folder, or move it away"):
        run(predict, picture, overwrite=overwrite)
    assert path.read_text() == content
    assert {file.name for file in path.parent.iterdir()} == {".lock", name}


def test_a_label_beside_predictions_of_other_images_stays(predict: Predictor, picture: Path) -> None:
    label = picture.parent.parent / "out" / "b_labels.png"
    run(predict, picture)
    label.write_text("mine")
    assert run(predict, picture)[0].status == "kept"
    with pytest.raises(DataError, match="b_labels.png: is there already, and no sources.json says"):
        run(predict, picture.rename(picture.with_name("b.png")), overwrite=True)
    assert label.read_text() == "mine"


def test_what_stays_is_never_of_other_settings(predict: Predictor, picture: Path, tmp_path: Path) -> None:
    """To overwrite some is refused, and one that is broken off leaves nothing old to be kept."""
    output, second = tmp_path / "out", picture.with_name("b.png")
    second.write_bytes(picture.read_bytes())
    both = find_inputs([str(picture.parent)], output)
    FolderPrediction(predict, TABLE, output, settings={"top_k": 0.5})(both)
    again = FolderPrediction(predict, TABLE, output, overwrite=True, settings={"top_k": 0.25})
    with pytest.raises(DataError, match="top_k is 0.5 there and 0.25 here., 1 in all.*b_labels.png"):
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
        assert outcome.status == "failed" and "no such file, or no permission" in str(outcome.error)
        assert labels.exists()
    away.rename(picture)
    assert run(predict, picture)[0].status == "kept"


def test_files_of_one_size_and_time_are_told_apart(predict: Predictor, tmp_path: Path) -> None:
    """As a camera's uncompressed pictures are that were unpacked together."""
    for folder, color in (("left", "red"), ("right", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30), color).save(tmp_path / folder / "f1.bmp")
        os.utime(tmp_path / folder / "f1.bmp", (0, 0))
    left, right = tmp_path / "left" / "f1.bmp", tmp_path / "right" / "f1.bmp"
    run(predict, left)
    with pytest.raises(DataError, match=f"f1_labels.png: is there already, of {left}, and would be"):
        run(predict, right)
    left.rename(right)
    assert run(predict, right)[0].status == "kept", "the same file, moved"


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


def test_a_video_and_an_image_of_one_name_are_told_apart(predict: Predictor, picture: Path) -> None:
    video = write_trimmed(picture.with_suffix(".mp4"), 3, 0)
    for path, status in ((picture, "written"), (video, "written"), (picture, "kept"), (video, "kept")):
        assert run(predict, path)[0].status == status
    own = picture.parent.parent / "out" / "b_overlay.mp4"
    own.write_text("mine")
    assert run(predict, picture.rename(picture.with_name("b.png")))[0].status == "written"
    with pytest.raises(DataError, match="b_overlay.mp4: is there already, and no sources.json says"):
        run(predict, video.rename(video.with_name("b.mp4")), overwrite=True)


def test_an_image_that_cannot_be_read_takes_no_video_over(predict: Predictor, picture: Path) -> None:
    video = write_trimmed(picture.with_suffix(".mp4"), 3, 0)
    unreadable = picture.with_suffix(".tif")
    unreadable.touch()
    for path, overwrite, status in (
        (video, False, "written"),
        (unreadable, True, "failed"),
        (video, False, "kept"),
    ):
        assert run(predict, path, overwrite=overwrite)[0].status == status


def test_an_image_that_is_called_like_the_overlay_of_a_video(predict: Predictor, picture: Path) -> None:
    alike = picture.rename(picture.with_name("x_overlay.mp4.png"))
    video, output = write_trimmed(picture.with_name("x.mp4"), 3, 0), picture.parent.parent / "out"
    for path, status in ((alike, "written"), (video, "written"), (alike, "kept"), (video, "kept")):
        assert run(predict, path)[0].status == status
    with pytest.raises(DataError, match="is of an earlier prediction; "):
        find_inputs([str(output / "x_overlay.mp4_labels.png"), str(output / "x_overlay.mp4")], output)
