"""From annotations as COCO has them, polygons and runs of pixels, to label files and a `dataset.yaml`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fornet_keras.atomic import new_folder
from fornet_keras.data.coco_file import BACKGROUND, IGNORED, Annotation, Coco, Picture, Runs
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.describe import write_description
from fornet_keras.data.description import DATASET_YAML, FolderDescription, read_dataset_yaml
from fornet_keras.data.images import image_size
from fornet_keras.errors import DataError

_HEAD = """\
# Value 0 is what no annotation covers; if it is no class, remove its line and write ignore: {} at the end.
"""

_LAYOUT = FolderDescription.model_validate({"name": "data", "classes": ["a", "b"]}).layout()
"""Where images and labels are written, as a `dataset.yaml` that says nothing of it has them."""


def rasterize(
    coco: Coco, images: Path, output: Path, split: str, on_image: Callable[[], None] = lambda: None
) -> list[str]:
    """Write a label for each annotated image, and make `output` a data folder of the format `folder`.

    Pixels take the class of the smallest annotation that covers them, and else `background`, value 0. The
    images become links to the same files, or copies where the disk is another. `Coco.undrawable` is left out.

    Args:
        coco: from `read_annotations`, `read_labelme` or `read_yolo`, which see that its files may be read.
        images: the folder that its file names are relative to.
        output: the data folder; it may have other splits of the same classes.
        split: a name for these images, such as train.
        on_image: called after each image, to show progress.

    Returns:
        The class names; the position is the label value.

    Raises:
        DataError: an annotation does not fit, an image is missing or of another size, or the split is there.
    """
    categories = sorted(coco.categories, key=lambda category: category.id)
    found = dict.fromkeys([BACKGROUND, *(category.name for category in categories)])
    names = [name for name in found if name != IGNORED]
    value_of = {name: value for value, name in enumerate(names)} | {IGNORED: IGNORE}
    values = {category.id: value_of[category.name] for category in categories}
    _check(output, split, names)
    of_image: dict[int, list[Annotation]] = {picture.id: [] for picture in coco.images}
    for annotation in coco.annotations:
        if annotation.segmentation is None:
            continue
        if annotation.category_id not in values or annotation.image_id not in of_image:
            lost = "category" if annotation.category_id not in values else "image"
            number = getattr(annotation, f"{lost}_id")
            raise DataError(f"annotation {annotation.id}: its {lost} {number} is none; export it again")
        of_image[annotation.image_id].append(annotation)
    with new_folder(output / "labels" / split) as labels, new_folder(output / "images" / split) as links:
        for picture in coco.images:
            name, source = _find(picture, images)
            label = (labels / name).with_suffix(".png")
            if (links / name).exists():
                raise DataError(
                    f"image {picture.id}: {name} is another image's file too; expected one image a file; put "
                    "their annotations under one image id"
                )
            if label.exists():
                raise DataError(f"{source}: is named like another image but for its ending; rename one")
            label.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_draw(of_image[picture.id], picture, values)).save(label)
            (links / name).parent.mkdir(parents=True, exist_ok=True)
            _link(source, links / name)
            on_image()
    if not (output / DATASET_YAML).exists():
        classes = [{"name": name, "value": value} for value, name in enumerate(names)]
        ignored = [IGNORE] if IGNORED in found else []
        others = {"ignore": ignored} if ignored else {}
        write_description(output, _HEAD.format([0, *ignored]), classes, others)
    return names


def drawn_classes(output: Path) -> list[str]:
    """The class names of a data folder that other splits were drawn into, by value; none where it is new.

    A value that has become void since then has a name that no annotation has, so that the others stay.

    Raises:
        DataError: its `dataset.yaml` cannot be read.
    """
    if not (output / DATASET_YAML).exists():
        return []
    table = read_dataset_yaml(output).table()
    of_value = {value: table.names[index] for value, index in table.train_ids.items() if index != IGNORE}
    return [of_value.get(value, f"(value {value})") for value in range(max(of_value) + 1)]


def _check(output: Path, split: str, names: Sequence[str]) -> None:
    """Refuse what would not become a data folder, before anything is written."""
    if not re.fullmatch(r"[^.+/\\][^+/\\]*", split):
        raise DataError(f"split '{split}' is no name of a folder; expected one such as train")
    for kind in ("images", "labels"):
        if (output / kind / split).exists():
            raise DataError(f"{output / kind / split}: exists already; expected a new split; remove it")
    if len(names) < 2:
        raise DataError(f"categories: {', '.join(names)} alone; expected a class beside it; annotate one")
    if not (output / DATASET_YAML).exists():
        return
    description = read_dataset_yaml(output)
    if description.layout() != _LAYOUT or description.lists or description.label_colors:
        expected = "images/SPLIT and labels/SPLIT, of values and without lists"
        raise DataError(f"{output / DATASET_YAML}: another layout; expected {expected}; name a new folder")
    table = description.table()
    meant = [table.train_ids.get(value) for value in range(len(names))]
    for name, train_id in zip(names, meant, strict=True):
        if train_id is None or (train_id != IGNORE and table.names[train_id] != name):
            raise DataError(
                f"{output / DATASET_YAML}: has other classes; expected {', '.join(names)}; name a new folder"
            )


def _find(picture: Picture, images: Path) -> tuple[PurePath, Path]:
    """The image's place below the folder of all, and the file."""
    name = picture.place()
    source = images / name
    if name.is_absolute() or any(part.startswith(".") for part in name.parts):
        raise DataError(
            f"image {picture.id}: {name} leads out or is hidden; expected a path below {images}; correct it"
        )
    size = image_size(source)
    if size != picture.size():
        expected = "×".join(map(str, picture.size()))
        raise DataError(
            f"{source}: is {size[0]}×{size[1]}; expected {expected}, as annotated; take the images that were"
        )
    return name, source


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _draw(found: Sequence[Annotation], picture: Picture, values: dict[int, int]) -> NDArray[np.uint8]:
    """The label of an image, large annotations below small ones."""
    label = np.zeros(picture.size(), np.uint8)
    areas = [np.count_nonzero(_mask(annotation, picture.size())) for annotation in found]
    for index in np.argsort(np.negative(areas), kind="stable"):
        label[_mask(found[index], picture.size())] = values[found[index].category_id]
    return label


