"""A model on disk: `model.json`, which is validated, and `weights.safetensors`, which holds only arrays.

Nothing in the folder is ever executed: the network is rebuilt from plain numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fornet_keras.backbones.efficientnet_lite import EfficientNetLite0
from fornet_keras.backbones.library import LibraryBackbone
from fornet_keras.backbones.residual import ResidualBackbone
from fornet_keras.data.dataset import LabelTable
from fornet_keras.errors import ModelError
from fornet_keras.model import FoRNet
from fornet_keras.version import __version__

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
MAX_DESCRIPTION_BYTES = 1_000_000
MAX_HEADER_BYTES = 1_000_000
MAX_WEIGHTS_BYTES = 128_000_000
"""Thirty-two million float32 numbers, seven times those of `m`: what is larger is refused unread."""

Width = Annotated[int, Field(ge=1, le=2048)]
Depth = Annotated[int, Field(ge=1, le=64)]
Byte = Annotated[int, Field(ge=0, le=255)]
# What a library's backbone is built from: no mapping, so nothing that Keras would take for an object.
Plain = None | bool | Annotated[int, Field(ge=-8192, le=8192)] | float | Annotated[str, Field(max_length=100)]
PlainList = list[Plain | list[Plain | list[Plain]]]
Colours = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Library(_Strict):
    """The constructor arguments of a `LibraryBackbone`."""

    library: Literal["keras_hub", "keras_cv"]
    class_name: str = Field(pattern="^[A-Za-z0-9]{1,100}$")
    config: dict[str, Plain | PlainList] = Field(max_length=50)
    scale: float | Colours
    offset: float | Colours


class Architecture(_Strict):
    """The constructor arguments of a `FoRNet`; `widths` and `depths` are those of a `ResidualBackbone`."""

    num_classes: int = Field(ge=2, le=255)
    backbone: Literal["efficientnet_lite0"] | Library | None = None
    widths: tuple[Width, Width, Width, Width] | None = None
    depths: tuple[Annotated[int, Field(ge=0, le=64)], Depth, Depth, Depth] | None = None
    context_filters: Width
    branch_filters: Width
    scales: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(min_length=1, max_length=8)
    region_size: int = Field(ge=16, le=1024, multiple_of=16)
    top_k: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _one_backbone(self) -> Architecture:
        if (self.widths is None) != (self.depths is None) or (self.widths is None) == (self.backbone is None):
            raise ValueError("widths and depths, or backbone, must be given")
        return self


class ClassEntry(_Strict):
    """One class: its name, its RGB colour, and whether it is a thin structure."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
    color: tuple[Byte, Byte, Byte]
    thin: bool = False


class Description(_Strict):
    """The content of `model.json`."""

    format: int = Field(default=2, ge=2, le=2)
    fornet_keras: str
    architecture: Architecture
    classes: tuple[ClassEntry, ...] = Field(max_length=255)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_entry_a_class(self) -> Description:
        if len(self.classes) != self.architecture.num_classes:
            raise ValueError(
                f"{len(self.classes)} classes, but num_classes is {self.architecture.num_classes}"
            )
        return self

    def table(self) -> LabelTable:
        """The classes as a `LabelTable` of train ids."""
        return LabelTable(
            names=tuple(entry.name for entry in self.classes),
            colors=tuple(entry.color for entry in self.classes),
            train_ids={i: i for i in range(len(self.classes))},
            thin=tuple(entry.name for entry in self.classes if entry.thin),
        )


def save_model(model: FoRNet, table: LabelTable, folder: Path, half: bool = False) -> None:
    """Write a model and its classes into `folder`, replacing what was there only when all is written.

    Args:
        model: a `FoRNet` with one of the backbones of `fornet_keras.backbones`.
        table: the `LabelTable` it was trained with.
        folder: path of the folder.
        half: store the weights as float16, in half the space; they are float32 again when loaded.

    Raises:
        ModelError: the table has another number of classes than the model, the backbone is none of the
            package's or is built from more than plain values, or a weight is too large for float16.
    """
    folder = Path(folder)
    if table.num_classes != model.num_classes:
        raise ModelError(
            f"{folder}: the model has {model.num_classes} classes but the label table {table.num_classes}; "
            "save it with the table it was trained with"
        )
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write(model, table, temporary, half)
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(model: FoRNet, table: LabelTable, folder: Path, half: bool) -> None:
    arrays = {name: np.asarray(weight) for name, weight in named_weights(model).items()}
    if half:
        for name, array in arrays.items():
            if np.abs(array).max() > np.finfo(np.float16).max:
                raise ModelError(f"{folder}: '{name}' is too large for float16; save it without half")
        arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    (folder / WEIGHTS).write_bytes(save(arrays))
    entries = zip(table.names, table.colors, strict=True)
    description = Description(
        fornet_keras=__version__,
        architecture=_architecture(model, folder),
        classes=tuple(ClassEntry(name=n, color=c, thin=n in table.thin) for n, c in entries),
        sha256=_sha256(folder / WEIGHTS),
    )
    absent = {name for name, value in description.architecture if value is None}
    text = description.model_dump_json(indent=2, exclude={"architecture": absent})
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _replace(folder: Path, written: Path) -> None:
    """Move `written` to `folder`; what was there goes only when the new one is in its place."""
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    try:
        written.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def load_model(folder: Path, top_k: float | None = None) -> tuple[FoRNet, LabelTable]:
    """Read a model and its classes.

    Args:
        folder: what `save_model` wrote, or a run folder, whose `best` model is taken.
        top_k: share of the regions corrected at inference, in (0, 1]; None keeps the model's own.

    Returns:
        A `FoRNet` and its `LabelTable`.

    Raises:
        ModelError: the folder is missing, incomplete, damaged or not of this package.
        ValueError: `top_k` is outside (0, 1].
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).exists() and (folder / "best").is_dir():
        folder = folder / "best"
    description = _read_description(folder)
    weights = _read_weights(folder, description)
    architecture = description.architecture
    arguments = architecture.model_dump(exclude={"backbone", "widths", "depths"})
    if top_k is not None:
        arguments["top_k"] = top_k
    model = FoRNet(backbone=_backbone(architecture), **arguments)
    named = named_weights(model)
    expected = {name: tuple(weight.shape) for name, weight in named.items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = min(dict(expected.items() ^ found.items()))
        raise ModelError(
            f"{folder / WEIGHTS}: '{name}' is {found.get(name)} but {DESCRIPTION} describes "
            f"{expected.get(name)}; the two files belong to different models; copy the whole folder again"
        )
    for name, weight in named.items():
        weight.assign(weights[name].astype("float32"))
    return model, description.table()


def named_weights(model: FoRNet) -> dict[str, keras.Variable]:
    """The weights by the names that they have on disk; a library's, whose names may change, by number."""
    backbone = model.backbone
    numbered = enumerate(backbone.weights if isinstance(backbone, LibraryBackbone) else ())
    names = {id(weight): f"backbone/{number}" for number, weight in numbered}
    return {names.get(id(weight), weight.path): weight for weight in model.weights}


