"""Is an exported model the model? It is run in its own runtime on images, beside Keras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import Check, Proof, Tolerance
from fornet_keras.artifacts.runtimes import Run
from fornet_keras.data.images import decode_image
from fornet_keras.data.sizes import Window, regions_in
from fornet_keras.errors import ExportError
from fornet_keras.export.reference import Outputs, ProofImages, Reference

TOLERANCES = {
    "float32": Tolerance(labels=0.9995, refined=0.99, importance=1e-3, logits=1e-3, miou=0.001),
    "float16": Tolerance(labels=0.995, refined=0.97, importance=0.05, logits=0.5, miou=0.005),
    "dynamic_int8": Tolerance(labels=0.95, refined=0.9, importance=0.2, logits=None, miou=0.02),
    "int8": Tolerance(labels=0.9, refined=0.8, importance=0.4, logits=None, miou=0.05),
}
"""Precision → tolerance. The shipped models, on CamVid at 0.1 and 0.25 of the regions, have at worst a
`refined` of 0.91 and an `importance` of 0.14 in int8, 0.98 and 0.05 in dynamic_int8, 0.994 and 0.006 in
float16, 1 and less than 1e-4 in float32."""

MAX_TOWARDS_LOST = 0.5
"""Look at the pixels whose label Keras changes when it refines every region, or none. This share of them more
may agree with that variant than with the artifact's own top-k: where a network has learnt little, int8's
rounding decides them, to either side. An artifact that has lost its selection, or its branch, comes to 1."""

FEWEST_TELLING = 200
"""With fewer such pixels one region's rounding would decide."""

FEWEST_REFINED = 50
"""Of fewer refined regions, as in tiny images, one that rounding swaps for its neighbour would decide."""


def prove(run: Run, reference: Reference, batches: Sequence[int], precision: str) -> Proof:
    """Compare an exported model with Keras.

    Args:
        run: the exported model in its runtime; gives every output.
        reference: what Keras finds.
        batches: images a call that are tried.
        precision: decides the tolerance.

    Raises:
        ExportError: the two differ by more than the tolerance; names the check.
    """
    tolerance = TOLERANCES[precision]
    checks = []
    for batch in batches:
        check, found = _compare(run, reference, batch)
        checks.append(check)
        _judge(check, tolerance, precision)
    keras_at_1, exported_at_1 = _not_nearer(found, reference, "every", precision)
    keras_coarse, exported_coarse = _not_nearer(found, reference, "no", precision)
    return Proof(
        tolerance=tolerance,
        images=f"{len(reference.images.images)} images, {reference.images.source}",
        at_top_k=tuple(checks),
        keras_at_1=keras_at_1,
        exported_at_1=exported_at_1,
        keras_coarse=keras_coarse,
        exported_coarse=exported_coarse,
    )


def prove_jpeg(files: Run, pixels: Run, images: ProofImages, precision: str) -> None:
    """Compare what a SavedModel finds in JPEG files with what it finds in the pixels that we read from them.

    There are several ways to decode one, and a quick one gives other labels.

    Args:
        files: the exported model, to which images travel as `as_jpeg`.
        pixels: the same, to which they travel as they are.
        images: which are tried.
        precision: decides the tolerance.

    Raises:
        ExportError: too many labels differ.
    """
    read = [decode_image(as_jpeg(image), "JPEG") for image in images.images]
    found, expected = _run_each(files, images.images, 1), _run_each(pixels, read, 1)
    agreement, least = _agreement(found, expected, images.windows), TOLERANCES[precision].labels
    if agreement < least:
        raise ExportError(
            f"{precision}: {agreement:.5g} of the labels of JPEG files agree with those of their pixels; "
            f"expected at least {least:g}; nothing is written; {_advice(precision)}"
        )


def as_jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image as a file, whose pixels are others than the image's."""
    import tensorflow as tf

    return bytes(tf.io.encode_jpeg(image).numpy())


def _run_each(run: Run, images: Sequence[NDArray[np.uint8]], batch: int) -> Iterator[Outputs]:
    """The outputs of each image, asked for `batch` images at a time."""
    filler = images[0][:, ::-1]  # not the image itself: one that is mixed up with it has to show
    for first in range(0, len(images), batch):
        together = list(images[first : first + batch])
        outputs = run(np.stack(together + [filler] * (batch - len(together))))
        for i in range(len(together)):
            yield {name: value[i] for name, value in outputs.items()}


