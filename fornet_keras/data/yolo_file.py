"""YOLO's labels for segmentation, as Ultralytics has them: a `data.yaml`, and polygons in a text an image."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from fornet_keras.bounded_text import first_finding, read_bounded
from fornet_keras.config.yaml_text import parse_yaml
from fornet_keras.data.coco_file import Coco, as_coco
from fornet_keras.data.dataset import CLASS_NAME
from fornet_keras.data.file_list import MAX_BYTES as MAX_LIST_BYTES
from fornet_keras.data.file_list import files_below
from fornet_keras.data.images import SUFFIXES, image_size
from fornet_keras.errors import ConfigError, DataError, listed

MAX_YAML_BYTES = 1_000_000
MAX_LABEL_BYTES = 10_000_000
"""Of one image: half a million corners."""

_HAIR = 0.01
"""How far outside an image a corner may be, as a share of its side; Ultralytics has the same tolerance."""


def _as_list(found: Any) -> Any:
    return [] if found is None else [found] if isinstance(found, str) else found


def _by_number(found: Any) -> Any:
    return dict(enumerate(found)) if isinstance(found, list) else found


_Place = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Places = Annotated[list[_Place], BeforeValidator(_as_list)]
_Name = Annotated[str, Field(pattern=CLASS_NAME)]


class DataYaml(BaseModel):
    """What is read of a `data.yaml`: folders of images, or lists of them, by split, and the class names."""

    path: _Place | None = None
    train: _Places = []
    val: Annotated[_Places, Field(validation_alias=AliasChoices("val", "validation"))] = []
    test: _Places = []
    names: Annotated[dict[int, _Name], BeforeValidator(_by_number), Field(min_length=1)]

    def splits(self) -> dict[str, list[str]]:
        """Those that are named."""
        places = {"train": self.train, "val": self.val, "test": self.test}
        return {split: found for split, found in places.items() if found}


def read_data_yaml(path: Path) -> DataYaml:
    """Read and check a `data.yaml`, whatever its name.

    Raises:
        DataError: it cannot be read, or says something else; one line.
    """
    text = read_bounded(path, MAX_YAML_BYTES, "a data.yaml of YOLO")
    try:
        content, _ = parse_yaml(text, lambda line: f"{path}:{line}" if line else str(path))
        found = DataYaml.model_validate(content)
    except ConfigError as error:
        raise DataError(str(error)) from error
    except ValidationError as error:
        expected = "expected YOLO's data.yaml, with train, val and names; correct it"
        raise DataError(f"{path}: {first_finding(error)}; {expected}") from error
    if not found.splits():
        raise DataError(f"{path}: names no images; expected train and val; add them")
    return found


def read_yolo(path: Path) -> tuple[dict[str, tuple[Coco, Path]], list[str]]:
    """Read all splits that a `data.yaml` names.

    As Ultralytics does, it takes a path that begins with `../` and is not there, which Roboflow writes, for
    one beside the file; and looks for an image's label where the last folder `images` on its way is `labels`.
    An image without one shows background alone; lines of a box are left out.

    Args:
        path: the `data.yaml`. It is believed in which folders and files it names.

    Returns:
        Of each split the annotations, and the folder that the file names in them are relative to; and notes
        of a test split that is not there, of images without a label, and labelled ones of other formats.

    Raises:
        DataError: a file cannot be read, a line is wrong, or a split is not there or has no images or no
            labels; one line.
    """
    content = read_data_yaml(path)
    root = path.parent / (content.path or "")
    splits: dict[str, tuple[Coco, Path]] = {}
    notes: list[str] = []
    for split, named in content.splits().items():
        places = [_place(root, each) for each in named]
        if any(place.exists() for place in places):
            coco, folder, without = _read_split(path, split, places, content.names)
            splits[split] = coco, folder
            if without:
                notes.append(f"split '{split}': images without a text, taken as background: {without}")
            if unread := [file for place in places if place.is_dir() for file in _unread(place)]:
                left_out = f"labelled files left out, other than {', '.join(SUFFIXES)}"
                notes.append(f"split '{split}': {left_out}: {len(unread)} ({listed(unread)}); convert them")
        elif split == "test":
            notes.append(f"split 'test' is left out: {places[0]} is not there")
        else:
            expected = "expected a folder of images, or a list"
            raise DataError(f"{path}: {split}: {places[0]}: not there; {expected}; correct the path")
    return splits, notes


def _place(root: Path, named: str) -> Path:
    place = root / named
    if named.startswith("../") and not place.exists():
        place = root / named.removeprefix("../")
    return place.resolve()  # labels are looked for from there


def _read_split(
    path: Path, split: str, places: Sequence[Path], names: dict[int, str]
) -> tuple[Coco, Path, int]:
    """The annotations, the folder that holds all images, and how many of these have no label."""
    found = [os.path.abspath(image) for place in places for image in _images(place)]
    images = [Path(image) for image in dict.fromkeys(found)]
    if not images:
        where = listed(places)
        raise DataError(f"{path}: {split}: no images in {where}; expected {', '.join(SUFFIXES)}; correct it")
    labels = [_label(image) for image in images]
    without = sum(not label.is_file() for label in labels)
    if without == len(images):
        raise DataError(
            f"{path}: {split}: none of {len(images)} images has labels; expected such as {labels[0]}; put "
            f"them there, or remove the line of {split}"
        )
    folder = Path(os.path.commonpath([image.parent for image in images]))
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        height, width = image_size(image)
        name = image.relative_to(folder).as_posix()
        pictures.append({"id": number, "file_name": name, "height": height, "width": width})
        if label.is_file():
            annotations += [{"image_id": number, **each} for each in _lines(label, names, height, width)]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    content = {"categories": categories, "images": pictures, "annotations": annotations}
    return as_coco(path, content), folder, without


def _images(place: Path) -> list[Path]:
    """Those in a folder and below it, or those of a list, whose lines are relative to its own folder."""
    if place.is_dir():
        return files_below(place, SUFFIXES)
    lines = read_bounded(place, MAX_LIST_BYTES, "a folder of images, or a list of them").splitlines()
    return [place.parent / line.strip() for line in lines if line.strip()]


def _unread(place: Path) -> list[Path]:
    """What has a label in a folder and below it, and is no image that can be read, such as a TIFF."""
    files = files_below(place, [""])
    read = {_label(file) for file in files if file.suffix.lower() in SUFFIXES}
    others = ((file, _label(file)) for file in files)
    return [file for file, label in others if label != file and label not in read and label.is_file()]


def _label(image: Path) -> Path:
    return Path("/labels/".join(image.as_posix().rsplit("/images/", 1))).with_suffix(".txt")


def _lines(label: Path, names: Collection[int], height: int, width: int) -> Iterator[dict[str, Any]]:
    """The annotations in a text: `class x y x y …`, or `class x y width height` of a box."""
    for number, line in enumerate(read_bounded(label, MAX_LABEL_BYTES, "a polygon a line").splitlines(), 1):
        where, words = f"{label}:{number}", line.split()
        if not words:
            continue
        try:
            category, *shares = map(float, words)
        except ValueError as error:
            expected = "numbers: a class, then x and y in turn"
            raise DataError(f"{where}: {line[:40]!r}; expected {expected}; correct it") from error
        if category not in names:
            known = listed([*names])
            raise DataError(f"{where}: class {category:g}; expected one of names, {known}; correct it")
        if len(shares) < 4 or len(shares) % 2:
            expected = "x and y of three corners or more, or a box's four"
            raise DataError(f"{where}: {len(shares)} coordinates; expected {expected}; correct it")
        if outside := [share for share in shares if not -_HAIR <= share <= 1 + _HAIR]:
            expected = "shares of width and height, 0…1"
            raise DataError(f"{where}: coordinate {outside[0]:g}; expected {expected}; export it again")
        polygon = [share * (height if index % 2 else width) for index, share in enumerate(shares)]
        # A box's are too few for one: it is left out as a sliver is.
        yield {"id": where, "category_id": int(category), "segmentation": [polygon]}
