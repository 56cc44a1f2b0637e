"""Is an exported model the model? It is run in its own runtime on images, beside Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fornet_keras.artifacts.manifest import Check, Proof, Tolerance
from fornet_keras.artifacts.runtimes import Run
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
"""Of the pixels that Keras labels otherwise with every region, by how large a share more an artifact may side
with that one than with its own top-k: what rounding to eight bits does to a few pixels."""


MOST_LOGITS = 4
"""Images whose logits are kept to be compared: of one they may be a gigabyte."""


@dataclass(frozen=True)
class ProofImages:
    """What a proof is taken on.

    Args:
        source: where the images come from, in words.
        images: uint8 `(height, width, 3)`, of the exported size.
        labels: train ids `(height, width)`, one an image; None without labels.
    """

    source: str
    images: Sequence[NDArray[np.uint8]]
    labels: Sequence[NDArray[np.uint8]] | None = None


class Reference:
    """What Keras finds in the images, at the model's top-k and at 1.

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

    def _outputs(self, deployed: Any) -> list[Outputs]:
        found = []
        for number, image in enumerate(self.images.images):
            outputs = deployed.predict_on_batch(image[None])
            if number >= MOST_LOGITS:
                outputs.pop("logits", None)
            found.append({name: np.asarray(value)[0] for name, value in outputs.items()})
        return found

    def miou(self, outputs: Sequence[Outputs]) -> float | None:
        """MIoU of the label ids, 0…1; None without labels."""
        if self.images.labels is None:
            return None
        matrix = ConfusionMatrix(self.num_classes)
        for label, found in zip(self.images.labels, outputs, strict=True):
            matrix.add(label, found["label_ids"])
        return matrix.miou


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
    keras_at_1 = _agreement(reference.at_top_k, reference.at_1)
    exported_at_1 = _agreement(found, reference.at_1)
    # Where the two give one label, the artifact is as near to the one as to the other.
    if exported_at_1 - checks[-1].label_agreement > MAX_TOWARDS_LOST * (1 - keras_at_1):
        raise ExportError(
            f"{precision}: the exported model is nearer to one that refines every region "
            f"({exported_at_1:.4%} of the labels) than to its own top-k ({checks[-1].label_agreement:.4%}): "
            "it has lost its selection; nothing is written"
        )
    source = f"{len(reference.images.images)} images, {reference.images.source}"
    return Proof(
        tolerance=tolerance,
        images=source,
        at_top_k=tuple(checks),
        keras_at_1=keras_at_1,
        exported_at_1=exported_at_1,
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