def _architecture(model: FoRNet, folder: Path) -> Architecture:
    fields = Architecture.model_fields.keys() - {"backbone", "widths", "depths"}
    values = {name: getattr(model, name) for name in fields}
    backbone = model.backbone
    if isinstance(backbone, ResidualBackbone):
        return Architecture(widths=backbone.widths, depths=backbone.depths, **values)
    if isinstance(backbone, EfficientNetLite0):
        return Architecture(backbone="efficientnet_lite0", **values)
    if not isinstance(backbone, LibraryBackbone):
        raise ModelError(
            f"{folder}: a {type(backbone).__name__} cannot be saved; use a backbone of fornet_keras.backbones"
        )
    try:
        # Through JSON, which makes lists of tuples, as they are when they are read.
        plain = json.loads(json.dumps({name: getattr(backbone, name) for name in Library.model_fields}))
        library = Library.model_validate(plain)
    except (TypeError, ValueError):
        raise ModelError(
            f"{folder}: {backbone.class_name} cannot be saved: it is not built from numbers, strings and "
            "lists alone; take another backbone"
        ) from None
    return Architecture(backbone=library, **values)


def _backbone(architecture: Architecture) -> keras.Model:
    """The backbone that is described, with random weights."""
    if architecture.backbone is None:
        return ResidualBackbone(architecture.widths, architecture.depths, name="backbone")
    if isinstance(architecture.backbone, Library):
        return LibraryBackbone(**architecture.backbone.model_dump(), name="backbone")
    return EfficientNetLite0(name="backbone")


def _read_description(folder: Path) -> Description:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError(f"{folder}: no {DESCRIPTION} in it; expected a run folder or a saved model's folder")
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ModelError(f"{path}: larger than {MAX_DESCRIPTION_BYTES} bytes; expected a model's description")
    try:
        return Description.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{path}: {where}: {first['msg']}; expected what `train` writes") from None


def _read_weights(folder: Path, description: Description) -> dict[str, NDArray[Any]]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: no {WEIGHTS} beside {DESCRIPTION}; copy the whole folder again")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{path}: larger than {MAX_WEIGHTS_BYTES:,} bytes; expected a model's weights")
    if _sha256(path) != description.sha256:
        raise ModelError(f"{path}: its SHA-256 is not the one in {DESCRIPTION}; copy the whole folder again")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise ModelError(
                f"{path}: not a safetensors file (no header of up to {MAX_HEADER_BYTES:,} bytes)"
            )
    try:
        weights = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from None
    found, least = sum(array.size for array in weights.values()), _least_parameters(description.architecture)
    if found < least:
        # Before the network is built: a few bytes of JSON can describe one of many gigabytes.
        raise ModelError(
            f"{path}: {found:,} numbers, but {DESCRIPTION} describes a network of at least {least:,}; "
            "the two files belong to different models; copy the whole folder again"
        )
    return weights


def _least_parameters(architecture: Architecture) -> int:
    """The numbers in the 3×3 kernels, which are most of a network's; a library's backbone is not counted."""
    context, branch = architecture.context_filters, architecture.branch_filters
    kernels = [context**2, context * sum(branch // scale for scale in architecture.scales)]
    if architecture.widths and architecture.depths:
        widths, depths = architecture.widths, architecture.depths
        kernels.append(widths[0] // 2 * widths[0])
        channels = (widths[0], *widths)  # into each stage, and out of the last
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            kernels.append(channels[stage] * width + (2 * depth - 1) * width**2 if depth else 0)
    return 9 * sum(kernels)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
