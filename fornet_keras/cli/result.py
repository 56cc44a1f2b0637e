"""The `--json` file of a command."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fornet_keras.atomic import write_text


def write_json(path: Path | None, result: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a command's result, a file whole or not at all; None writes nothing."""
    if path is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False, default=os.fspath) + "\n"
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(text.encode())  # a link, a pipe: nothing may take its place
    else:
        write_text(path, text)
