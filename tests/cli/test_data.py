import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fornet_keras.cli.root import root
from fornet_keras.data import scan as scan_module
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.decoded import decoded_samples
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.images import image_size, read_image
from fornet_keras.data.scan_report import ScanReport
from fornet_keras.data.sources import open_dataset
from fornet_keras.data.synthetic import write_city
from fornet_keras.data.synthetic.city import MAX_SCENES
from fornet_keras.prediction.pictures import legend
from tests.cli.conftest import OR_FOLDER, Run, only_line
from tests.cli.test_usage import ROOT
from tests.data.unlisted import refuse_to_list


def test_synthesize_writes_what_was_asked_for(run: Run, tmp_path: Path) -> None:
    city, result_file = tmp_path / "city", tmp_path / "result.json"
    options = ("--train", 2, "--val", 1, "--size", "64x128", "--seed", 5)
    result = run("data", "synthesize", "--output", city, *options, "--json", result_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"2 training and 1 validation scenes: {city}\n"
    assert json.loads(result_file.read_text()) == {
        "output": str(city),
        "train": 2,
        "val": 1,
        "size": [64, 128],
        "seed": 5,
    }
    write_city(tmp_path / "same", 1, 1, (64, 128), 5)
    for path in (tmp_path / "same").rglob("*.png"):
        assert (city / path.relative_to(tmp_path / "same")).read_bytes() == path.read_bytes()
    assert [len(open_dataset("cityscapes", city, split)) for split in ("train", "val")] == [2, 1]
    assert image_size(open_dataset("cityscapes", city, "val").samples[0].image) == (64, 128)


def test_synthesize_refuses_a_folder_in_use(run: Run, config: Path) -> None:
    result = run("data", "synthesize", "--output", config.parent)
    assert result.exit_code == 1
    assert "exists already; expected a new or empty folder" in only_line(result.stderr)


def test_synthesize_refuses_more_scenes_than_there_are(run: Run, tmp_path: Path) -> None:
    for split in ("train", "val"):
        result = run("data", "synthesize", "--output", tmp_path / "city", f"--{split}", MAX_SCENES + 1)
        assert result.exit_code == 1
        assert f"num_{split} must be 1…1,000,000; received 1000001; use" in only_line(result.stderr)


def test_describe_drafts_what_check_reads(run: Run, data: Path) -> None:
    (data / "dataset.yaml").unlink()
    result = run("data", "describe", data)
    assert (result.exit_code, result.stderr) == (0, "")
    first = (
        f"{data}/dataset.yaml: a draft of 4 classes, from the values in 4 of 4 labels\n"
        "images: images/{split}; labels: labels/{split}; splits: test, train\n"
    )
    check = f"fornet data check --config finetune --data {data} --set data.val_split=test"
    assert result.stdout == f"{first}correct it, then {OR_FOLDER}: {check}\n"
    result = run(*check.split()[1:])
    assert result.exit_code == 0
    note = "note: 4 class names of a draft, value_0, value_3, value_7, …; name the classes in dataset.yaml: "
    assert note in result.stdout


@pytest.mark.parametrize(
    ("splits", "settings"),
    [
        (["train", "val", "test"], []),
        (["training", "valid", "dev"], ["data.train_split=training", "data.val_split=valid"]),
        (["Train", "validation", "Test"], ["data.train_split=Train", "data.val_split=validation"]),
        (["Train Set", "Dev"], ["data.train_split=Train Set", "data.val_split=Dev"]),
        (["a", "b", "c"], ["data.train_split=a+b", "data.val_split=c"]),
    ],
)
def test_describe_tells_which_splits_to_check(
    splits: list[str], settings: list[str], run: Run, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    for split in splits:
        for kind in ("images", "labels"):
            shutil.copytree(data / kind / "train", own / kind / split)
    check = shlex.split(run("data", "describe", own).stdout.partition(f"{OR_FOLDER}: ")[2])
    given = [word for setting in settings for word in ("--set", setting)]
    assert check == ["fornet", "data", "check", "--config", "finetune", "--data", str(own), *given]
    assert run(*check[1:]).exit_code == 0


def test_describe_takes_the_classes_of_cityscapes(run: Run, data: Path) -> None:
    (data / "dataset.yaml").unlink()
    shutil.copytree(data / "labels", data / "masks")
    labels = [*data.glob("labels/*/*.png")]
    for path in labels:
        Image.open(path).point(lambda value: 26 if value == 9 else value).save(path)
    result = run("data", "describe", data)
    fix = "to have its classes remove dataset.yaml, then add --classes cityscapes"
    assert result.stderr == f"note: the labels may be Cityscapes'; {fix}\n"
    assert "labels: labels/{split}, not masks/{split}; splits" in result.stdout
    result = run("data", "describe", data, "--classes", "cityscapes", "--val", 0.2)
    assert "dataset.yaml: exists already; expected none; remove it" in only_line(result.stderr)
    (data / "dataset.yaml").unlink()
    result = run("data", "describe", data, "--classes", "cityscapes")
    assert (result.exit_code, result.stderr) == (0, "")
    first, places, then = result.stdout.splitlines()
    assert first.endswith(": 19 classes of cityscapes, by the label ids in 4 of 4 labels")
    assert places.startswith("images: images/{split}; labels: labels/{split}, not masks/{split}; splits: ")
    assert then.startswith(f"look through it, then {OR_FOLDER}: fornet data check ")


def test_describe_takes_the_classes_of_a_model(run: Run, model: Path, data: Path) -> None:
    """Its positions are the values."""
    for path in data.glob("labels/*/*.png"):
        Image.open(path).point(lambda value: {3: 0, 7: 1, 9: 2}.get(value, 255)).save(path)
    names = ("water", "quay", "sky")
    (data / "dataset.yaml").unlink()
    result = run("data", "describe", data, "--classes", model)
    assert f"3 classes of {model}, by the train ids in 4 of 4 labels\n" in result.stdout
    dataset = open_dataset("folder", data, "train")
    assert (dataset.table.names, dataset.table.train_ids) == (names, {0: 0, 1: 1, 2: 2, 255: 255})
    result = run("data", "describe", data, "--classes", "cityscape")
    assert result.exit_code == 2
    assert "--classes cityscape: no such folder; expected a run folder, " in result.stderr
    assert result.stderr.endswith(", or cityscapes\n")


def test_describe_shows_what_it_reads_on_one_line(run: Run, data: Path) -> None:
    """A file's name may hold a line break, or what colours a terminal."""
    (data / "dataset.yaml").unlink()
    for path in sorted(data.glob("*/*/a.png")):
        path.rename(path.with_name("a\x1b[31m\n.png"))
    for path in data.glob("labels/*/*.png"):
        label = Image.open(path)
        picture = Image.merge("RGB", [label, label, label.point(lambda value: 0)])
        (picture.quantize(4) if path.name == "b.png" else picture).save(path)
    result = run("data", "describe", data)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 3
    assert "\x1b" not in result.stdout and r"a\x1b[31m\n.png" in result.stdout


def test_describe_has_flat_folders_validate_too(run: Run, data: Path, tmp_path: Path) -> None:
    flat, result_file = tmp_path / "flat", tmp_path / "result.json"
    flat.mkdir()
    for kind in ("images", "labels"):
        (data / kind / "train").rename(flat / kind)
        for number in range(8):
            shutil.copy(flat / kind / "b.png", flat / kind / f"b{number}.png")
    result = run("data", "describe", flat)
    val = f"fornet data describe {flat} --val 0.2"
    assert result.exit_code == 0 and "splits: " not in result.stdout
    shutil.copy(flat / "images/a.png", flat / "images/c.png")
    assert result.stdout.endswith(f"apart for validation: {val}\n")
    result = run(*val.split()[1:], "--json", result_file)
    few = "too few to choose the best epoch by or to compare models; label more, or remove train.txt and "
    few += "val.txt and give --val a larger share"
    assert (result.exit_code, result.stderr) == (0, f"note: fewer than 10 images validate: {few}\n")
    ends = "the ends of 2 stretch(es) of the names in order; 1 without a label are in neither: images/c.png"
    listed = f"{flat}/train.txt: 8 images; val.txt: 2, {ends}\n"
    check = f"fornet data check --config finetune --data {flat}"
    places = "images: images; labels: labels; lists: {split}.txt; splits: train, val\n"
    assert result.stdout == f"{listed}{places}correct it, then {OR_FOLDER}: {check}\n"
    assert json.loads(result_file.read_text())["images"] == {"train": 8, "val": 2, "unlabelled": 1}
    result = run(*check.split()[1:])
    assert result.exit_code == 0 and "are in no " not in result.stdout


def test_describe_says_where_images_lie_that_it_has_set_apart(run: Run, data: Path) -> None:
    """Of a draft, too, the layout that is left in the file, not that in which the images were found."""
    (data / "dataset.yaml").unlink()
    shutil.rmtree(data / "images" / "test")
    shutil.copytree(data / "labels" / "train", data / "masks" / "train")
    result = run("data", "describe", data, "--val", 0.5)
    draft, _, places, _ = result.stdout.splitlines()
    assert draft.endswith(": a draft of 4 classes, from the values in 2 of 2 labels")
    where = "images: images/train; labels: labels/train, not masks/train; lists: {split}.txt"
    assert places == f"{where}; splits: train, val"
    description = read_dataset_yaml(data)
    assert (description.images, description.lists) == ("images/train", "{split}.txt")


def test_describe_leaves_several_splits_as_they_are(run: Run, data: Path) -> None:
    (data / "dataset.yaml").unlink()
    result = run("data", "describe", data, "--val", 0.2)
    assert (result.exit_code, result.stderr) == (0, "note: --val is not used, there are splits already\n")
    check = f"fornet data check --config finetune --data {data} --set data.val_split=test"
    assert result.stdout.endswith(f"correct it, then {OR_FOLDER}: {check}\n")
    assert not [*data.glob("*.txt")]


def test_check_notes_images_that_train_too(run: Run, config: Path, data: Path) -> None:
    (data / "images/test/a.png").unlink()
    (data / "images/test/a.png").symlink_to(data / "images/train/b.png")
    result = run("data", "check", "--config", config, "--data", data)
    assert result.exit_code == 0
    assert (
        f"note: 1 of 2 images of 'test' are in 'train' too, such as {data}/images/test/a.png: "
        in result.stdout
    )
    note = "note: 'train' trains too: its scores will say nothing about other images\n"
    assert note not in result.stdout
    result = run("data", "check", "--config", config, "--data", data, "--set", "data.val_split=train")
    assert result.exit_code == 0 and "too good" not in result.stdout and note in result.stdout


def test_check_notes_images_of_another_split_that_are_used(run: Run, config: Path, data: Path) -> None:
    (data / "images/final").mkdir()
    for split, name in (("train", "a"), ("train", "b"), ("test", "a")):
        (data / f"images/final/{split}_{name}.png").symlink_to(data / f"images/{split}/{name}.png")
    (data / "labels/final").mkdir()
    result = run("data", "check", "--config", config, "--data", data, "--split", "final")
    images = f"such as {data}/images/final/"
    trained = f"note: 2 of 3 images of 'final' are in 'train' too, {images}train_a.png: scores on what was"
    chosen = f"note: 1 of 3 images of 'final' are in 'test' too, {images}test_a.png: scores on what the best"
    assert trained in result.stdout and chosen in result.stdout


def test_check_notes_nothing_of_a_list_that_joins_two(run: Run, config: Path, data: Path) -> None:
    """As VOC's `trainval.txt`, which is not scored; where it would be, `val` may have all of `train`."""
    description = data / "dataset.yaml"
    description.write_text(description.read_text() + 'images: images\nlabels: labels\nlists: "{split}.txt"\n')
    lines = {name: [f"images/{name}/a.png", f"images/{name}/b.png"] for name in ("train", "test")}
    for name, named in (lines | {"both": lines["train"] + lines["test"]}).items():
        (data / f"{name}.txt").write_text("\n".join(named))
    check = ("data", "check", "--config", config, "--data", data)
    result = run(*check, "--split", "both")
    assert result.exit_code == 0 and "too good" not in result.stdout
    result = run(*check, "--split", "both", "--set", "data.val_split=both")
    assert "note: 2 of 4 images of 'both' are in 'train' too" in result.stdout


def test_check_of_what_trains_notes_what_is_scored(run: Run, config: Path, data: Path) -> None:
    (data / "images/test/a.png").unlink()
    (data / "images/test/a.png").symlink_to(data / "images/train/b.png")
    result = run("data", "check", "--config", config, "--data", data, "--split", "train")
    note = f"note: 1 of 2 images of 'test' are in 'train' too, such as {data}/images/test/a.png: scores on "
    assert f"{note}what was trained on are too good" in result.stdout


def test_check_counts_both_splits(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    result = run("data", "check", "--config", config, "--data", data, "--json", tmp_path / "check.json")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    # 95 of 96 columns; 24, 20 and 20 of 64 rows
    assert rows["water"] == ["2", "37.11%", "2", "37.11%"]
    assert rows["(void)"] == ["1.04%", "1.04%"]
    sizes = "sizes (height x width): 64x96 (2)\n"
    assert f"train: 2 images, 0 missing labels, 0 corrupt; {sizes}" in result.stdout
    train, test = json.loads((tmp_path / "check.json").read_text())["splits"]
    assert (train["split"], train["pixels"], test["num_images"]) == ("train", [4560, 3800, 3800], 2)


def test_check_writes_its_result_before_its_notes(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may be refused a folder that no image needs."""
    (data / "labels/train/more").mkdir()
    refuse_to_list(monkeypatch, data / "labels/train/more")
    result = run("data", "check", "--config", config, "--data", data, "--json", tmp_path / "check.json")
    assert result.exit_code == 1 and "more: cannot be listed" in only_line(result.stderr)
    assert len(json.loads((tmp_path / "check.json").read_text())["splits"]) == 2


def test_check_lists_every_problem_and_fails(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    (data / "labels" / "train" / "a.png").unlink()
    (data / "images" / "train" / "day").mkdir()
    shutil.copy(data / "images" / "train" / "b.png", data / "images" / "train" / "day")
    (data / "images" / "test" / "a.png").write_text("no picture")
    label = data / "labels" / "test" / "b.png"
    Image.open(label).point(lambda value: 5 if value == 7 else value).save(label)
    result = run("data", "check", "--config", config, "--data", data, "--json", tmp_path / "check.json")
    assert result.exit_code == 1
    assert (
        f"  {data}/images/train/a.png: no label; expected labels/train/*.png; add the file or leave "
        in result.stdout
    )
    shared = "belongs to several images, alike but for their folder or suffix; leave one of them, or put"
    assert f"  {data}/labels/train/b.png: {shared}" in result.stdout
    assert f"  {data}/images/test/a.png: is not an image" in result.stdout
    assert f"  {label}: value 5; declare it as a class or under ignore" in result.stdout
    splits = json.loads((tmp_path / "check.json").read_text())["splits"]
    assert [len(split["problems"]) for split in splits] == [2, 2]


def test_check_reads_another_split_alone(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    """Masks may lie in it alone; what the configuration leaves out of training is in it too."""
    shutil.rmtree(data / "images" / "train")
    chosen = ("--config", config, "--data", data, "--set", 'data.exclude=["a"]', "--split", "test")
    result = run("data", "check", *chosen, "--json", tmp_path / "check.json")
    assert result.exit_code == 0 and "test: 2 images" in result.stdout
    (split,) = json.loads((tmp_path / "check.json").read_text())["splits"]
    assert (split["split"], split["num_images"]) == ("test", 2)
    result = run("data", "inspect", *chosen, "--output", tmp_path)
    assert result.exit_code == 0 and "test: 2 images" in result.stdout


def test_images_that_turn_without_another_size_are_noted(
    run: Run, config: Path, data: Path, tmp_path: Path
) -> None:
    image = data / "images" / "train" / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn
    with Image.open(image) as picture:
        picture.save(image, exif=exif)
    result = run("data", "cache", "--config", config, "--data", data, "--output", tmp_path / "decoded")
    assert result.exit_code == 0
    line = only_line(result.stderr)
    assert line.startswith("note: their EXIF orientation turns 1 image of 'train', and no label file;")
    assert line.endswith("`data inspect --split train` whether they fit")


def test_as_many_threads_look_as_are_asked_for(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def scan(dataset: Dataset, workers: int, *rest: Any) -> ScanReport:
        asked.append(workers)
        return scan_module.scan(dataset, workers, *rest)

    monkeypatch.setattr("fornet_keras.cli.data.scan", scan)
    options = ("--config", config, "--data", data, "--set", "training.workers=3")
    assert run("data", "check", *options).exit_code == 0
    assert run("data", "inspect", *options, "--output", tmp_path).exit_code == 0
    assert asked == [3, 3, 3]


def test_check_fails_where_training_would(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    for label in (data / "labels" / "test").iterdir():
        Image.new("L", (96, 64), 0).save(label)
    target = tmp_path / "result.json"
    (tmp_path / "link.json").symlink_to(target)
    result = run("data", "check", "--config", config, "--data", data, "--json", tmp_path / "link.json")
    assert result.exit_code == 1
    assert "no label of split 'test' has a pixel of any class; expected some; take another" in result.stdout
    assert (tmp_path / "link.json").is_symlink() and json.loads(target.read_text())["splits"]


def test_palettes_of_train_and_val_that_contradict_each_other(run: Run, config: Path, data: Path) -> None:
    """Each split is sound by itself; as one split, they would be refused in any case."""
    for split, colors in (("train", [200, 0, 0, 0, 200, 0]), ("test", [0, 200, 0, 200, 0, 0])):
        for path in (data / "labels" / split).iterdir():
            label = Image.open(path).convert("P")
            label.putpalette([0] * 21 + colors)  # of 7 and 8
            label.save(path)
    checked = ("data", "check", "--config", config, "--data", data)
    result = run(*checked)
    said = (
        "value 7 is [200, 0, 0] in 'train', as in a.png, and [0, 200, 0] in 'test', as in a.png; expected one"
    )
    assert result.exit_code == 1 and said in result.stdout
    assert run(*checked, "--split", "test").exit_code == 0


def test_data_of_a_folder_with_another_formats_configuration(run: Run, data: Path) -> None:
    result = run("data", "check", "--config", ROOT / "configs" / "camvid.yaml", "--data", data)
    assert result.exit_code == 1
    assert "take configs/folder.yaml (data.format: folder)" in only_line(result.stderr)


def test_classes_that_no_label_has_are_noted(run: Run, config: Path, data: Path) -> None:
    checked = ("data", "check", "--config", config, "--data", data)
    assert "note:" not in run(*checked).stdout
    for path in (data / "labels" / "test").iterdir():
        with Image.open(path) as label:
            label.point(lambda value: 7 if value == 9 else value).save(path)
    note = "note: no label of 'test' has a pixel of sky: such a class cannot {}"
    for change, what in (("data.val_split=test", "score above 0\n"), ("data.train_split=test", "be learnt;")):
        result = run(*checked, "--set", change)
        assert result.exit_code == 0 and note.format(what) in result.stdout


def test_a_split_of_one_class_is_for_scores_alone(run: Run, config: Path, data: Path) -> None:
    for path in (data / "labels" / "test").iterdir():
        Image.new("L", (96, 64), 7).save(path)
    checked = ("data", "check", "--config", config, "--data", data)
    assert run(*checked).exit_code == 0
    result = run(*checked, "--set", "data.train_split=test")
    assert result.exit_code == 1
    assert "no label of split 'test' has a pixel of any class but quay; expected two" in result.stdout


def test_small_images_are_noted(run: Run, config: Path, data: Path) -> None:
    config.write_text(config.read_text().replace("[64, 96]", "[128, 96]"))
    result = run("data", "check", "--config", config, "--data", data)
    assert "images of 64x96 are smaller than augment.crop" in result.stdout
    assert "of a draft" not in result.stdout
    result = run("data", "check", "--config", config, "--data", data, "--set", "data.short_side=360")
    assert "as large as data.short_side, 360: the model learns at a shorter side of 64" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "nowhere.yaml"), "Error: nowhere.yaml: cannot be read (No such file or directory)"),
        (("--config", "CONFIG"), "Error: no data folder; expected `--data DIR` or `data.root`"),
        (
            ("--config", "CONFIG", "--data", "nowhere"),
            "Error: nowhere: no such folder; expected a folder with a dataset.yaml",
        ),
    ],
)
def test_check_without_data(run: Run, config: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("data", "check", *(str(config) if word == "CONFIG" else word for word in arguments))
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(message)


def test_cache_is_what_training_reads(
    run: Run, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes the data's absolute path, however it was named."""
    cache, elsewhere = tmp_path / "decoded", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = run("data", "cache", "--config", config, "--data", f"../{data.name}", "--output", cache)
    assert result.exit_code == 0
    assert "decoding" in result.output and f"train with: --set data.cache={cache}" in result.output
    (folder,) = cache.glob("harbour-train-*")
    decoded_samples(open_dataset("folder", data, "train"), cache, 1, pytest.fail)
    assert [*cache.glob("harbour-train-*")] == [folder]


def test_inspect_draws_what_the_network_sees(run: Run, config: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "inspected"
    wider = ("--set", "augment.crop=[64, 128]")
    result = run("data", "inspect", "--config", config, "--data", data, "--output", output, *wider)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "train: 2 images" in result.stdout and "37.11%" in result.stdout
    picture = read_image(output / "training_samples.png")
    beside = legend(read_dataset_yaml(data).table()).shape[1]
    assert picture.shape[:2] == (64 + 4 + 64, 128 + 4 + 128 + beside), "two samples, each above its label"
    colors = {tuple(color) for color in picture[68:, :-beside].reshape(-1, 3)}
    assert colors <= {(0, 0, 200), (90, 90, 90), (130, 180, 230), (0, 0, 0), (255, 255, 255)}
    one_of_two = ("--set", "training.batch_size=1", "--batches", 1)
    result = run("data", "inspect", "--config", config, "--data", data, "--output", output, *one_of_two)
    assert result.exit_code == 0
    assert read_image(output / "training_samples.png").shape[:2] == (64 + 4 + 64, 96 + beside)
    (data / "images/train/a.png").write_bytes(b"")
    skip = ("--set", "data.on_error=skip")
    result = run("data", "inspect", "--config", config, "--data", data, "--output", output, *skip)
    assert result.exit_code == 0 and result.stderr.startswith("harbour train: skipped 1 of 2 images: ")


def test_commands_are_in_the_order_of_work() -> None:
    expected = "data train evaluate compare predict export serve request benchmark summary doctor"
    assert [*root.commands] == expected.split()
