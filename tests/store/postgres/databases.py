"""Empty databases with Raincheck's tables in them, lent for one test each.

Emptying one that was used takes 3 ms, making one from a template 40 ms: so what one test leaves is the next one's.
"""

# asyncpg ships hardly any types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import atexit
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from raincheck.store.postgres.database import connect
from tests.store.postgres.server import psql, shared

LARGE = 64 << 20
"""Bytes from which a database is not worth emptying."""


class Databases:
    """Those of one server, for one process."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._names = (f"raincheck_test_{os.getpid()}_{number}" for number in count())
        self._template: str | None = None
        self._made: list[str] = []
        self._left: list[str] = []
        self._tables = ""

    async def lend(self) -> str:
        """The URL of an empty database; give it back when nobody uses it any more."""
        while self._left:
            url = self._left.pop()
            if await self._emptied(url):
                return url
        if self._template is None:
            await self._make_template()
        return await self._make(f"template {self._template}")

    def give_back(self, url: str) -> None:
        self._left.append(url)

    def drop(self) -> None:
        """Take away all that were made."""
        psql(self._server, *(f"drop database if exists {name} with (force)" for name in self._made))

    async def _make_template(self) -> None:
        url = await self._make("")
        database = await connect(url, None)
        self._tables = ", ".join(
            row["relname"]
            for row in await database.all(
                "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
                " and relname != 'migration'"
            )
        )
        await database.close()
        self._template = self._made[-1]

    async def _make(self, how: str) -> str:
        name = next(self._names)
        connection = await asyncpg.connect(self._server)
        try:
            # Before 15 there is no other way.
            by_file = "strategy file_copy" if how and connection.get_server_version().major >= 15 else ""
            await connection.execute(f"create database {name} {how} {by_file}")
        finally:
            await connection.close()
        self._made.append(name)
        return urlunsplit(urlsplit(self._server)._replace(path=f"/{name}"))

    async def _emptied(self, url: str) -> bool:
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval("select pg_database_size(current_database())") > LARGE:
                return False
            # Whoever a test left behind must not hold us up.
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid != pg_backend_pid() and backend_type = 'client backend'"
            )
            await connection.execute("; ".join(f"delete from {table}" for table in self._tables.split(", ")))
        finally:
            await connection.close()
        return True


@asynccontextmanager
async def empty() -> AsyncGenerator[str]:
    """The URL of a database without any table, for the time of the block."""
    name = f"raincheck_bare_{token_hex(4)}"
    psql(shared(), f"create database {name}")
    try:
        yield urlunsplit(urlsplit(shared())._replace(path=f"/{name}"))
    finally:
        psql(shared(), f"drop database {name} with (force)")


@cache
def databases() -> Databases:
    """Those of this process, on the server that all its tests share."""
    made = Databases(shared())
    if os.environ.get("RAINCHECK_TEST_POSTGRES"):
        atexit.register(made.drop)
    return made
