"""A user's own data: a folder laid out as its `dataset.yaml` says."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath

from fornet_keras.data.dataset import Sample
from fornet_keras.data.description import FolderDescription
from fornet_keras.data.file_list import (
    Resolve,
    files_below,
    in_either_case,
    read_list,
    require_inside,
    resolver,
)
from fornet_keras.errors import DataError


def find_splits(root: Path, description: FolderDescription) -> list[str]:
    """Names of the splits below `root`, sorted: whatever {split} stands for in what exists."""
    before, after = (description.lists or description.images).split("{split}")
    found = root.glob(f"{glob.escape(before)}[!.]*{glob.escape(after)}")
    is_one = Path.is_file if description.lists else Path.is_dir
    relative = (path.relative_to(root).as_posix() for path in found if is_one(path))
    return sorted(path[len(before) : len(path) - len(after)] for path in relative)


def find_samples(root: Path, split: str, description: FolderDescription) -> list[Sample]:
    """The images of one split, sorted by name or as listed, each with its label where that exists.

    Raises:
        DataError: a list leads out of the folder, or names no image; a folder cannot be listed.
    """
    image_folder, label_folder = (
        _place(root, pattern, split) for pattern in (description.images, description.labels)
    )
    resolve = resolver()
    if description.lists:
        images = _listed_images(root, split, description, resolve)
    else:
        images = files_below(image_folder, description.image_suffixes)
        if image_folder in label_folder.parents:
            images = [image for image in images if not image.is_relative_to(label_folder)]
    samples = []
    for image in images:
        stem = _stem(image.name, description.image_suffixes)
        if stem is not None:
            name = description.label_name.replace("{stem}", stem)
            label = in_either_case(label_folder / name)
            if image.parent.is_relative_to(image_folder):
                below = in_either_case(label_folder / image.parent.relative_to(image_folder) / name)
                label = below if below.is_file() else label
            elif (other := image_folder / image.name).is_file() and resolve(other) != resolve(image):
                samples.append(Sample(image))  # the label is that of the other image
                continue
            if description.lists:
                require_inside(root, label, str(_place(root, description.lists, split)), resolve)
            samples.append(Sample(image, label if label.is_file() else None))
    labels = {sample.label for sample in samples}  # they may lie below the images
    return [sample for sample in samples if sample.image not in labels]


def labels_alone(root: Path, split: str, description: FolderDescription) -> list[Path]:
    """Label files of a split that belong to no image; with lists, which leave images out, none."""
    label_folder = _place(root, description.labels, split)
    if description.lists or not label_folder.is_dir():
        return []
    samples = find_samples(root, split, description)
    known = {path for sample in samples for path in (sample.image, sample.label)}  # may lie in one folder
    begins, ends = description.label_name.split("{stem}")
    found = files_below(label_folder, [ends])
    return [path for path in found if path.name.startswith(begins) and path not in known]


def unlisted(root: Path, description: FolderDescription) -> list[Path]:
    """The images that lie in the folders with a label of their own, and that no list names.

    Raises:
        DataError: a folder or a list cannot be read, or a line of a list names no image.
    """
    found = [sample for sample in unsplit_samples(root, description) if sample.label]
    resolve = resolver()
    listed: set[Path] = set()
    for split in find_splits(root, description):
        if _is_list(root, split, description):
            listed.update(map(resolve, _listed_images(root, split, description, resolve)))
    labels = {sample.label for sample in found if resolve(sample.image) in listed}
    return [sample.image for sample in found if sample.label not in labels]


def labelled_splits(root: Path, description: FolderDescription) -> dict[str, list[Sample]]:
    """The samples of each split in which an image has a label."""
    found: dict[str, list[Sample]] = {}
    for split in find_splits(root, description):
        if (root / description.labels.replace("{split}", split)).is_dir():  # or no image need be looked for
            if description.lists and not _is_list(root, split, description):
                continue
            samples = find_samples(root, split, description)
            if any(sample.label for sample in samples):
                found[split] = samples
    return found


def _is_list(root: Path, split: str, description: FolderDescription) -> bool:
    """Whether a text lists images: all do in a folder of lists; beside the data `classes.txt` does not."""
    pattern = description.lists or ""
    if "/" in pattern:
        return True
    list_file, images = (_place(root, place, split) for place in (pattern, description.images))
    with suppress(DataError):
        first = islice(read_list(list_file, root), 1)
        suffixes = description.image_suffixes
        return any(_image(root, path, images, suffixes, list_file, Path.resolve) for path in first)
    return False


def unsplit_samples(root: Path, description: FolderDescription) -> list[Sample]:
    """The samples that lie where the folders of splits would: for `images/{split}` what is in `images`."""
    places = dict(zip(("images", "labels"), places_of(description, ""), strict=True))
    if not all((root / place).is_dir() for place in places.values()):
        return []
    # Not validated: this is what a description may not be, because images would train and validate.
    return find_samples(root, "", description.model_copy(update={"lists": None, **places}))


def places_of(description: FolderDescription, split: str) -> tuple[str, str]:
    """The folders, below that of the data, of a split's images and labels; "" is what lies in no split's."""
    images, labels = (
        PurePosixPath(pattern.replace("{split}", split).strip("/")).as_posix()
        for pattern in (description.images, description.labels)
    )
    return images, labels


def _place(root: Path, pattern: str, split: str) -> Path:
    return root / pattern.replace("{split}", split)


def _listed_images(root: Path, split: str, description: FolderDescription, resolve: Resolve) -> list[Path]:
    list_file, image_folder = (
        _place(root, pattern, split) for pattern in (description.lists or "", description.images)
    )
    named = read_list(list_file, root, resolve)
    suffixes = description.image_suffixes
    return [_image(root, path, image_folder, suffixes, list_file, resolve) for path in named]


def _image(
    root: Path, named: Path, image_folder: Path, suffixes: list[str], list_file: Path, resolve: Resolve
) -> Path:
    """What a line of a list names: an image, or that of this name in the folder of all, as in PASCAL VOC."""
    is_whole = _stem(named.name, suffixes) is not None
    if is_whole and os.path.isfile(named):
        return named
    endings = (ending for suffix in suffixes for ending in (suffix, suffix.upper()))
    for ending in [""] if is_whole else endings:
        image = image_folder / f"{named.relative_to(root)}{ending}"
        if os.path.isfile(image):
            return require_inside(root, image, str(list_file), resolve)
    if is_whole:  # to be reported as one that is not there
        return named
    raise DataError(
        f"{list_file}: {named} ends otherwise, and {image_folder} has no image of that name; expected "
        f"{', '.join(suffixes)}; correct the line"
    )


def _stem(name: str, suffixes: list[str]) -> str | None:
    """`name` without the longest of `suffixes` that it ends with; None where it has none of them."""
    endings = [suffix for suffix in suffixes if name.lower().endswith(suffix.lower())]
    return name[: -len(max(endings, key=len))] if endings else None
