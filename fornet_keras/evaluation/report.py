"""An evaluation as a page that opens from disk: scores, charts, and the images that went worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from fornet_keras.atomic import unnamed_folder, write_text
from fornet_keras.data.dataset import Dataset
from fornet_keras.data.samples import read_sample
from fornet_keras.errors import DataError, one_line
from fornet_keras.evaluation.charts import save_class_bars, save_confusion_matrix, save_curve
from fornet_keras.evaluation.evaluate import Scores
from fornet_keras.evaluation.tables import class_table, curve_table, four_digits, official_table
from fornet_keras.prediction.pictures import compared, legend
from fornet_keras.prediction.protocol import ShowsImportance

INDEX = "index.html"
PICTURES = ("classes.png", "confusion_matrix.png", "curve.png", "legend.png", "worst_[0-9][0-9].jpg")
MARK = '<meta name="generator" content="fornet_keras">'
"""What tells a report's page from a website's."""

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">$mark<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
img { max-width: 100% } figure { margin: 1.5rem 0 } figcaption { overflow-wrap: anywhere }
</style></head><body>
<h1>$title</h1>
$note
$summary
<h2>Classes</h2>
$classes
<p><img src="classes.png" alt="IoU and share of the pixels of each class"></p>
<p><img src="confusion_matrix.png" alt="confusion matrix"></p>
$official
$curve
<h2>The worst images</h2>
<p>From left to right: label, prediction and, where it is known, importance with the refined regions framed;
larger images at the shorter side given above. By the mean IoU of the classes in each image's label or
prediction.</p>
<p><img src="legend.png" alt="class colours"></p>
$worst
</body></html>
""")


def require_own_report(folder: Path) -> None:
    """Whether a report can lie in a folder, where it takes the place of an earlier one alone.

    Raises:
        DataError: it would take that of another file.
    """
    page = folder / INDEX
    if page.is_file():
        with page.open("rb") as file:
            if MARK.encode() in file.read(1000):
                return
    if found := [path for path in (page, *_pictures(folder)) if path.exists()]:
        raise DataError(
            f"{found[0]}: is there already and is not of a report; expected a folder without it, or that of "
            "an earlier report; choose another, or move it away"
        )


def save_report(
    folder: Path,
    title: str,
    dataset: Dataset,
    predictor: ShowsImportance,
    scores: Scores,
    curve: Sequence[Scores] = (),
    note: str = "",
    official: Mapping[str, Any] | None = None,
    count: int = 10,
) -> Path:
    """Write `index.html` and its pictures into a folder, in the place of those of an earlier report.

    Args:
        folder: one for which `require_own_report` holds; made where it is missing.
        title: the page's heading.
        dataset: what was scored.
        predictor: what was scored; the worst images are predicted once more.
        scores: of all images.
        curve: the same model's scores at several shares of the regions, by rising share, or none.
        note: what must be said of the scores, above them.
        official: Cityscapes' own, as `OfficialScores.as_json` returns them, or None.
        count: worst images that are shown.

    Returns:
        The page's file.
    """
    with unnamed_folder(folder / INDEX) as writing:
        save_confusion_matrix(writing / "confusion_matrix.png", scores)
        save_class_bars(writing / "classes.png", scores, dataset.table)
        Image.fromarray(legend(dataset.table)).save(writing / "legend.png")
        page = PAGE.substitute(
            mark=MARK,
            title=escape(title),
            note=f"<p><strong>{escape(note)}</strong></p>" if note else "",
            summary=_table(("", ""), _summary(scores)),
            classes=_table(*class_table(scores)),
            official=_official(official),
            curve=_curve(writing, curve),
            worst=_worst(writing, dataset, predictor, scores, count),
        )
        write_text(writing / INDEX, page)
        # The page first: by it a folder is known as a report's, should a kill come between.
        written = sorted(writing.iterdir(), key=lambda path: path.name != INDEX)
        for path in written:
            path.replace(folder / path.name)
        for earlier in {*_pictures(folder)} - {folder / path.name for path in written}:
            earlier.unlink()
    return folder / INDEX


def _pictures(folder: Path) -> list[Path]:
    return [path for pattern in PICTURES for path in sorted(folder.glob(pattern))]


def _summary(scores: Scores) -> list[tuple[str, str]]:
    rows = [
        ("images", str(scores.num_images)),
        ("share of the regions refined", four_digits(scores.refined_share)),
        *([("shorter side of larger images", f"{scores.short_side} px")] if scores.short_side else []),
        ("mIoU", four_digits(scores.matrix.miou)),
        ("mIoU of the thin classes", four_digits(scores.thin_miou)),
    ]
    rows += [
        (f"mIoU within {radius} px of a border", four_digits(band.miou))
        for radius, band in scores.bands.items()
    ]
    if scores.boundary:
        rows.append((f"boundary F-score, {scores.boundary.radius} px", four_digits(scores.boundary.mean)))
    rows += [
        ("pixel accuracy", four_digits(scores.matrix.pixel_accuracy)),
        ("error coverage of the refined regions", four_digits(scores.error_coverage)),
    ]
    return rows


def _official(found: Mapping[str, Any] | None) -> str:
    return f"<h2>As cityscapesScripts scores it</h2>\n{_table(*official_table(found))}" if found else ""


def _curve(folder: Path, curve: Sequence[Scores]) -> str:
    if not curve:
        return ""
    save_curve(folder / "curve.png", curve)
    return (
        "<h2>What each share of the regions gives</h2>\n"
        "<p>mIoU, that near label borders and of the thin classes, error coverage, and ms an image, "
        'here.</p>\n<p><img src="curve.png" alt="scores over the share of the regions"></p>\n'
        + _table(*curve_table(curve))
    )


def _worst(folder: Path, dataset: Dataset, predictor: ShowsImportance, scores: Scores, count: int) -> str:
    known = [
        sample for sample in dataset.samples if not math.isnan(scores.image_miou.get(sample.image, math.nan))
    ]
    worst = sorted(known, key=lambda sample: scores.image_miou[sample.image])[:count]
    figures = []
    for place, sample in enumerate(worst, 1):
        image, label = read_sample(sample, dataset.table, scores.short_side)
        prediction = predictor(image)
        hard = predictor.importance_map(image, prediction) if "importance" in prediction else None
        picture = compared(image, label, prediction["label_ids"], dataset.table, hard)
        name = f"worst_{place:02}.jpg"
        Image.fromarray(picture).save(folder / name, quality=90)
        caption = f"mIoU {scores.image_miou[sample.image]:.3f}: {escape(one_line(str(sample.image)))}"
        figures.append(f'<figure><img src="{name}" alt=""><figcaption>{caption}</figcaption></figure>')
    return "\n".join(figures)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = [line(heads, "th")] if any(heads) else []
    return "<table>\n" + "\n".join([*body, *(line(row, "td") for row in rows)]) + "\n</table>"
