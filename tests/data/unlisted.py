"""A folder that the system does not list: root may list any, whatever its mode."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, _refusing(getattr(os, name), folder))


def _refusing(list_folder: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def listed(path: Any = ".") -> Any:
        if not isinstance(path, int) and os.path.abspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    return listed
