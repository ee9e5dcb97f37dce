"""Hints between processes: one telling for many commits, none lost while the network holds, nobody deaf for long."""

# asyncpg ships hardly any types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import asyncpg
import msgspec
import pytest

from raincheck.core.status import Status
from raincheck.store.postgres import address, open_store
from raincheck.store.postgres import changes as telling
from raincheck.store.postgres.changes import CHANNEL, PAYLOAD, PostgresChanges, Told
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.protocol import Change
from tests.store.builders import claimed, heard, submitted, success
from tests.store.postgres.conftest import opened
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import PostgresServer


class Hearer:
    """What was heard, and the moment when enough of it was."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._heard = asyncio.Event()

    def __call__(self, change: Change) -> None:
        self.changes.append(change)
        self._heard.set()

    async def until(self, enough: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not enough():
                self._heard.clear()
                await self._heard.wait()

    @property
    def ready(self) -> set[str]:
        return {queue for change in self.changes for queue in change.ready}

    @property
    def moved(self) -> dict[str, Status]:
        return {request_id: status for change in self.changes for request_id, status in change.moved}


@pytest.fixture
async def wire(lent: str) -> AsyncIterator[list[str]]:
    """The payloads as they go over the wire."""
    payloads: list[str] = []
    connection = await asyncpg.connect(lent)

    def hear(_connection: object, _process: int, _channel: str, payload: object) -> None:
        payloads.append(str(payload))

    await connection.add_listener(CHANNEL, hear)
    yield payloads
    await connection.close()


@pytest.fixture
async def pair(lent: str) -> AsyncIterator[tuple[Database, Hearer]]:
    """One that commits, and what another hears of it."""
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(opened(lent)) for _ in range(2)]
        for database in (one, other):
            await stack.enter_async_context(PostgresChanges(database).running())
        hearer = Hearer()
        other.listen(hearer)
        yield one, hearer


async def commit(database: Database, *ready: str, **changed: object) -> None:
    async def work(tx: Transaction) -> None:
        tx.ready |= set(ready)
        for name, value in changed.items():
            setattr(tx, name, value)

    await database.write(work)


async def test_two_stores_on_one_database_hear_each_other(lent: str) -> None:
    async with open_store(lent) as one, open_store(lent) as other:
        at_one, at_other = Hearer(), Hearer()
        with heard(one, at_one), heard(other, at_other):
            [request] = await submitted(one)
            await at_other.until(lambda: "small" in at_other.ready)
            [lease] = await claimed(other)
            await other.leases.finish([success(lease)])
            await at_one.until(lambda: at_one.moved.get(request.id) is Status.COMPLETED)
    assert all(change.elsewhere for change in at_other.changes if change.ready)


async def test_ones_own_commits_are_heard_once_and_as_ones_own(lent: str, wire: list[str]) -> None:
    async with opened(lent) as database, PostgresChanges(database).running() as changes:
        hearer = Hearer()
        changes.listen(hearer)
        await commit(database, "q")
        await commit(database, "last")
        await hearer.until(lambda: "last" in hearer.ready)
    async with opened(lent) as database:  # By now all that was told has come back.
        await database.one("select 1")
    assert [(change.ready, change.elsewhere) for change in hearer.changes] == [({"q"}, False), ({"last"}, False)]


async def test_a_job_that_was_noted_to_be_stopped_is_told_of(pair: tuple[Database, Hearer]) -> None:
    """G5: whoever can call its upstream may be another process."""
    database, hearer = pair
    await commit(database, strays=True)
    await hearer.until(lambda: any(change.strays and change.elsewhere for change in hearer.changes))


async def test_many_commits_are_told_in_few_messages(pair: tuple[Database, Hearer], wire: list[str]) -> None:
    database, hearer = pair
    await asyncio.gather(*(commit(database, f"q{number % 7}") for number in range(200)))
    await commit(database, "last")
    await hearer.until(lambda: "last" in hearer.ready)
    assert hearer.ready == {*(f"q{number}" for number in range(7)), "last"}
    assert len(wire) < 100


async def test_what_is_too_long_for_one_message_goes_in_several(pair: tuple[Database, Hearer], wire: list[str]) -> None:
    database, hearer = pair
    moved = [(f"req_{number:036}", Status.COMPLETED) for number in range(1_000)]
    queues = [f"queue-é-{number}" * 10 for number in range(50)]
    await commit(database, *queues, moved=moved, freed=True)
    await hearer.until(lambda: len(hearer.moved) == 1_000)
    assert hearer.ready == set(queues)
    assert hearer.moved == dict(moved)
    assert any(change.freed for change in hearer.changes)
    assert not any(change.strays for change in hearer.changes)
    async with asyncio.timeout(10):
        while len(wire) < 5:  # It listens on a connection of its own, and may hear later.
            await asyncio.sleep(0.01)
    assert max(len(payload.encode()) for payload in wire) <= PAYLOAD
    assert len(wire) < 15


async def test_a_name_that_no_message_holds_is_left_to_those_who_look(pair: tuple[Database, Hearer]) -> None:
    database, hearer = pair
    await commit(database, "x" * 9_000, "q")
    await hearer.until(lambda: "q" in hearer.ready)
    assert hearer.ready == {"q"}


async def test_only_ends_are_told_of_and_a_place_that_came_free(pair: tuple[Database, Hearer], wire: list[str]) -> None:
    database, hearer = pair
    await commit(database, moved=[("a", Status.PENDING), ("b", Status.PROCESSING)])
    await commit(database, moved=[("c", Status.CANCELLED), ("d", Status.PROCESSING)])
    await commit(database, freed=True)
    await hearer.until(lambda: hearer.moved and any(change.freed for change in hearer.changes))
    assert hearer.moved == {"c": Status.CANCELLED}


async def test_what_was_committed_last_is_told_before_the_store_is_closed(lent: str) -> None:
    async with opened(lent) as other, PostgresChanges(other).running():
        hearer = Hearer()
        other.listen(hearer)
        async with opened(lent) as one, PostgresChanges(one).running():
            await commit(one, "q")
        await hearer.until(lambda: "q" in hearer.ready)


async def test_what_is_not_understood_is_not_listened_to(lent: str, pair: tuple[Database, Hearer]) -> None:
    database, hearer = pair
    for payload in ("", "hello", '{"by": 1}', msgspec.json.encode(Told("someone", ready=("q",))).decode()):
        await database.one("select pg_notify($1, $2)", CHANNEL, payload)
    await hearer.until(lambda: hearer.changes)
    assert [change.ready for change in hearer.changes] == [{"q"}]


@pytest.mark.slow("restarts a server")
async def test_after_a_restart_everyone_is_heard_again(server: PostgresServer, proxy: Proxy) -> None:
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(opened(proxy.url)) for _ in range(2)]
        for database in (one, other):
            await stack.enter_async_context(PostgresChanges(database).running())
        hearer = Hearer()
        other.listen(hearer)
        server.restart()
        await heard_again(one, hearer)
        await proxy.cut()
        await heard_again(one, hearer)


@pytest.mark.slow("waits for what never comes")
async def test_a_listener_that_was_cut_off_in_silence_notices(
    proxy: Proxy, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "ASK_EVERY", 0.1)
    monkeypatch.setattr(telling, "CONNECT_WITHIN", 0.2)
    async with (
        opened(server.url()) as one,
        opened(proxy.url) as other,
        PostgresChanges(one).running(),
        PostgresChanges(other).running(),
    ):
        hearer = Hearer()
        other.listen(hearer)
        proxy.lose_silently()
        await heard_again(one, hearer)


async def test_a_store_opens_although_nobody_can_listen(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a standby: who hears nothing looks for himself."""
    monkeypatch.setattr(address, "CONNECT_WITHIN", 0.1)
    async with opened(proxy.url) as database:
        proxy.silence()
        async with asyncio.timeout(20):
            async with PostgresChanges(database).running():
                proxy.restore()
                await commit(database, "q")


async def heard_again(database: Database, hearer: Hearer) -> None:
    """Commit now and then until the other end hears of it."""
    hearer.changes.clear()
    async with asyncio.timeout(20):
        while not hearer.changes:
            await commit(database, "q")
            await asyncio.wait([asyncio.ensure_future(hearer.until(lambda: hearer.changes))], timeout=0.1)
