"""A process that copies a store and can be killed: `python -m tests.store.copier SOURCE TARGET`. Says each bite."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raincheck.core.settings import is_postgresql, sqlite_path
from raincheck.store import copying
from raincheck.store.postgres import ledger as postgres
from raincheck.store.sqlite import ledger as sqlite


@asynccontextmanager
async def ledger(url: str, *, existing: bool = False) -> AsyncGenerator[copying.Ledger]:
    """The rows of either kind of store."""
    if is_postgresql(url):
        async with postgres.open_ledger(url, existing=existing) as rows:
            yield rows
    else:
        async with sqlite.open_ledger(sqlite_path(url), existing=existing) as rows:
            yield rows


async def main(source: str, target: str) -> None:
    async with ledger(source, existing=True) as old:
        await copying.copy(old, ledger(target), watch=lambda moving: print(moving.stage, moving.done, flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
