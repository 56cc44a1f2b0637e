"""Exported models are run in their own runtimes. On TensorFlow, which does every export."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from fornet_keras.data.images import decode_image
from fornet_keras.errors import ExportError
from tests.export.conftest import SIZE, TABLE, scenes

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


def keras_labels(network: Any, images: list[np.ndarray]) -> np.ndarray:
    return np.argmax(np.asarray(network(np.stack(images))["logits"]), axis=-1)


@pytest.mark.parametrize(("format", "precision"), ARTIFACTS)
def test_an_artifact_is_the_model(
    artifact: Callable[..., Any], network: Any, format: str, precision: str
) -> None:
    """On images that neither calibration nor proof has seen."""
    from fornet_keras.artifacts.manifest import read_manifest
    from fornet_keras.artifacts.runtimes import open_runtime

    folder, manifest = artifact(format, precision)
    assert read_manifest(folder) == manifest
    run = open_runtime(folder, format, threads=1)
    images = scenes(2, first=200)
    found = np.concatenate([run(image[None])["label_ids"] for image in images])
    assert (found.dtype, found.shape) == (np.uint8, (2, *SIZE))
    agreement = (found == keras_labels(network, images)).mean()
    assert agreement > {"float32": 0.9999, "float16": 0.995, "dynamic_int8": 0.95, "int8": 0.9}[precision]
    assert manifest.top_k == 0.25
    assert manifest.proof.keras_at_1 < 0.9, "or else this test could not see a lost selection"


def test_openvino_normalizes_the_image_as_it_lies(artifact: Callable[..., Any]) -> None:
    import openvino

    folder, _ = artifact("openvino", "float32")
    model = openvino.Core().read_model(folder / "model.xml")
    nodes = model.get_ordered_ops()
    first = next(node for node in nodes if node.get_type_name() == "Transpose")
    assert first.input_value(0).get_node().get_type_name() == "Add"
    assert first.input_value(0).partial_shape[-1] == 3


@pytest.mark.parametrize(("precision", "transformed"), [("float32", True), ("int8", False)])
def test_eight_bits_are_not_transformed(
    artifact: Callable[..., Any], precision: str, transformed: bool
) -> None:
    """Winograd's tiles of 4×4 cells are known by their 36 products."""
    import openvino

    folder, _ = artifact("openvino", precision)
    nodes = openvino.Core().read_model(folder / "model.xml").get_ordered_ops()
    products = [node.output(0).partial_shape for node in nodes if node.get_type_name() == "MatMul"]
    assert products
    assert any(shape[0] == 36 for shape in products) == transformed


def test_int8_weights_have_seven_bits(artifact: Callable[..., Any]) -> None:
    """Of eight, products overflow on a processor without VNNI."""
    import onnx
    import openvino

    graph = onnx.load(artifact("onnx", "int8")[0] / "model.onnx").graph
    of_onnx = [onnx.numpy_helper.to_array(x) for x in graph.initializer]
    nodes = openvino.Core().read_model(artifact("openvino", "int8")[0] / "model.xml").get_ordered_ops()
    of_openvino = [node.data for node in nodes if node.get_type_name() == "Constant"]
    for arrays in (of_onnx, of_openvino):
        weights = [x for x in arrays if x.dtype == np.int8 and x.size]
        assert 60 <= max(np.abs(x.astype(int)).max() for x in weights) <= 64


