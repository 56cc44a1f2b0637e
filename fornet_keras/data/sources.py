"""From a format's name, a folder and a split to a `Dataset`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fornet_keras.config import DataConfig
from fornet_keras.data import camvid, cityscapes, folder
from fornet_keras.data.dataset import IGNORE, Dataset, LabelTable, Sample
from fornet_keras.data.description import DATASET_YAML, read_dataset_yaml
from fornet_keras.data.file_list import refuse_to_list, shorter_names
from fornet_keras.data.label_form import Palette
from fornet_keras.errors import ConfigError, DataError, listed, one_line

FORMATS = ("cityscapes", "camvid", "folder")


@dataclass(frozen=True)
class _Source:
    name: str
    layout: tuple[str, str]  # of the images and of the labels
    table: LabelTable
    find_splits: Callable[[Path], list[str]]
    find_samples: Callable[[Path, str], list[Sample]]


def open_dataset(format: str, root: Path, split: str, exclude: Sequence[str] = ()) -> Dataset:
    """Find the images and labels of a split; no image is read.

    Args:
        format: `cityscapes`, `camvid` or `folder` (a user's own data with a `dataset.yaml`).
        root: the folder that holds the data.
        split: a split's name as in the data's folders; several are joined by `+`, as in `train+val`.
        exclude: beginnings of image file names to leave out, such as a sequence or a city.

    Returns:
        The samples in a fixed order: by split as given, then by name. A sample whose label file does not
        exist has `label=None`.

    Raises:
        DataError: the format is unknown, the folder is missing or laid out differently, the split is not
            there or empty, everything is excluded, or what is to be excluded is not there.
    """
    if format not in FORMATS:
        raise DataError(f"data format '{format}' is unknown; expected one of {', '.join(FORMATS)}")
    root = Path(os.path.expanduser(root))
    try:
        source, samples = _find(format, root, split)
    except OSError as error:
        refuse_to_list(error, root)
    for beginning in exclude:  # where it is mistyped, all images would train
        if not any(sample.image.name.startswith(beginning) for sample in samples):
            raise DataError(
                f"exclude: no file name of split '{split}' begins with '{beginning}'; expected that of an "
                f"image in {root}, such as {samples[0].image.name}; correct or remove it"
            )
    kept = tuple(sample for sample in samples if not sample.image.name.startswith(tuple(exclude)))
    if not kept:
        raise DataError(
            f"{root}: all {len(samples)} images of split '{split}' are excluded by {', '.join(exclude)}; "
            "expected some to be left; shorten the list"
        )
    named = f"{{{split.replace('+', ',')}}}" if "+" in split else split
    labels = source.layout[1].replace("SPLIT", named)
    return Dataset(source.name, split, root, source.table, kept, labels)


def open_split(data: DataConfig, split: str, exclude: Sequence[str] = ()) -> Dataset:
    """`open_dataset` as a configuration says.

    Raises:
        ConfigError: the configuration names no folder.
        DataError: as `open_dataset`.
    """
    return open_dataset(data.format, _root(data), split, exclude)


def require_split(data: DataConfig, split: str) -> None:
    """Refuse what `open_split` would, as far as the folders tell: no image is looked for.

    Raises:
        ConfigError: the configuration names no folder.
        DataError: the folder is missing or laid out differently, or the split is not there.
    """
    root = _root(data)
    try:
        _open_source(data.format, root, split)
    except OSError as error:
        refuse_to_list(error, root)


def shared_note(data: DataConfig, used: Dataset, scored: Dataset) -> str | None:
    """A line where images that are scored also train or validate, or their labels do.

    None where both name the same split, which says so. What trains is taken as used, either way round.
    """
    if not {*used.split.split("+")}.isdisjoint(scored.split.split("+")):
        return None
    if data.trains_on(scored.split):
        used, scored = scored, used
    known = {_file(sample.image) for sample in used.samples}
    if shared := [sample.image for sample in scored.samples if _file(sample.image) in known]:
        learnt = "what was trained on" if data.trains_on(used.split) else "what the best epoch is chosen by"
        return (
            f"note: {len(shared)} of {len(scored)} images of '{scored.split}' are in '{used.split}' too, "
            f"such as {one_line(str(shared[0]))}: scores on {learnt} are too good; leave each in one of them"
        )
    # By name, not as files: a store may keep labels of the same content once.
    others = {sample.label for sample in used.samples}
    if labels := [sample.label for sample in scored.samples if sample.label and sample.label in others]:
        return (
            f"note: {len(labels)} of {len(scored)} labels of '{scored.split}' belong to images of "
            f"'{used.split}' too, such as {one_line(str(labels[0]))}: one of its images has a wrong label; "
            "put the labels into folders as the images are"
        )
    return None


def alone_notes(dataset: Dataset, format: str) -> list[str]:
    """Lines where labels have no image, such as those of photos in a format that is not read.

    And where files that are named after a label, such as another annotation of its image, are not used.
    """
    if format != "folder":
        return []
    description = read_dataset_yaml(dataset.root)
    parts = dict.fromkeys(dataset.split.split("+"))
    alone: list[Path] = []
    further: list[Path] = []
    used = {sample.label.with_suffix("") for sample in dataset.samples if sample.label}
    for label in (each for part in parts for each in folder.labels_alone(dataset.root, part, description)):
        is_further = any(label.with_name(name) in used for name in shorter_names(label.stem))
        (further if is_further else alone).append(label)
    notes = []
    if alone:
        notes.append(
            f"note: {len(alone)} label files of '{dataset.split}' have no image, such as "
            f"{one_line(str(alone[0]))}; images end in {', '.join(description.image_suffixes)}: convert "
            "others, or correct image_suffixes"
        )
    if further:
        notes.append(
            f"note: {len(further)} files beside labels of '{dataset.split}' are not used, such as "
            f"{one_line(str(further[0]))}; of each image one label is, as label_name says: "
            f"{description.label_name}"
        )
    return notes


def palette_note(dataset: Dataset, format: str, palette: Palette) -> str | None:
    """A line where labels draw a value in the colour that `dataset.yaml` gives another class.

    As those of a data set's other version, whose values are all in the table and mean something else.

    Args:
        dataset: whose labels they are.
        format: of the data.
        palette: of its labels.
    """
    if format != "folder" or all(color == (value,) * 3 for value, color, _ in palette):  # greys are values
        return None
    of_class = [entry.all_colors() for entry in read_dataset_yaml(dataset.root).classes]  # the given ones
    names, train_ids = dataset.table.names, dataset.table.train_ids
    for value, color, _ in palette:
        owners = [names[index] for index, colors in enumerate(of_class) if color in colors]
        meant = names[index] if (index := train_ids.get(value, IGNORE)) != IGNORE else None
        if owners and meant and meant not in owners:
            return (
                f"note: labels of '{dataset.split}' draw {value}, {meant}, in the colour of {owners[0]}; "
                f"see with `data inspect --split {dataset.split}` whether {DATASET_YAML} fits them"
            )
    return None


def unlisted_note(dataset: Dataset, format: str) -> str | None:
    """A line where images with a label lie in the folders and no list of any split names them."""
    if format != "folder" or not (description := read_dataset_yaml(dataset.root)).lists:
        return None
    try:
        images = folder.unlisted(dataset.root, description)
    except (DataError, OSError, RuntimeError):  # of what is read for this note alone; a link to itself
        return None
    if not images:
        return None
    return (
        f"note: {len(images)} images with a label are in no {description.lists}, such as "
        f"{one_line(str(images[0]))}: nothing is learnt from or scored on them; where they are meant, name "
        "them in a list"
    )


def _root(data: DataConfig) -> Path:
    if data.root is None:
        raise ConfigError("no data folder; expected `--data DIR` or `data.root` in the configuration")
    return Path(os.path.expanduser(data.root))


def _file(path: Path) -> object:
    """What all links to a file, symbolic or hard, have in common."""
    try:
        state = os.stat(path)
    except OSError:
        return path
    return state.st_dev, state.st_ino


def _open_source(format: str, root: Path, split: str) -> _Source:
    if not root.is_dir():
        finding = "is not a folder" if root.exists() else "no such folder"
        kind = f"with a {DATASET_YAML}" if format == "folder" else f"of the {format} data"
        raise DataError(f"{root}: {finding}; expected a folder {kind}; check the path")
    source = _source(format, root)
    splits = source.find_splits(root)
    if not splits:
        raise _wrong_layout(format, source, root)
    for part in split.split("+"):
        if part not in splits:
            raise _missing_split(format, root, part, splits)
    return source


def _find(format: str, root: Path, split: str) -> tuple[_Source, list[Sample]]:
    source = _open_source(format, root, split)
    samples = []
    for part in dict.fromkeys(split.split("+")):
        found = source.find_samples(root, part)
        if not found:
            expected = " and ".join(source.layout).replace("SPLIT", part)
            raise DataError(
                f"{root}: split '{part}' holds no images; expected {expected}; check that they unpacked"
            )
        samples += found
    images = Counter(os.path.abspath(sample.image) for sample in samples)
    for image, count in images.items():
        if count > 1:
            raise DataError(
                f"{image}: is in split '{split}' {count} times; expected once; remove a line of its list, or "
                "one of the splits joined by +"
            )
    return source, samples


def _source(format: str, root: Path) -> _Source:
    if format == "folder":
        description = read_dataset_yaml(root)
        return _Source(
            description.name,
            description.layout(),
            description.table(),
            partial(folder.find_splits, description=description),
            partial(folder.find_samples, description=description),
        )
    module = {"cityscapes": cityscapes, "camvid": camvid}[format]
    return _Source(format, module.LAYOUT, module.TABLE, module.find_splits, module.find_samples)


def _missing_split(format: str, root: Path, split: str, splits: list[str]) -> DataError:
    fix = "choose it with --split, or set data.train_split or data.val_split"
    if format == "folder" and len(splits) == 1:
        fix = f"set a part of it apart with `data describe {root} --val 0.2`, or {fix}"
    return DataError(f"{root}: has no split '{split}'; expected one of {', '.join(splits)}; {fix}")


def _wrong_layout(format: str, source: _Source, root: Path) -> DataError:
    inside = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    found = listed(inside)
    better = _better_root(source, root)
    fix = f"did you mean {better}?" if better else "check the path and the format"
    if format == "folder" and not better:
        fix = f"check the path, or split its images with `data describe {root} --val 0.2`"
    if (root / DATASET_YAML).exists() and format != "folder":
        fix = f"for what has a {DATASET_YAML} take configs/folder.yaml (data.format: folder)"
    return DataError(
        f"{root}: is not laid out as {source.name} data; expected {' and '.join(source.layout)}; "
        f"found {found or 'an empty folder'}; {fix}"
    )


def _better_root(source: _Source, root: Path) -> Path | None:
    """The folder meant where the one named is a level too high or too low, the commonest slip."""
    parent_splits = source.find_splits(root.parent)
    if parent_splits and root.name in (source.layout[0].partition("/")[0], *parent_splits):
        return root.parent
    return next((entry for entry in sorted(root.iterdir()) if source.find_splits(entry)), None)
