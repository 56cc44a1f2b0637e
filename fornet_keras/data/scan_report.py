"""What a scan of a data set found, in words and on disk."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from fornet_keras.atomic import write_text
from fornet_keras.config.data import MIN_CROP
from fornet_keras.data.dataset import DRAFT_NAME
from fornet_keras.data.description import DATASET_YAML
from fornet_keras.data.label_form import Palette
from fornet_keras.data.sizes import predicted_sizes, shrunk_size
from fornet_keras.errors import DataError, listed, one_line

_FAR_LARGER = 3  # times a crop's shorter side

Kind = Literal["missing label", "corrupt image", "corrupt label", "wrong label", "contradictory label"]
"""What is contradictory is wrong too, but only beside other labels."""

OF_LABELS = ("corrupt label", "wrong label", "contradictory label")


@dataclass(frozen=True)
class Problem:
    """One finding and all files that have it; `str()` is one line.

    Args:
        kind: what is wrong, for counting.
        finding: what was found.
        fix: what was expected and what to do.
        paths: the files, images where the label is missing.
        total: images (or labels) in the data set, for "in 3 of 367".
    """

    kind: Kind
    finding: str
    fix: str
    paths: tuple[Path, ...]
    total: int

    def __str__(self) -> str:
        if len(self.paths) == 1:
            return one_line(f"{self.paths[0]}: {self.finding}; {self.fix}")
        unit = "labels" if self.kind in OF_LABELS else "images"
        names = listed([path.name for path in self.paths], 3)
        return one_line(f"{self.finding} in {len(self.paths)} of {self.total} {unit}; {self.fix} ({names})")


@dataclass(frozen=True)
class ScanReport:
    """What a scan found.

    Args:
        name, split: of the data set.
        num_images, num_labels: files that were named, readable or not.
        classes: the class names; the position is the train id.
        values: label-file values of each class.
        pixels: label pixels of each class.
        ignored_pixels: label pixels that are neither trained on nor scored.
        ignored_values: label-file values under ignore that occur; none are named of colours or train ids.
        images_with_class: labels in which each class occurs.
        sizes: `(height, width, images)`, the commonest size first.
        problems: what must be put right, the one with most files first.
        turned: images with a label that their EXIF orientation turns without another size.
        deep: images of 16 bits a channel.
        palette: label-file values, their colours where palettes of the labels tell, and a label of each.
    """

    name: str
    split: str
    num_images: int
    num_labels: int
    classes: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    pixels: tuple[int, ...]
    ignored_pixels: int
    ignored_values: tuple[int, ...]
    images_with_class: tuple[int, ...]
    sizes: tuple[tuple[int, int, int], ...]
    problems: tuple[Problem, ...]
    turned: int
    deep: int
    palette: Palette

    def summary(self) -> str:
        """For example "367 images, 0 missing labels, 2 corrupt"."""
        missing = self._files("missing label")
        wrong = self._files("wrong label", "contradictory label")
        line = f"{_count(self.num_images, 'image')}, {_count(missing, 'missing label')}, "
        line += f"{self._files('corrupt image', 'corrupt label')} corrupt"
        return line + (f", {_count(wrong, 'wrong label')}" if wrong else "")

    def crop_note(self, crop: tuple[int, int], short_side: int | None) -> str | None:
        """A line where the crops `(height, width)` of training are larger or far smaller than most images.

        Args:
            crop: `augment.crop`.
            short_side: `data.short_side`, to which larger images are brought down first.
        """
        height, width = shrunk_size(self.sizes[0][:2], short_side) if self.sizes else crop
        far_larger = min(height, width) > _FAR_LARGER * min(crop)
        if height >= crop[0] and width >= crop[1] and not far_larger:
            return None
        at = "" if (height, width) == self.sizes[0][:2] else " (at data.short_side)"
        images = f"note: images of {height}x{width}{at} are"
        crops = f"augment.crop, {crop[0]}x{crop[1]} (height x width)"
        if height >= crop[0] and width >= crop[1]:
            seen = crop[0] * crop[1] / (height * width)
            fitting = math.ceil(max(crop[0] / height, crop[1] / width) * min(height, width))
            return (
                f"{images} far larger than {crops}: a crop sees {100 * seen:.2g}% of one; "
                f"set data.short_side, such as {fitting}"
            )
        smaller = f"; set augment.crop=[{min(height, crop[0])},{min(width, crop[1])}]"
        fix = smaller if min(height, width) >= MIN_CROP else ""
        return f"{images} smaller than {crops}: what is beyond them is padding{fix}"

    def learnt_side(self, short_side: int | None) -> int | None:
        """The shorter side that a model learns at: `data.short_side`, or less where no image has it."""
        if short_side is None:
            return None
        sides = (min(height, width) for height, width, _ in self.sizes)
        return min(short_side, max(sides, default=short_side))

    def side_note(self, short_side: int | None) -> str | None:
        """A line where a model learns at less than `data.short_side`: images are not enlarged."""
        learnt = self.learnt_side(short_side)
        if learnt == short_side:
            return None
        return (
            f"note: no image of '{self.split}' is as large as data.short_side, {short_side}: the model "
            f"learns at a shorter side of {learnt} pixels, and larger images are brought down to that "
            "wherever it is used"
        )

    def sizes_note(self, short_side: int | None, most: int) -> str | None:
        """A line where images have more sizes than a backend keeps compiled.

        Args:
            short_side: of the model, to which larger images are brought down first.
            most: sizes that are kept, of images as they are and of those brought down.
        """
        kinds = predicted_sizes(((height, width) for height, width, _ in self.sizes), short_side)
        compiled = sum(len(kind) for kind in kinds if len(kind) > most)
        if not compiled:
            return None
        return (
            f"note: '{self.split}' has images of {compiled} sizes, each compiled for in every validation; "
            f"up to {most} would be once; crop them to fewer, or raise training.validate_every"
        )

    def names_note(self) -> str | None:
        """A line where classes still have the names of a draft, by which no model's weights know them."""
        drafted = [name for name in self.classes if re.fullmatch(DRAFT_NAME, name)]
        if not drafted:
            return None
        void = "a value that means no class belongs under ignore"
        if drafted[0].startswith("color"):
            void = "a colour that means no class belongs under ignore_colors: [[0, 0, 0]]"
        return (
            f"note: {_count(len(drafted), 'class name')} of a draft, {listed(drafted, 3)}; name the classes "
            f"in {DATASET_YAML}: a model keeps the names, and model.weights know classes by theirs; {void}"
        )

    def image_notes(self) -> list[str]:
        """A line where images are turned whose labels may not be drawn for that, or lose half their bits."""
        notes = []
        if self.turned:
            notes.append(
                f"note: their EXIF orientation turns {_count(self.turned, 'image')} of '{self.split}', and "
                f"no label file; see with `data inspect --split {self.split}` whether they fit"
            )
        if self.deep:
            notes.append(
                f"note: 16 bits a channel in {_count(self.deep, 'image')} of '{self.split}', of which the "
                "upper 8 are used; where the values do not go up to 65535, save them scaled to 8 bits"
            )
        return notes

    def void_problem(self, trains: bool = False) -> str | None:
        """A line where no label has a pixel of any class, and nothing can be learnt from or scored on that.

        Of a split that `trains` also where labels have one class alone: there is nothing to tell it from.
        """
        found = [name for name, pixels in zip(self.classes, self.pixels, strict=True) if pixels]
        if len(found) > trains:
            return None
        any_class, expected = "any class", "some; take another split"
        if found:
            any_class, expected = f"any class but {found[0]}", "two or more; add images of others"
        fix = "or declare its values as classes"
        if self.ignored_values:
            first = self.pixels.index(0)
            name, values = self.classes[first], listed(self.values[first])
            fix += (
                f", such as {{name: {name}, value: {self.ignored_values[-1]}}}; {name} is value {values} "
                f"now, and what occurs under ignore is {listed(self.ignored_values)}"
            )
        return f"no label of split '{self.split}' has a pixel of {any_class}; expected {expected}, {fix}"

    def absent_note(self, trains: bool) -> str | None:
        """A line where labels of a split that trains, or is scored on, have no pixel of some classes."""
        absent = [name for name, pixels in zip(self.classes, self.pixels, strict=True) if not pixels]
        if not absent or self.void_problem(trains):
            return None
        what = "be learnt; add images of it, or leave it out of the classes" if trains else "score above 0"
        return f"note: no label of '{self.split}' has a pixel of {listed(absent)}: such a class cannot {what}"

    def raise_if_bad(self) -> None:
        """Refuse to go on with data that has problems.

        Raises:
            DataError: one line with the counts, the first problem and how to see the others.
        """
        if self.problems:
            more = f" ({len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise DataError(
                f"{self.name} {self.split}: {self.summary()}; {self.problems[0]}{more}; "
                f"see all with `data check --config FILE --data DIR --split {self.split}`"
            )

    def _files(self, *kinds: Kind) -> int:
        return len({path for problem in self.problems if problem.kind in kinds for path in problem.paths})


def skipping(report: ScanReport, samples: int) -> str:
    """The line that says what is left out: how many samples, and the first problem."""
    more = f" ({len(report.problems) - 1} more problems)" if len(report.problems) > 1 else ""
    return (
        f"{report.name} {report.split}: skipped {samples} of {_count(report.num_images, 'image')}: "
        f"{report.problems[0]}{more}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_REPORT = TypeAdapter(ScanReport)


def load_report(cached: Path) -> ScanReport | None:
    """The report in a file, or None where there is none that can be used."""
    try:
        return _REPORT.validate_json(cached.read_bytes())
    except (OSError, ValidationError):
        return None


def store_report(report: ScanReport, cached: Path) -> None:
    """Write a report into a file; where that cannot be done, nothing is written."""
    with suppress(OSError, ValueError):  # ValueError: a file name that is not UTF-8
        write_text(cached, _REPORT.dump_json(report).decode())
