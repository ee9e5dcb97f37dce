"""`raincheck model`: have the embedded model's weights on this machine."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.options import AsJson
from raincheck.cli.show import console, is_terminal

if TYPE_CHECKING:
    from raincheck.upstream.local.weights import Progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The embedded model.")


@app.callback()
def family() -> None:
    """The embedded model."""


@app.command()
def pull(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where to. [default: RAINCHECK_MODEL_DIR or the user's cache]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the embedded model's weights (93 MB, once), or check and repair those that are there.

    `raincheck serve` does this by itself; do it ahead of time for an image or a machine that goes offline.

    \b
    raincheck model pull
    RAINCHECK_MODEL_DIR=/models raincheck model pull
    """
    from raincheck.upstream.local import weights

    with pull_progress() as progress:
        path = weights.pull(directory=directory, progress=progress)
    if as_json:
        typer.echo(json.dumps({"model": weights.SMOLLM2.model, "path": str(path), "bytes": path.stat().st_size}))
    else:
        typer.echo(path)


@contextmanager
def pull_progress() -> "Generator[Progress]":
    """A bar on a terminal, a line every tenth elsewhere; nothing at all until something is fetched."""
    if not is_terminal():
        yield _lines()
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn("fetching the embedded model"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=console(stderr=True),
    )  # fmt: skip
    task = bar.add_task("pull", total=None)

    def progress(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


def _lines() -> "Progress":
    said = -1

    def progress(done: int, total: int) -> None:
        nonlocal said
        if (tenth := done * 10 // total) > said:
            said = tenth
            print(f"fetching the embedded model: {done >> 20} of {total >> 20} MiB", file=sys.stderr, flush=True)  # noqa: T201

    return progress