@pytest.mark.parametrize("format", ["saved_model", "onnx", "openvino"])
def test_other_batches_and_all_outputs(artifact: Callable[..., Any], network: Any, format: str) -> None:
    from fornet_keras.artifacts.runtimes import open_runtime

    folder, manifest = artifact(format, "float32")
    found = open_runtime(folder, format)(np.stack(scenes(3)))
    expected = network(np.stack(scenes(3)))
    np.testing.assert_allclose(found["logits"], np.asarray(expected["logits"]), atol=1e-3)
    sigmoid = 1 / (1 + np.exp(-np.asarray(expected["importance"])))
    np.testing.assert_allclose(found["importance"], sigmoid, atol=1e-4)
    np.testing.assert_array_equal(found["kept"], np.asarray(expected["kept"]))
    assert [check.batch for check in manifest.proof.at_top_k] == [1, 2]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_onnx_calls_the_number_of_images_by_one_name(artifact: Callable[..., Any], precision: str) -> None:
    import onnxruntime

    path, images = artifact("onnx", precision)[0] / "model.onnx", np.stack(scenes(2))
    session = onnxruntime.InferenceSession(path)
    shapes = {x.name: (x.shape[0], len(x.shape)) for x in (*session.get_inputs(), *session.get_outputs())}
    ranks = {"image": 4, "label_ids": 3, "logits": 4, "importance": 3, "kept": 3}
    assert shapes == {name: ("images", rank) for name, rank in ranks.items()}
    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name("images", 2)
    fixed = onnxruntime.InferenceSession(path, options)
    assert fixed.get_inputs()[0].shape == list(images.shape)
    labels, others = (x.run(["label_ids"], {"image": images})[0] for x in (session, fixed))
    np.testing.assert_array_equal(labels, others)


def test_a_static_onnx_has_no_shape_that_depends_on_the_image(
    export: Callable[..., Any], artifact: Callable[..., Any], network: Any
) -> None:
    import onnx

    from fornet_keras.artifacts.runtimes import open_runtime

    def unknown(folder: Path) -> int:
        graph = onnx.shape_inference.infer_shapes(onnx.load(folder / "model.onnx")).graph
        tensors = [*graph.input, *graph.value_info, *graph.output]
        return sum(any(not side.dim_value for side in x.type.tensor_type.shape.dim) for x in tensors)

    folder, manifest = export("onnx", static=True)
    assert (unknown(folder), unknown(artifact("onnx", "float32")[0]) > 0) == (0, True)
    assert (manifest.inputs[0].shape, len(manifest.proof.at_top_k)) == ((1, *SIZE, 3), 1)
    found = open_runtime(folder, "onnx")(scenes(1)[0][None])["label_ids"]
    np.testing.assert_array_equal(found, keras_labels(network, scenes(1)))


