"""Writes docs/api.md, every public name of the package with its docstring."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fornet_keras

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Python API

What `from fornet_keras import …` offers, written by `python docs/api.py` from the docstrings.
[python.md](python.md) has examples.
"""


def reference() -> str:
    """The page: a section a name, with the methods that are a class's own."""
    names = sorted({*fornet_keras.__all__} - {"__version__"}, key=str.casefold)
    return "\n".join([HEAD, *(_section(name, getattr(fornet_keras, name)) for name in names)])


def _section(name: str, thing: Any) -> str:
    entries = [(name, thing), *(_methods(name, thing) if inspect.isclass(thing) else [])]
    parts = [
        f"```\n{_call(title, entry)}\n\n{inspect.cleandoc(entry.__doc__)}\n```\n" for title, entry in entries
    ]
    return "\n".join([f"## {name}\n", *parts])


def _methods(name: str, thing: type) -> Iterator[tuple[str, Any]]:
    for method in vars(thing):
        function = getattr(thing, method)
        is_public = method == "__call__" or not method.startswith("_")
        if is_public and inspect.isroutine(function) and function.__doc__:
            yield f"{name}.{method}", function


def _call(name: str, thing: Any) -> str:
    """Name and arguments with their defaults; the docstring says what they are."""
    signature = inspect.signature(thing)
    plain = [x.replace(annotation=x.empty) for x in signature.parameters.values() if x.name != "self"]
    return f"{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
