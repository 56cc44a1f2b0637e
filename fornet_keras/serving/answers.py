"""What a request is answered with: a label map, a picture, or JSON."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fornet_keras.data.images import decode_image
from fornet_keras.errors import DataError, ServingError
from fornet_keras.prediction.artifact import ArtifactPredictor, Found
from fornet_keras.prediction.files import palette_image
from fornet_keras.prediction.pictures import overlay, palette

Answer = tuple[bytes | dict[str, Any], str, float]
"""The content, its media type, and the milliseconds that the model took."""

OUTPUTS = ("labels", "overlay", "importance", "json")
MAX_PIXELS = 40_000_000
"""An image with more is refused before it is decoded; one of so many takes 0.8 GB until it is answered."""
MAX_SIDE = 65_500
"""Pixels; the JPEG that an overlay is answered with takes no longer side."""


def answer(artifact: ArtifactPredictor, content: bytes, output: str) -> Answer:
    """Answer one request.

    Args:
        artifact: the model that is asked.
        content: a PNG, JPEG, WebP or BMP file.
        output: one of `OUTPUTS`.

    Returns:
        An `Answer`: for `labels` a palette PNG of class ids, for `overlay` and `importance` a JPEG, each of
        the image's own size; for `json` a dict.

    Raises:
        DataError: the image cannot be used.
        ServingError: the content is no image, or the artifact does not have that output.
    """
    if output == "importance" and not artifact.gives_importance:
        raise ServingError(
            f"{artifact.name} has no importance; export the model again with --importance, or ask for labels"
        )
    image = _decoded(content)
    if max(image.shape) > MAX_SIDE:
        raise ServingError(
            f"the image: {image.shape[0]}x{image.shape[1]} pixels; expected at most {MAX_SIDE} a side"
        )
    found = artifact.find(image)
    if output == "json":
        return _as_json(artifact, found), "application/json", found.milliseconds
    if output == "labels":
        return _label_png(artifact, found), "image/png", found.milliseconds
    if output == "overlay":
        picture = overlay(image, found.label_ids, artifact.table)
    else:
        picture = artifact.importance_map(image, found.outputs)
    return _encoded(Image.fromarray(picture), "JPEG", quality=90), "image/jpeg", found.milliseconds


def described(artifact: ArtifactPredictor) -> dict[str, Any]:
    """What a client may want to know of a model, ready for JSON."""
    manifest = artifact.manifest
    outputs = [tensor.name for tensor in manifest.outputs]
    kept = ("source", "format", "precision", "size", "top_k", "region_size", "classes")
    return {"name": artifact.name, **manifest.model_dump(include=set(kept)), "outputs": outputs}


def _decoded(content: bytes) -> NDArray[np.uint8]:
    try:
        return decode_image(content, "the image", MAX_PIXELS)
    except DataError as error:
        cause = error.__cause__
        lines_joined = isinstance(cause, OSError) and b"\n" not in content  # as curl --data does
        if not (isinstance(cause, UnidentifiedImageError) or lines_joined):
            raise
        raise ServingError(  # not of a file, which the client has and this has not
            f"the body begins with {content[:8]!r}; expected the bytes of a PNG, JPEG, WebP or BMP file; "
            "send the file itself, with curl by --data-binary @FILE"
        ) from None


def _as_json(artifact: ArtifactPredictor, found: Found) -> dict[str, Any]:
    classes = artifact.manifest.classes
    # NumPy's bincount would make int64 of all the ids first.
    counts = Image.fromarray(found.label_ids).histogram()[: len(classes)]
    rows, columns = found.window
    result: dict[str, Any] = {
        "model": artifact.name,
        "top_k": artifact.manifest.top_k,
        "size": list(found.label_ids.shape),
        "model_size": list(artifact.manifest.size),
        "letterbox": [rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start],
        "milliseconds": round(found.milliseconds, 3),
        "classes": [
            {"name": entry.name, "color": list(entry.color), "share": count / found.label_ids.size}
            for entry, count in zip(classes, counts, strict=True)
        ],
        "labels_png": base64.b64encode(_label_png(artifact, found)).decode(),
    }
    if {"importance", "kept"} <= found.outputs.keys():
        result["region_size"] = artifact.manifest.region_size
        result["importance"] = _rows(found.outputs["importance"])
        result["kept"] = found.outputs["kept"].tolist()
    return result


def _rows(values: NDArray[Any]) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in values.tolist()]


def _label_png(artifact: ArtifactPredictor, found: Found) -> bytes:
    return _encoded(palette_image(found.label_ids, palette(artifact.table)), "PNG", compress_level=1)


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, format, **options)
    return content.getvalue()
