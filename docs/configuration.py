"""Writes docs/configuration.md, every key of a configuration."""

from pathlib import Path

from fornet_keras.config.schema import SECTIONS
from fornet_keras.config.section import Section

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Configuration

Every key of a configuration file, written by `python docs/configuration.py` from what reads them. On the
command line `--set SECTION.KEY=VALUE` of `train`, `summary`, `data check`, `data inspect` and `data cache`
changes one. [training.md](training.md) says what they are for.
"""


def reference() -> str:
    """The page: a table a section, a line a key."""
    return "\n".join([HEAD, *(_table(name, section) for name, section in SECTIONS.items())])


def _table(name: str, section: type[Section]) -> str:
    lines = [f"## {name}", "", section.__doc__ or "", "", "| Key | Value | Default | |", "|---|---|---|---|"]
    properties = section.model_json_schema()["properties"]
    for key, field in section.model_fields.items():
        value, _, meaning = (field.description or "").partition(" (")
        default = "to be set" if field.is_required() else f"`{_yaml(properties[key]['default'])}`"
        lines.append(f"| `{key}` | {value} | {default} | {meaning.removesuffix(')')} |")
    return "\n".join([*lines, ""])


def _yaml(value: object) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
