"""The SQLite file's rows as they lie, for moving house."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from raincheck.core.clock import now
from raincheck.core.errors import StoreTaken, StoreUnavailable
from raincheck.store.copying import BITE_BYTES, BITE_ROWS, Key, Mark, Refused, Row, Table
from raincheck.store.sqlite.database import STORAGE_ERRORS, Database, Transaction


@asynccontextmanager
async def open_ledger(path: Path, *, existing: bool) -> AsyncGenerator["SqliteLedger"]:
    """The file, ours alone until the end; with `existing` it is not made when it is missing. Raises Refused."""
    if existing and not _is_store(path):
        raise Refused(f"there is no store {path}")
    try:
        database = Database(path, now, own=True, moving=True)
    except StoreTaken as error:
        raise Refused(f"{error.message.partition(' Stop ')[0]} Stop that server first.") from None
    try:
        yield SqliteLedger(database)
    finally:
        await database.close()


class SqliteLedger:
    """`Ledger` over the one file. Whoever else would serve it is kept out by its lock."""

    takes_nul = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self.identity = f"sqlite://{database.path.resolve()}"

    async def users(self) -> list[str]:
        return []

    async def hold(self) -> None:
        """Nothing to do: the file is locked as long as it is open."""

    async def columns(self) -> dict[str, frozenset[str]]:
        found = dict[str, frozenset[str]]()
        with _reachable(self._database.path):
            tables = "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\'"
            for (table,) in self._database.all(tables):
                rows = self._database.all("select name from pragma_table_info(?)", table)
                found[table] = frozenset(name for (name,) in rows)
        return found

    async def count(self, table: Table) -> int:
        [[rows]] = await self._database.read_apart(f"select count(*) from {table.name}")  # noqa: S608 - names of ours
        return rows

    async def read(self, table: Table, after: Key | None) -> list[Row]:
        heavy = None if table.heavy is None else table.columns.index(table.heavy)
        flags = [table.columns.index(name) for name in table.flags]
        rows, weight = list[Row](), 0
        with _reachable(self._database.path):
            cursor = self._database.reader.execute(_select(table, after), after or ())
            try:
                for row in cursor:
                    rows.append(row)
                    weight += len(row[heavy] or b"") if heavy is not None else 0
                    if weight >= BITE_BYTES:
                        break
            finally:
                cursor.close()
        return [_with_flags(row, flags) for row in rows] if flags else rows

    async def marks(self) -> list[Mark]:
        if not self._database.all("select 1 from sqlite_schema where name = 'copying'"):
            return []
        rows = self._database.all("select mark from copying")
        return [msgspec.json.decode(mark, type=Mark) for (mark,) in rows]

    async def begin(self, marks: Sequence[Mark]) -> None:
        def write(tx: Transaction) -> None:
            tx.run('create table if not exists copying ("table" text primary key, mark blob not null) strict', ())
            for mark in marks:
                tx.run('insert into copying ("table", mark) values (?, ?)', (mark.table, msgspec.json.encode(mark)))

        await self._database.write(write)

    async def write(self, table: Table, rows: Sequence[Row], mark: Mark) -> None:
        def write(tx: Transaction) -> None:
            tx.connection.executemany(_insert(table), rows)
            tx.run('update copying set mark = ? where "table" = ?', (msgspec.json.encode(mark), mark.table))

        # A crash may undo the last bites, with their marks; `end` flushes them all.
        try:
            await self._database.write(write, durable=False)
        except apsw.ConstraintError as error:
            raise Refused(f"a row of table {table.name} does not fit into the target: {error}") from error

    async def settle(self) -> None:
        """Nothing to do: a new row's number is the highest there is, and one."""

    async def end(self) -> None:
        await self._database.write(lambda tx: tx.run("drop table copying", ()))


def _is_store(path: Path) -> bool:
    """Whether the file is one of ours. Looking makes and changes nothing."""
    if not path.is_file():
        return False
    try:
        file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return file.execute("select 1 from sqlite_schema where name = 'migration'").fetchone() is not None
        finally:
            file.close()
    except apsw.NotADBError:
        return False
    except STORAGE_ERRORS as error:
        raise StoreUnavailable(f"The store {path} cannot be read just now ({error}).") from error


def _select(table: Table, after: Key | None) -> str:
    key, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
    where = "" if after is None else f"where ({key}) > ({marks})"
    return f"select {', '.join(table.columns)} from {table.name} {where} order by {key} limit {BITE_ROWS}"  # noqa: S608


def _insert(table: Table) -> str:
    values = ", ".join("?" * len(table.columns))
    return f"insert into {table.name} ({', '.join(table.columns)}) values ({values})"  # noqa: S608 - names of ours


def _with_flags(row: Row, flags: Sequence[int]) -> Row:
    values: list[Any] = list(row)
    for index in flags:
        values[index] = bool(values[index])
    return tuple(values)


@contextmanager
def _reachable(path: Path) -> Generator[None]:
    try:
        yield
    except STORAGE_ERRORS as error:
        raise StoreUnavailable(f"The store {path} cannot be read just now ({error}).") from error
