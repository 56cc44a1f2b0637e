"""Every mistake in a configuration: one line with the place, the key, the expectation and the fix."""

import re
from pathlib import Path

import pytest

from fornet_keras.config import config_from_mapping, read_config
from fornet_keras.errors import ConfigError

# Line numbers below count from here: format is on line 2, crop on 4, epochs on 6.
VALID = """data:
  format: camvid
augment:
  crop: [360, 480]
training:
  epochs: 5
  batch_size: 8
"""
EPOCHS = r"expected an int >= 1 \(passes over the training images\), for example 8$"
ANCHOR = r"^x\.yaml:6: anchors \(&\) and aliases \(\*\) are refused; write the value out"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(content: str | bytes, *overrides: str) -> str:
    """The message that a file's content is refused with."""
    Path("x.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as refusal:
        read_config(Path("x.yaml"), overrides)
    message = str(refusal.value)
    assert message.isprintable(), message  # one line, no terminal escapes
    return message


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        # Keys
        (
            "epochs",
            "epoch",
            r"^x\.yaml:6: unknown key 'training\.epoch'; did you mean 'epochs'\? valid keys: epo",
        ),
        (
            "training:",
            "trainning:",
            r"^x\.yaml:5: unknown key 'trainning'; did you mean 'training'\? valid keys",
        ),
        ("training:", "trainning:\ntraining:", "^x\\.yaml:5: unknown key 'trainning'"),
        ("data:", "crop: 3\ndata:", r"^x\.yaml:1: unknown key 'crop'; did you mean 'augment\.crop'\?"),
        ("data:", "7: 3\ndata:", r"^x\.yaml:1: unknown key '7'; valid keys: data"),
        ("data:", "? [7]\n: 3\ndata:", r"^x\.yaml: unknown key '\(7,\)'; valid keys: data"),
        ("epochs: 5", '"\\e[31m\\n": 5', r"^x\.yaml:6: unknown key 'training\.\\x1b\[31m\\n'"),
        (
            "epochs: 5",
            "epochs: 5\n  epochs: 6",
            r"^x\.yaml:7: duplicate key 'training\.epochs', it is on line 6 already; keep one of them$",
        ),
        ("augment:", "data:\naugment:", r"^x\.yaml:3: duplicate key 'data', it is on line 1 already"),
        (
            "  epochs: 5\n",
            "",
            r"^x\.yaml:5: missing required key 'training\.epochs', .*'epochs: 8' under 'training:'$",
        ),
        ("data:\n  format: camvid\n", "", r"^x\.yaml: missing required key 'data\.format', expected citys"),
        (
            "data:",
            "loss: 5\ndata:",
            r"^x\.yaml:1: loss=5 is an int, expected a section with the keys: class_",
        ),
        ("data:", "loss: []\ndata:", r"^x\.yaml:1: loss=\[\] is a list, expected a section"),
        # Types
        ("epochs: 5", "epochs: two", r"^x\.yaml:6: training\.epochs='two' is a str, " + EPOCHS),
        ("epochs: 5", "epochs: '5'", r"^x\.yaml:6: training\.epochs='5' is a str, " + EPOCHS),
        ("epochs: 5", "epochs: 5.0", r"^x\.yaml:6: training\.epochs=5\.0 is a float, " + EPOCHS),
        ("epochs: 5", "epochs: true", r"^x\.yaml:6: training\.epochs=True is a bool, " + EPOCHS),
        ("epochs: 5", "epochs: yes", r"^x\.yaml:6: training\.epochs='yes' is a str, " + EPOCHS),
        ("epochs: 5", "epochs: on", r"^x\.yaml:6: training\.epochs='on' is a str, " + EPOCHS),
        ("epochs: 5", "epochs:", r"^x\.yaml:6: training\.epochs is empty, " + EPOCHS),
        (
            "epochs: 5",
            'epochs: "\\e[31m\\n"',
            r"^x\.yaml:6: training\.epochs='\\x1b\[31m\\n' is a str, " + EPOCHS,
        ),
        ("epochs: 5", f"epochs: {'x' * 999}", r"training\.epochs='x{56}\.\.\. is a str, " + EPOCHS),
        ("[360, 480]", "480", r"^x\.yaml:4: augment\.crop=480 is an int, expected a list of two ints in 64"),
        (
            "camvid",
            "camvid\n  exclude: 0001TP",
            r"^x\.yaml:3: data\.exclude='0001TP' is a str, expected a list",
        ),
        (  # a sequence of CamVid that YAML reads as 16 * 10**5
            "camvid",
            "camvid\n  exclude: [0016E5]",
            r"^x\.yaml:3: data\.exclude=\[1600000\.0\] is not allowed, expected a list of quoted strings",
        ),
        # Ranges
        ("epochs: 5", "epochs: 0", r"^x\.yaml:6: training\.epochs=0 is not allowed, " + EPOCHS),
        ("epochs: 5", "learning_rate: .nan\n  epochs: 5", r"training\.learning_rate=nan is not allowed"),
        ("epochs: 5", "learning_rate: .inf\n  epochs: 5", r"training\.learning_rate=inf is not allowed"),
        ("epochs: 5", "learning_rate: 1e999\n  epochs: 5", r"training\.learning_rate=inf is not allowed"),
        ("epochs: 5", "seed: -1\n  epochs: 5", r"training\.seed=-1 is not allowed, .* 0\.\.4294967295"),
        ("360, 480", "360", r"^x\.yaml:4: augment\.crop=\[360\] is not allowed, expected a list of two ints"),
        ("360, 480", "360, 480, 3", r"augment\.crop=\[360, 480, 3\] is not allowed, expected a list of two"),
        (
            "format: camvid",
            "format: camvid\n  short_side: 63",
            r"^x\.yaml:3: data\.short_side=63 is not allowed, expected null or an int in 64..65535 ",
        ),
        ("360, 480", "63, 480", r"^x\.yaml:4: augment\.crop=\[63, 480\] is not allowed, .* in 64\.\.65535 "),
        (
            "360, 480",
            "64, 100000000000",
            r"augment\.crop=\[64, 100000000000\] is not allowed, .* 64\.\.65535 ",
        ),
        (
            "augment:",
            "augment:\n  scale: [50, 200]",
            r"^x\.yaml:4: augment\.scale=\[50, 200\] .* in 0\.1\.\.10, ",
        ),
        (
            "augment:",
            "augment:\n  scale: [2, 1]",
            r"^x\.yaml:4: augment\.scale=\[2, 1\] .* the smaller first.*; write \[1, 2\]$",
        ),
        ("data:", "model: {region_size: 40}\ndata:", r"model\.region_size=40 .* a multiple of 16 "),
        (
            "data:",
            "model:\n  region_size: 368\ndata:",
            r"^x\.yaml:2: model\.region_size=368 is larger than augment\.crop, .*; expected at most 360,",
        ),
        ("camvid", "kitti", r"^x\.yaml:2: data\.format=kitti is not allowed, expected cityscapes, camvid or"),
        ("camvid", "camvid\n  train_split: train+", r"data\.train_split=train\+ .* joined by '\+'"),
        ("camvid", "camvid\n  val_split: ../val", r"data\.val_split=\.\./val is not allowed"),
        ("camvid", "camvid\n  val_split: val+.old", r"data\.val_split=val\+\.old is not allowed"),
        ("camvid", "camvid\n  exclude: ['']", r"data\.exclude=\[''\] is not allowed"),
    ],
)
def test_key_or_value(old: str, new: str, match: str) -> None:
    assert re.search(match, refused(VALID.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("&five 5", ANCHOR),
        ("*five", ANCHOR),
        ("!!int 5", r"^x\.yaml:6: the tag tag:yaml\.org,2002:int is refused; write a plain value"),
        ("!five 5", r"^x\.yaml:6: the tag !five is refused"),
        ("5\n  <<: {seed: 1}", r"^x\.yaml:7: a merge \(<<\) is refused; write its keys out"),
        ("[" * 9 + "]" * 9, r"^x\.yaml:6: nested deeper than 8 levels; write sections and keys only"),
        ("[" * 100_000, r"^x\.yaml:6: nested deeper than 8 levels"),
        ("[" + "5," * 6_000 + "5]", r"^x\.yaml:6: more than 5000 items; is this a configuration file\?"),
        ("9" * 5_000, r"^x\.yaml:6: a value of 5000 characters; write at most 2000"),
        ("0x_", r"^x\.yaml: not valid YAML: invalid literal for int"),
        ("5\n\tseed: 1", r"^x\.yaml:7: not valid YAML: .*'\\t'.*; indent with spaces, not tabs$"),
        ("a: b", r"^x\.yaml:6: not valid YAML: mapping values are not allowed here; correct the YAML there$"),
        ("@5", r"^x\.yaml:6: not valid YAML: .* found character '@'"),
        ("\x01", r"^x\.yaml:6: not valid YAML: unacceptable character #x0001"),
        ("[5", r"^x\.yaml:7: not valid YAML: while parsing a flow sequence expected ',' or '\]'"),
        ("{a: 1, a: 2}", r"^x\.yaml:6: duplicate key 'training\.epochs\.a'"),
        ("5\n---\n", r"^x\.yaml:7: not valid YAML: expected a single document"),
    ],
)
def test_yaml_that_is_refused(value: str, match: str) -> None:
    assert re.search(match, refused(VALID.replace("5", value, 1)))


