"""A fuzz target over everything that reads a file from a stranger: `make fuzz`, for as long as you like.

A reader may refuse a file with one line, and nothing else may come out of it but what it promises.
"""

import hashlib
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fornet_keras", "ruamel", "PIL"]):
    import numpy as np
    from PIL import Image

    from fornet_keras.config import Config, read_config
    from fornet_keras.data.camvid import TABLE
    from fornet_keras.data.description import DATASET_YAML, read_dataset_yaml
    from fornet_keras.data.file_list import read_list
    from fornet_keras.data.images import image_size, read_image, verify_image
    from fornet_keras.data.label_files import read_instances, read_label, to_train_ids
    from fornet_keras.errors import FoRNetError
    from fornet_keras.model_description import MODEL_JSON, Description, read_description
    from fornet_keras.weights_file import WEIGHTS, read_weights

ROOT = Path(__file__).parents[2]
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz_"))


def image(path: Path) -> None:
    size = image_size(path)
    try:
        verified = verify_image(path)
    except FoRNetError:
        verified = None
    picture = read_image(path)
    assert verified == size == picture.shape[:2], "what check accepts is what is read, and the reverse"
    assert picture.dtype == np.uint8 and picture.shape[2:] == (3,)


def label(path: Path) -> None:
    values = read_label(path)
    assert values.dtype == np.uint8 and values.shape == image_size(path)
    assert set(np.unique(to_train_ids(values, TABLE, path))) <= {*range(11), 255}


def instances(path: Path) -> None:
    assert read_instances(path).dtype == np.int64


def config(path: Path) -> None:
    assert isinstance(read_config(path), Config)


def dataset(path: Path) -> None:
    assert read_dataset_yaml(path.parent).table().num_classes >= 2


def files(path: Path) -> None:
    for file in read_list(path, path.parent):
        assert file.resolve().is_relative_to(path.parent.resolve())


def description(path: Path) -> None:
    assert isinstance(read_description(path.parent), Description)


def weights(path: Path) -> None:
    arrays = read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())


READERS: tuple[tuple[Callable[[Path], None], str], ...] = (
    (image, "a.png"),
    (image, "a.jpg"),
    (label, "b.png"),
    (instances, "c.png"),
    (config, "d.yaml"),
    (dataset, DATASET_YAML),
    (files, "list.txt"),
    (description, MODEL_JSON),
    (weights, WEIGHTS),
)


def one_input(data: bytes) -> None:
    """The first byte says which reader gets the rest as a file."""
    if not data:
        return
    read, name = READERS[data[0] % len(READERS)]
    path = FOLDER / name
    path.write_bytes(data[1:])
    try:
        read(path)
    except FoRNetError as error:
        assert str(error).isprintable(), f"more than a line: {error}"


def write_seeds(folder: Path) -> None:
    """What the fuzzer changes at first: good files of every kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    pictures = [
        Image.fromarray(pixels).convert(mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK")
    ]
    pictures.append(Image.fromarray(pixels[..., 0].astype(np.uint16)))
    seeds = []
    for picture in pictures:
        for kind in ("PNG", "JPEG", "WEBP", "BMP"):
            content = io.BytesIO()
            try:
                picture.save(content, kind)
            except (OSError, KeyError):  # not every format has every mode
                continue
            seeds += [bytes([reader]) + content.getvalue() for reader in range(4)]
    seeds += [b"\x04" + path.read_bytes() for path in (ROOT / "configs").glob("*.yaml")]
    seeds.append(b"\x05name: a\nclasses:\n  - {name: b, color: [0, 0, 0]}\n  - {name: c, color: [1, 1, 1]}\n")
    seeds.append(b"\x06images/a.png\n../b.png\n")
    model = ROOT / "saved_models" / "fornet_nano_camvid"
    seeds.append(b"\x07" + (model / MODEL_JSON).read_bytes())
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    seeds.append(b"\x08" + len(header).to_bytes(8, "little") + header + bytes(8))
    for number, seed in enumerate(seeds):
        (folder / f"seed_{number:03}").write_bytes(seed)


if __name__ == "__main__":
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    write_seeds(corpus)
    atheris.Setup([*sys.argv, str(corpus)], one_input)
    atheris.Fuzz()
