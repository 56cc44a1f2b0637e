"""Where the images and labels of a folder lie that has no `dataset.yaml` yet."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fornet_keras.data import cityscapes
from fornet_keras.data.coco_file import read_coco
from fornet_keras.data.description import DATASET_YAML, FolderDescription
from fornet_keras.data.file_list import files_below, visible
from fornet_keras.data.folder import (
    find_samples,
    find_splits,
    labelled_splits,
    places_of,
    unsplit_samples,
)
from fornet_keras.data.labelme_file import read_drawn
from fornet_keras.data.yolo_file import read_data_yaml
from fornet_keras.errors import DataError, listed

_TRIED = 3
"""So many of a folder's JSON files are looked at: COCO's captions come before its instances."""

_LABEL_FOLDERS = ("labels", "masks", "annotations")
_LAYOUTS: tuple[dict[str, Any], ...] = (
    # Of street scenes: Mapillary Vistas', KITTI's, BDD100K's and RailSem19's.
    *({"images": "{split}/images", "labels": f"{{split}}/{version}/labels"} for version in ("v2.0", "v1.2")),
    {"images": "{split}/image_2", "labels": "{split}/semantic"},
    {"images": "images/10k/{split}", "labels": "labels/sem_seg/masks/{split}"},
    {"images": "jpgs/{split}", "labels": "uint8/{split}"},
    # Pascal VOC, what CVAT exports, and what labelme2voc.py makes of LabelMe's files, in older versions *PNG.
    *(
        {"lists": "ImageSets/Segmentation/{split}.txt", "images": "JPEGImages", "labels": name}
        for name in ("SegmentationClass", "SegmentationClassPNG")
    ),
    *({"images": "images/{split}", "labels": f"{name}/{{split}}"} for name in _LABEL_FOLDERS),
    *({"images": "{split}/images", "labels": f"{{split}}/{name}"} for name in _LABEL_FOLDERS),
    # mmsegmentation's.
    {"images": "img_dir/{split}", "labels": "ann_dir/{split}"},
    # SegNet's CamVid, and Kaggle's.
    *({"images": "{split}", "labels": f"{{split}}{name}"} for name in ("annot", "_labels", "_masks")),
    # What Roboflow exports.
    {"images": "{split}", "labels": "{split}", "image_suffixes": [".jpg", ".jpeg"]},
    {"images": "{split}", "labels": "{split}"},
)
_LABEL_NAMES = ("{stem}.png", "{stem}_mask.png", "{stem}_L.png", "{stem}_train_id.png")
_LISTS = "{split}.txt"
_OWN_NAMES: tuple[dict[str, Any], ...] = (
    # India Driving's, as its createLabels.py writes them.
    *(
        {
            "images": "leftImg8bit/{split}",
            "labels": "gtFine/{split}",
            "image_suffixes": ["_leftImg8bit.png", "_leftImg8bit.jpg"],
            "label_name": f"{{stem}}_gtFine_label{kind}s.png",
        }
        for kind in ("level3Id", "csTrainId")
    ),
    # ACDC's, whose splits lie below its four weathers.
    {
        "lists": _LISTS,
        "images": "rgb_anon",
        "labels": "gt",
        "image_suffixes": ["_rgb_anon.png"],
        "label_name": "{stem}_gt_labelTrainIds.png",
    },
)
"""Layouts whose labels, and images, have names of their own."""


def find_layout(root: Path) -> tuple[dict[str, Any], list[str], list[Path]]:
    """The first layout in which an image has a label, the splits that have some, and their labels.

    Raises:
        DataError: there is none.
    """
    named_alike = (layout | {"label_name": name} for layout in _LAYOUTS for name in _LABEL_NAMES)
    layouts = [*_OWN_NAMES, *named_alike]
    named = {"name": "draft", "classes": ["a", "b"]}
    descriptions = [FolderDescription.model_validate(named | layout) for layout in layouts]
    for layout, description in zip(layouts, descriptions, strict=True):
        if splits := labelled_splits(root, description):
            return layout, [*splits], [s.label for samples in splits.values() for s in samples if s.label]
    for layout, description in zip(layouts, descriptions, strict=True):
        if labels := [sample.label for sample in unsplit_samples(root, description) if sample.label]:
            if layout.get("lists") == _LISTS:
                raise _to_be_listed(root, description)
            return layout, [], labels
    found = listed([path.name for path in visible(root)])
    raise (
        _to_be_drawn(root)
        or _cityscapes(root)
        or _named_otherwise(root, descriptions)
        or _one_of_two(root.resolve())
        or DataError(
            f"{root}: no images with labels found, but {found or 'nothing'}; expected images/SPLIT and "
            "labels/SPLIT, SPLIT/images and SPLIT/masks, SPLIT and SPLIT_labels, images and labels (or "
            f"masks), or an export of CVAT or Roboflow; write {DATASET_YAML} by hand, with images, labels "
            "and label_name"
        )
    )


def other_labels(root: Path, layout: dict[str, Any], splits: Sequence[str]) -> list[str]:
    """Where labels of the same images may lie, too."""
    alike = [other["labels"] for other in _LAYOUTS if other["images"] == layout["images"] != other["labels"]]
    folders = {labels: root / labels.replace("{split}", [*splits, ""][0]) for labels in alike}
    others = (labels for labels, folder in folders.items() if any(folder.rglob("*.png")))
    return [labels for labels in others if labels != layout["labels"]]


def _to_be_listed(root: Path, description: FolderDescription) -> DataError:
    """Of a layout whose splits lie below other folders."""
    below = f"{description.images}/*/train -name '*{description.image_suffixes[0]}'"
    return DataError(
        f"{root / description.images}: has the splits below other folders; expected lists of their images, "
        f"{root / 'train.txt'} and val.txt; write each in {root}, such as `find {below} > train.txt`"
    )


def _cityscapes(root: Path) -> DataError | None:
    for split in cityscapes.find_splits(root):
        if any(sample.label for sample in cityscapes.find_samples(root, split)):
            check = f"`data check --config cityscapes --data {shlex.quote(str(root))}`"
            return DataError(
                f"{root}: is laid out as Cityscapes; expected what needs a {DATASET_YAML}; call {check}"
            )
    return None


def _to_be_drawn(root: Path) -> DataError | None:
    """Of a folder that has annotations of YOLO, LabelMe or COCO, and no labels."""
    yamls = [path for path in visible(root) if path.suffix.lower() in (".yaml", ".yml")]
    jsons = files_below(root, [".json"])[:_TRIED]
    tried: list[tuple[Path, Callable[[Path], object], str, str]] = [
        *((path, read_data_yaml, "YOLO", shlex.quote(str(path))) for path in yamls),
        *((path, read_drawn, "LabelMe", shlex.quote(str(path.parent))) for path in jsons[:1]),
        *((path, read_coco, "COCO", f"{shlex.quote(str(path))} --images IMAGES") for path in jsons),
    ]
    for path, read, tool, source in tried:
        with suppress(DataError):
            read(path)
            draw = f"`data rasterize {source} --output DIR`"
            return DataError(f"{path}: annotations of {tool}; expected labels as PNGs; draw them: {draw}")
    return None


def _named_otherwise(root: Path, descriptions: Sequence[FolderDescription]) -> DataError | None:
    """Of the first layout whose folders are there: no image has a label of a name that is tried."""
    for description in descriptions:
        for split in (*find_splits(root, description), ""):
            images_at, labels_at = places_of(description, split)
            images, labels = root / images_at, root / labels_at
            if images == labels or not labels.is_dir():
                continue
            samples = find_samples(root, split, description) if split else unsplit_samples(root, description)
            if samples:
                image, found = samples[0].image, files_below(labels, [""])
                but = f", but {found[0].relative_to(labels).as_posix()}" if found else ""
                ends = [end for end in description.image_suffixes if image.name.endswith(end)]
                stem = image.name.removesuffix([*ends, image.suffix][0])
                alike = (other for other in descriptions if places_of(other, split) == (images_at, labels_at))
                tried = " or ".join(other.label_name.replace("{stem}", stem) for other in alike)
                return DataError(
                    f"{labels}: has no {tried}{but}; expected the label of {image}; export labels as PNGs so "
                    f"named, or write {DATASET_YAML} by hand, with images, labels and label_name"
                )
    return None


def _one_of_two(root: Path) -> DataError | None:
    """Of the folder of the images or of the labels, where the one that both are in is meant."""
    both = [name for name in ("images", *_LABEL_FOLDERS) if (root.parent / name).is_dir()]
    if root.name not in both or len(both) < 2:
        return None
    return DataError(
        f"{root}: no images with labels found; expected the folder that {' and '.join(both)} are in; did you "
        f"mean {root.parent}?"
    )
