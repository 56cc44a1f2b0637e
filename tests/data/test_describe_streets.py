"""Street scenes that others have published, in their layouts; the images are made up."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fornet_keras.data import camvid, cityscapes
from fornet_keras.data.dataset import IGNORE, LabelTable
from fornet_keras.data.describe import write_draft
from fornet_keras.data.description import read_dataset_yaml
from fornet_keras.data.found_classes import may_be_cityscapes
from fornet_keras.data.scan import scan
from fornet_keras.data.sources import open_dataset
from fornet_keras.data.synthetic import write_city
from fornet_keras.errors import DataError
from tests.data.test_describe import save, save_pair

TRAIN_IDS = [[*range(19), IGNORE]]
LABEL_IDS = [[*range(35)]]


@pytest.mark.parametrize(
    ("image", "label", "pixels", "by"),
    [
        pytest.param("training/image_2/a.png", "training/semantic/a.png", LABEL_IDS, "label", id="KITTI"),
        pytest.param(
            "images/10k/train/a.jpg", "labels/sem_seg/masks/train/a.png", TRAIN_IDS, "train", id="BDD100K"
        ),
        pytest.param("images/val/a.jpg", "labels/val/a_train_id.png", TRAIN_IDS, "train", id="BDD100K, old"),
        pytest.param(
            "leftImg8bit/train/0/1_leftImg8bit.jpg",
            "gtFine/train/0/1_gtFine_labelcsTrainIds.png",
            TRAIN_IDS,
            "train",
            id="India Driving",
        ),
        pytest.param("images/1.png", "labels/1.png", LABEL_IDS, "label", id="GTA5"),
    ],
)
def test_the_classes_of_cityscapes(tmp_path: Path, image: str, label: str, pixels: Any, by: str) -> None:
    """By the values that the labels hold; the other known ones are void."""
    save_pair(tmp_path / image, tmp_path / label, pixels)
    source, splits, description, _ = write_draft(tmp_path, cityscapes.TABLE)
    assert source == f"the {by} ids in 1 of 1 labels"
    table = read_dataset_yaml(tmp_path).table()
    expected = cityscapes.TABLE
    assert (table.names, table.colors, table.thin) == (expected.names, expected.colors, expected.thin)
    ids = {34: IGNORE} | dict(expected.train_ids) if by == "label" else {at: at for at in range(19)}
    assert table.train_ids == ids | {IGNORE: IGNORE}
    assert description.table() == table
    if splits:
        report = scan(open_dataset("folder", tmp_path, splits[0]))
        assert report.pixels == (1,) * 19 and not report.problems


@pytest.mark.parametrize(("values", "may"), [([0, 7, 8, 11], True), ([0, 2, 8, 10, 11], False)])
def test_train_ids_that_may_be_label_ids(tmp_path: Path, values: list[int], may: bool) -> None:
    """Void, road, sidewalk and building, or road, traffic sign, vegetation, person: without a sky."""
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [values])
    source = write_draft(tmp_path, cityscapes.TABLE)[0]
    assert source.startswith("the train ids in 1 of 1 labels")
    assert source.endswith("; they may be label ids, too: see with `data inspect`") is may


def test_the_classes_of_cityscapes_by_their_colors(tmp_path: Path) -> None:
    colors = [*cityscapes.TABLE.colors, (0, 0, 0)]
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [colors])
    assert write_draft(tmp_path, cityscapes.TABLE)[0] == "the colours in 1 of 1 labels, 1 others ignored"
    table = read_dataset_yaml(tmp_path).table()
    assert table.label_colors == {color: at for at, color in enumerate(colors[:19])} | {(0, 0, 0): IGNORE}


def test_the_classes_of_a_model(tmp_path: Path) -> None:
    """A published table is known by its names; CamVid's void is 11."""
    of_model = LabelTable(camvid.TABLE.names, camvid.TABLE.colors, {at: at for at in range(11)})
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [[0, 10, 11]])
    write_draft(tmp_path, of_model)
    table = read_dataset_yaml(tmp_path).table()
    assert (table.names, table.train_ids) == (camvid.TABLE.names, camvid.TABLE.train_ids | {255: IGNORE})


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            [[7, 26, 35]],
            "a.png: holds 35; expected 0…34 or 255, of road, sidewalk, .*; leave out --classes",
        ),
        (
            [[(9, 0, 0), (0, 0, 142)]],
            r"train: holds \[9, 0, 0\]; expected those of road, .*; leave out --classes",
        ),
    ],
)
def test_labels_that_are_not_of_cityscapes(tmp_path: Path, pixels: Any, message: str) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", pixels)
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path, cityscapes.TABLE)
    assert not (tmp_path / "dataset.yaml").exists()


@pytest.mark.parametrize(
    ("values", "may"),
    [
        (LABEL_IDS[0], True),
        (TRAIN_IDS[0], True),
        ([*range(21), IGNORE], False),  # VOC's
        ([*range(26), IGNORE], False),  # India Driving's
        ([0, 18], False),
    ],
)
def test_a_draft_that_may_be_of_cityscapes(tmp_path: Path, values: list[int], may: bool) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [values])
    assert may_be_cityscapes(write_draft(tmp_path)[2].table()) == may


def test_a_draft_of_the_colors_of_cityscapes(tmp_path: Path) -> None:
    save_pair(tmp_path / "images/train/a.png", tmp_path / "labels/train/a.png", [cityscapes.TABLE.colors])
    assert may_be_cityscapes(write_draft(tmp_path)[2].table())
    (tmp_path / "dataset.yaml").unlink()
    rows = [f"{at},{red},{green},{blue}" for at, (red, green, blue) in enumerate(cityscapes.TABLE.colors)]
    (tmp_path / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]))
    assert not may_be_cityscapes(write_draft(tmp_path)[2].table())  # who has named them knows


