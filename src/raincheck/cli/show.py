"""How things look in a terminal: times and tables; plain text where there is no terminal."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "expired": "red",
}

WRAPPED = ("id", "name", "limits", "state")
"""Columns that give way when a terminal is narrow, over several lines."""
FOLDED = ("id", "name")
"""Those of them that have no spaces to be broken at."""


def moment(unix_seconds: float) -> str:
    """A time in the reader's own zone, to the second."""
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def console(*, stderr: bool = False) -> "Console":
    """A rich console; made anew each time so that it writes to the stream of the moment."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def is_terminal() -> bool:
    """True when what is shown on stderr may move."""
    return sys.stderr.isatty()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table for people; tab-separated and whole when stdout is a pipe, so that cut and awk can read it."""
    if not rows:
        typer.echo(empty, err=True)
    elif not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            overflow = "fold" if name in FOLDED else "ellipsis"
            table.add_column(name, overflow=overflow, no_wrap=name not in WRAPPED)
        for row in rows:
            table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        console().print(table)
