"""The SQLite file: connections, the owner's lock, migrations, and the one writer."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python; `Value` is ours instead.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import apsw

from raincheck.core.clock import Clock
from raincheck.core.errors import RaincheckError, SchemaTooNew, StoreTaken, StoreUnavailable
from raincheck.core.status import Status
from raincheck.store.copying import UNFINISHED
from raincheck.store.group_commit import GroupCommit
from raincheck.store.protocol import NOTHING, Change

Row = tuple[Any, ...]
Value = int | float | str | bytes | None


class Source(Protocol):
    """Where a point read looks: at what is committed, or at what the running transaction sees."""

    def one(self, sql: str, *values: Value) -> Row | None: ...


CACHE_KIB = 16 * 1024
READER_CACHE_KIB = 80 * 1024
"""Holds the index of ids at a million requests: reading any of them then costs little more than at ten thousand."""
CHECKPOINT_PAGES = 1_000
BUSY_WAIT = 5.0
"""Seconds to wait for another process (the CLI at work on keys) to let go of the file."""

REPLACED = "the file was removed or replaced while it was open; put it back, or restart the server with what is there"

# What SQLite says when the disk, and not the statement, is at fault.
STORAGE_ERRORS = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.PermissionsError,
    apsw.CorruptError,
    apsw.NotADBError,
)


@dataclass(slots=True)
class Transaction:
    """What one write may use: statements, the moment, and room for what it changed."""

    connection: apsw.Connection
    now: int
    ready: set[str] = field(default_factory=set[str])
    moved: list[tuple[str, Status]] = field(default_factory=list[tuple[str, Status]])
    freed: bool = False
    strays: bool = False
    batches: set[str] = field(default_factory=set[str])
    deliveries: bool = False
    known: dict[str, Any] = field(default_factory=dict[str, Any])
    """What `limits.py` and `telling.py` have read already: many ends share a transaction, the limits they ran under,
    and who is told of them."""

    def run(self, sql: str, values: Sequence[Value]) -> None:
        self.connection.execute(sql, values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self.connection.executemany(sql, rows)

    def insert(self, sql: str, *values: Value) -> int:
        """Insert one row; returns its rowid, for half of what `returning` costs."""
        self.connection.execute(sql, values)
        return self.connection.last_insert_rowid()

    def one(self, sql: str, *values: Value) -> Row | None:
        return self.connection.execute(sql, values).fetchone()

    def all(self, sql: str, *values: Value) -> list[Row]:
        return self.connection.execute(sql, values).fetchall()

    def change(self) -> Change:
        return Change(
            frozenset(self.ready),
            tuple(self.moved),
            self.freed,
            self.strays,
            frozenset(self.batches),
            self.deliveries,
        )


Write = Callable[[Transaction], Any]
"""A write raises RaincheckError only before it has changed anything; any other exception undoes it."""


@dataclass(frozen=True, slots=True)
class _Job:
    write: Write
    durable: bool


class Database:
    """One file, one writer, readers apart.

    Statements run on the event loop, where a row costs some ten microseconds; only the commit, which waits for the
    disk, is given to a thread, and writes that arrive meanwhile share the next transaction (decision 0002).
    With `moving`, a file into which a copy was begun is opened too.
    """

    def __init__(self, path: Path, clock: Clock, *, own: bool, moving: bool = False) -> None:
        self.path = path
        self.now = clock
        self._lock = _take_ownership(path) if own else None
        try:
            _create_private(path)
            _refuse_second_name(path)
            self._writer = _connect(path)
            if not moving:
                _refuse_unfinished(self._writer)
            _migrate(self._writer)
            self.reader = _connect(path)
            self.reader.pragma("query_only", True)
            self.reader.pragma("cache_size", -READER_CACHE_KIB)
            self._slow_reader = _connect(path)
            self._slow_reader.pragma("query_only", True)
            self._slow_reader.pragma("cache_size", -2 * 1024)
        except (*STORAGE_ERRORS, OSError) as error:
            self._unlock()
            raise StoreUnavailable(f"The store {path} cannot be opened for writing: {error}.") from error
        except BaseException:
            self._unlock()
            raise
        # From here on waiting is `_begin`'s business: the event loop must not sleep inside SQLite.
        self._writer.set_busy_timeout(0)
        self._synchronous = ""
        self._identity = _identity(path)
        self._wal_pages = 0
        self._writer.set_wal_hook(self._note_wal)
        self._commit_thread = ThreadPoolExecutor(1, "raincheck-commit")
        self._read_thread = ThreadPoolExecutor(1, "raincheck-read")
        self._group: GroupCommit[_Job, Any] = GroupCommit(self._write)
        self._listeners: list[Callable[[Change], None]] = []

    # --- writing

    async def write(self, write: Write, *, durable: bool = True) -> Any:
        """Run `write` in the next transaction; returns its answer once that is committed.

        With `durable`, committed means flushed to the disk. Without, a power cut (not a crash) may undo it, which is
        enough for claims and heartbeats: losing one costs a repeated claim.
        """
        return await self._group.add(_Job(write, durable))

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def _write(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        try:
            return await self._transact(jobs)
        except STORAGE_ERRORS as error:
            return [_unavailable(self.path, error)] * len(jobs)
        except Exception as error:  # noqa: BLE001 - one write's bug must not fail those it shared a transaction with
            if len(jobs) == 1:
                return [error]
            return [result for job in jobs for result in await self._write([job])]

    async def _transact(self, jobs: Sequence[_Job]) -> list[Any]:
        await self._begin(durable=any(job.durable for job in jobs))
        transaction = Transaction(self._writer, self.now())
        try:
            results = [_attempt(job.write, transaction) for job in jobs]
            await self._commit(durable=any(job.durable for job in jobs))
        except BaseException:
            self._rollback()
            raise
        change = transaction.change()
        if change != NOTHING:
            # Soon, not now: a listener that raises must not make what is committed look failed, and be written again.
            for listener in self._listeners:
                asyncio.get_running_loop().call_soon(listener, change)
        return results

    async def _begin(self, *, durable: bool) -> None:
        if durable and _identity(self.path) != self._identity:
            # What is written to a file that nobody can open any more is not kept, whatever the disk says (G1).
            raise apsw.CantOpenError(REPLACED)
        synchronous = "full" if durable else "normal"
        if synchronous != self._synchronous:
            self._writer.pragma("synchronous", synchronous)
            self._synchronous = synchronous
        patience = BUSY_WAIT
        while True:
            try:
                self._writer.execute("begin immediate")
            except apsw.BusyError:
                if patience <= 0:
                    raise
                patience -= 0.005
                await asyncio.sleep(0.005)
            else:
                return

    async def _commit(self, *, durable: bool) -> None:
        if durable or self._wal_pages > CHECKPOINT_PAGES:
            commit = asyncio.get_running_loop().run_in_executor(self._commit_thread, self._commit_and_checkpoint)
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await asyncio.wait([commit])  # The connection must be ours alone again before anyone touches it.
                raise
        else:
            self._writer.execute("commit")

    def _commit_and_checkpoint(self) -> None:
        self._writer.execute("commit")
        if self._wal_pages > CHECKPOINT_PAGES:
            try:
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            except STORAGE_ERRORS:
                return  # What was committed is safe in the log; the next checkpoint takes it along.
            self._wal_pages = 0

    def _rollback(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("rollback")

    def _note_wal(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    # --- reading

    def one(self, sql: str, *values: Value) -> Row | None:
        """A point read, fast enough for the event loop."""
        try:
            return self.reader.execute(sql, values).fetchone()
        except STORAGE_ERRORS as error:
            raise _unavailable(self.path, error) from error

    def all(self, sql: str, *values: Value) -> list[Row]:
        """A short read, fast enough for the event loop."""
        try:
            return self.reader.execute(sql, values).fetchall()
        except STORAGE_ERRORS as error:
            raise _unavailable(self.path, error) from error

    async def read_apart(self, sql: str, values: Sequence[Value] | Mapping[str, Value] = ()) -> list[Row]:
        """A read that may take long, in a thread."""

        def read() -> list[Row]:
            return self._slow_reader.execute(sql, values).fetchall()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_thread, read)
        except STORAGE_ERRORS as error:
            raise _unavailable(self.path, error) from error

    # --- the end

    async def close(self) -> None:
        await self._group.close()
        self._commit_thread.shutdown()
        self._read_thread.shutdown()
        for connection in (self.reader, self._slow_reader, self._writer):
            connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _attempt(write: Write, transaction: Transaction) -> Any:
    try:
        return write(transaction)
    except RaincheckError as refusal:
        return refusal


def _unavailable(path: Path, error: apsw.Error) -> StoreUnavailable:
    match error:
        case apsw.FullError():
            why = "the disk is full; free some space"
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            why = "the file is read-only; make it writable again"
        case apsw.BusyError() | apsw.LockedError():
            why = "another process holds a lock on the file"
        case _:
            why = str(error)
    return StoreUnavailable(
        f"The store {path.name} cannot be used just now ({why}). Nothing was accepted; try again.", retry_after=5
    )


def _identity(path: Path) -> tuple[int, ...]:
    """What tells the file and its log from others of the same name; empty when one of them is gone."""
    try:
        file, log = path.stat(), path.with_name(f"{path.name}-wal").stat()
    except FileNotFoundError:
        return ()
    return file.st_dev, file.st_ino, log.st_ino


def _create_private(path: Path) -> None:
    """Make the file for its owner's eyes alone, before SQLite would make it for everyone's."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _refuse_second_name(path: Path) -> None:
    """A lock and a log lie beside each name of a file, so that two servers could own it at once (G4)."""
    if path.is_file() and path.stat().st_nlink > 1:  # A folder has several by nature.
        raise StoreTaken(
            f"The store {path} is a file with several names (hard links), which nothing can guard. Remove the others, "
            f"which `find / -xdev -samefile {path}` lists."
        )