def write_config(path: Path, *names: str) -> None:
    labels = [
        {"name": name, "color": [at, 9, 9], "evaluate": name != "void"} for at, name in enumerate(names)
    ]
    path.write_text(json.dumps({"labels": labels}))


@pytest.mark.parametrize(("version", "names"), [("v2.0", ("curb", "road")), ("v1.2", ("road", "sky"))])
def test_mapillary_vistas(tmp_path: Path, version: str, names: tuple[str, ...]) -> None:
    """Each version of its labels has a table; void need not be the last."""
    write_config(tmp_path / "config_v2.0.json", "curb", "void", "road")
    write_config(tmp_path / "config_v1.2.json", "road", "void", "sky")
    save_pair(
        tmp_path / "training/images/a.jpg", tmp_path / f"training/{version}/labels/a.png", [[0, 1, 2, 2]]
    )
    source, splits, *_ = write_draft(tmp_path)
    assert (source, splits) == (f"config_{version}.json", ["training"])
    dataset = open_dataset("folder", tmp_path, "training")
    assert (dataset.table.names, dataset.table.colors) == (names, ((0, 9, 9), (2, 9, 9)))
    assert scan(dataset).pixels == (1, 2) and not scan(dataset).problems


def test_railsem19(tmp_path: Path) -> None:
    write_config(tmp_path / "rs19-config.json", "road", "rail-track")
    save_pair(tmp_path / "jpgs/rs19_val/a.jpg", tmp_path / "uint8/rs19_val/a.png", [[0, 1, 255]])
    assert write_draft(tmp_path)[:2] == ("rs19-config.json", ["rs19_val"])
    assert read_dataset_yaml(tmp_path).table().train_ids == {0: 0, 1: 1, 255: IGNORE}


@pytest.mark.parametrize("text", ["[", "[]", "{}", '{"labels": [1]}', '{"labels": [{"name": "road"}]}'])
def test_a_table_in_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "rs19-config.json").write_text(text)
    save_pair(tmp_path / "jpgs/a/a.jpg", tmp_path / "uint8/a/a.png", [[0, 1]])
    with pytest.raises(
        DataError, match="rs19-config.json: expected JSON with labels, each with a name and a"
    ):
        write_draft(tmp_path)


def test_acdcs_splits_are_below_its_weathers(tmp_path: Path) -> None:
    for weather in ("fog", "night"):
        for split in ("train", "val"):
            image = f"{weather}/{split}/GOPR1/1"
            save_pair(
                tmp_path / f"rgb_anon/{image}_rgb_anon.png",
                tmp_path / f"gt/{image}_gt_labelTrainIds.png",
                TRAIN_IDS,
            )
            save(tmp_path / f"rgb_anon/{weather}/{split}_ref/GOPR1/1_rgb_ref_anon.png", np.zeros((1, 1, 3)))
    message = (
        "rgb_anon: has the splits below other folders; expected lists of their images, .*/train.txt and "
        r"val.txt; write each in .*, such as `find rgb_anon/\*/train -name '\*_rgb_anon.png' > train.txt`"
    )
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path)
    for split in ("train", "val"):
        found = sorted(tmp_path.glob(f"rgb_anon/*/{split}/*/*"))
        lines = [path.relative_to(tmp_path).as_posix() for path in found]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    assert write_draft(tmp_path, cityscapes.TABLE)[1] == ["train", "val"]
    report = scan(open_dataset("folder", tmp_path, "val"))
    assert report.pixels == (2,) * 19 and not report.problems


def test_cityscapes_itself_needs_no_description(tmp_path: Path) -> None:
    write_city(tmp_path, 1, 1, (64, 128))
    with pytest.raises(
        DataError, match="is laid out as Cityscapes; .*`data check --config cityscapes --data /"
    ):
        write_draft(tmp_path)
    shutil.rmtree(tmp_path / "gtFine")
    with pytest.raises(
        DataError, match="no images with labels found, but leftImg8bit; expected images/SPLIT"
    ):
        write_draft(tmp_path)


def test_india_driving_whose_polygons_have_not_been_drawn(tmp_path: Path) -> None:
    save(tmp_path / "leftImg8bit/train/0/1_leftImg8bit.png", np.zeros((1, 1, 3)))
    (tmp_path / "gtFine/train/0").mkdir(parents=True)
    (tmp_path / "gtFine/train/0/1_gtFine_polygons.json").write_text("{}")
    message = (
        "has no 1_gtFine_labellevel3Ids.png or 1_gtFine_labelcsTrainIds.png, but 0/1_gtFine_polygons.json;"
    )
    with pytest.raises(DataError, match=message):
        write_draft(tmp_path)


def test_other_places_of_labels_are_named(tmp_path: Path) -> None:
    for labels in ("masks", "labels"):
        save_pair(tmp_path / "images/train/a.png", tmp_path / labels / "train/a.png", [[0, 1]])
    (tmp_path / "annotations/train").mkdir(parents=True)
    assert write_draft(tmp_path)[3] == ["masks/{split}"]


def test_a_palette_alone(tmp_path: Path) -> None:
    """GTA5's: black is that of several values, all void, and a plate has the colour of cars."""
    save_pair(tmp_path / "images/1.png", tmp_path / "labels/1.png", [[0, 1, 7]])
    picture = Image.fromarray(np.array([[0, 1, 7]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0] * 7 + [128, 64, 128])
    picture.save(tmp_path / "labels/1.png")
    classes = write_draft(tmp_path)[2].classes
    assert [entry.color for entry in classes] == [None, None, [128, 64, 128]]
