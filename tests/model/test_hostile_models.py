"""Model folders made to harm: refused in one line, with nothing run and little memory."""

import json
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fornet_keras import weights_file
from fornet_keras.atomic import checksum
from fornet_keras.backbones.library import LibraryBackbone
from fornet_keras.empty_build import NetworkTooLarge, empty_build
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.model_folder import load_model, save_model
from tests.model.folders import TABLE, edit, rewrite_weights, set_architecture
from tests.model.tiny import tiny_model

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a folder is read the same way whatever computes"
)

LARGEST = {
    "widths": [2048] * 4,
    "depths": [64] * 4,
    "stem_filters": 2048,
    "stem_depth": 64,
    "context_filters": 2048,
    "branch_filters": 2048,
}


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def write_weights(folder: Path, content: bytes) -> None:
    """Put anything in the weights' place, with a checksum that fits."""
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    edit(folder, lambda description: description.update(sha256=checksum(path)))


def safetensors(header: Any, data: bytes = b"", announced: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if announced is None else announced) + text + data


def zip_bomb(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(50_000_000))
    return path.read_bytes()


def linked_hdf5(path: Path) -> bytes:
    import h5py

    with h5py.File(path, "w") as file:
        file["kernel"] = h5py.ExternalLink("/etc/passwd", "/")
    return path.read_bytes()


FILES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda path: pickle.dumps(Touch(path.with_name("executed"))),
    "pickled array": lambda path: _pickled_array(path),
    "zip bomb": zip_bomb,
    "HDF5 with an external link": linked_hdf5,
    "header of exabytes": lambda path: safetensors({}, announced=2**62),
    "header of a million arrays": lambda path: safetensors({str(i): {} for i in range(200_000)}),
    "array of exabytes": lambda path: safetensors(
        {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "array of another array's bytes": lambda path: safetensors(
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}, bytes(8)
    ),
    "array beyond the file": lambda path: safetensors(
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [10**9, 10**9 + 8]}}, bytes(8)
    ),
    "objects": lambda path: safetensors(
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "numbers that NumPy has where JAX is installed": lambda path: safetensors(
        {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, bytes(2)
    ),
    "booleans": lambda path: safetensors(
        {"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "complex numbers": lambda path: safetensors(
        {"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)
    ),
}


def _pickled_array(path: Path) -> bytes:
    np.save(path.with_suffix(".npy"), np.array([Touch(path.with_name("executed"))]), allow_pickle=True)
    return path.with_suffix(".npy").read_bytes()


@pytest.mark.parametrize("kind", FILES)
def test_weights_that_are_no_arrays_are_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    write_weights(folder, FILES[kind](tmp_path / "other"))
    with pytest.raises(ModelError, match=r"weights\.safetensors: (not a safetensors file|'.*' is )") as e:
        load_model(folder)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "executed").exists()


def test_huge_weights_are_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "weights.safetensors").open("ab") as file:
        file.truncate(10**11)  # a hole: it takes no space
    monkeypatch.setattr(weights_file, "checksum", None)
    with pytest.raises(
        ModelError, match=r"weights.safetensors: larger than 129,000,008 bytes; expected a mod"
    ):
        load_model(folder)


def test_as_many_weights_as_are_saved_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "weights.safetensors").open("ab") as file:
        file.truncate(4 * weights_file.MAX_NUMBERS + 100_000)  # with a header
    monkeypatch.setattr(weights_file, "checksum", lambda path: "read")
    with pytest.raises(ModelError, match="its SHA-256 is not the one in model.json"):
        load_model(folder)


def test_too_many_numbers_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "MAX_NUMBERS", 1000)
    with pytest.raises(ModelError, match=r"weights.safetensors: [\d,]+ numbers; expected at most 1,000, a"):
        load_model(folder)


@pytest.mark.parametrize("dtype", ["bool", "float64", "complex64"])
def test_numbers_of_another_kind_are_refused(folder: Path, dtype: str) -> None:
    name = "coarse_logits/bias"
    rewrite_weights(folder, lambda weights: weights.update({name: weights[name].astype(dtype)}))
    with pytest.raises(ModelError, match=f"'{name}' is {dtype}; expected float16, float32; save"):
        load_model(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    name = "coarse_logits/bias"
    rewrite_weights(folder, lambda weights: weights[name].fill(np.nan))
    with pytest.raises(ModelError, match=f"weights.safetensors: '{name}' is not finite; train the model"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_link_to_a_device_is_not_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=f"no {name}"):
        load_model(folder)


def test_a_description_of_many_levels_is_refused(folder: Path) -> None:
    (folder / "model.json").write_text("[" * 900_000)
    with pytest.raises(ModelError, match=r"model\.json: the file: "):
        load_model(folder)


@pytest.mark.parametrize(
    "backbone",
    [
        {"module": "os", "class_name": "system", "config": {"command": "touch executed"}},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "executed"]}},
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__"}},
        },
    ],
)
def test_keras_own_files_build_nothing_foreign(
    backbone: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `keras.saving.load_model` asks `FoRNet` to build, from the configuration in a `.keras` file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match="Could not locate|Lambda"):
        FoRNet.from_config({**tiny_model().get_config(), "backbone": backbone})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields", [{name: value} for name, value in LARGEST.items()] + [LARGEST])