def test_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*a, *a, *a]\n" for name in "bcdefgh")
    assert refused(bomb).startswith("x.yaml:1: anchors (&) and aliases (*) are refused")


@pytest.mark.parametrize("kind", ["object/apply:os.system", "object/new:os.system", "name:os.system"])
def test_python_tag_executes_nothing(kind: str) -> None:
    message = refused(VALID + f"  seed: !!python/{kind} ['touch executed']\n")
    assert message.startswith(f"x.yaml:8: the tag tag:yaml.org,2002:python/{kind} is refused")
    assert not Path("executed").exists()


def test_yaml_1_1_is_refused() -> None:
    message = refused("%YAML 1.1\n---\n" + VALID)
    assert re.search(
        r"^x\.yaml:\d: a %YAML line is refused, files are read as YAML 1\.2; remove it$", message
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            b"",
            r"^x\.yaml: is empty, expected the sections data, augment, model, loss, training; begin with a",
        ),
        (b"# only a comment\n", r"^x\.yaml: is empty"),
        (b"- 1\n", r"^x\.yaml: is a list, expected the sections data,"),
        (b"5", r"^x\.yaml: is an int, expected the sections"),
        (b"\x89PNG\r\n\x1a\n", r"^x\.yaml: is not UTF-8 text, expected YAML; save it as UTF-8$"),
        (VALID.encode("utf-16"), r"^x\.yaml: is not UTF-8 text"),
        (b"\x00" * 9, r"^x\.yaml:1: not valid YAML: unacceptable character #x0000"),
        (b"#" * 1_000_001, r"^x\.yaml: is larger than 1 MB, expected a few kB; give a configuration file$"),
        (b"- a\n" * 250_000, r"^x\.yaml:\d+: more than 5000 items"),
    ],
)
def test_content_that_is_no_configuration(content: bytes, match: str) -> None:
    assert re.search(match, refused(content))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "missing.yaml",
            r"^missing\.yaml: cannot be read \(No such file or directory\), expected a YAML file",
        ),
        (
            ".",
            r"^\.: cannot be read \(Is a directory\), expected a YAML file such as configs/synthetic\.yaml",
        ),
        ("null\0character.yaml", r"^null\\x00character\.yaml: cannot be read \(embedded null byte\)"),
        ("two\nlines.yaml", r"^two\\nlines\.yaml: cannot be read"),
        ("camvids", r"^camvids: no such file; expected a YAML file, or one of camvid, camvid_cpu, "),
    ],
)
def test_file_that_cannot_be_read(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_config(Path(path))


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("", r"^--set '': no '=', expected SECTION\.KEY=VALUE, for example --set training\.epochs=8$"),
        ("training.epochs", r"^--set 'training\.epochs': no '=', expected SECTION\.KEY=VALUE"),
        ("=5", r"^--set: unknown key ''; valid keys: data, augment"),
        ("training.epochs=", r"^--set 'training\.epochs=': no value after '=', .* 'training\.epochs=8'$"),
        ("training.epochs=#5", r"^--set 'training\.epochs=#5': no value after '='"),
        (
            "training=5",
            r"^--set 'training=5': 'training' is a section, expected training\.KEY=VALUE with one",
        ),
        (
            "training.epoch=5",
            r"^--set: unknown key 'training\.epoch'; did you mean 'epochs'\? valid keys: epochs",
        ),
        (
            "trainin.epoch=5",
            r"^--set: unknown key 'trainin\.epoch'; did you mean 'training'\? valid keys: data",
        ),
        ("epochs=5", r"^--set: unknown key 'epochs'; did you mean 'training\.epochs'\?"),
        (
            "training.epochs.x=5",
            r"^--set: unknown key 'training\.epochs\.x'; did you mean 'training\.epochs'",
        ),
        ("training.epochs=two", r"^--set: training\.epochs='two' is a str, " + EPOCHS),
        ("training.epochs=0", r"^--set: training\.epochs=0 is not allowed, " + EPOCHS),
        (
            "data.root=/data/set #2",
            r"^--set 'data\.root=/data/set #2': ' #' begins a comment, expected none; leave the comment out, "
            r"or quote the value: --set 'data\.root=\"/data/set #2\"'$",
        ),
        (
            f'data.root=/{"long/" * 20}"a" #2',
            rf"quote the value: --set 'data\.root=\"/{'long/' * 20}\\\"a\\\" #2\"'$",
        ),
        ("training.epochs=5 # five", "expected none; leave the comment out$"),
        (
            "data.cache=no",
            r"^--set: data\.cache=no is not allowed, expected null or a .*; write null, or '\./no' where",
        ),
        ("data.cache='null'", r"^--set: data\.cache=null is not allowed, .*; write null, or '\./null' where"),
        ("loss.teacher=None", r"^--set: loss\.teacher=None is not allowed, .*; write null, or '\./None'"),
        ("model.scales=[true]", r"^--set: model\.scales=\[True\] is not allowed, expected null or a list of"),
        ("model.scales=[1.0]", r"^--set: model\.scales=\[1\.0\] is not allowed, expected null or a list of"),
        ("model.scales=[1, 3]", r"^--set: model\.scales=\[1, 3\] is not allowed, expected null or a list"),
        ("augment.crop={a: 1}", r"^--set: augment\.crop=\{'a': 1\} is a dict, expected a list of two ints"),
        ("loss.class_weights={1: 3}", r"is not allowed, .* quoted if they look like numbers"),
        ("model.known_as={1: car}", r"is not allowed, .* names that look like numbers are quoted"),
        ("training.epochs=[1", r"^--set 'training\.epochs=\[1': not valid YAML: "),
        ("training.epochs=!!int 5", r"^--set 'training\.epochs=!!int 5': the tag .* is refused"),
        ("data.root=2024", r"^--set: data\.root=2024 is an int, expected null or a str .*quoted if it looks"),
        (
            "data.train_split=2017",
            r"data\.train_split=2017 is an int, .* joined by '\+' .* quoted if it looks",
        ),
        ("data.val_split=2017", r"data\.val_split=2017 is an int, .* joined by '\+' .* quoted if it looks"),
        ("model.scales=[1,1]", r"model\.scales=\[1, 1\] .*some of 1, 2 and 4, each once"),
        ("data.root=" + "x" * 3_000, r"^--set 'data\.root=x{47}\.\.\.': a value of 3000 characters"),
    ],
)
def test_override(override: str, match: str) -> None:
    assert re.search(match, refused(VALID, override))


def test_override_leaves_a_broken_section_to_its_own_line() -> None:
    message = refused(
        "data:\n  format: camvid\naugment: {crop: [64, 64]}\ntraining: 5\n", "training.epochs=5"
    )
    assert message.startswith("x.yaml:4: training=5 is an int, expected a section with the keys: epochs")


def test_mapping_names_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^runs/a: unknown key 'modle'; did you mean 'model'\?"):
        config_from_mapping({"modle": {}}, source="runs/a")
