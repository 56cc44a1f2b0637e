import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data.label_files import read_label
from fornet_keras.evaluation.compare import read_result
from fornet_keras.evaluation.tables import four_digits
from tests.cli.conftest import DATASET, Run, only_line
from tests.model.folders import edit
from tests.serving.conftest import ratios

__all__ = ["ratios"]


@pytest.mark.backend
def test_scores_of_every_class(run: Run, model: Path, config: Path, data: Path, tmp_path: Path) -> None:
    saved, result_file = tmp_path / "saved", tmp_path / "scores.json"
    options = ("--config", config, "--data", data, "--top-k", 0.25)
    result = run("evaluate", model, *options, "--save-predictions", saved, "--json", result_file)
    assert (result.exit_code, result.stderr) == (0, "")
    scores = json.loads(result_file.read_text())
    assert (scores["num_images"], scores["top_k"], scores["split"]) == (2, 0.25, "test")
    how = {"flip": False, "scales": [], "window": None, "skipped": 0}
    assert {name: scores[name] for name in how} == how and scores["runtime"].startswith("keras ")
    assert [*scores["iou"]] == ["water", "quay", "sky"]
    assert scores["miou"] == pytest.approx(np.mean([*scores["iou"].values()]))
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["class"] == ["images", "pixels", "IoU", "precision", "recall", "F1"]
    by_class = ("iou", "precision_by_class", "recall_by_class", "f1_by_class")
    shares = [four_digits(scores[name]["water"]) for name in by_class]
    assert rows["water"] == ["2", "4,560", *shares]  # 2 images of 24 x 95 pixels
    assert rows["mIoU"][0] == f"{scores['miou']:.4f}"
    assert "in the 25% of regions that were refined" in result.stdout
    assert [*scores["band_miou"]] == ["1", "3", "5"]
    assert f"{scores['band_miou']['3']:.4f} at 3 px" in result.stdout

    # The saved predictions hold the data's own values, and give the same confusion matrix.
    counts = np.zeros((3, 3), int)
    for name in ("a", "b"):
        label = read_label(data / "labels" / "test" / f"{name}.png")
        prediction = read_label(saved / "images" / "test" / f"{name}.png")
        pairs = [(label == t) & (prediction == p) for t in (3, 7, 9) for p in (3, 7, 9)]
        counts += np.array([pair.sum() for pair in pairs]).reshape(3, 3)
    assert counts.tolist() == scores["confusion_matrix"]


def test_another_split(run: Run, model: Path, config: Path, data: Path) -> None:
    result = run("evaluate", model, "--config", config, "--data", data, "--split", "train")
    assert (result.exit_code, f"{model} on harbour train" in result.stdout) == (0, True)
    result = run("evaluate", model, "--config", config, "--data", data, "--split", "nigth")
    assert result.exit_code == 1
    assert "has no split 'nigth'; expected one of test, train" in only_line(result.stderr)


