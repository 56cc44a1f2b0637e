"""What the README and the pages it leads to show is true of the code."""

import ast
import os
import re
import shutil
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import fornet_keras
from fornet_keras.data.description import FolderDescription, read_dataset_yaml
from fornet_keras.data.images import image_size
from fornet_keras.data.label_files import read_label
from fornet_keras.metrics import ConfusionMatrix
from tests.cli.conftest import parse
from tests.untraced import untraced

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for folder in (".", "docs", "benchmarks", "deploy", "saved_models", "saved_models/*")
    for page in ROOT.glob(f"{folder}/*.md")
)


def test_the_description_of_a_folder_is_read(tmp_path: Path) -> None:
    def shown(page: str) -> FolderDescription:
        [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        (tmp_path / "dataset.yaml").write_text(block, encoding="utf-8")
        return read_dataset_yaml(tmp_path)

    table = shown("README.md").table()
    assert table.names == ("road", "car", "truck", "pole")
    assert dict(table.train_ids) == {0: 0, 26: 1, 27: 2, 28: 2, 17: 3, 255: 255}
    complete = shown("docs/data.md")
    assert complete.table().names == ("water", "mooring", "boat", "sky")
    assert complete.model_fields_set == {*FolderDescription.model_fields}, "every key"
    required = FolderDescription(name=complete.name, classes=complete.classes)
    assert complete == required, "and its default"


def test_what_is_shown_for_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `docs/python.md`, where it would train, what it imports."""
    [shown] = python(ROOT / "README.md")
    shutil.copy(ROOT / "docs" / "city.png", tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    with untraced():
        exec(shown, known)
    height, width = image_size(Path("street.jpg"))
    assert known["seen"]["label_ids"].shape == (height, width)
    for block in python(ROOT / "docs" / "python.md"):
        lines = [line for line in ast.parse(block).body if isinstance(line, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(lines, type_ignores=[]), "python.md", "exec"), {})


def test_a_threshold_for_a_rare_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photograph that is brought down: the labels are `predict_image`'s, with more poles."""
    [shown] = [block for block in python(ROOT / "docs" / "python.md") if "softmax" in block]
    shutil.copy(ROOT / "docs" / "city.png", tmp_path / "street.jpg")
    for folder in ("images", "labels"):
        (tmp_path / "my_street" / folder / "val").mkdir(parents=True)
        (tmp_path / "my_street" / folder / "val" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    with untraced():
        model, table = fornet_keras.load_model("fornet_nano_camvid")
        classes = "".join(f"\n- {{name: {name}, value: {10 * i + 5}}}" for i, name in enumerate(table.names))
        (tmp_path / "my_street" / "dataset.yaml").write_text(f"name: street\nclasses:{classes}\n")
        expected = model.predict_image("street.jpg")["label_ids"]
        known: dict[str, Any] = {"model": model, "table": table}
        exec(shown, known)
    probabilities, pole = known["probabilities"], known["pole"]
    assert probabilities.sum(-1) == pytest.approx(np.ones(expected.shape), abs=1e-5)
    assert np.mean(probabilities.argmax(-1) == expected) > 0.995
    found = known["labels"] == pole
    assert (found == ((probabilities[..., pole] > 0.2) | (expected == pole))).mean() > 0.995
    assert found.sum() > 1.2 * (expected == pole).sum() > 0
    assert (read_label(Path("street_labels.png")) == 10 * known["labels"] + 5).all()


def test_the_layers_in_a_network_of_ones_own_learn() -> None:
    [shown] = [block for block in python(ROOT / "docs" / "python.md") if "TopKGate" in block]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (2, 64, 96, 3), "uint8"), rng.integers(0, 5, (2, 64, 96))
    known: dict[str, Any] = {"images": images, "labels": labels}
    with untraced():
        exec(shown, known)
        scores = known["model"].evaluate(images, labels, verbose=0, return_dict=True)
        logits = known["model"].predict(images, verbose=0)["logits"]
    assert 1 < scores["loss"] < 5
    matrix = ConfusionMatrix(5)
    matrix.add(labels, logits.argmax(-1))
    assert scores["miou"] == pytest.approx(matrix.miou, abs=1e-3)
    [selector] = [layer for layer in known["model"].layers if isinstance(layer, known["Selector"])]
    *_, correction, _ = selector.get_weights()
    assert correction.any(), "zero before"


@pytest.mark.backend
@pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "torch", reason="of PyTorch's own loop")
def test_a_loop_of_pytorchs_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right half is a brighter vehicle; after it, `train()` alone still gives what is given in use."""
    import torch

    [shown] = [block for block in python(ROOT / "docs" / "python.md") if "torch.optim" in block]
    monkeypatch.chdir(tmp_path)
    labels = torch.zeros(4, 64, 96, dtype=torch.uint8)
    labels[:, :, 48:], labels[:, :8] = 1, 255
    images = (60 + 120 * (labels == 1))[..., None].repeat(1, 1, 1, 3).to(torch.uint8)
    known: dict[str, Any] = {"images": images, "labels": labels}
    exec(shown, known)
    assert known["loss"] < 1 and known["miou"].result() > 0.3
    model, loaded = known["model"], fornet_keras.load_model("mine")[0]
    with torch.no_grad():
        in_use = loaded(images)["logits"]
        for mode in (model.train, model.eval):
            assert (mode()(images)["logits"] == in_use).all()
        assert (model(images, training=True)["logits"] != in_use).any()


def test_what_is_imported_has_its_section_in_the_reference() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    shown = [line for page in pages for block in python(page) for line in ast.parse(block).body]
    ours = [line for line in shown if isinstance(line, ast.ImportFrom) and "fornet_keras" in str(line.module)]
    names = {name.name for line in ours for name in line.names} - {"AugmentConfig"}  # of settings
    assert {"begin_with", "load_model", "shrunk"} <= names
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"## {name}\n" not in reference] == []


def python(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_what_the_presets_cost() -> None:
    from fornet_keras.model import FoRNet
    from fornet_keras.summary import summarize

    page = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `(\w+)` \| ([\d.]+) M \| ([\d.]+) / ([\d.]+) \|", page)
    assert [preset for preset, *_ in rows] == ["nano", "s", "m"]
    for preset, parameters, at_all, at_03 in rows:
        model = FoRNet.from_preset(preset, num_classes=19)
        assert f"{model.count_params() / 1e6:.2f}" == parameters
        for top_k, expected in ((1.0, at_all), (0.3, at_03)):
            assert f"{summarize(model, (1024, 2048), top_k)['macs'] / 1e9:.1f}" == expected


def test_what_an_export_must_keep() -> None:
    from fornet_keras.export.proof import TOLERANCES

    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"(?m)^\| `(\w+)` \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]*) ?\| ([\d.]+) \|$", page
    )
    assert [precision for precision, *_ in rows] == [*TOLERANCES]
    for precision, labels, refined, importance, logits, miou in rows:
        tolerance = TOLERANCES[precision]
        shares = [100 * share for share in (tolerance.labels, tolerance.refined, tolerance.importance)]
        assert [float(labels), float(refined), float(importance)] == pytest.approx(shares)
        assert (float(logits) if logits else None, float(miou)) == (tolerance.logits, tolerance.miou)


def test_what_is_installed_without_tensorflow_is_what_the_package_needs() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    [listed] = re.findall(r"other packages, `pip install ([^`]*)`", page)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split("[<>=;\\s]", requirement.strip('"'))[0] for requirement in requirements}

    assert names(listed.split()) - {"jax"} == names(project["dependencies"]) - {"tensorflow"}


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead, as GitHub names its headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        assert (page.parent / path).exists(), link
        assert not anchor or anchor in anchors(page.parent / path if path else page), link


def test_configurations_that_are_named_exist() -> None:
    named = [name for page in PAGES for name in re.findall(r"configs/\w+\.yaml", page.read_text("utf-8"))]
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_commands_that_are_shown_have_their_options() -> None:
    pages = "\n".join(page.read_text("utf-8").replace("\\\n", " ") for page in PAGES)
    shown = re.findall(r"(?:python cli\.py|fornet) +([a-z][^`…;&)#\n]*)", pages)
    assert len(shown) > 50
    for command in shown:
        with suppress(click.BadOptionUsage):  # a value that "…" stands for
            parse(command)