def _refuse_unfinished(connection: apsw.Connection) -> None:
    if connection.execute("select 1 from sqlite_schema where name = 'copying'").fetchone():
        raise StoreUnavailable(UNFINISHED)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(int(BUSY_WAIT * 1_000))
    connection.pragma("journal_mode", "wal")
    connection.pragma("cache_size", -CACHE_KIB)
    connection.pragma("temp_store", "memory")
    # Without this, a statement that a partial index might serve is parsed and planned again at each new binding.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def _take_ownership(path: Path) -> int:
    """Lock a file beside the store; the lock dies with the process. The store's own file is never opened by us:

    closing any descriptor of it would drop the locks SQLite holds on it (POSIX advisory locks are per process).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"The store {path} cannot be opened for writing: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise StoreTaken(
            f"The store {path} is in use by process {owner}. Stop it, or give this one a store of its own with --store."
        ) from None
    except OSError as error:
        os.close(handle)
        raise StoreUnavailable(f"The store {path} cannot be locked: {error.strerror}.") from error
    return handle


def _migrate(connection: apsw.Connection) -> None:
    """Bring the schema up to date, one transaction per file of `migrations/`."""
    connection.execute(
        "create table if not exists migration"
        " (number integer primary key, name text not null, breaking integer not null) strict"
    )
    steps = sorted(_steps())
    newest = steps[-1][0]
    for (number,) in connection.execute("select number from migration where breaking and number > ?", (newest,)):
        raise SchemaTooNew(f"The store has schema {number}, this Raincheck knows {newest}; upgrade Raincheck.")
    for number, name, sql in steps:
        connection.execute("begin immediate")
        try:
            if connection.execute("select 1 from migration where number = ?", (number,)).fetchone() is None:
                connection.execute(sql)
                breaking = sql.startswith("-- breaking")
                connection.execute(
                    "insert into migration (number, name, breaking) values (?, ?, ?)", (number, name, breaking)
                )
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise


def _steps() -> list[tuple[int, str, str]]:
    folder = resources.files("raincheck.store.sqlite") / "migrations"
    found = ((re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name), file) for file in folder.iterdir())
    return [(int(match[1]), match[2], file.read_text()) for match, file in found if match]