def _compare(run: Run, reference: Reference, batch: int) -> tuple[Check, list[Outputs]]:
    """What the exported model finds beside what Keras does; and what it finds without logits' gigabytes."""
    expected, windows = reference.at_top_k, reference.images.windows
    found, importance, logits = [], [], []
    exported = _run_each(run, reference.images.images, batch)
    for ours, theirs, window in zip(exported, expected, windows, strict=True):
        largest = ours["logits"].argmax(axis=-1).astype(np.uint8)
        found.append({"label_ids": ours["label_ids"].copy(), "kept": ours["kept"].copy(), "largest": largest})
        a, b = (x["importance"][regions_in(window, reference.region_size)] for x in (ours, theirs))
        importance.append((np.abs(a - b).sum(), b.sum()))
        if "logits" in theirs:
            same = ours["kept"] == theirs["kept"]
            logits.append(_logit_difference(ours["logits"], theirs["logits"], same, reference.region_size))
    regions, both = _refined(found, expected, windows, reference.region_size)
    check = Check(
        batch=batch,
        label_agreement=_agreement(found, expected, windows),
        refined_regions=regions,
        refined_agreement=both / regions if regions else 1.0,
        importance_difference=float(np.divide(*np.sum(importance, axis=0))),
        largest_logit_difference=float(np.max(logits)),
        logit_label_agreement=_agreement(found, expected, windows, "largest"),
        miou=reference.miou(found),
        miou_keras=reference.miou(expected),
    )
    return check, found


def _agreement(
    found: Iterable[Outputs], expected: Iterable[Outputs], windows: Iterable[Window], name: str = "label_ids"
) -> float:
    """Share of the photographs' pixels with the expected label."""
    pairs = zip(found, expected, windows, strict=True)
    same = [(ours[name] == theirs["label_ids"])[window].ravel() for ours, theirs, window in pairs]
    return float(np.mean(np.concatenate(same)))


def _refined(
    found: Sequence[Outputs], expected: Sequence[Outputs], windows: Sequence[Window], region_size: int
) -> tuple[int, int]:
    """How many of the photographs' regions are refined by the one that refines more, and by both.

    The share of both in those is a measure that no ratio makes high by chance.
    """
    counts = np.zeros(3, int)
    for ours, theirs, window in zip(found, expected, windows, strict=True):
        a, b = (x["kept"][regions_in(window, region_size)] > 0 for x in (ours, theirs))
        counts += [(a & b).sum(), a.sum(), b.sum()]
    both, *each = counts.tolist()
    return max(each), both


def _logit_difference(
    found: NDArray[Any], expected: NDArray[Any], agrees: NDArray[np.bool_], region_size: int
) -> float:
    """Largest difference away from regions that only one of the two refines."""
    # Upsampling reaches from a region into its neighbours.
    near = np.pad(~agrees, 1)
    rows, columns = agrees.shape
    spread = np.any([near[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    apart = spread.repeat(region_size, 0).repeat(region_size, 1)[: found.shape[0], : found.shape[1]]
    differences = np.abs(found - expected).max(axis=-1)
    return float(differences[~apart].max(initial=0.0))


def _not_nearer(
    found: Sequence[Outputs], reference: Reference, regions: str, precision: str
) -> tuple[float, float | None]:
    """Label agreement of Keras, and of the exported model, with Keras refining "every" region or "no" one.

    Of the exported model None where nothing can be told from it.

    Raises:
        ExportError: the exported model is nearer to that than to its own top-k.
    """
    windows = reference.images.windows
    other = reference.at_1 if regions == "every" else reference.coarse
    of_keras = _agreement(reference.at_top_k, other, windows)
    pixels = sum(x["label_ids"][window].size for x, window in zip(other, windows, strict=True))
    if (1 - of_keras) * pixels < FEWEST_TELLING:
        return of_keras, None
    of_exported, own = (_agreement(found, x, windows) for x in (other, reference.at_top_k))
    # Where the two give one label, the artifact is as near to the one as to the other.
    if of_exported - own > MAX_TOWARDS_LOST * (1 - of_keras):
        lost = "selection" if regions == "every" else "branch"
        raise ExportError(
            f"{precision}: the exported model is nearer to one that refines {regions} region "
            f"({of_exported:.4%} of the labels) than to its own top-k ({own:.4%}): "
            f"it has lost its {lost}; nothing is written; train longer, or {_advice(precision)}"
        )
    return of_keras, of_exported


def _judge(check: Check, tolerance: Tolerance, precision: str) -> None:
    """Refuse what is beyond the tolerance."""
    lost = None if check.miou is None or check.miou_keras is None else check.miou_keras - check.miou
    refined = check.refined_agreement if check.refined_regions >= FEWEST_REFINED else None
    findings = (
        ("of the labels agree with Keras", check.label_agreement, tolerance.labels, True),
        ("of the refined regions are those of Keras", refined, tolerance.refined, True),
        (
            "of Keras' importance is what its map differs by",
            check.importance_difference,
            tolerance.importance,
            False,
        ),
        ("is the largest difference of a logit", check.largest_logit_difference, tolerance.logits, False),
        ("of the largest logits are of Keras' label", check.logit_label_agreement, tolerance.labels, True),
        ("mIoU is lost", lost, tolerance.miou, False),
    )
    for what, value, bound, at_least in findings:
        if value is None:
            continue
        limit = np.inf if bound is None else bound
        # Written so that NaN fails.
        if not (value >= limit if at_least else value <= limit):
            raise ExportError(
                f"{precision}, batch {check.batch}: {value:.5g} {what}; expected at "
                f"{'least' if at_least else 'most'} {limit:g}; nothing is written; {_advice(precision)}"
            )


def _advice(precision: str) -> str:
    if precision == "float32":  # there is none higher
        return "take another --format, or report it"
    return "export in a higher precision"
