"""Writes docs/api.md, every public name of the package with its docstring."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import fornet_keras

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Python API

What `from fornet_keras import …` offers, and after that most of what the other pages take from its modules,
written by `python docs/api.py` from the docstrings. [python.md](python.md) has examples. `AugmentConfig` of
`fornet_keras.config` takes the settings of [`augment`](configuration.md#augment).
"""

FROM_MODULES = [
    "fornet_keras.backbones.efficientnet_lite:imagenet_efficientnet_lite0",
    "fornet_keras.data.pipeline:TrainingBatches",
    "fornet_keras.data.pipeline:fit_input",
    "fornet_keras.data.sizes:letterboxed",
    "fornet_keras.data.sizes:resize_nearest",
    "fornet_keras.data.sizes:shrunk",
    "fornet_keras.prediction.submission:label_values",
    "fornet_keras.training.begin_with:begin_with",
    "fornet_keras.training.class_weights:class_weights",
]
"""What the other pages import; of settings docs/configuration.md has the fields."""


def reference() -> str:
    """The page: a section a name, with the methods that are a class's own."""
    names = sorted({*fornet_keras.__all__} - {"__version__"}, key=str.casefold)
    sections = [_section(name, getattr(fornet_keras, name)) for name in names]
    for place in FROM_MODULES:
        module, _, name = place.partition(":")
        sections.append(_section(name, resolve_name(place), f"from {module} import {name}"))
    return "\n".join([HEAD, *sections])


def _section(name: str, thing: Any, given_by: str = "") -> str:
    entries = [(name, thing), *(_methods(name, thing) if inspect.isclass(thing) else [])]
    parts = [
        f"```\n{_call(title, entry)}\n\n{inspect.cleandoc(entry.__doc__)}\n```\n" for title, entry in entries
    ]
    return "\n".join([f"## {name}\n", *([f"`{given_by}`\n"] if given_by else []), *parts])


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