def _mask(annotation: Annotation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Boolean `(height, width)`: the pixels whose middle an annotation covers, or those of its runs."""
    runs = annotation.segmentation
    if not isinstance(runs, Runs):
        covered = np.zeros(size, np.bool_)
        for polygon in runs or []:
            _cover(covered, polygon)
        return covered
    counts = _counts(runs.counts) if isinstance(runs.counts, str) else runs.counts
    if runs.size != size or sum(counts) != size[0] * size[1] or min(counts) < 0:
        raise DataError(
            f"annotation {annotation.id}: its runs do not fill its image of {size[0]}×{size[1]}; "
            "export it again"
        )
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[::-1]).T


def _cover(covered: NDArray[np.bool_], polygon: Sequence[float]) -> None:
    """Set the pixels whose middle is in a polygon of x, y, x, y, …; even-odd."""
    height, width = covered.shape
    corners = np.array(polygon[: len(polygon) // 2 * 2]).reshape(-1, 2)

    def rows_between(low: float, high: float) -> tuple[int, int]:
        return int(np.clip(np.ceil(low - 0.5), 0, height)), int(np.clip(np.ceil(high - 0.5), 0, height))

    top, bottom = rows_between(corners[:, 1].min(), corners[:, 1].max())
    crossed = np.zeros((bottom - top, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.arange(*rows_between(*sorted((y0, y1))))
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows - top, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] ^= 1
    covered[top:bottom] |= np.bitwise_xor.accumulate(crossed, axis=1)[:, :-1].astype(np.bool_)


def _counts(text: str) -> list[int]:
    """The lengths in a text: five bits a letter, the lowest first, as differences to the one but last."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