def test_a_network_other_than_its_weights_is_refused_without_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    edit(folder, set_architecture(**fields))
    monkeypatch.setattr(keras.Variable, "_deferred_initialize", None)
    with pytest.raises(
        ModelError,
        match=r"(\d numbers, but model\.json describes a network of more|describes .*\)); the two files",
    ):
        load_model(folder)


@pytest.mark.parametrize(("arrays", "numbers"), [(3, 100), (100, 15)])
def test_a_build_beyond_its_bounds_ends_and_leaves_nothing(arrays: int, numbers: int) -> None:
    made: list[keras.layers.Layer] = []

    def build() -> None:
        for _ in range(9):
            made.append(keras.layers.Dense(2))
            made[-1].build((None, 3))

    with pytest.raises(NetworkTooLarge):
        empty_build(build, arrays, numbers)
    assert len(made) == 2
    with keras.StatelessScope():  # at its end Keras gives values to all that wait for one
        pass
    assert made[0].kernel._value is None


def test_a_build_within_its_bounds_has_values() -> None:
    layer = keras.layers.Dense(2, bias_initializer="ones")

    def build() -> keras.layers.Layer:
        layer.build((None, 3))
        assert layer.kernel._value is None
        return layer

    assert empty_build(build, 2, 8) is layer
    assert [weight.any() for weight in layer.get_weights()] == [False, True], "zeros, and what is not random"


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux tells it")
REFUSE_ALL = """
import re, sys
from pathlib import Path
from fornet_keras.cli.backend import start_backend
start_backend(None)  # without what Keras can do without
from fornet_keras.errors import ModelError
from fornet_keras.model_folder import load_model
def peak():
    # Not getrusage: its peak is the parent's where that was larger.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
honest, *bombs = map(Path, sys.argv[1:])
load_model(honest)
before = peak()
for folder in bombs:
    try:
        load_model(folder)
    except ModelError as error:
        print(error)
        continue
    sys.exit(f"{folder} was taken for a model")
print(peak() - before)
"""


def refuse(honest: Path, bombs: list[Path]) -> list[str]:
    """The messages of a process of its own, which takes little more memory than a model as it should be."""
    command = [sys.executable, "-c", REFUSE_ALL, *map(str, (honest, *bombs))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *messages, added = done.stdout.splitlines()
    assert int(added) * 1024 < 0.4e9
    return messages


@ON_LINUX
def test_refusing_takes_little_memory(folder: Path, tmp_path: Path) -> None:
    bombs = []
    for kind in FILES:
        bombs.append(shutil.copytree(folder, tmp_path / kind))
        write_weights(bombs[-1], FILES[kind](tmp_path / "other"))
    for number, fields in enumerate([LARGEST, {"widths": [2048] * 4}, {"num_classes": 255}]):
        bombs.append(shutil.copytree(folder, tmp_path / f"shapes {number}"))
        edit(bombs[-1], set_architecture(**fields))
    assert len(refuse(folder, bombs)) == len(bombs)


@ON_LINUX
def test_a_library_backbone_larger_than_its_weights_takes_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("keras_hub", reason="the optional package keras-hub is missing")
    config = {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [3],
        "stackwise_num_filters": [64, 8, 8, 8],
        "stackwise_num_blocks": [1, 1, 1, 1],
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "basic_block",
    }
    backbone = LibraryBackbone("keras_hub", "ResNetBackbone", config, 1.0, 0.0, name="backbone")
    save_model(FoRNet(3, backbone, 8, 8), TABLE, tmp_path / "honest")
    bombs: list[dict[str, Any]] = [
        {"stackwise_num_filters": [64, 8192, 8192, 8192]},
        {"input_conv_filters": [8192, 8192], "input_conv_kernel_sizes": [8192, 8192]},
        {"stackwise_num_filters": [64, 1, 1, 1], "stackwise_num_blocks": [1, 8192, 8192, 8192]},
    ]
    for number, fields in enumerate(bombs):
        folder = shutil.copytree(tmp_path / "honest", tmp_path / f"bomb {number}")
        edit(folder, set_architecture(backbone=library_of(folder, fields)))
    messages = refuse(tmp_path / "honest", sorted(tmp_path.glob("bomb*")))
    assert len(messages) == len(bombs)
    assert all(
        "numbers, but model.json describes a network of more; the two" in message for message in messages
    )


def library_of(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The backbone in a folder's description, with a changed configuration."""
    library = json.loads((folder / "model.json").read_text("utf-8"))["architecture"]["backbone"]
    return {**library, "config": {**library["config"], **fields}}
