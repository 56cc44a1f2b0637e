"""From a file, its overrides or a mapping to a `Config`, and back to text."""

import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fornet_keras.config.explain import (
    UNKNOWN_KEY,
    KeyPath,
    example,
    explain,
    kind_of,
    shortened,
    unknown_key,
)
from fornet_keras.config.schema import SECTIONS, Config
from fornet_keras.config.yaml_text import parse_yaml, yaml_1_2
from fornet_keras.errors import ConfigError, os_reason
from fornet_keras.shipped import find_config

MAX_BYTES = 1_000_000


def read_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: A YAML 1.2 file of at most `MAX_BYTES` bytes, in UTF-8, or the name of a shipped one, such as
            "camvid".
        overrides: Values that replace the file's, such as "training.epochs=5"; the last one of a key counts.

    Raises:
        ConfigError: The file cannot be read, or it or an override is not a valid configuration. The message
            is one line: file and line (or --set), key, what was expected, the fix.
        TypeError: The overrides are one string, or a mapping.
    """
    if isinstance(overrides, str):
        raise TypeError(f"overrides must be a list, such as [{overrides!r}]; received a string")
    if isinstance(overrides, Mapping):
        pairs = [f"{key}={value}" for key, value in overrides.items()]
        raise TypeError(f"overrides must be a list, such as {pairs}; received a mapping")
    path = find_config(path)
    text = _read_text(path)
    values, origins = parse_yaml(text, lambda line: f"{path}:{line}" if line else str(path))
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"is {kind_of(values)}"
        expected = f"expected the sections {', '.join(SECTIONS)}"
        raise ConfigError(f"{path}: {found}, {expected}; begin with a copy of configs/synthetic.yaml")
    for override in overrides:
        (section, name), value = _parse_override(override)
        keys = {} if values.get(section) is None else values[section]
        if isinstance(keys, dict):  # if not, validation names the section's own line
            values = values | {section: keys | {name: value}}
            origins = origins | {(section, name): "--set"}
    return _validate(values, {(): str(path)} | origins)


def config_from_mapping(mapping: Mapping[str, Any], source: str) -> Config:
    """Build a configuration from sections of plain values.

    Args:
        mapping: From section names to mappings, such as `{"data": {"format": "camvid"}, ...}`.
        source: Where the mapping comes from; errors begin with it.

    Raises:
        ConfigError: A key is unknown, missing, of a wrong type or out of range.
    """
    return _validate(mapping, {(): source})


def dump_config(config: Config) -> str:
    """YAML text of all keys, defaults too; `read_config` of it gives an equal `Config`."""
    text = io.StringIO()
    yaml_1_2().dump(config.model_dump(mode="json"), text)
    return text.getvalue()


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        expected = "expected a YAML file such as configs/synthetic.yaml"
        raise ConfigError(
            f"{path}: cannot be read ({os_reason(error)}), {expected}; check the path"
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than 1 MB, expected a few kB; give a configuration file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text, expected YAML; save it as UTF-8") from error


def _parse_override(override: str) -> tuple[KeyPath, Any]:
    where = f"--set {shortened(override)!r}"
    name, equals, text = override.partition("=")
    path = tuple(name.strip().split("."))
    if not equals:
        raise ConfigError(f"{where}: no '=', expected SECTION.KEY=VALUE, for example --set training.epochs=8")
    if len(path) == 1 and path[0] in SECTIONS:
        keys = ", ".join(SECTIONS[path[0]].model_fields)
        raise ConfigError(
            f"{where}: '{path[0]}' is a section, expected {path[0]}.KEY=VALUE with one of: {keys}"
        )
    if len(path) != 2 or path[0] not in SECTIONS or path[1] not in SECTIONS[path[0]].model_fields:
        raise ConfigError(f"--set: {unknown_key(path)}")
    value, _ = parse_yaml(text, lambda line: where)
    if value is None and text.strip().lower() not in ("null", "~"):
        raise ConfigError(f"{where}: no value after '=', write for example --set '{name}={example(path)}'")
    if re.match(r"[^'\"[{].*\s#", text.strip()):
        fix = "leave the comment out"
        if isinstance(value, str):
            quoted = shlex.quote(f"{name}={json.dumps(text.strip(), ensure_ascii=False)}")
            fix += f", or quote the value: --set {quoted}"
        raise ConfigError(f"{where}: ' #' begins a comment, expected none; {fix}")
    return path, value


def _validate(mapping: Mapping[str, Any], origins: Mapping[KeyPath, str]) -> Config:
    # A section that is absent or has only comments is an empty one: its missing keys are then named.
    given = {name: {} if value is None else value for name, value in mapping.items()}
    values: dict[str, Any] = {name: {} for name in SECTIONS} | given
    try:
        config = Config.model_validate(values)
    except ValidationError as errors:
        # A misspelt key is also a missing one: the misspelling is the finding that helps.
        error = min(errors.errors(include_url=False), key=lambda entry: entry["type"] not in UNKNOWN_KEY)
        path = tuple(str(part) for part in error["loc"])
        raise ConfigError(f"{_where(path, origins)}: {explain(error, values)}") from errors
    region, crop = config.model.region_size, config.augment.crop
    if region > min(crop):
        raise ConfigError(
            f"{_where(('model', 'region_size'), origins)}: model.region_size={region} is larger than "
            f"augment.crop, {list(crop)}; expected at most {min(crop)}, or every share of the regions is the "
            "whole image"
        )
    return config


def _where(path: KeyPath, origins: Mapping[KeyPath, str]) -> str:
    return next(origins[path[:size]] for size in (2, 1, 0) if path[:size] in origins)
