"""Words for what is wrong with a configuration: the finding, the expectation and the fix in one line."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from fornet_keras.config.schema import SECTIONS

KeyPath = tuple[str, ...]
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")


def explain(error: ErrorDetails, values: Mapping[str, Any]) -> str:
    """Say what one of pydantic's errors means for the user.

    Args:
        error: An entry of `ValidationError.errors()`.
        values: The mapping that was validated, with every section present.
    """
    path = tuple(str(part) for part in error["loc"][:2])
    if error["type"] in UNKNOWN_KEY:
        return unknown_key(path)
    if len(path) == 1:
        keys = ", ".join(SECTIONS[path[0]].model_fields)
        return (
            f"{path[0]}{_finding(values[path[0]], wrong_type=True)}, expected a section with the keys: {keys}"
        )
    section, name = path
    expected = SECTIONS[section].model_fields[name].description
    if name not in values[section]:
        fix = f"write for example '{name}: {example(path)}' under '{section}:'"
        return f"missing required key '{section}.{name}', expected {expected}; {fix}"
    wrong_type = error["type"].endswith("_type") and len(error["loc"]) == 2
    finding = _finding(values[section][name], wrong_type)
    fix = f"; {error['ctx']['error']}" if error["type"] == "value_error" else ""
    return f"{section}.{name}{finding}, expected {expected}, for example {example(path)}{fix}"


def unknown_key(path: KeyPath) -> str:
    """Name the nearest valid key, in the same section or in another, and list the valid ones."""
    section, *rest = path
    if rest and section in SECTIONS:
        name, valid = rest[0], list(SECTIONS[section].model_fields)
    else:
        name, valid = section, list(SECTIONS)
    last = (rest or path)[0]
    elsewhere = [f"{other}.{last}" for other, keys in SECTIONS.items() if last in keys.model_fields]
    nearest = (elsewhere or get_close_matches(name, valid, n=1))[:1]
    hint = "".join(f"did you mean '{key}'? " for key in nearest)
    return f"unknown key '{shortened('.'.join(path))}'; {hint}valid keys: {', '.join(valid)}"


def example(path: KeyPath) -> str:
    """A value that is valid for a key, as one would write it in YAML."""
    field = SECTIONS[path[0]].model_fields[path[1]]
    return json.dumps(field.examples[0] if field.examples else field.default)


def _finding(value: Any, wrong_type: bool) -> str:
    if value is None:
        return " is empty"
    if wrong_type:
        return f"={shortened(repr(value))} is {kind_of(value)}"
    return f"={shortened(value if isinstance(value, str) else repr(value))} is not allowed"


def kind_of(value: Any) -> str:
    """The type's name with its article, such as "an int"."""
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def shortened(text: str) -> str:
    """At most 60 characters of a text from the user."""
    return text if len(text) <= 60 else f"{text[:57]}..."