def test_a_run_brings_its_own_configuration(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("evaluate", model, "--data", data)
    message = f"Missing option '--config': {model} has no config.yaml of its own"
    assert (result.exit_code, message in result.stderr) == (2, True)
    shutil.copytree(model, tmp_path / "run" / "best")
    shutil.copy(config, tmp_path / "run" / "config.yaml")
    monkeypatch.chdir(tmp_path)
    result = run("evaluate", "run", "--data", data.name, "--json", "scores.json")
    assert (result.exit_code, "run on harbour test" in result.stdout) == (0, True)
    monkeypatch.chdir(data)  # from where the file means the same
    found = read_result(tmp_path / "scores.json")
    assert (found.settings["training.epochs"], found.settings["scored.data"]) == (1, str(data))
    assert {*found.image_miou()} == {"images/test/a.png", "images/test/b.png"}


def test_other_classes_are_refused(run: Run, model: Path, config: Path, data: Path) -> None:
    description = data / "dataset.yaml"
    description.write_text(description.read_text().replace("name: quay", "name: pier"))
    result = run("evaluate", model, "--config", config, "--data", data)
    assert result.exit_code == 1
    finding, expected, advice = only_line(result.stderr).split("; ")
    classes = "the model's 3 classes (water, quay, sky) are not the 3 of harbour (water, pier, sky)"
    assert finding == f"Error: {model}: {classes}: class 1 is quay there and pier here"
    assert expected == "expected the same, in the same order"
    theirs = "use the configuration of the data that the model was trained on, or"
    assert advice == f"{theirs}, if they mean the same, rename in dataset.yaml: pier to quay"
    ordered = DATASET.replace("quay", "other").replace("sky", "quay").replace("other", "sky")
    fewer = re.sub(".*quay.*\n", "", DATASET).replace("[0]", "[0, 7]")
    for own, fix in (
        (ordered, "name and order them so in dataset.yaml, each with the value that it has"),
        (fewer, "describe yours as its 3 in another dataset.yaml (docs/scoring.md)"),
    ):
        description.write_text(own)
        result = run("evaluate", model, "--config", config, "--data", data)
        assert only_line(result.stderr).endswith(f"; {theirs} {fix}")


def test_what_is_no_model_is_said_before_a_backend_starts(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the folder of the images is, where the arguments are swapped."""
    for command in ("evaluate", "predict"):
        monkeypatch.setattr(f"fornet_keras.cli.{command}.start_backend", None)
    images = data / "images" / "test"
    for arguments in (
        ("evaluate", images, "--config", config, "--data", data),
        ("predict", images, images, "--output", tmp_path / "predicted"),
    ):
        result = run(*arguments)
        assert (result.exit_code, f"Error: {images}" in only_line(result.stderr)) == (1, True)


def test_missing_label_is_refused(run: Run, model: Path, config: Path, data: Path) -> None:
    (data / "labels" / "test" / "a.png").unlink()
    result = run("evaluate", model, "--config", config, "--data", data)
    assert result.exit_code == 1
    assert "1 missing label" in only_line(result.stderr)


def test_a_split_that_is_all_void_is_refused(run: Run, model: Path, config: Path, data: Path) -> None:
    for name in ("a", "b"):
        Image.new("L", (96, 64), 0).save(data / "labels" / "test" / f"{name}.png")
    result = run("evaluate", model, "--config", config, "--data", data)
    assert result.exit_code == 1
    assert f"{data}: no label of split 'test' has a pixel of any class" in only_line(result.stderr)


def test_a_split_without_labels_is_predicted_alone(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    """As a benchmark's test split, whose server takes the data's own values; what is asked of scores is not
    passed over, and one label that is missing among others is no such thing."""
    options = ("--config", config, "--data", data, "--save-predictions")
    whole = tmp_path / "whole"
    assert run("evaluate", model, *options, whole).exit_code == 0
    (data / "labels/test/a.png").unlink()
    result = run("evaluate", model, *options, tmp_path / "saved")
    assert (result.exit_code, "1 missing label, " in only_line(result.stderr)) == (1, True)
    (data / "labels/test/b.png").unlink()
    for asked in (("--json", tmp_path / "a.json"), ("--report", tmp_path / "report"), ("--curve", "0.5")):
        result = run("evaluate", model, *options, tmp_path / "saved", *asked)
        assert (result.exit_code, "2 missing labels, " in only_line(result.stderr)) == (1, True)
    assert run("evaluate", model, *options[:-1]).exit_code == 1
    result = run("evaluate", model, *options, tmp_path / "saved")
    assert (result.exit_code, result.stderr) == (0, "")
    said = f"no image of 'test' has a label: predicted, not scored\npredictions: {tmp_path}/saved\n"
    assert result.stdout == said
    for name in ("a", "b"):
        saved = Path("images/test", f"{name}.png")
        assert (tmp_path / "saved" / saved).read_bytes() == (whole / saved).read_bytes()
    (data / "images/test/a.png").write_bytes(b"")
    result = run("evaluate", model, *options, tmp_path / "more")
    assert (result.exit_code, "a.png: is empty" in only_line(result.stderr)) == (1, True)
    result = run("evaluate", model, *options, tmp_path / "more", "--on-error", "skip")
    assert (result.exit_code, [path.name for path in (tmp_path / "more").rglob("*.png")]) == (0, ["b.png"])


def test_folder_without_a_model(run: Run, config: Path, data: Path) -> None:
    result = run("evaluate", data, "--config", config, "--data", data)
    assert result.exit_code == 1
    assert f"Error: {data}: no model.json in it; expected a run folder" in only_line(result.stderr)


def test_predictions_never_overwrite_the_images(run: Run, model: Path, config: Path, data: Path) -> None:
    images = {path: path.read_bytes() for path in (data / "images").rglob("*.png")}
    result = run("evaluate", model, "--config", config, "--data", data, "--save-predictions", data)
    assert result.exit_code == 1
    assert "is the data's own folder; expected another one" in only_line(result.stderr)
    assert images and {path: path.read_bytes() for path in images} == images


def test_predictions_never_overwrite_the_labels(run: Run, model: Path, config: Path, tmp_path: Path) -> None:
    """A label beside its image, with another ending, in a folder that the description leads to."""
    (tmp_path / "test").mkdir()
    (tmp_path / "data").mkdir()
    cv2.imwrite(str(tmp_path / "test" / "a.jpg"), np.zeros((64, 96, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "test" / "a.png"), np.full((64, 96), 3, np.uint8))
    pattern = 'images: "../{split}"\nlabels: "../{split}"\nimage_suffixes: [.jpg]\n'
    (tmp_path / "data" / "dataset.yaml").write_text(DATASET + pattern)
    label = (tmp_path / "test" / "a.png").read_bytes()
    options = ("--config", config, "--data", tmp_path / "data", "--save-predictions", tmp_path)
    result = run("evaluate", model, *options)
    assert result.exit_code == 1
    assert f"{tmp_path}/test/a.png: is there already; expected a folder without" in only_line(result.stderr)
    assert (tmp_path / "test" / "a.png").read_bytes() == label


def test_predictions_never_overwrite_a_copy_of_the_data(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    result = run("evaluate", model, "--config", config, "--data", data, "--save-predictions", copy)
    assert result.exit_code == 1
    assert f"{copy}/images/test/a.png: is there already; expected a folder" in only_line(result.stderr)


def test_problems_are_skipped_where_asked_for(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    (data / "labels" / "test" / "a.png").write_bytes(b"")
    options = ("--config", config, "--data", data, "--on-error", "skip", "--json", tmp_path / "scores.json")
    result = run("evaluate", model, *options)
    assert result.exit_code == 0
    line = only_line(result.stderr)
    assert line.startswith("harbour test: skipped 1 of 2 images: ") and "a.png: is empty (0 bytes)" in line
    assert f"{model} on harbour test, without 1 of 2 images" in result.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["skipped"] == 1
    (data / "images" / "test" / "b.png").write_bytes(b"")
    result = run("evaluate", model, "--config", config, "--data", data, "--on-error", "skip")
    assert result.exit_code == 1
    assert "no image of split 'test' is without a problem" in only_line(result.stderr)


def test_report_and_curve(run: Run, model: Path, config: Path, data: Path, tmp_path: Path) -> None:
    report, result_file = tmp_path / "report", tmp_path / "scores.json"
    options = ("--config", config, "--data", data, "--top-k", 0.5)
    result = run("evaluate", model, *options, "--curve", "0.2,1", "--report", report, "--json", result_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(f"report: {report / 'index.html'}\n")
    scores = json.loads(result_file.read_text())
    assert (scores["top_k"], [point["top_k"] for point in scores["curve"]]) == (0.5, [0.2, 0.5, 1])
    assert [point["error_coverage"] for point in scores["curve"]][2] == 1
    for point in scores["curve"]:
        assert f"{point['miou']:.4f}" in (report / "index.html").read_text("utf-8")
        assert f"{point['miou']:.4f}" in result.stdout


def test_a_report_never_overwrites_a_website(run: Run, model: Path, config: Path, data: Path) -> None:
    page = data / "index.html"
    page.write_text("my site")
    result = run("evaluate", model, "--config", config, "--data", data, "--report", data)
    assert (result.exit_code, result.stdout, page.read_text()) == (1, "", "my site")
    assert f"{page}: is there already and is not of a report" in only_line(result.stderr)


def test_a_submission_is_of_cityscapes(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    options = ("--config", config, "--data", data, "--submission", tmp_path / "submission")
    result = run("evaluate", model, *options)
    assert result.exit_code == 2
    assert "--submission is of data in the layout of Cityscapes" in result.stderr
    assert "data.format folder: --save-predictions DIR writes its label values" in result.stderr
    result = run("evaluate", model, *options, "--save-predictions", tmp_path / "x" / ".." / "submission")
    assert result.exit_code == 2
    assert "--save-predictions and --submission write the same files: two folders" in result.stderr
    assert not (tmp_path / "submission").exists()


@pytest.mark.usefixtures("traced")
def test_windows_and_views(run: Run, model: Path, config: Path, data: Path, tmp_path: Path) -> None:
    options = ("--config", config, "--data", data, "--json", tmp_path / "scores.json", "--top-k", 0.25)
    scores, shares = [], []
    for views, how in (
        ((), (None, [], False)),
        (("--window", "64x96"), ([64, 96], [], False)),
        (("--window", "32x64", "--flip", "--scales", "0.5,1.5"), ([32, 64], [0.5, 1.5], True)),
    ):
        result = run("evaluate", model, *options, *views)
        assert (result.exit_code, result.stderr) == (0, "")
        found = json.loads((tmp_path / "scores.json").read_text())
        assert (found["window"], found["scales"], found["flip"]) == how
        scores.append(found["confusion_matrix"])
        shares.append(found["refined_share"])
        refined = re.search("in the (.*)% of regions that were refined", result.stdout)
        assert refined and float(refined[1]) == pytest.approx(100 * shares[-1], rel=0.01)
    assert shares[:2] == [0.25, 0.25] and shares[2] > 0.25, "windows that overlap refine more between them"
    assert np.abs(np.subtract(scores[0], scores[1])).sum() <= 4, "a window over the whole image"
    assert scores[2] != scores[0]
    assert "test, windows of 32x64, also at scale 0.5, also at scale 1.5, also mirrored\n" in result.stdout


def test_the_size_at_which_the_model_has_learnt(
    run: Run, model: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    """Is taken and said, unless another is asked for; of each label every pixel is scored."""
    learnt = shutil.copytree(model, tmp_path / "learnt")
    edit(learnt, lambda description: description.update(short_side=32))
    found = {}
    for folder, asked in ((learnt, ()), (model, (32, "--curve", 1)), (learnt, (0,)), (model, ())):
        option = ("--short-side", *asked) if asked else ()
        result = run(
            "evaluate", folder, "--config", config, "--data", data, "--json", tmp_path / "a.json", *option
        )
        assert result.exit_code == 0, result.stderr
        found[folder, asked] = json.loads((tmp_path / "a.json").read_text())
        if (folder, asked) == (learnt, ()):
            line = only_line(result.stderr)
            assert line.startswith("larger images are brought down to a shorter side of 32 pixels, at which ")
            assert line.endswith("/learnt has learnt; --short-side 0 leaves them as they are")
        else:
            assert not result.stderr
    small, same, own, plain = found.values()
    assert [scores["short_side"] for scores in found.values()] == [32, 32, None, None]
    assert [point["short_side"] for point in same["curve"]] == [32, 32]
    pixels = [np.sum(scores["confusion_matrix"], axis=1).tolist() for scores in found.values()]
    assert pixels == pixels[:1] * 4
    assert small["confusion_matrix"] == same["confusion_matrix"] != own["confusion_matrix"]
    assert own["confusion_matrix"] == plain["confusion_matrix"]


def test_an_exported_model_is_scored_as_the_model_is(
    run: Run, model: Path, ratios: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    """Images of another size too, each label at its own."""
    for kind, mode in (("images", Image.Resampling.BILINEAR), ("labels", Image.Resampling.NEAREST)):
        file = data / kind / "test" / "b.png"
        with Image.open(file) as picture:
            picture.resize((192, 128), mode).save(file)
    options = ("--config", config, "--data", data, "--json", tmp_path / "scores.json")
    found = []
    for scored, more in ((ratios / "k0.25", ()), (model, ("--top-k", 0.25, "--short-side", 64))):
        saved, report = tmp_path / scored.name / "saved", tmp_path / scored.name / "report"
        result = run("evaluate", scored, *options, *more, "--report", report, "--save-predictions", saved)
        assert result.exit_code == 0, result.stderr
        assert ("error coverage" in result.stdout) == (scored == model)
        assert read_label(saved / "images" / "test" / "b.png").shape == (128, 192)
        with Image.open(report / "worst_02.jpg") as worst:
            assert worst.width > 4 * worst.height, "label, prediction and importance"
        found.append(json.loads((tmp_path / "scores.json").read_text()))
    ours, theirs = found
    counts = [np.array(scores["confusion_matrix"]) for scores in found]
    assert (counts[0].sum(1) == counts[1].sum(1)).all(), "the same pixels"
    assert np.abs(counts[0] - counts[1]).sum() < 0.05 * counts[0].sum()
    assert (ours["top_k"], ours["num_images"], ours["error_coverage"]) == (0.25, 2, None)
    assert (ours.pop("size"), ours.pop("precision"), ours["runtime"]) == ([64, 96], "float32", "onnx")
    assert {*ours} == {*theirs} and ours["boundary_f"] == pytest.approx(theirs["boundary_f"], abs=0.05)


def test_an_exported_model_is_asked_for_what_it_can(
    run: Run, ratios: Path, config: Path, data: Path, tmp_path: Path
) -> None:
    artifact = ratios / "phone"
    options = ("--top-k", 0.5, "--flip", "--short-side", 0, "--curve", "0.1,1")
    result = run("evaluate", artifact, "--config", config, "--data", data, *options)
    assert result.exit_code == 2
    message = "--top-k, --flip, --short-side, --curve: an exported model has its own runtime, size and top-k"
    assert message in result.stderr
    result = run("evaluate", artifact, "--data", data)
    message = f"Missing option '--config': {artifact} has no config.yaml of its own; take that of"
    assert (result.exit_code, message in result.stderr) == (2, True)
    description = data / "dataset.yaml"
    description.write_text(description.read_text().replace("name: quay", "name: pier"))
    result = run("evaluate", artifact, "--config", config, "--data", data)
    assert result.exit_code == 1
    assert "the model's 3 classes (water, quay, sky) are not the 3 of harbour" in result.stderr


def test_windows_that_the_model_cannot_take(run: Run, model: Path, config: Path, data: Path) -> None:
    result = run("evaluate", model, "--config", config, "--data", data, "--window", "40x64")
    assert result.exit_code == 2
    assert "--window is 40x64; expected multiples of 16, the model's region size" in result.stderr
