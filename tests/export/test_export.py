"""Exported models are run in their own runtimes. On TensorFlow, which does every export."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ExportError
from tests.cli.conftest import config, data, model, only_line, run

__all__ = ["config", "data", "model", "run"]

SIZE = (96, 160)  # 3×5 regions
TABLE = LabelTable(("water", "quay", "sky"), ((0, 0, 200), (90, 90, 90), (130, 180, 230)), {})
ROOT = Path(__file__).parents[2]
ARTIFACTS = [
    ("saved_model", "float32"),
    ("litert", "float32"),
    ("litert", "float16"),
    ("litert", "dynamic_int8"),
    ("litert", "int8"),
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "float16"),
    ("openvino", "int8"),
]


def scenes(count: int) -> list[np.ndarray]:
    from fornet_keras.data.synthetic import render_scene

    return [render_scene(seed, SIZE).image for seed in range(100, 100 + count)]


@pytest.fixture(scope="module")
def network() -> Any:
    """Random weights, and corrections so large that a lost selection shows."""
    from tests.model.tiny import randomize, tiny_model

    model = randomize(tiny_model()).with_top_k(0.25)
    project = model.get_layer("branch").project
    project.bias.assign(np.array([-9, 9, 0], "float32"))
    return model


@pytest.fixture
def export(network: Any, tmp_path: Path) -> Callable[..., Any]:
    """Export the network into `tmp_path / "artifact"`."""
    from fornet_keras.export.export import export_model
    from fornet_keras.export.proof import ProofImages

    def run(format: Any, precision: Any = "float32", **options: Any) -> Any:
        images = scenes(3)
        options.setdefault("calibration", images)
        proof = ProofImages("scenes", images)
        output = options.pop("output", tmp_path / "artifact")
        model = options.pop("model", network)
        return export_model(model, TABLE, output, format, SIZE, proof, precision, **options)

    return run


def keras_labels(network: Any, images: list[np.ndarray]) -> np.ndarray:
    return np.argmax(np.asarray(network(np.stack(images))["logits"]), axis=-1)


@pytest.mark.parametrize(("format", "precision"), ARTIFACTS)
def test_an_artifact_is_the_model(
    export: Callable[..., Any], network: Any, format: str, precision: str
) -> None:
    """On images that neither calibration nor proof has seen."""
    from fornet_keras.export.manifest import read_manifest
    from fornet_keras.export.runtimes import open_runtime

    folder, manifest = export(format, precision)
    assert read_manifest(folder) == manifest
    run = open_runtime(folder, format, threads=1)
    images = scenes(2)
    found = np.concatenate([run(image[None])["label_ids"] for image in images])
    assert (found.dtype, found.shape) == (np.uint8, (2, *SIZE))
    agreement = (found == keras_labels(network, images)).mean()
    assert agreement > {"float32": 0.9999, "float16": 0.995, "dynamic_int8": 0.95, "int8": 0.9}[precision]
    assert manifest.proof.at_top_k[0].region_agreement is not None, "proven with every output"
    assert [(x.name, x.dtype) for x in manifest.outputs] == [("label_ids", "uint8")]
    assert manifest.top_k == 0.25
    assert manifest.proof.keras_at_1 < 0.9, "or else this test could not see a lost selection"


@pytest.mark.parametrize("format", ["saved_model", "onnx", "openvino"])
def test_other_batches_and_all_outputs(export: Callable[..., Any], network: Any, format: str) -> None:
    from fornet_keras.export.runtimes import open_runtime

    folder, manifest = export(format, outputs=("label_ids", "logits", "importance", "kept"))
    found = open_runtime(folder, format)(np.stack(scenes(3)))
    expected = network(np.stack(scenes(3)))
    np.testing.assert_allclose(found["logits"], np.asarray(expected["logits"]), atol=1e-3)
    sigmoid = 1 / (1 + np.exp(-np.asarray(expected["importance"])))
    np.testing.assert_allclose(found["importance"], sigmoid, atol=1e-4)
    np.testing.assert_array_equal(found["kept"], np.asarray(expected["kept"]))
    assert [check.batch for check in manifest.proof.at_top_k] == [1, 2]


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_a_lost_selection_is_found_and_leaves_nothing(
    export: Callable[..., Any], network: Any, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact refines every region: more accurate, and not what was asked for."""
    from fornet_keras.export import formats, proof

    write = getattr(formats, f"write_{format}")
    monkeypatch.setattr(formats, f"write_{format}", lambda model, *rest: write(model.with_top_k(1.0), *rest))
    with pytest.raises(ExportError, match="of the labels agree with Keras; expected at least"):
        export(format)
    anything = proof.Tolerance(labels=0, regions=0, logits=None, miou=1)
    monkeypatch.setitem(proof.TOLERANCES, "float32", anything)
    with pytest.raises(ExportError, match="it has lost its selection; nothing is written"):
        export(format)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_are_found(
    export: Callable[..., Any], network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.export import formats
    from tests.model.tiny import tiny_model

    write = formats.write_onnx
    monkeypatch.setattr(formats, "write_onnx", lambda model, *rest: write(tiny_model(), *rest))
    with pytest.raises(
        ExportError, match=r"^float32, batch 1: 0.\d+ of the labels agree with Keras; expected"
    ):
        export("onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_images(export: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8 needs images like those it will see; .* --calibration"):
        export("litert", "int8", calibration=())
    assert not (tmp_path / "artifact").exists()


def test_a_precision_that_the_format_does_not_have(export: Callable[..., Any]) -> None:
    with pytest.raises(ExportError, match="onnx cannot be written in float16; expected one of float32, int8"):
        export("onnx", "float16")


@pytest.mark.parametrize(
    ("format", "package"), [("litert", "ai_edge_litert"), ("onnx", "tf2onnx"), ("openvino", "nncf")]
)
def test_a_missing_package_names_the_extra(
    export: Callable[..., Any], format: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fornet_keras.export.formats.find_spec", lambda name: None if name == package else 1)
    with pytest.raises(
        ExportError, match=rf"needs the package {package}: pip install 'fornet_keras\[{format}\]'"
    ):
        export(format)


def test_a_folder_that_is_there_is_left_alone(export: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with pytest.raises(ExportError, match="is there already; choose another --output"):
        export("litert")


def test_a_changed_artifact_is_refused(export: Callable[..., Any]) -> None:
    from fornet_keras.export.manifest import read_manifest

    folder, _ = export("litert")
    content = bytearray((folder / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.tflite").write_bytes(content)
    with pytest.raises(ExportError, match=r"model.tflite: not the one that was exported \(SHA-256\)"):
        read_manifest(folder)


def test_versions_for_serving(export: Callable[..., Any], network: Any, tmp_path: Path) -> None:
    """The next version each time; images as bytes too; and requests to warm up with."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    for version in ("1", "2"):
        folder, _ = export("saved_model", output=tmp_path / "city")
        assert folder == tmp_path / "city" / version
    images = scenes(2)
    encoded = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    signature = tf.saved_model.load(str(folder)).signatures["serving_encoded"]
    found = signature(encoded=tf.constant(encoded))["label_ids"].numpy()
    np.testing.assert_array_equal(found, keras_labels(network, images))

    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    tensors = [tf.make_ndarray(log.predict_log.request.inputs["image"]) for log in logs]
    assert [tensor.shape for tensor in tensors] == [(1, *SIZE, 3), (2, *SIZE, 3)]


def test_the_command_from_any_backend(network: Any, tmp_path: Path) -> None:
    """JAX is asked for; TensorFlow exports; the proof is taken on the user's images."""
    from fornet_keras.model_folder import save_model

    save_model(network, TABLE, tmp_path / "model")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(scenes(3)):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image[..., ::-1])
    options = [
        "--format",
        "litert",
        "--size",
        "96x160",
        "--calibration",
        tmp_path / "images",
        "--top-k",
        "0.5",
    ]
    paths = ["--output", tmp_path / "phone", "--json", tmp_path / "result.json"]
    command = [sys.executable, "cli.py", "export", tmp_path / "model", *options, *paths]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    manifest = json.loads((tmp_path / "phone" / "manifest.json").read_text())
    assert result == {"artifact": str(tmp_path / "phone"), **manifest}
    assert (manifest["top_k"], manifest["size"]) == (0.5, [96, 160])
    assert manifest["proof"]["images"] == f"3 images, of {tmp_path / 'images'}"
    assert "100.0000%" in done.stdout


def test_the_command_writes_an_artifact_for_each_ratio(run: Any, network: Any, tmp_path: Path) -> None:
    from fornet_keras.export.manifest import read_manifest
    from fornet_keras.model_folder import save_model

    save_model(network, TABLE, tmp_path / "model")
    options = ("--format", "onnx", "--size", "96x160", "--top-k", "0.5,1,0.5", "--importance", "--logits")
    paths = ("--output", tmp_path / "ratios", "--json", tmp_path / "result.json")
    result = run("export", tmp_path / "model", *options, *paths)
    assert (result.exit_code, result.stderr) == (0, "")
    folders = [tmp_path / "ratios" / name for name in ("top_k_0.5", "top_k_1")]
    assert sorted((tmp_path / "ratios").iterdir()) == folders
    assert [read_manifest(folder).top_k for folder in folders] == [0.5, 1]
    found = json.loads((tmp_path / "result.json").read_text())["artifacts"]
    assert [artifact["artifact"] for artifact in found] == [str(folder) for folder in folders]
    result = run("export", tmp_path / "model", *options, *paths)
    assert "is there already; choose another --output" in only_line(result.stderr)


def test_an_artifact_is_timed(export: Callable[..., Any]) -> None:
    from fornet_keras.benchmark import candidates, measure

    folder, _ = export("litert", "dynamic_int8")
    rounds = []
    (row,) = measure(candidates([folder], (1, 1), (), threads=1), 2, lambda: rounds.append(1))
    assert (row["runtime"], row["precision"], row["size"], row["top_k"]) == (
        *("litert", "dynamic_int8"),
        *(list(SIZE), 0.25),
    )
    assert 0.9 < row["label_agreement"] <= 1 and row["median_ms"] > 0
    assert len(rounds) == 4, "two more to warm up"


def test_labels_by_column_are_those_of_the_upsampled_logits(network: Any) -> None:
    """Also where the image ends within a cell."""
    from fornet_keras.export.deployment import deployment_model

    image = scenes(1)[0][:90, :150]
    (whole,), (columns,) = (
        np.asarray(
            deployment_model(network, (90, 150), ["label_ids"], 1, by_column=on)(image[None])["label_ids"]
        )
        for on in (False, True)
    )
    assert len(np.unique(whole)) > 1
    assert (whole == columns).mean() > 0.9999


def test_a_litert_model_that_tf_lite_runs_otherwise_is_refused(
    export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.export import export as module

    run = module.open_tf_lite

    def upside_down(path: Path) -> Any:
        right = run(path)
        return lambda images: {name: x[:, ::-1] for name, x in right(images).items()}

    monkeypatch.setattr(module, "open_tf_lite", upside_down)
    with pytest.raises(ExportError, match=r"^float32, batch 1: 0.\d+ of the labels agree with Keras"):
        export("litert")
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_is_too_large(export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.export.formats.MAX_PIXELS", 1000)
    with pytest.raises(ExportError, match="96x160: too large to be run; expected at most 1,000 pixels"):
        export("onnx")


def test_a_size_too_small_for_the_scenes() -> None:
    from fornet_keras.export.images import proof_images

    with pytest.raises(ExportError, match="32x160: expected at least 64 pixels a side"):
        proof_images(None, [], (32, 160))


def test_without_tensorflow(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fornet_keras.cli.export.find_spec", lambda name: None)
    options = ("--format", "onnx", "--size", "96x160", "--output", tmp_path / "out")
    result = run("export", tmp_path, *options)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith("Error: export needs TensorFlow, whatever trained the model; ")


def test_labels_give_the_change_in_miou(
    run: Any, model: Path, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("export", model, "--format", "onnx", "--size", "64x96", "--output", tmp_path / "out")
    assert "--data needs --config" in run(*options, "--data", data).stderr
    result = run(*options, "--config", config, "--data", data)
    assert result.exit_code == 0, result.stderr
    proof = json.loads((tmp_path / "out" / "manifest.json").read_text())["proof"]
    assert proof["images"] == f"2 images, of {data}, split test"
    assert proof["tolerance"] == {"labels": 0.9995, "regions": 0.99, "logits": 0.001, "miou": 0.001}
    for check in proof["at_top_k"]:
        assert 0 < check["miou_keras"] < 1
        assert check["miou"] == pytest.approx(check["miou_keras"], abs=1e-3)


def test_a_loss_of_miou_is_refused() -> None:
    from fornet_keras.export.manifest import Check
    from fornet_keras.export.proof import TOLERANCES, _judge

    check = Check(batch=2, label_agreement=1, miou=0.5, miou_keras=0.7)
    with pytest.raises(ExportError, match="int8, batch 2: 0.2 mIoU is lost; expected at most 0.05"):
        _judge(check, TOLERANCES["int8"], "int8")
