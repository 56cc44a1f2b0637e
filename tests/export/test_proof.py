"""An export that is not the model, or is no longer, is refused. On TensorFlow, which does every export."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fornet_keras.errors import ExportError
from tests.export.conftest import SIZE


def test_the_labels_of_a_proof_are_the_artifact_s(
    export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its twin with every output, which only shows regions and logits, is the model at another share."""
    from fornet_keras.export import export as module
    from fornet_keras.export import proof
    from fornet_keras.export.deployment import deployment_model

    anything = proof.Tolerance(labels=0, regions=0, logits=None, miou=1)
    monkeypatch.setitem(proof.TOLERANCES, "float32", anything)
    written: dict[Path, Any] = {}

    def write(model: Any, spec: Any, folder: Path) -> None:
        model = model.with_top_k(0.1) if "kept" in spec.outputs else model
        written[folder] = deployment_model(model, SIZE, spec.outputs, spec.batch)

    def run(images: np.ndarray, deployed: Any) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in deployed(images).items()}

    monkeypatch.setattr(module.formats, "write", write)
    monkeypatch.setattr(module, "open_runtime", lambda folder, format: partial(run, deployed=written[folder]))
    _, manifest = export("onnx", outputs=("label_ids",))
    for check in manifest.proof.at_top_k:
        assert check.label_agreement == 1
        assert check.region_agreement < 1


