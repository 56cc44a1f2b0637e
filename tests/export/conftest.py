"""A small network, and its export."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fornet_keras.data.dataset import LabelTable
from tests.untraced import untraced

SIZE = (96, 160)  # 6×10 regions
TABLE = LabelTable(("water", "quay", "sky"), ((0, 0, 200), (90, 90, 90), (130, 180, 230)), {})


def scenes(count: int, first: int = 100) -> list[np.ndarray]:
    from fornet_keras.data.synthetic import render_scene

    return [render_scene(seed, SIZE).image for seed in range(first, first + count)]


@pytest.fixture(scope="module")
def network() -> Any:
    """Random weights, and corrections so large that a lost selection shows."""
    from tests.model.tiny import randomize, tiny_model

    model = randomize(tiny_model()).with_top_k(0.25)
    project = model.get_layer("branch").project
    project.bias.assign(np.array([-9, 9, 0], "float32"))
    return model


@cache
def reference(model: Any) -> Any:
    """What Keras finds: once for all exports of a network."""
    from fornet_keras.export.reference import ProofImages, Reference

    whole = slice(0, SIZE[0]), slice(0, SIZE[1])
    with untraced():
        return Reference(model, SIZE, ProofImages("scenes", scenes(3), [whole] * 3))


def export_to(output: Path, model: Any, format: Any, precision: Any = "float32", **options: Any) -> Any:
    """Every output, if not told otherwise: the proof then needs no second artifact."""
    from fornet_keras.artifacts.manifest import OUTPUTS
    from fornet_keras.export.export import export_model
    from fornet_keras.export.formats import ExportSpec

    images = reference(model).images
    spec = ExportSpec(
        format, SIZE, precision, **{"calibration": images.images, "outputs": OUTPUTS, **options}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fornet_keras.export.export.Reference", lambda model, *_: reference(model))
        return export_model(model, TABLE, output, spec, images)


@pytest.fixture(scope="module")
def artifact(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """The artifact of a format, made once for the tests that leave it as it is."""

    @cache
    def run(*format: str) -> Any:
        return export_to(tmp_path_factory.mktemp("artifact") / "artifact", network, *format)

    return run


@pytest.fixture
def export(network: Any, tmp_path: Path) -> Callable[..., Any]:
    """Export the network, into `tmp_path / "artifact"` if not told otherwise."""

    def run(*format: str, output: Path = tmp_path / "artifact", **options: Any) -> Any:
        return export_to(output, network, *format, **options)

    return run
