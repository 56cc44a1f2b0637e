"""What a command shows: tables on standard output, progress on standard error."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# A user's names are shown as they are: brackets are not markup, `:car:` is not an emoji.
OUTPUT = Console(markup=False, highlight=False, emoji=False)
ERRORS = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, stderr=True)

WIDE = 200


def quoted(path: Path) -> str:
    """A path as one word of a command that a user may copy into the shell."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def show_table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[str]],
    numbers: bool = True,
    footer: bool = False,
) -> None:
    """Print a table.

    Args:
        title: its line above.
        columns: their heads.
        rows: the cells of each row.
        numbers: all columns but the first are numbers.
        footer: the last row is a sum or stands apart.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, column in enumerate(columns):
        justify: JustifyMethod = "right" if numbers and index else "left"
        table.add_column(column, justify=justify, no_wrap=not index, overflow="fold")
    rows = [list(row) for row in rows]
    for number, row in enumerate(rows):
        table.add_row(*row, end_section=footer and number == len(rows) - 2)
    OUTPUT.print(title, style="bold", soft_wrap=True)
    if not OUTPUT.is_terminal:
        OUTPUT.width = WIDE  # a file or a pipe has none that a cell would have to be broken for
    OUTPUT.print(table)


@contextmanager
def tracking() -> Iterator[Callable[[Iterable[Any], int | None, str], Iterable[Any]]]:
    """Hand out `track(items, total, description)`, which yields the items and shows a bar while it does."""
    with progress() as bar:

        def track(items: Iterable[Any], total: int | None, description: str) -> Iterator[Any]:
            task = bar.add_task(description, total=total)
            try:
                for item in items:
                    yield item
                    bar.advance(task)
            finally:
                bar.remove_task(task)

        yield track


@contextmanager
def counting(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Hand out `advance(…)`, called after each step with how many are done of how many, or with nothing."""
    with progress() as bar:
        task = bar.add_task(description, total=total)
        yield lambda done=None, of=total: bar.update(task, advance=1, completed=done, total=of)


def progress() -> Progress:
    """Bars on standard error, where that is a terminal; transient: what lasts is the result."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        console=ERRORS,
        transient=True,
        disable=not ERRORS.is_terminal,
    )
