"""An export that is not the model, or is no longer, is refused. On TensorFlow, which does every export."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fornet_keras.errors import ExportError


def test_the_labels_of_a_proof_are_the_artifact_s(
    export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its twin with every output, which only shows regions and logits, is the model at another share."""
    from fornet_keras.export import formats, proof

    anything = proof.Tolerance(labels=0, regions=0, logits=None, miou=1)
    monkeypatch.setitem(proof.TOLERANCES, "float32", anything)
    write = formats.write_onnx

    def write_both(model: Any, spec: Any, folder: Path) -> None:
        write(model.with_top_k(0.1) if "kept" in spec.outputs else model, spec, folder)

    monkeypatch.setattr(formats, "write_onnx", write_both)
    _, manifest = export("onnx", outputs=("label_ids",))
    for check in manifest.proof.at_top_k:
        assert check.label_agreement == 1
        assert check.region_agreement < 1


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("litert", "of the labels agree with Keras; expected at least"),
        ("onnx", "it has lost its selection; nothing is written"),
    ],
)
def test_a_lost_selection_is_found_and_leaves_nothing(
    export: Callable[..., Any], format: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact refines every region: more accurate, and not what was asked for."""
    from fornet_keras.export import formats, proof

    write = getattr(formats, f"write_{format}")
    monkeypatch.setattr(formats, f"write_{format}", lambda model, *rest: write(model.with_top_k(1.0), *rest))
    if format == "onnx":  # the first check lets all pass, and another finds it
        anything = proof.Tolerance(labels=0, regions=0, logits=None, miou=1)
        monkeypatch.setitem(proof.TOLERANCES, "float32", anything)
    with pytest.raises(ExportError, match=message):
        export(format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", [False, True])
def test_a_lost_selection_is_found_among_the_mistakes_of_eight_bits(lost: bool) -> None:
    """Four in a thousand pixels tell the two apart, and ten are wrong for another reason."""
    from fornet_keras.export.proof import ProofImages, prove

    rng = np.random.default_rng(0)
    at_top_k = rng.integers(0, 2, (2, 100, 100), np.uint8)
    at_1 = np.where(rng.random(at_top_k.shape) < 0.004, 1 - at_top_k, at_top_k)
    truth = at_1 if lost else at_top_k
    labels = np.where(rng.random(truth.shape) < 0.01, 1 - truth, truth)
    reference = SimpleNamespace(
        images=ProofImages("two", list(np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1))),
        at_top_k=[{"label_ids": x} for x in at_top_k],
        at_1=[{"label_ids": x} for x in at_1],
        miou=lambda outputs: None,
    )

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return {"label_ids": labels[images.ravel()]}

    if lost:
        with pytest.raises(ExportError, match="it has lost its selection; nothing is written"):
            prove(run, reference, (1, 2), "int8")  # type: ignore[arg-type]
    else:
        proof = prove(run, reference, (1, 2), "int8")  # type: ignore[arg-type]
        assert proof.keras_at_1 == (at_top_k == at_1).mean()


def test_a_batch_that_is_mixed_up_is_found_with_one_image() -> None:
    from fornet_keras.export.proof import ProofImages, prove

    image = np.random.default_rng(0).integers(0, 9, (8, 8, 3), np.uint8)
    outputs = [{"label_ids": image[..., 0]}]
    reference = SimpleNamespace(
        images=ProofImages("one", [image]), at_top_k=outputs, at_1=outputs, miou=lambda outputs: None
    )
    with pytest.raises(ExportError, match=r"^float32, batch 2: 0.\d+ of the labels agree with Keras"):
        prove(lambda images: {"label_ids": images[::-1, ..., 0]}, reference, (1, 2), "float32")  # type: ignore[arg-type]