def test_keras_computes_in_float32_on_a_gpu_too(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from fornet_keras.export import export as module
    from fornet_keras.export.formats import ExportSpec

    settings = tf.config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(True)
    inside: list[bool] = []

    def reference(*_: Any) -> None:
        inside.append(settings.tensor_float_32_execution_enabled())
        raise ExportError("far enough")

    monkeypatch.setattr(module, "Reference", reference)
    try:
        with pytest.raises(ExportError, match="far enough"):
            module.export_model(network, TABLE, tmp_path / "out", ExportSpec("onnx", SIZE), Mock())
        assert (inside, settings.tensor_float_32_execution_enabled()) == ([False], True)
    finally:
        settings.enable_tensor_float_32_execution(before)


def test_versions_for_serving(artifact: Callable[..., Any], network: Any) -> None:
    """The next version each time; images as bytes too; and black images to warm up both signatures with."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from fornet_keras.export.target import check_target

    folder, _ = artifact("saved_model", "float32")
    assert folder.name == "1"
    following = check_target(folder.parent, "saved_model", "float32", SIZE, calibrated=False)
    assert following == folder.with_name("2")
    kinds = (".png", ".jpg")
    encoded = [cv2.imencode(kind, x[..., ::-1])[1].tobytes() for kind in kinds for x in scenes(2)]
    images = [decode_image(file, "a scene") for file in encoded]
    signatures = tf.saved_model.load(str(folder)).signatures
    found = signatures["serving_encoded"](encoded=tf.constant(encoded))["label_ids"].numpy()
    np.testing.assert_array_equal(found, keras_labels(network, images))

    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    asked = []
    for request in (log.predict_log.request for log in logs):
        ((name, value),) = request.inputs.items()
        batch = tf.constant(tf.make_ndarray(value))
        signatures[request.model_spec.signature_name](**{name: batch})
        asked.append((name, len(batch)))
        decoded = [tf.io.decode_png(x) for x in batch] if name == "encoded" else batch
        assert not np.any(decoded), "an image of the user's"
    assert asked == [("image", 1), ("encoded", 1), ("image", 2), ("encoded", 2)]
    assert sum(path.stat().st_size for path in (folder / "assets.extra").iterdir()) < 10_000


def test_a_saved_model_is_as_large_as_what_it_needs(artifact: Callable[..., Any]) -> None:
    from fornet_keras.benchmark.candidates import candidates

    folder, _ = artifact("saved_model", "float32")
    (found,) = candidates([folder], (1, 1), (), threads=1)
    assert (folder / "assets.extra").is_dir()
    needed = [folder / "saved_model.pb", *(folder / "variables").iterdir()]
    needed += [path for path in (folder / "fingerprint.pb",) if path.exists()]
    assert found.megabytes == sum(path.stat().st_size for path in needed) / 1e6


def test_a_saved_model_leaves_the_gpu_to_another_backend(
    artifact: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import tensorflow as tf

    from fornet_keras.artifacts.runtimes import open_runtime

    folder, _ = artifact("saved_model", "float32")
    monkeypatch.setattr(tf.config, "set_visible_devices", hidden := Mock())
    open_runtime(folder, "saved_model")
    hidden.assert_not_called()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    open_runtime(folder, "saved_model")
    hidden.assert_called_once_with([], "GPU")


def test_the_documented_code_gives_the_photograph_its_labels(
    artifact: Callable[..., Any], network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of each other runtime in the place of ONNX Runtime's."""
    import openvino
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.chdir(tmp_path)
    cv2.imwrite("YOUR.jpg", np.repeat(np.repeat(scenes(1)[0], 2, axis=0), 2, axis=1)[..., ::-1])
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    page = page.replace("(360, 640)", str(SIZE))
    for name, format in (
        ("onnx_model", "onnx"),
        ("openvino_model", "openvino"),
        ("phone", "litert"),
        ("deploy/models/city/1", "saved_model"),
    ):
        page = page.replace(f'"{name}', f'"{artifact(format, "float32")[0]}')
    first, *others = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    before, session, after = re.split(r"(session = .*\n.*session.*\n)", first)
    found = []
    for lines in (session, *others):
        names = {"openvino": openvino, "tf": tf, "Interpreter": Interpreter}
        exec(before + lines + after, names)
        found.append(names["labels"])
    assert (len(found), found[0].shape, len(np.unique(found[0])) > 1) == (4, (2 * SIZE[0], 2 * SIZE[1]), True)
    for labels in found[1:]:
        assert (labels == found[0]).mean() > 0.999


def test_an_artifact_is_timed(artifact: Callable[..., Any]) -> None:
    from fornet_keras.benchmark.candidates import candidates
    from fornet_keras.benchmark.measure import measure

    folder, _ = artifact("litert", "dynamic_int8")
    rounds = []
    (row,) = measure(candidates([folder], (1, 1), (), threads=1), 2, lambda: rounds.append(1))
    assert (row["runtime"], row["precision"], row["size"], row["top_k"]) == (
        *("litert", "dynamic_int8"),
        *(list(SIZE), 0.25),
    )
    assert 0.9 < row["label_agreement"] <= 1 and row["median_ms"] > 0
    assert len(rounds) == 4, "two more to warm up"


def test_no_agreement_is_claimed_for_a_device_that_the_proof_was_not_taken_on(
    artifact: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fornet_keras.benchmark import candidates

    monkeypatch.setattr(candidates, "open_artifact", Mock())
    monkeypatch.setattr(candidates, "tensorflow_gpu", lambda: next(gpus))
    gpus = iter([None, "NVIDIA H200"])
    kinds = [("onnx", "cpu", None), ("onnx", "gpu", "GPU")]
    for format, device, gpu in [*kinds, ("saved_model", "cpu", None), ("saved_model", "cpu", "NVIDIA H200")]:
        (found,) = candidates.candidates([artifact(format, "float32")[0]], (1, 1), (), None, device=device)
        assert (found.runtime, found.device, found.label_agreement is None) == (format, gpu, bool(gpu))


def test_labels_are_those_of_the_upsampled_logits(network: Any) -> None:
    """Also where the image ends within a cell."""
    from fornet_keras.export.deployment import deployment_model

    image = scenes(1)[0][:90, :150]
    (found,), (whole,) = (
        np.asarray(
            deployment_model(network, (90, 150), ["label_ids"], 1, static_shapes=on)(image[None])["label_ids"]
        )
        for on in (False, True)
    )
    assert len(np.unique(whole)) > 1
    assert (whole == found).mean() > 0.9999
