"""Cityscapes: its label table and where its files are.

The classes, their order and their colours are those of the benchmark (Cordts et al., CVPR 2016,
https://www.cityscapes-dataset.com).
"""

from __future__ import annotations

from pathlib import Path

from fornet_keras.data.dataset import IGNORE, LabelTable, Sample
from fornet_keras.data.file_list import visible

LAYOUT = ("leftImg8bit/SPLIT/CITY/*_leftImg8bit.png", "gtFine/SPLIT/CITY/*_gtFine_labelIds.png")

_IMAGE_ENDINGS = ("_leftImg8bit.png", "_leftImg8bit.jpg")  # of both kinds are IDD's, which is laid out alike

_CLASSES = (  # label id, name, colour; the position is the train id
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)

LABEL_IDS = tuple(label_id for label_id, _, _ in _CLASSES)
"""Train id → label id: what the benchmark's server and its scripts want in a prediction."""

# 0…33 are the published label ids. The licence plate's id is -1, which 8-bit tools write as 255.
_TRAIN_IDS = dict.fromkeys((*range(34), 255), IGNORE) | {
    label_id: train_id for train_id, label_id in enumerate(LABEL_IDS)
}

TABLE = LabelTable(
    names=tuple(name for _, name, _ in _CLASSES),
    colors=tuple(color for _, _, color in _CLASSES),
    train_ids=_TRAIN_IDS,
    # Our choice, not the benchmark's: what is a few pixels wide at a distance.
    thin=("pole", "traffic light", "traffic sign", "person", "rider", "motorcycle", "bicycle"),
)


def find_splits(root: Path) -> list[str]:
    """Names of the splits below `root`, sorted; empty where `root` is not laid out as Cityscapes."""
    return sorted(folder.name for folder in root.glob("leftImg8bit/[!.]*") if folder.is_dir())


def find_samples(root: Path, split: str) -> list[Sample]:
    """The images of one split, sorted by city and name, each with its label where that exists.

    A fine one, of `train_extra` the coarse one. A `labelTrainIds` file, which cityscapesScripts writes, is
    preferred: it needs no mapping.
    """
    cities = (place for place in visible(root / "leftImg8bit" / split) if place.is_dir())
    images = (image for city in cities for image in visible(city) if image.name.endswith(_IMAGE_ENDINGS))
    return [
        _sample(image, root, split)
        for image in images
        if image.suffix == ".png" or not image.with_suffix(".png").exists()  # or it is a copy
    ]


def _sample(image: Path, root: Path, split: str) -> Sample:
    frame = image.name.rpartition("_")[0]
    for kind in ("gtFine", "gtCoarse") if split == "train_extra" else ("gtFine",):
        for values in ("labelTrainIds", "labelIds"):
            label = root / kind / split / image.parent.name / f"{frame}_{kind}_{values}.png"
            if label.is_file():
                return Sample(image, label, label_holds_train_ids=values == "labelTrainIds")
    return Sample(image)
