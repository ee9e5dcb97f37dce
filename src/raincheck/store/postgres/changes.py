"""Hints after commits: one's own at once, other processes' by LISTEN and NOTIFY.

A NOTIFY inside a transaction takes a lock on the whole server when it commits, and keeps it while the disk flushes: all
commits would go one after the other. So a commit is told of afterwards, by one teller who takes along what gathered
meanwhile, in small transactions that wait for no disk.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import asyncpg
import msgspec
from msgspec.structs import replace

from raincheck.core.errors import StoreUnavailable
from raincheck.core.status import Status
from raincheck.store.postgres.address import CONNECT_WITHIN
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.outages import OUTAGES
from raincheck.store.protocol import Change

CHANNEL = "raincheck"
PAYLOAD = 7_900
"""Bytes; PostgreSQL takes less than 8,000."""
TELL_EVERY = 0.01
"""Seconds between two tellings of one process, so that many small commits do not wake everybody for each."""
TELL_AT_THE_END_WITHIN = 1.0
ASK_EVERY = 15.0
"""Seconds of silence after which the listening connection is asked whether it is still there."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes over the wire."""

    by: str
    ready: tuple[str, ...] = ()
    moved: tuple[tuple[str, Status], ...] = ()
    freed: bool = False
    strays: bool = False
    batches: tuple[str, ...] = ()
    deliveries: bool = False


class PostgresChanges:
    """See `protocol.Changes`. Without `running`, only what this process commits is heard."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._me = token_hex(8)
        self._ready: set[str] = set()
        self._moved: dict[str, Status] = {}
        self._freed = self._strays = self._deliveries = False
        self._batches: set[str] = set()
        self._untold = asyncio.Event()
        self._listening = asyncio.Event()

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        return self._database.listen(listener)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["PostgresChanges"]:
        """Tell others and hear them while the block runs; at its start the first try to listen has been made."""
        tasks = [asyncio.create_task(self._tell_forever()), asyncio.create_task(self._hear_forever())]
        stop = self._database.listen(self._note)
        try:
            await self._listening.wait()
            yield self
        finally:
            stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL_AT_THE_END_WITHIN):
                    await self._tell()

    # --- telling

    def _note(self, change: Change) -> None:
        """Gather what others may be waiting for.

        That a request is pending or processing wakes nobody there: whoever follows it looks now and then anyway, and
        there would be as many of these as claims.
        """
        if change.elsewhere:
            return
        self._ready |= change.ready
        self._moved.update((request_id, status) for request_id, status in change.moved if status.final)
        self._freed |= change.freed
        self._strays |= change.strays
        self._batches |= change.batches
        self._deliveries |= change.deliveries
        flags = self._freed or self._strays or self._deliveries
        if flags or self._ready or self._moved or self._batches:
            self._untold.set()

    async def _tell_forever(self) -> None:
        while True:
            await self._untold.wait()
            await self._tell()
            await asyncio.sleep(TELL_EVERY)

    async def _tell(self) -> None:
        ready, moved, batches = sorted(self._ready), list(self._moved.items()), sorted(self._batches)
        rest = Told(self._me, freed=self._freed, strays=self._strays, deliveries=self._deliveries)
        self._ready, self._moved, self._batches = set(), {}, set()
        self._freed = self._strays = self._deliveries = False
        self._untold.clear()
        if not (ready or moved or batches or rest.freed or rest.strays or rest.deliveries):
            return
        payloads = [msgspec.json.encode(told).decode() for told in _in_parts(rest, ready, moved, batches)]

        async def notify(tx: Transaction) -> None:
            await tx.run("select pg_notify($1, payload) from unnest($2::text[]) payload", CHANNEL, payloads)

        # A hint may be lost: those who miss it look for themselves.
        with suppress(StoreUnavailable):
            await self._database.write(notify, durable=False)

    # --- hearing

    async def _hear_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with suppress(*OUTAGES, asyncpg.InterfaceError, asyncpg.PostgresError):
                async with self._ear() as (connection, lost):
                    pause = FIRST_PAUSE
                    self._listening.set()
                    await _until_lost(connection, lost)
            self._listening.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    @asynccontextmanager
    async def _ear(self) -> AsyncGenerator[tuple[Any, asyncio.Event]]:
        async with AsyncExitStack() as stack:
            connection = await self._database.address.connect(command_timeout=CONNECT_WITHIN)
            stack.callback(connection.terminate)
            lost = asyncio.Event()

            def lose(_: object) -> None:
                lost.set()

            connection.add_termination_listener(lose)
            await connection.add_listener(CHANNEL, self._hear)
            yield connection, lost

    def _hear(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        try:
            told = msgspec.json.decode(str(payload), type=Told)
        except msgspec.MsgspecError:
            return  # A newer Raincheck's, or somebody else's.
        if told.by != self._me:
            self._database.tell(
                Change(
                    ready=frozenset(told.ready),
                    moved=told.moved,
                    freed=told.freed,
                    strays=told.strays,
                    batches=frozenset(told.batches),
                    deliveries=told.deliveries,
                    elsewhere=True,
                )
            )


async def _until_lost(connection: Any, lost: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(ASK_EVERY):
                await lost.wait()
                return
        except TimeoutError:
            # One that was cut off hears nothing, not even that.
            await connection.execute("select 1")


def _in_parts(rest: Told, ready: list[str], moved: list[tuple[str, Status]], batches: list[str]) -> Iterator[Told]:
    """As few messages as hold it all, each with the rest; a single name that no message could hold is left out."""
    full = Told(rest.by, ("",), (("", Status.EXPIRED),), freed=True, strays=True, batches=("",), deliveries=True)
    envelope = size = len(msgspec.json.encode(full))
    part = _Part()
    for into, items in ((part.ready, ready), (part.moved, moved), (part.batches, batches)):
        for item in items:
            item_size = len(msgspec.json.encode(item)) + 1
            if envelope + item_size > PAYLOAD:
                continue
            if size + item_size > PAYLOAD:
                yield part.taken(rest)
                size = envelope
            size += item_size
            into.append(item)
    yield part.taken(rest)


@dataclass(slots=True)
class _Part:
    """What goes into the next message."""

    ready: list[Any] = field(default_factory=list[Any])
    moved: list[Any] = field(default_factory=list[Any])
    batches: list[Any] = field(default_factory=list[Any])

    def taken(self, rest: Told) -> Told:
        told = replace(rest, ready=tuple(self.ready), moved=tuple(self.moved), batches=tuple(self.batches))
        for each in (self.ready, self.moved, self.batches):
            each.clear()
        return told
