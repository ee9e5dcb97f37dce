"""Takes what a command does with the record, opens the store and lets it: beside a running server, not through it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from raincheck.cli.exits import Problem
from raincheck.cli.extras import need_store, settings_for
from raincheck.core.clock import now
from raincheck.core.settings import is_postgresql, sqlite_path

if TYPE_CHECKING:
    from raincheck.store.protocol import Store

T = TypeVar("T")


def in_record(
    work: "Callable[[Store], Awaitable[T]]", store: str | None, config: str | None, *, existing: bool = False
) -> T:
    """Do something with the store that `raincheck serve` with the same options would use.

    With `existing`, a SQLite file that is not there is a Problem: who only looks must not make one.
    """
    url = settings_for(config, {"store.url": store}).store_url
    need_store(url)
    if existing and not is_postgresql(url) and not sqlite_path(url).is_file():
        raise Problem(f"there is no store {sqlite_path(url)}: name the server's own with --store or --config")
    import asyncio

    async def run() -> T:
        async with opened(url) as record:
            return await work(record)

    return asyncio.run(run())


@asynccontextmanager
async def opened(store_url: str) -> "AsyncGenerator[Store]":
    """The store behind a URL. Not as its owner: that may be a running server, which need not be stopped for this."""
    if is_postgresql(store_url):
        from raincheck.store import postgres

        async with postgres.open_store(store_url) as record:
            yield record
    else:
        from raincheck.store import sqlite

        async with sqlite.open_store(sqlite_path(store_url), clock=now, own=False) as record:
            yield record
