"""CamVid in its 11-class form: its label table and where its files are.

The classes, their order and their colours are those of SegNet (Badrinarayanan et al., PAMI 2017), which
most papers train on; the frames are from Brostow et al., PRL 2009.
"""

from __future__ import annotations

from pathlib import Path

from fornet_keras.data.dataset import IGNORE, LabelTable, Sample
from fornet_keras.data.file_list import in_either_case, visible

LAYOUT = (
    "SPLIT/images/*.jpg (or .png)",
    "SPLIT/labels/*.png, or as from SegNet SPLIT/ and SPLITannot/",
)

_SUFFIXES = (".jpg", ".jpeg", ".png")
_VOID = 11

_CLASSES = (  # the position is both the value in a label file and the train id
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign_symbol", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)

TABLE = LabelTable(
    names=tuple(name for name, _ in _CLASSES),
    colors=tuple(color for _, color in _CLASSES),
    train_ids={value: value for value in range(len(_CLASSES))} | {_VOID: IGNORE},
    # Our choice: what is a few pixels wide in these small frames.
    thin=("pole", "sign_symbol", "pedestrian", "bicyclist"),
)


def find_splits(root: Path) -> list[str]:
    """Names of the splits below `root`, sorted; empty where `root` is not laid out as CamVid."""
    ours = {folder.parent.name for folder in root.glob("[!.]*/images") if folder.is_dir()}
    segnets = {folder.name.removesuffix("annot") for folder in root.glob("[!.]*annot") if folder.is_dir()}
    return sorted(ours | {split for split in segnets if (root / split).is_dir()})


def find_samples(root: Path, split: str) -> list[Sample]:
    """The images of one split, sorted by name, each with its label where that exists."""
    images, labels = root / split / "images", root / split / "labels"
    if not images.is_dir():
        images, labels = root / split, root / f"{split}annot"
    return [_sample(image, labels) for image in visible(images) if image.suffix.lower() in _SUFFIXES]


def _sample(image: Path, label_folder: Path) -> Sample:
    label = in_either_case(label_folder / f"{image.stem}.png")
    return Sample(image, label if label.is_file() else None)