@pytest.mark.parametrize(
    ("format", "lost", "message"),
    [
        ("litert", "selection", "of the labels agree with Keras; expected at least"),
        ("onnx", "branch", "it has lost its branch; nothing is written"),
    ],
)
def test_what_is_lost_is_found_and_leaves_nothing(
    export: Callable[..., Any],
    format: str,
    lost: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The artifact refines every region: more accurate, and not what was asked for. Or it refines none."""
    from fornet_keras.export import formats, proof

    def without(model: Any) -> Any:
        other = model.with_top_k(1.0 if lost == "selection" else model.top_k)
        if lost == "branch":
            project = other.get_layer("branch").project
            project.set_weights([np.zeros_like(x) for x in project.get_weights()])
        return other

    write = getattr(formats, f"write_{format}")
    monkeypatch.setattr(formats, f"write_{format}", lambda model, *rest: write(without(model), *rest))
    if format == "onnx":  # the first check lets all pass, and another finds it
        anything = proof.Tolerance(labels=0, regions=0, logits=None, miou=1)
        monkeypatch.setitem(proof.TOLERANCES, "float32", anything)
    with pytest.raises(ExportError, match=message):
        export(format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["", "selection", "branch"])
def test_what_is_lost_is_found_among_the_mistakes_of_eight_bits(lost: str) -> None:
    """Four in a thousand pixels tell it apart, and ten are wrong for another reason."""
    from fornet_keras.export.proof import ProofImages, prove

    rng = np.random.default_rng(0)
    at_top_k = rng.integers(0, 2, (2, 200, 200), np.uint8)
    at_1, coarse = (np.where(rng.random(at_top_k.shape) < 0.004, 1 - at_top_k, at_top_k) for _ in range(2))
    truth = {"selection": at_1, "branch": coarse, "": at_top_k}[lost]
    labels = np.where(rng.random(truth.shape) < 0.01, 1 - truth, truth)
    reference = SimpleNamespace(
        images=ProofImages("two", list(np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1))),
        at_top_k=[{"label_ids": x} for x in at_top_k],
        at_1=[{"label_ids": x} for x in at_1],
        coarse=[{"label_ids": x} for x in coarse],
        miou=lambda outputs: None,
    )

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"label_ids": labels[images.ravel()]}

    if lost:
        message = f"lost its {lost}; nothing is written; train longer, or export in a higher precision"
        with pytest.raises(ExportError, match=message):
            prove(run, reference, (1, 2), "int8")  # type: ignore[arg-type]
    else:
        proof = prove(run, reference, (1, 2), "int8")  # type: ignore[arg-type]
        assert proof.keras_at_1 == (at_top_k == at_1).mean()
        assert proof.keras_coarse == (at_top_k == coarse).mean()


def test_a_few_pixels_tell_nothing() -> None:
    """All that tell an honest artifact from others lie at one edge, which eight bits have moved."""
    from fornet_keras.export.proof import ProofImages, prove

    at_top_k = np.zeros((1, 200, 200), np.uint8)
    other = at_top_k.copy()
    other[0, 0, :150] = 1
    outputs = {name: [{"label_ids": x[0]}] for name, x in (("at_1", other), ("coarse", other))}
    reference = SimpleNamespace(
        images=ProofImages("one", [np.zeros((1, 1, 1), np.uint8)]),
        at_top_k=[{"label_ids": at_top_k[0]}],
        miou=lambda outputs: None,
        **outputs,
    )
    proof = prove(lambda images: {"label_ids": other}, reference, (1,), "int8")  # type: ignore[arg-type]
    assert (proof.exported_at_1, proof.exported_coarse) == (1, 1)


def test_miou_is_of_each_label_at_its_own_size() -> None:
    """What is found around a photograph does not count, nor do labels lose what is thin."""
    from fornet_keras.export.proof import ProofImages, Reference

    label = np.zeros((8, 8), np.uint8)
    label[3] = 1
    found = np.full((4, 8), 2, np.uint8)
    found[:, 2:6] = 0
    reference = Reference.__new__(Reference)
    reference.num_classes = 3
    reference.images = ProofImages("one", [], [(label, (slice(0, 4), slice(2, 6)))])
    assert reference.miou([{"label_ids": found}]) == pytest.approx((56 / 64 + 0) / 2)


def test_a_batch_that_is_mixed_up_is_found_with_one_image() -> None:
    from fornet_keras.export.proof import ProofImages, prove

    image = np.random.default_rng(0).integers(0, 9, (8, 8, 3), np.uint8)
    outputs = [{"label_ids": image[..., 0]}]
    reference = SimpleNamespace(
        images=ProofImages("one", [image]),
        at_top_k=outputs,
        at_1=outputs,
        coarse=outputs,
        miou=lambda outputs: None,
    )
    with pytest.raises(ExportError, match=r"^float32, batch 2: 0.\d+ of the labels agree with Keras"):
        prove(lambda images: {"label_ids": images[::-1, ..., 0]}, reference, (1, 2), "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "found", "message"),
    [
        ("int8", {"miou": 0.5, "miou_keras": 0.7}, "0.2 mIoU is lost; expected at most 0.05"),
        ("float32", {"label_agreement": 0.9}, "0.9 of the labels agree with Keras; expected at least 0.9995"),
        ("float32", {"label_agreement": np.nan}, "nan of the labels agree with Keras; expected at least"),
        ("float32", {"region_agreement": 0.9}, "0.9 of the regions are chosen as by Keras; expected at"),
        ("float32", {"largest_logit_difference": 0.5}, "0.5 is the largest difference of a logit; expected"),
        ("float32", {"largest_logit_difference": np.nan}, "nan is the largest difference of a logit"),
    ],
)
def test_what_is_beyond_the_tolerance_is_refused(
    precision: str, found: dict[str, float], message: str
) -> None:
    from fornet_keras.artifacts.manifest import Check
    from fornet_keras.export.proof import TOLERANCES, _judge

    check = Check(batch=2, **{"label_agreement": 1} | found)
    with pytest.raises(ExportError, match=f"^{precision}, batch 2: {message}"):
        _judge(check, TOLERANCES[precision], precision)


def test_logits_are_compared_away_from_what_only_one_refines() -> None:
    """Three by three regions of 2×2 pixels, of a lower right corner that the image has not; one differs."""
    from fornet_keras.export.proof import _logit_difference

    agrees = np.ones((3, 3), bool)
    agrees[0, 0] = False
    expected = np.zeros((5, 5, 2), np.float32)
    for row, column in np.ndindex(5, 5):
        found = expected.copy()
        found[row, column, 1] = -0.5
        beside = max(row, column) < 4  # upsampling reaches into the neighbours of the one
        assert _logit_difference(found, expected, agrees, 2) == (0 if beside else 0.5), (row, column)
