"""The demo's table: it moves in place on a terminal, and is a line for each change anywhere else."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raincheck.cli.show import COLOURS

if TYPE_CHECKING:
    from raincheck.client import Request

Row = tuple[str, "Request"]


class Scoreboard:
    """Shows questions and how they stand, and lets things be said above them."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None
        self._told = dict[str, str]()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        if self._live is not None:
            self._live.update(_table(rows), refresh=True)
            return
        for question, request in rows:
            line = f"{request.id}  {request.status:<10}  attempt {max(request.attempt or 0, 1)}  {question}"
            if self._told.get(request.id) != line:
                self._told[request.id] = line
                self._out.print(line, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._out.print(text, soft_wrap=self._live is None)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    table.add_column("request", no_wrap=True)
    table.add_column("question", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("status", "place", "attempt", "progress"):
        table.add_column(name, no_wrap=True)
    for question, request in rows:
        share = 1.0 if request.status == "completed" else (request.progress or 0.0)
        table.add_row(
            f"{request.id.partition('_')[0]}_…{request.id[-6:]}",
            question,
            Text(request.status, style=COLOURS[request.status]),
            "" if request.position is None else str(request.position),
            str(max(request.attempt or 0, 1)),
            ProgressBar(total=1.0, completed=share, width=20),
        )
    return table
