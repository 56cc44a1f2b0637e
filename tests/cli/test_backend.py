import os
import sys
from types import ModuleType

import pytest

from fornet_keras.cli import backend
from fornet_keras.cli.backend import start_backend
from fornet_keras.errors import FoRNetError


def write_past_python(module: str) -> None:
    os.write(2, b"I0000 a message of a native library\n")


@pytest.mark.parametrize(("level", "shown"), [("2", False), ("0", True)])
def test_native_messages_are_seen_only_by_who_asks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], level: str, shown: bool
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    monkeypatch.setattr(backend, "import_module", write_past_python)
    start_backend(None)
    os.write(2, b"afterwards\n")
    errors = capfd.readouterr().err
    assert ("a message of a native library" in errors, "afterwards" in errors) == (shown, True)


def test_a_keras_json_of_other_projects_does_not_matter() -> None:
    import keras

    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    try:
        start_backend(None)
        assert (keras.config.image_data_format(), keras.config.floatx()) == ("channels_last", "float32")
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")


@pytest.mark.parametrize("kind", [ImportError, ValueError])
def test_backend_that_is_installed_but_broken(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError is of a keras.json."""

    def fail(module: str) -> None:
        raise kind("libcuda.so.9 is missing\nand more")

    monkeypatch.setattr(backend, "import_module", fail)
    name = os.environ["KERAS_BACKEND"]
    expected = (
        rf"backend '{name}' cannot be imported \(libcuda.so.9 is missing\); install it again, correct the"
    )
    with pytest.raises(FoRNetError, match=expected):
        start_backend(None)


def test_keras_starts_without_what_no_command_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only while it starts, and a package that is there already stays."""
    seen: dict[str, object] = {}
    here = ModuleType("pandas")

    def start(module: str) -> None:
        for name in backend.UNUSED:
            seen[name] = sys.modules.get(name, "can be imported")

    monkeypatch.setattr(backend, "import_module", start)
    for name in backend.UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pandas", here)
    start_backend(None)
    assert seen == {"sklearn": None, "pandas": here, "matplotlib": None}
    assert "sklearn" not in sys.modules and "matplotlib" not in sys.modules
