"""What `pip install` brings: the whole package, and the shipped models and configurations by their names."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIND = """
from fornet_keras.shipped import find_config, find_model
for path in (find_model("fornet_s_camvid"), find_config("camvid"), find_config("configs/camvid.yaml")):
    print(path)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, built, installed = (tmp_path_factory.mktemp(name) for name in ("source", "built", "installed"))
    for name in ("fornet_keras", "saved_models", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        built,
        source,
    )
    subprocess.run(wheel, check=True, capture_output=True)
    (file,) = built.iterdir()
    zipfile.ZipFile(file).extractall(installed)
    return installed / "fornet_keras"


def test_every_file_of_the_package_is_in_the_wheel(installed: Path) -> None:
    package = ROOT / "fornet_keras"
    files = (path.relative_to(package) for path in package.rglob("*.*") if path.suffix in (".py", ".html"))
    assert [file for file in files if not (installed / file).is_file()] == []


def test_models_and_configurations_are_found_by_name(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed.parent)}
    command = (sys.executable, "-c", FIND)
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    model, config = installed / "saved_models" / "fornet_s_camvid", installed / "configs" / "camvid.yaml"
    assert found.split() == [str(path) for path in (model, config, config)]
    assert (model / "weights.safetensors").is_file() and (model / "config.yaml").is_file()


def test_beside_the_models_lies_no_program(installed: Path) -> None:
    assert [*(installed / "saved_models").glob("*.py")] == []
