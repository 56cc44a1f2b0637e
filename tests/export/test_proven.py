"""An export that is not the model is refused, and leaves nothing. On TensorFlow, which does every export."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fornet_keras.artifacts.manifest import Tolerance
from fornet_keras.errors import ExportError
from tests.export.conftest import SIZE

ANYTHING = Tolerance(labels=0, refined=0, importance=1, logits=None, miou=1)


def test_the_labels_of_a_proof_are_the_artifact_s(
    export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its twin with every output, which shows the rest, is the model at another share."""
    from fornet_keras.export import export as module
    from fornet_keras.export import proof
    from fornet_keras.export.deployment import deployment_model

    monkeypatch.setitem(proof.TOLERANCES, "float32", ANYTHING)
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
        assert check.refined_agreement < 1


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
        monkeypatch.setitem(proof.TOLERANCES, "float32", ANYTHING)
    with pytest.raises(ExportError, match=message):
        export(format)
    assert list(tmp_path.iterdir()) == []


def test_the_outputs_that_an_artifact_has_are_its_own(
    export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logits are wrong and its twin's are right."""
    from fornet_keras.export import export as module

    open_runtime = module.open_runtime

    def without_logits(folder: Path, format: str) -> Any:
        right = open_runtime(folder, format)

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            found = right(images)
            return found if "kept" in found else found | {"logits": 0 * found["logits"]}

        return run

    monkeypatch.setattr(module, "open_runtime", without_logits)
    with pytest.raises(ExportError, match="is the largest difference of a logit"):
        export("onnx", outputs=("label_ids", "logits"))


@pytest.mark.parametrize(("format", "opener"), [("litert", "open_tf_lite"), ("saved_model", "open_encoded")])
def test_an_artifact_that_is_right_in_one_of_its_two_ways_is_refused(
    export: Callable[..., Any], format: str, opener: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.export import export as module

    run = getattr(module, opener)

    def upside_down(path: Path) -> Any:
        right = run(path)
        return lambda images: {name: x[:, ::-1] for name, x in right(images).items()}

    monkeypatch.setattr(module, opener, upside_down)
    with pytest.raises(ExportError, match=r"^float32, batch 1: 0.\d+ of the labels agree with Keras"):
        export(format)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_saved_model_that_reads_a_jpeg_otherwise_is_refused(
    export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    decode = tf.io.decode_jpeg

    def upside_down(encoded: Any, **options: Any) -> Any:
        image = decode(encoded, **options)
        return tf.cond(tf.io.is_jpeg(encoded), lambda: image[::-1], lambda: image)

    monkeypatch.setattr(tf.io, "decode_jpeg", upside_down)
    with pytest.raises(ExportError, match=r"^float32: 0.\d+ of the labels of JPEG files agree with those of"):
        export("saved_model")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("fails", ["to load", "to run"])
def test_a_runtime_that_fails_is_said_in_a_line(
    export: Callable[..., Any], fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own would name a folder that is gone, or be a traceback."""
    from fornet_keras.export import export as module

    broken = Mock(side_effect=RuntimeError("Node number 3 (GATHER) failed\nand more"))
    monkeypatch.setattr(module.formats, "write", lambda *_: None)
    if fails == "to load":
        monkeypatch.setattr("fornet_keras.artifacts.runtimes.open_onnx", broken)
    else:
        monkeypatch.setattr(module, "open_runtime", lambda folder, format: broken)
    expected = (
        r"^onnx in float32: its runtime cannot run what was written \(Node number 3 \(GATHER\) failed\); "
    )
    with pytest.raises(ExportError, match=f"{expected}nothing is written; expected .* onnxruntime") as found:
        export("onnx")
    assert ".writing" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_two_exports_into_one_folder_are_two_versions(
    export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has written the version that was to be the next."""
    from fornet_keras.export import export as module

    write_manifest = module.write_manifest

    def other_is_quicker(*arguments: Any) -> None:
        (tmp_path / "artifact" / "1").mkdir()
        (tmp_path / "artifact" / "1" / "saved_model.pb").touch()
        write_manifest(*arguments)

    monkeypatch.setattr(module, "write_manifest", other_is_quicker)
    folder, _ = export("saved_model")
    assert folder == tmp_path / "artifact" / "2" and (folder / "manifest.json").is_file()
    assert sorted((tmp_path / "artifact").iterdir()) == [tmp_path / "artifact" / "1", folder]
