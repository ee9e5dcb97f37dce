"""`raincheck store`: move everything from one store into another."""

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.exits import Problem
from raincheck.cli.extras import need_store
from raincheck.cli.options import AsJson
from raincheck.cli.show import console, is_terminal, print_table
from raincheck.core.settings import is_postgresql, sqlite_path
from raincheck.core.units import read_store_url, show_duration, without_password

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from raincheck.store.copying import Ledger, Moving, Report

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Move everything into another store.")


def _url(given: str) -> str:
    try:
        return read_store_url(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.callback()
def family() -> None:
    """Move everything into another store."""


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The old store's URL.", parser=_url)],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The new one's, empty.", parser=_url)],
    force: Annotated[
        bool, typer.Option("--force", help="Copy although workers were seen in the last minute, if they were killed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy everything into an empty store, and compare both sides row by row.

    Stop every server and worker first; the old store stays as it is. When the copy is interrupted, even by a kill, the
    same command goes on where it was. Bodies in an object store are not touched: the new server needs the same one.

    \b
    raincheck store copy sqlite:///raincheck.db postgresql://raincheck@db/raincheck
    raincheck store copy postgresql://raincheck@db/raincheck sqlite:////var/lib/raincheck/raincheck.db
    raincheck store copy sqlite:///raincheck.db sqlite:////mnt/new/raincheck.db --json | jq .verified
    """
    need_store(source)
    need_store(target)
    import asyncio

    began = monotonic()
    report = asyncio.run(_copy(source, target, force=force))
    summary = _summary(source, target, report, monotonic() - began)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(report, monotonic() - began)
    if not report.equal:
        differing = ", ".join(table.table for table in report.tables if not table.equal)
        raise Problem(
            f"the copy is not equal to its source ({differing}): something changed one of them meanwhile. "
            "Do not use it; copy into a new, empty store"
        )


async def _copy(source: str, target: str, *, force: bool) -> "Report":
    from raincheck.store import copying

    try:
        if _file(source) is not None and _file(source) == _file(target):
            raise copying.Refused("both URLs name the same store")
        async with _ledger(source, existing=True) as old:
            with _progress() as watch:
                return await copying.copy(old, _ledger(target, existing=False), force=force, watch=watch)
    except copying.Refused as error:
        raise Problem(str(error), kind="copy_refused") from None


def _file(url: str) -> "Path | None":
    return None if is_postgresql(url) else sqlite_path(url)


@asynccontextmanager
async def _ledger(url: str, *, existing: bool) -> "AsyncGenerator[Ledger]":
    if is_postgresql(url):
        from raincheck.store.postgres.ledger import open_ledger as open_postgres

        async with open_postgres(url, existing=existing) as ledger:
            yield ledger
    else:
        from raincheck.store.sqlite.ledger import open_ledger as open_sqlite

        async with open_sqlite(sqlite_path(url), existing=existing) as ledger:
            yield ledger


@contextmanager
def _progress() -> "Generator[Callable[[Moving], None]]":
    """A bar on a terminal, a line every tenth elsewhere."""
    if not is_terminal():
        yield _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeLeft())
    with Progress(*columns, console=console(stderr=True)) as bar:
        stages = dict[str, TaskID]()

        def watch(moving: "Moving") -> None:
            if moving.stage not in stages:
                stages[moving.stage] = bar.add_task(moving.stage, total=moving.total)
            told = f"{moving.stage} {moving.table}"
            bar.update(stages[moving.stage], description=told, completed=moving.done, total=moving.total)

        yield watch


def _lines() -> "Callable[[Moving], None]":
    stage, said, began, before = "", -1, 0.0, 0

    def watch(moving: "Moving") -> None:
        nonlocal stage, said, began, before
        if moving.stage != stage:
            stage, said, began, before = moving.stage, -1, monotonic(), moving.done
        if (tenth := moving.done * 10 // moving.total) > said:
            said = tenth
            speed = (moving.done - before) / max(monotonic() - began, 0.001)
            typer.echo(f"{stage}: {moving.done:,} of {moving.total:,} rows ({speed:,.0f} rows/s)", err=True)

    return watch


def _summary(source: str, target: str, report: "Report", took: float) -> dict[str, object]:
    tables = [
        {"table": one.table, "rows": one.rows, "digest": one.digest, "target_rows": one.target_rows,
         "target_digest": one.target_digest, "equal": one.equal, "cleaned": one.cleaned}
        for one in report.tables
    ]  # fmt: skip
    return {
        "source": without_password(source), "target": without_password(target), "verified": report.equal,
        "resumed": report.resumed, "copied": report.copied, "rows": sum(one.rows for one in report.tables),
        "seconds": round(took, 3), "tables": tables,
    }  # fmt: skip


def _show(report: "Report", took: float) -> None:
    rows = [
        (one.table, f"{one.rows}", f"{one.target_rows}", one.digest[:12], "equal" if one.equal else "DIFFERENT")
        for one in report.tables
        if one.rows or one.target_rows
    ]
    print_table(("table", "rows", "copied", "digest", "both sides"), rows, empty="the store was empty")
    told = f"{report.copied:,} rows copied in {show_duration(round(took * 1_000_000))}"
    typer.echo(told + (", going on from an earlier run" if report.resumed else ""), err=True)
    if cleaned := sum(one.cleaned for one in report.tables):
        typer.echo(
            f"{cleaned} texts held the character NUL, which PostgreSQL cannot keep: U+FFFD stands there", err=True
        )
    if bodies := next((one.rows for one in report.tables if one.table == "blob"), 0):
        typer.echo(f"{bodies} bodies stay in the object store: give the new server the same store.blobs", err=True)
    if report.equal:
        typer.echo("Every row was read again on both sides: they are equal.", err=True)
