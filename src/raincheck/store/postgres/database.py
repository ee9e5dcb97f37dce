"""The PostgreSQL database: a pool of connections, transactions and what they changed."""

# asyncpg ships no types for connections and pools.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from raincheck.core.clock import Clock
from raincheck.core.errors import RaincheckError
from raincheck.core.status import Status
from raincheck.store.group_commit import GroupCommit
from raincheck.store.postgres import tallies
from raincheck.store.postgres.address import STATEMENT_WITHIN, Address, parse
from raincheck.store.postgres.migrating import migrate
from raincheck.store.postgres.outages import AGAIN, BROKE, FAILURES, OUTAGES, unavailable, unopened
from raincheck.store.postgres.pool import ACQUIRE_WITHIN, Pool
from raincheck.store.postgres.tallies import RowEnd
from raincheck.store.postgres.witness import FORGET, Witness
from raincheck.store.protocol import NOTHING, Change

Row = asyncpg.Record
T = TypeVar("T")
Item = TypeVar("Item")

BEGIN_WITHIN = 5.0
"""Seconds for a connection that was idle to show that there is still someone at its other end."""
TRIES = 5
"""How often a transaction is tried that the database undid because of another one (deadlock, serialization)."""

# In one message. Whatever the server's default is: an accepted request is on disk (G1). Whoever vanishes from the
# network with rows locked is shown out before the others have given up waiting for them. And a plan that was made when
# the tables were small is not used again.
BEGIN = (
    "begin; set local statement_timeout = '15s'; set local idle_in_transaction_session_timeout = '10s';"
    " set local plan_cache_mode = force_custom_plan; set local synchronous_commit = "
)

