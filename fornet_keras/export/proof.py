"""Is an exported model the model? It is run in its own runtime on images, beside Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import Check, Proof, Tolerance
from fornet_keras.artifacts.runtimes import Run
from fornet_keras.data.sizes import Window, resize_nearest
from fornet_keras.errors import ExportError
from fornet_keras.export.deployment import OUTPUTS, deployment_model
from fornet_keras.metrics import ConfusionMatrix
from fornet_keras.model import FoRNet

Outputs = dict[str, NDArray[Any]]


TOLERANCES = {
    "float32": Tolerance(labels=0.9995, regions=0.99, logits=1e-3, miou=0.001),
    "float16": Tolerance(labels=0.995, regions=0.97, logits=0.25, miou=0.005),
    "dynamic_int8": Tolerance(labels=0.95, regions=0.9, logits=None, miou=0.02),
    "int8": Tolerance(labels=0.9, regions=0.8, logits=None, miou=0.05),
}
"""Precision → tolerance."""

MAX_TOWARDS_LOST = 0.2
"""Look at the pixels whose label Keras changes when it refines every region, or none. This share of them more
may agree with that variant than with the artifact's own top-k; int8 rounding needs some room."""

FEWEST_TELLING = 200
"""With fewer such pixels one region's rounding would decide."""

MOST_LOGITS = 4
"""Images whose logits are kept to be compared: of one they may be a gigabyte."""


@dataclass(frozen=True)
class ProofImages:
    """What a proof is taken on.

    Args:
        source: where the images come from, in words.
        images: uint8 `(height, width, 3)`, of the exported size.
        labels: of each image, train ids at the photograph's own size, and the rows and columns of the image
            that are the photograph; None without labels.
    """

    source: str
    images: Sequence[NDArray[np.uint8]]
    labels: Sequence[tuple[NDArray[np.uint8], Window]] | None = None


class Reference:
    """What Keras finds in the images: at the model's top-k, at 1, and with the coarse path alone.

    Args:
        model: a `FoRNet`.
        size: height and width of the images.
        images: what the proof is taken on.
    """

    def __init__(self, model: FoRNet, size: tuple[int, int], images: ProofImages) -> None:
        self.images = images
        self.num_classes = model.num_classes
        self.region_size = model.region_size
        self.at_top_k = self._outputs(deployment_model(model, size, OUTPUTS, batch=1))
        self.at_1 = self._outputs(deployment_model(model.with_top_k(1.0), size, OUTPUTS[:1], batch=1))
        self.coarse = self._outputs(deployment_model(_without_branch(model), size, OUTPUTS[:1], batch=1))

    def _outputs(self, deployed: Any) -> list[Outputs]:
        found = []
        for number, image in enumerate(self.images.images):
            outputs = deployed.predict_on_batch(image[None])
            if number >= MOST_LOGITS:
                outputs.pop("logits", None)
            found.append({name: np.asarray(value)[0] for name, value in outputs.items()})
        return found

    def miou(self, outputs: Sequence[Outputs]) -> float | None:
        """MIoU of the label ids at each label's own size, 0…1; None without labels."""
        if self.images.labels is None:
            return None
        matrix = ConfusionMatrix(self.num_classes)
        for (label, window), found in zip(self.images.labels, outputs, strict=True):
            matrix.add(label, resize_nearest(found["label_ids"][window], label.shape))
        return matrix.miou


def _without_branch(model: FoRNet) -> FoRNet:
    """The same network with no corrections."""
    coarse = model.with_top_k(model.top_k)
    for weight in coarse.get_layer("branch").project.weights:
        weight.assign(ops.zeros_like(weight))
    return coarse


