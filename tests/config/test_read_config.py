"""Values, defaults and overrides of a valid configuration, and the configurations that are shipped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from fornet_keras.config import Config, config_from_mapping, dump_config, read_config
from fornet_keras.config.schema import SECTIONS

MINIMAL: dict[str, dict[str, object]] = {
    "data": {"format": "camvid"},
    "augment": {"crop": [360, 480]},
    "training": {"epochs": 5, "batch_size": 8},
}
SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(MINIMAL), encoding="utf-8")  # JSON is YAML
    return file


def test_defaults(path: Path) -> None:
    config = read_config(path)
    assert config == config_from_mapping(MINIMAL, source="test")
    assert config.augment.crop == (360, 480)
    assert config.augment.scale == (0.5, 2.0)
    assert (config.data.root, config.data.exclude, config.loss.ohem) == (None, (), None)
    assert (config.model.preset, config.model.region_size, config.model.top_k) == (None, 16, 0.5)
    assert (config.training.optimizer, config.training.learning_rate) == ("adamw", 1e-3)


def test_a_shipped_configuration_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (camvid,) = (file for file in SHIPPED if file.stem == "camvid")
    monkeypatch.chdir(tmp_path)
    assert read_config("camvid", ["training.epochs=5"]) == read_config(camvid, ["training.epochs=5"])
    assert read_config("configs/camvid.yaml") == read_config(camvid)


def test_configuration_is_frozen(path: Path) -> None:
    config = read_config(path)
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 9
    assert hash(config) == hash(read_config(path))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.epochs=7", 7),
        (" training.epochs = 7 ", 7),
        ("training.learning_rate=1e-4", 1e-4),  # a number in YAML 1.2, a string in 1.1
        ("training.learning_rate=1", 1.0),
        ("augment.crop=[64, 128]", (64, 128)),
        ("loss.ohem=0.25", 0.25),
        ("loss.ohem=null", None),
        ("data.cache=Null", None),
        ("data.train_split=train+val", "train+val"),
        ("data.train_split=train v1.0", "train v1.0"),
        ("data.exclude=[0001TP, '0016E5']", ("0001TP", "0016E5")),
        ("data.root=a=b", "a=b"),
        ("data.root=yes", "yes"),
        ("data.root=./no", "./no"),
        ("data.root='/data/set #2'", "/data/set #2"),
        ("data.root=a#b", "a#b"),
        ("data.root=2024-01-31", "2024-01-31"),
        ("data.root='2024'", "2024"),
    ],
)
def test_override(path: Path, override: str, value: object) -> None:
    config = read_config(path, [override])
    section, name = override.partition("=")[0].strip().split(".")
    found = getattr(getattr(config, section), name)
    assert (found, type(found)) == (value, type(value))


def test_last_override_counts(path: Path) -> None:
    assert read_config(path, ["training.epochs=6", "training.epochs=7"]).training.epochs == 7


def test_override_supplies_a_required_key_of_an_empty_section(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("data:\n# format: camvid\naugment: {crop: [64, 64]}\n", encoding="utf-8")
    overrides = ["data.format=folder", "training.epochs=1", "training.batch_size=2"]
    assert read_config(file, overrides).data.format == "folder"


def test_overrides_that_are_no_list_are_refused(path: Path) -> None:
    for overrides, kind in (("training.epochs=3", "string"), ({"training.epochs": 3}, "mapping")):
        message = rf"overrides must be a list, such as \['training.epochs=3'\]; received a {kind}"
        with pytest.raises(TypeError, match=message):
            read_config(path, overrides)  # type: ignore[arg-type]


def test_byte_order_mark_is_accepted(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_config(path).training.epochs == 5


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training.learning_rate=1e-5", "training.weight_decay=1e-300", "augment.scale=[1, 1]"],
        ["training.clip_norm=1", "loss.ohem=0.1", "data.exclude=['0016E5', 'yes', '1', '~', 'ü#: ']"],
        ["data.exclude=['null']"],
        ["data.root='2024-01-31'"],
        ["data.root='1e3'"],
        [r'data.root="C:\\data: x\n\t\e  "'],
    ],
)
def test_dump_reads_back_equal(path: Path, overrides: list[str]) -> None:
    config = read_config(path, overrides)
    path.write_text(dump_config(config), encoding="utf-8")
    assert read_config(path) == config


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_configuration(file: Path) -> None:
    assert isinstance(read_config(file), Config)
    opening = file.read_text(encoding="utf-8").partition("\n\n")[0]
    assert all(line.startswith("#") for line in opening.splitlines())
    command = f"python cli.py train --config configs/{file.name} --data DIR --output runs/{file.stem}"
    assert command in opening
    assert "Expected time: " in opening
    assert "Expected result" in opening


def test_a_configuration_for_each_kind_of_data_is_shipped() -> None:
    assert [file.stem for file in SHIPPED] == [
        "camvid",
        "camvid_cpu",
        "camvid_trainval",
        "cityscapes",
        "finetune",
        "folder",
        "synthetic",
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_description_names_the_range_and_the_example_is_valid(section: str) -> None:
    schema = SECTIONS[section].model_json_schema()
    for name, key in schema["properties"].items():
        limits = [*key.get("anyOf", ()), *key.get("prefixItems", ()), key]
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
            for limit in (entry[keyword] for entry in limits if keyword in entry):
                assert f"{limit:.10g}" in key["description"], (name, keyword)
        for choice in key.get("enum", ()):
            assert choice in key["description"], name
        value = key["examples"][0] if "examples" in key else key["default"]
        config_from_mapping(MINIMAL | {section: MINIMAL.get(section, {}) | {name: value}}, source="test")


def test_import_stays_light() -> None:
    code = "import sys, fornet_keras.config; print({'keras', 'numpy', 'cv2', 'tensorflow'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()", found.stderr
