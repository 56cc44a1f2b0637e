"""YAML 1.2 text to plain values: bounded in size, without tags, anchors or code."""

from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, Event, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from fornet_keras.config.explain import KeyPath
from fornet_keras.errors import ConfigError, reason

MAX_DEPTH = 8
MAX_EVENTS = 5_000
MAX_SCALAR = 2_000

Locate = Callable[[int | None], str]


class PlainConstructor(SafeConstructor):
    """Builds the types of YAML 1.2 only: a date stays a str, so that a folder may be named 2024-01-31."""


PlainConstructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def parse_yaml(text: str, locate: Locate) -> tuple[Any, dict[KeyPath, str]]:
    """Read one YAML document without executing anything in it.

    Args:
        text: The document; empty text or only comments give None.
        locate: From a line number (the first is 1), or None where it is unknown, to an error's first words.

    Returns:
        The document's value, and the location of each of its keys and list items, by the path to it.

    Raises:
        ConfigError: At a syntax error, a key given twice, a tag, an anchor, an alias, a merge, a %YAML line,
            or more than `MAX_DEPTH` levels, `MAX_EVENTS` items or `MAX_SCALAR` characters in a value.
    """
    try:
        _refuse_unsafe(text, locate)
        loader = yaml_1_2()
        root = loader.compose(text)
        if root is None:
            return None, {}
        origins = _locate_keys(root, locate)
        return loader.constructor.construct_document(root), origins
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = " ".join(filter(None, (error.context, error.problem)))
        fix = "indent with spaces, not tabs" if r"'\t'" in problem else "correct the YAML there"
        raise ConfigError(f"{locate(line)}: not valid YAML: {problem}; {fix}") from error
    except (YAMLError, ValueError) as error:  # a control character; a number without digits such as 0x_
        line = text.count("\n", 0, error.position) + 1 if isinstance(error, ReaderError) else None
        raise ConfigError(f"{locate(line)}: not valid YAML: {reason(error)}; correct it") from error


def yaml_1_2() -> YAML:
    """A fresh reader and writer of plain values; a used one remembers the version of its last document."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = PlainConstructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    return yaml


def _refuse_unsafe(text: str, locate: Locate) -> None:
    # Events come one by one without recursion, so a hostile file is stopped before it is built in memory.
    depth = 0
    for count, event in enumerate(yaml_1_2().parse(text)):
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        finding = _unsafe(event)
        if count > MAX_EVENTS:
            finding = f"more than {MAX_EVENTS} items; is this a configuration file?"
        if depth > MAX_DEPTH + 2:  # the stream and the document are levels too
            finding = f"nested deeper than {MAX_DEPTH} levels; write sections and keys only"
        if finding:
            raise ConfigError(f"{locate(event.start_mark.line + 1)}: {finding}")


def _unsafe(event: Event) -> str | None:
    if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
        return "anchors (&) and aliases (*) are refused; write the value out, or quote it if it is a string"
    if tag := getattr(event, "tag", None):
        return f"the tag {tag} is refused; write a plain value, or quote it if it is a string"
    if getattr(event, "value", None) == "<<":
        return "a merge (<<) is refused; write its keys out"
    if getattr(event, "version", None):
        return "a %YAML line is refused, files are read as YAML 1.2; remove it"
    if isinstance(event, ScalarEvent) and len(event.value) > MAX_SCALAR:
        return f"a value of {len(event.value)} characters; write at most {MAX_SCALAR}"
    return None


def _locate_keys(root: Node, locate: Locate) -> dict[KeyPath, str]:
    lines: dict[KeyPath, int] = {}

    def visit(node: Node, parent: KeyPath) -> None:
        for key, value in node.value if isinstance(node, MappingNode) else ():
            path = (*parent, str(key.value) if isinstance(key, ScalarNode) else "?")
            line = key.start_mark.line + 1
            if path in lines:
                first = f"it is on line {lines[path]} already"
                raise ConfigError(
                    f"{locate(line)}: duplicate key '{'.'.join(path)}', {first}; keep one of them"
                )
            lines[path] = line
            visit(value, path)
        for number, item in enumerate(node.value if isinstance(node, SequenceNode) else ()):
            path = (*parent, str(number))
            lines[path] = item.start_mark.line + 1
            visit(item, path)

    visit(root, ())
    return {path: locate(line) for path, line in lines.items()}
