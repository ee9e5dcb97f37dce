"""How things look in a terminal: times and tables; plain text where there is no terminal.

What others have named and written is shown here too, so control characters are written out: `\\u001b`, not an Escape.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from raincheck.core.clock import SECOND, now

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLOURS = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "expired": "red",
    "delivered": "green",
    "enabled": "green",
    "failing": "yellow",
    "disabled": "red",
}
"""By the first word of a status."""

WRAPPED = ("id", "name", "limits", "state", "happened", "event", "events", "url", "to")
"""Columns that give way when a terminal is narrow, over several lines."""
FOLDED = ("id", "name", "event", "events", "url", "to")
"""Those of them that have no spaces to be broken at."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves a cursor, ends a line or turns the order of letters around."""
_KEPT = "\n\t"
"""Of those what text of several lines is made with."""


def visible(text: str, *, keep: str = "") -> str:
    """The same with control characters written out, as JSON writes them; by default it is on one line then."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else f"\\u{ord(found[0]):04x}", text)


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print what may have been written by others: whole in a pipe, in a terminal without what would command it."""
    stream = sys.stderr if err else sys.stdout
    typer.echo(visible(str(text), keep=_KEPT) if stream.isatty() else str(text), err=err, nl=nl)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """A line for each, the labels below one another."""
    for label, text in facts:
        typer.echo(f"{visible(label):<12}{visible(text)}")


def moment(unix_seconds: float) -> str:
    """A time in the reader's own zone, to the second."""
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def brief_moment(unix_seconds: float) -> str:
    """The same for a table, shorter where people read it: of today without the date, else without year and seconds."""
    whole = moment(unix_seconds)
    if not sys.stdout.isatty():
        return whole
    date, _, time = whole.partition(" ")
    today, _, _ = moment(now() / SECOND).partition(" ")
    return time if date == today else whole[len("2027-") : -len(":00")]


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
            typer.echo("\t".join(map(visible, row)))
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            overflow = "fold" if name in FOLDED else "ellipsis"
            table.add_column(name, overflow=overflow, no_wrap=name not in WRAPPED)
        for row in rows:
            table.add_row(*(_cell(name, text) for name, text in zip(columns, row, strict=True)))
        console().print(table)


def print_entries(rows: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
    """A table for a terminal in which ids stay whole: what is long stands below its row, on two lines at most."""
    from rich.cells import cell_len
    from rich.padding import Padding

    out = console()
    widths = [max(map(cell_len, map(visible, column))) for column in zip(*rows, strict=True)]
    for row, remark in zip(rows, remarks, strict=True):
        cells = [_cell("", text) for text in row]
        for cell, width in zip(cells[:-1], widths, strict=False):
            cell.pad_right(width - cell.cell_len)
        out.print(*cells, sep="  ", soft_wrap=True)
        below = _cell("state", remark)
        below.truncate(2 * (out.width - 4) - 8, overflow="ellipsis")
        out.print(Padding(below, (0, 0, 0, 4), expand=False))


def _cell(column: str, text: str) -> "Text":
    from rich.text import Text

    return Text(visible(text), style=_style(column, text))


def _style(column: str, cell: str) -> str:
    first = cell.partition(" ")[0].rstrip(",:")
    return COLOURS.get(first, "") if column in ("status", "state") else ""
