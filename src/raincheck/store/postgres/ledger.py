"""The PostgreSQL tables' rows as they lie, for moving house."""

# asyncpg ships no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import msgspec

from raincheck.core.clock import MINUTE
from raincheck.store.copying import BITE_BYTES, BITE_ROWS, TABLES, Key, Mark, Refused, Row, Table
from raincheck.store.postgres.address import parse
from raincheck.store.postgres.migrating import migrate
from raincheck.store.postgres.outages import OUTAGES, unavailable, unopened

IN_THE_WAY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What the database says when others write at the same time."""


@asynccontextmanager
async def open_ledger(url: str, *, existing: bool) -> AsyncGenerator["PostgresLedger"]:
    """The tables, made and migrated as needed, over a connection of our own; with `existing` they are not made in a
    database that has none. Raises Refused, and what `connect` does."""
    address = parse(url)
    try:
        # Without named statements any pooler may stand between.
        connection = await address.connect(statement_cache_size=0)
        try:
            if existing and await connection.fetchval("select to_regclass('migration')") is None:
                raise Refused(f"there is no store in {address.place}")
            await migrate(connection, moving=True)
            system = "(select system_identifier from pg_control_system())"
            identity: str = await connection.fetchval(
                f"select format('postgresql:%s/%s/%s', {system}, current_database(), current_schema())"
            )
        except BaseException:
            connection.terminate()
            raise
    except (*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise unopened(error, address.place) from error
    try:
        yield PostgresLedger(connection, identity)
    finally:
        connection.terminate()  # What was not committed is undone; there is nobody else to tell.


class PostgresLedger:
    """`Ledger` over one connection."""

    takes_nul = False

    def __init__(self, connection: Any, identity: str) -> None:
        self._connection = connection
        self.identity = identity

    async def users(self) -> list[str]:
        sql = "select name from worker where seen_at > moment(null) - $1 order by name"
        return [name for (name,) in await self._all(sql, MINUTE)]

    async def hold(self) -> None:
        """One transaction until the end: everyone may read, nobody writes, and all we read is of one moment."""
        tables = ", ".join(table.name for table in TABLES)
        with _reachable():
            await self._connection.execute(
                "begin isolation level repeatable read; set local lock_timeout = '10s'; "
                "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"
            )
            try:
                # Before the first select, which fixes the moment.
                await self._connection.execute(f"lock table {tables} in share mode")
            except (*IN_THE_WAY, asyncpg.QueryCanceledError):
                raise Refused("someone is writing to the source all the time: stop every server and worker") from None

    async def columns(self) -> dict[str, frozenset[str]]:
        rows = await self._all(
            """
            select c.table_name, array_agg(c.column_name::text)
              from information_schema.columns c
              join information_schema.tables t using (table_schema, table_name)
             where c.table_schema = current_schema() and t.table_type = 'BASE TABLE'
             group by c.table_name"""
        )
        return {name: frozenset(columns) for name, columns in rows}

    async def count(self, table: Table) -> int:
        [(rows,)] = await self._all(f"select count(*) from {table.name}")  # noqa: S608 - names of ours
        return rows

    async def read(self, table: Table, after: Key | None) -> list[Row]:
        return await self._all(_select(table, after), *(after or ()))

    async def marks(self) -> list[Mark]:
        if await self._all("select 1 where to_regclass('copying') is null"):
            return []
        rows = await self._all("select mark from copying")
        return [msgspec.json.decode(mark, type=Mark) for (mark,) in rows]

    async def begin(self, marks: Sequence[Mark]) -> None:
        with _reachable(), _fitting("copying"):
            async with self._connection.transaction():
                await self._connection.execute('create table copying ("table" text primary key, mark text not null)')
                values = [(mark.table, msgspec.json.encode(mark).decode()) for mark in marks]
                await self._connection.executemany('insert into copying ("table", mark) values ($1, $2)', values)

    async def write(self, table: Table, rows: Sequence[Row], mark: Mark) -> None:
        with _reachable(), _fitting(table.name):
            async with self._connection.transaction():
                # A crash may undo the last bites, with their marks; `end` flushes them all.
                await self._connection.execute("set local synchronous_commit = off")
                await self._connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
                await self._connection.execute(
                    'update copying set mark = $2 where "table" = $1', mark.table, msgspec.json.encode(mark).decode()
                )

    async def settle(self) -> None:
        with _reachable():
            for table, number in (
                ("request", "seq"),
                ("event", "seq"),
                ("file", "seq"),
                ("stray", "id"),
                ("batch", "seq"),
                ("endpoint", "seq"),
                ("delivery", "seq"),
            ):
                sequence = f"pg_get_serial_sequence('{table}', '{number}')"
                await self._connection.execute(
                    f"select setval({sequence}, coalesce(max({number}), 1), count(*) > 0) from {table}"  # noqa: S608
                )
            # Plans of the first minutes would else be made for empty tables.
            await self._connection.execute(f"analyze {', '.join(table.name for table in TABLES)}")

    async def end(self) -> None:
        with _reachable():
            await self._connection.execute("begin; set local synchronous_commit = on; drop table copying; commit")

    async def _all(self, sql: str, *values: object) -> list[Row]:
        with _reachable():
            return [tuple(row) for row in await self._connection.fetch(sql, *values)]


def _select(table: Table, after: Key | None) -> str:
    key, columns = ", ".join(table.key), ", ".join(table.columns)
    marks = ", ".join(f"${number}" for number in range(1, len(table.key) + 1))
    where = "" if after is None else f"where ({key}) > ({marks})"
    bite = f"select {columns} from {table.name} {where} order by {key} limit {BITE_ROWS}"  # noqa: S608 - names of ours
    if table.heavy is None:
        return bite
    # Lengths are known without reading what is long: it stays where it is until the bite has been cut.
    size = f"coalesce(octet_length({table.heavy}), 0)"
    weighed = f"select *, sum({size}) over (order by {key}) - {size} as before from ({bite}) bite"  # noqa: S608
    return f"select {columns} from ({weighed}) weighed where before < {BITE_BYTES} order by {key}"  # noqa: S608


@contextmanager
def _reachable() -> Generator[None]:
    try:
        yield
    except IN_THE_WAY:
        raise Refused("someone else is at work in one of the stores: stop every server and worker") from None
    except (*OUTAGES, asyncpg.InterfaceError) as error:
        raise unavailable(error) from error


@contextmanager
def _fitting(table: str) -> Generator[None]:
    """Tell what the database will not take as something to be put right."""
    try:
        yield
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
        raise Refused(
            f"someone else writes to the target (table {table}): stop every server, worker and copy that uses it"
        ) from None
    except (asyncpg.DataError, asyncpg.CheckViolationError, OverflowError) as error:
        raise Refused(f"a row of table {table} does not fit into the target: {error}") from error