CONFUSED = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg also says of a connection that broke at an awkward moment."""


async def connect(url: str, clock: Clock | None) -> "Database":
    """Open the database and bring its tables up to date. With a `clock`, that one tells the time.

    Raises StoreUnavailable when it cannot be reached or written, SettingsInvalid when the URL is not understood,
    SchemaTooNew when a newer Raincheck has changed it.
    """
    address = parse(url)
    pool = Pool(address)
    try:
        connection = await pool.acquire()
        try:
            await migrate(connection)
            with suppress(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(FORGET)
        finally:
            pool.release(connection)
    except FAILURES as error:
        await pool.close()
        raise unopened(error, address.place) from error
    except BaseException:
        await pool.close()
        raise
    return Database(pool, address, clock)


@dataclass(slots=True)
class Transaction:
    """What one write may use: statements, the moment, and room for what it changed.

    Rows are locked in one order everywhere, so that transactions wait for each other but never in a circle: request,
    file, seen, throttle, spent, tenant, parked, blob, queue, flow, lane, batch and what hangs on it; and receiver,
    delivery, endpoint, which nobody locks together with the others (an end writes deliveries, and locks none); within a
    table in the order of the key, and those of one table by one statement. (What skips rows that are locked waits for
    nobody: so a claim may take requests after throttles, tenants and notes of what is parked, and the caretaker such
    notes after queues.)
    """

    connection: Any
    at: int | None
    """The moment as a test has it; None in production. Pass it to `moment($n)` in SQL."""
    ready: set[str] = field(default_factory=set[str])
    moved: list[tuple[str, Status]] = field(default_factory=list[tuple[str, Status]])
    freed: bool = False
    strays: bool = False
    batches: set[str] = field(default_factory=set[str])
    deliveries: bool = False
    rows_ended: list[RowEnd] = field(default_factory=list[RowEnd])
    """Counted on their batches right before the commit, behind everything else: those are locked last."""

    @property
    def change(self) -> Change:
        return Change(
            ready=frozenset(self.ready),
            moved=tuple(self.moved),
            freed=self.freed,
            strays=self.strays,
            batches=frozenset(self.batches),
            deliveries=self.deliveries,
        )

    async def run(self, sql: str, *values: object) -> None:
        await self.connection.execute(sql, *values)

    async def one(self, sql: str, *values: object) -> Row | None:
        return await self.connection.fetchrow(sql, *values)

    async def all(self, sql: str, *values: object) -> list[Row]:
        return await self.connection.fetch(sql, *values)


class Database:
    """Transactions on one side, point reads on the other, both over a pool of connections.

    Nothing outlives a transaction on its connection, so a transaction pooler may stand between.
    """

    def __init__(self, pool: Pool, address: Address, clock: Clock | None) -> None:
        self.address = address
        self._pool = pool
        self._clock = clock
        self._witness = Witness(address)
        self._listeners: list[Callable[[Change], None]] = []
        self._groups: list[GroupCommit[Any, Any]] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._apart = asyncio.Semaphore(max(1, address.pool // 3))

    @property
    def at(self) -> int | None:
        """The moment for `moment($n)`: None, unless a test keeps the time."""
        return self._clock() if self._clock else None

    # --- writing

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, durable: bool = True) -> T:
        """Run `work` in a transaction; returns its answer once that is committed.

        With `durable`, committed means flushed to disk. Without, a crash of the database may undo it, which is enough
        for claims and heartbeats: losing one costs a repeated claim. `work` may be run again when another transaction
        was in the way; a RaincheckError undoes it and is passed on. A caller that is cancelled only stops waiting:
        what has begun is brought to its end, so nobody has to wonder how far it got.
        """
        return await self._to_its_end(self._write(work, durable))

    def gathered(
        self, work: Callable[[Transaction, Sequence[Item]], Awaitable[Sequence[T | RaincheckError]]]
    ) -> GroupCommit[Item, T]:
        """Group commit for one kind of write: `work` gets all items that came while the batch before was written."""

        async def write(items: Sequence[Item]) -> Sequence[T | BaseException]:
            try:
                return await self._write(lambda tx: work(tx, items), True)
            except RaincheckError:
                raise
            except Exception as error:  # noqa: BLE001 - one item's bug must not fail those it shared a transaction with
                if len(items) == 1:
                    return [error]
                return [result for item in items for result in await write([item])]

        group = GroupCommit[Item, T](write)
        self._groups.append(group)
        return group

    async def _write(self, work: Callable[[Transaction], Awaitable[T]], durable: bool) -> T:
        tries = 0
        while True:
            try:
                return await self._transact(work, durable)
            except AGAIN as error:
                tries += 1
                if tries == TRIES:
                    raise unavailable(error, self.address.place) from error
            except OUTAGES as error:
                raise unavailable(error, self.address.place) from error

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]], durable: bool) -> T:
        async with self._begun("on" if durable else "off") as connection:
            transaction = Transaction(connection, self.at)
            result = await work(transaction)
            await tallies.count(transaction)
            await self._commit(connection, durable)
        change = transaction.change
        if change != NOTHING:
            self.tell(change)
        return result

    @asynccontextmanager
    async def _begun(self, synchronous_commit: str) -> AsyncGenerator[Any]:
        """A connection in a new transaction, which is undone when the block fails."""
        connection = await self._pool.acquire()
        begin = BEGIN + synchronous_commit
        try:
            try:
                await connection.execute(begin, timeout=BEGIN_WITHIN)
            except Exception as error:
                if not _lost(connection, error):
                    raise
                # It died while it was idle and nothing had been asked of it: that is no failure yet.
                connection = await self._pool.replace(connection)
                await connection.execute(begin, timeout=BEGIN_WITHIN)
            yield connection
        except BaseException as error:
            lost = _lost(connection, error)
            await self._undo(connection, error)
            if isinstance(error, CONFUSED) and lost:
                raise asyncpg.ConnectionDoesNotExistError(BROKE) from error
            raise
        finally:
            self._pool.release(connection)

    async def _commit(self, connection: Any, durable: bool) -> None:
        if not durable:
            _check(await connection.execute("commit"))
            return
        slot = self._witness.take()
        try:
            _check(await connection.execute(self._witness.commit(slot)))
        except Exception as error:
            if _lost(connection, error):
                connection.terminate()
                # When this raises, the slot is not used again: what was lost may still come to pass.
                if await self._witness.committed(slot):
                    self._witness.give_back(slot)
                    return
            self._witness.give_back(slot)
            raise
        self._witness.give_back(slot)

    async def _undo(self, connection: Any, error: BaseException) -> None:
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            # The other connections lead to the same place; new ones may find the one that took over.
            self._pool.expire()
            connection.terminate()
        elif not isinstance(error, Exception) or _lost(connection, error):
            connection.terminate()
        else:
            try:
                await connection.execute("rollback", timeout=BEGIN_WITHIN)
            except Exception:  # noqa: BLE001 - whatever it was, without a connection there is no transaction
                connection.terminate()

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Seen, should nobody wait for it any more.

    # --- changes

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, change: Change) -> None:
        """Tell all listeners of a commit."""
        # Soon, not now: a listener that raises must not make what is committed look failed, and be written again.
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener, change)

    # --- reading

    async def one(self, sql: str, *values: object) -> Row | None:
        """The first row of a statement that changes nothing."""
        return await self._read(lambda connection: connection.fetchrow(sql, *values), self._ask)

    async def all(self, sql: str, *values: object) -> list[Row]:
        """All rows of a statement that changes nothing."""
        return await self._read(lambda connection: connection.fetch(sql, *values), self._ask)

    async def read_apart(self, sql: str, *values: object) -> list[Row]:
        """All rows of a read that may take long. The server ends it when it takes too long, and there are never so many
        at once that submits find no connection; one that nobody waits for any more counts until the server is done."""
        try:
            async with asyncio.timeout(ACQUIRE_WITHIN):
                await self._apart.acquire()
        except TimeoutError as error:
            raise unavailable(error, self.address.place) from error

        async def read() -> list[Row]:
            try:
                return await self._read(lambda connection: connection.fetch(sql, *values), self._ask_limited)
            finally:
                self._apart.release()

        return await self._to_its_end(read())

    async def _read(
        self, read: Callable[[Any], Awaitable[T]], ask: Callable[[Callable[[Any], Awaitable[T]]], Awaitable[T]]
    ) -> T:
        try:
            try:
                return await ask(read)
            except (asyncpg.PostgresConnectionError, asyncpg.InvalidCachedStatementError):
                return await ask(read)  # The connection, or its plan, had died meanwhile; reading twice does no harm.
        except OUTAGES as error:
            raise unavailable(error, self.address.place) from error

    async def _ask(self, read: Callable[[Any], Awaitable[T]]) -> T:
        if not self.address.statements:
            # Without named statements asking takes two messages, and a pooler keeps only a transaction together.
            return await self._ask_limited(read)
        connection = await self._pool.acquire()
        try:
            return await read(connection)
        except BaseException as error:
            lost = _lost(connection, error)
            # An answer that was not waited for would be the next one's.
            connection.terminate()
            if isinstance(error, CONFUSED) and lost:
                raise asyncpg.ConnectionDoesNotExistError(BROKE) from error
            raise
        finally:
            self._pool.release(connection)

    async def _ask_limited(self, read: Callable[[Any], Awaitable[T]]) -> T:
        """In a transaction, which says how long a statement may take."""
        async with self._begun("off") as connection:
            answer = await read(connection)
            await connection.execute("commit")
            return answer

    # --- the end

    async def close(self) -> None:
        """Bring to an end what has begun, and let go."""
        for group in self._groups:
            await group.close()
        if self._running:
            await asyncio.wait(self._running, timeout=STATEMENT_WITHIN)
        await self._pool.close()


def _check(answer: str) -> None:
    if answer != "COMMIT":
        # It can be "ROLLBACK", without an error, after a statement had failed and its error was swallowed.
        raise asyncpg.InFailedSQLTransactionError(f"the database answered a commit with {answer}")


def _lost(connection: Any, error: BaseException) -> bool:
    """Whether the error left us without a connection, so that what was asked for may or may not have happened."""
    gone = isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError)
    return gone or connection.is_closed() or getattr(error, "severity_en", None) in ("FATAL", "PANIC")
