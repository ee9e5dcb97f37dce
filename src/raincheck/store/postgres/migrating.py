"""A new connection in, one to a database with today's tables out."""

import re
from importlib import resources
from typing import Any

from raincheck.core.errors import SchemaTooNew, StoreUnavailable
from raincheck.store.copying import UNFINISHED

OLDEST = 14
MIGRATED_WITHIN = 3600.0
"""Seconds for one step: an index over many millions of rows takes its time."""
LOCK = 0x7261696E
"""The advisory lock under which one process migrates while others that start wait."""


async def migrate(connection: Any, *, moving: bool = False) -> None:
    """Bring the schema up to date, one transaction per file of `migrations/`. Any number may do so at once.

    Raises StoreUnavailable when a copy into this store was not finished, unless it is one that is `moving` in.
    """
    refuse_old(connection)
    if not moving and await connection.fetchval("select to_regclass('copying')") is not None:
        raise StoreUnavailable(UNFINISHED)
    steps = sorted(_steps())
    if await connection.fetchval("select to_regclass('migration')") is None:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK, timeout=MIGRATED_WITHIN)
            await connection.execute(
                "create table if not exists migration"
                " (number integer primary key, name text not null, breaking boolean not null)"
            )
    newest = steps[-1][0]
    too_new = await connection.fetchval("select max(number) from migration where breaking and number > $1", newest)
    if too_new is not None:
        raise SchemaTooNew(f"The store has schema {too_new}, this Raincheck knows {newest}; upgrade Raincheck.")
    done = {row["number"] for row in await connection.fetch("select number from migration")}
    for number, name, sql in steps:
        if number not in done:
            await _take(connection, number, name, sql)


def refuse_old(connection: Any) -> None:
    """Raise StoreUnavailable when the server lacks what our statements need."""
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise StoreUnavailable(
            f"The store is PostgreSQL {version.major}.{version.micro}; Raincheck needs {OLDEST} or newer. Upgrade it."
        )


async def _take(connection: Any, number: int, name: str, sql: str) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK, timeout=MIGRATED_WITHIN)
        if await connection.fetchval("select 1 from migration where number = $1", number):
            return  # Another process was quicker.
        await connection.execute(sql, timeout=MIGRATED_WITHIN)
        await connection.execute(
            "insert into migration (number, name, breaking) values ($1, $2, $3)",
            number,
            name,
            sql.startswith("-- breaking"),
        )


def _steps() -> list[tuple[int, str, str]]:
    folder = resources.files("raincheck.store.postgres") / "migrations"
    found = ((re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name), file) for file in folder.iterdir())
    return [(int(match[1]), match[2], file.read_text()) for match, file in found if match]