def prove(run: Run, reference: Reference, batches: Sequence[int], precision: str) -> Proof:
    """Compare an exported model with Keras.

    Args:
        run: the exported model in its runtime.
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
        _judge(checks[-1], tolerance, precision)
    keras_at_1, exported_at_1 = _not_nearer(found, reference, "every", precision)
    keras_coarse, exported_coarse = _not_nearer(found, reference, "no", precision)
    source = f"{len(reference.images.images)} images, {reference.images.source}"
    return Proof(
        tolerance=tolerance,
        images=source,
        at_top_k=tuple(checks),
        keras_at_1=keras_at_1,
        exported_at_1=exported_at_1,
        keras_coarse=keras_coarse,
        exported_coarse=exported_coarse,
    )


def _run_each(run: Run, images: Sequence[NDArray[np.uint8]], batch: int) -> Iterator[Outputs]:
    """The outputs of each image, asked for `batch` images at a time."""
    filler = images[0][:, ::-1]  # not the image itself: one that is mixed up with it has to show
    for first in range(0, len(images), batch):
        together = list(images[first : first + batch])
        outputs = run(np.stack(together + [filler] * (batch - len(together))))
        for i in range(len(together)):
            yield {name: value[i] for name, value in outputs.items()}


def _compare(run: Run, reference: Reference, batch: int) -> tuple[Check, list[Outputs]]:
    """What the exported model finds beside what Keras does; and its label ids, for logits are gigabytes."""
    expected = reference.at_top_k
    labels, regions, differences = [], [], []
    found = _run_each(run, reference.images.images, batch)
    for ours, theirs in zip(found, expected, strict=True):
        labels.append({"label_ids": ours["label_ids"].copy()})
        if "kept" in ours:
            same = ours["kept"] == theirs["kept"]
            regions.append(same.mean())
            if "logits" in ours and "logits" in theirs:
                differences.append(
                    _logit_difference(ours["logits"], theirs["logits"], same, reference.region_size)
                )
    check = Check(
        batch=batch,
        label_agreement=_agreement(labels, expected),
        region_agreement=float(np.mean(regions)) if regions else None,
        largest_logit_difference=float(np.max(differences)) if differences else None,
        miou=reference.miou(labels),
        miou_keras=reference.miou(expected),
    )
    return check, labels


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
) -> tuple[float, float]:
    """Label agreement of Keras, and of the exported model, with Keras refining "every" region or "no" one.

    Raises:
        ExportError: the exported model is nearer to that than to its own top-k.
    """
    other = reference.at_1 if regions == "every" else reference.coarse
    of_keras, of_exported = _agreement(reference.at_top_k, other), _agreement(found, other)
    own = _agreement(found, reference.at_top_k)
    telling = (1 - of_keras) * sum(x["label_ids"].size for x in other)
    # Where the two give one label, the artifact is as near to the one as to the other.
    if telling >= FEWEST_TELLING and of_exported - own > MAX_TOWARDS_LOST * (1 - of_keras):
        lost = "selection" if regions == "every" else "branch"
        raise ExportError(
            f"{precision}: the exported model is nearer to one that refines {regions} region "
            f"({of_exported:.4%} of the labels) than to its own top-k ({own:.4%}): "
            f"it has lost its {lost}; nothing is written; train longer, or export in a higher precision"
        )
    return of_keras, of_exported


def _agreement(found: Sequence[Outputs], expected: Sequence[Outputs]) -> float:
    return float(np.mean([a["label_ids"] == b["label_ids"] for a, b in zip(found, expected, strict=True)]))


def _judge(check: Check, tolerance: Tolerance, precision: str) -> None:
    """Refuse what is beyond the tolerance."""
    lost = None if check.miou is None or check.miou_keras is None else check.miou_keras - check.miou
    findings = (
        ("of the labels agree with Keras", check.label_agreement, tolerance.labels, True),
        ("of the regions are chosen as by Keras", check.region_agreement, tolerance.regions, True),
        ("is the largest difference of a logit", check.largest_logit_difference, tolerance.logits, False),
        ("mIoU is lost", lost, tolerance.miou, False),
    )
    for what, value, limit, at_least in findings:
        if value is None or limit is None:
            continue
        # Written so that NaN fails.
        if not (value >= limit if at_least else value <= limit):
            bound = "at least" if at_least else "at most"
            raise ExportError(
                f"{precision}, batch {check.batch}: {value:.5g} {what}; expected {bound} {limit:g}; "
                "nothing is written; export in a higher precision"
            )
