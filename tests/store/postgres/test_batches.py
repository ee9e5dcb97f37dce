"""Batches under several processes at once: nothing fed twice, nothing left out, counted once, and no deadlock."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from random import Random

import pytest

from raincheck.core.batches import BATCH_KEPT, Batch, BatchLease, BatchStatus, Conclusion, Cursor, NewRow
from raincheck.core.clock import SECOND
from raincheck.core.errors import (
    AlreadyEnded,
    BatchClosed,
    DuplicateLine,
    FenceLost,
    IdempotencyConflict,
    NotEnded,
    NotFound,
)
from raincheck.core.ids import new_id
from raincheck.core.model import Offer, Priority
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    WINDOW,
    FakeClock,
    a_batch,
    a_broken_line,
    a_line,
    a_part,
    an_open_batch,
    claimed,
    failure,
    fed,
    heard,
    leased,
    retry,
    submitted,
    success,
    the,
    under_way,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.test_concurrency import deadlocks, processes

QUEUES: tuple[str, ...] = ("left", "right")
LINES = 90
USAGE = b'{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}'


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database in which, when the test is over, nobody has been in anybody's way for ever."""
    url = await databases().lend()
    before = deadlocks(url)
    yield url
    assert deadlocks(url) == before
    databases().give_back(url)


@pytest.fixture
async def stores(url: str, clock: FakeClock) -> AsyncIterator[list[Store]]:
    async with processes(url, clock) as stores:
        yield stores


def queue_of(line: int) -> str:
    return QUEUES[line % 2]


class Process:
    """One that works, keeps batches, and lets its clients do what they like."""

    def __init__(self, store: Store, clock: FakeClock, random: Random, everyones: Sequence[str]) -> None:
        self.store, self.clock, self.random, self.everyones = store, clock, random, everyones
        self.lost = 0

    async def act(self) -> None:
        often = (self.work, self.work, self.work, self.keep, self.keep, self.keep)
        await self.random.choice((*often, self.submit, self.add, self.cancel, self.care))()

    async def submit(self) -> None:
        await submitted(self.store, 3, queue=self.random.choice(QUEUES), priority=self.random.choice(list(Priority)))

    async def work(self) -> None:
        claimed = await self.store.leases.claim(
            [Offer(queue, "up", 8) for queue in QUEUES], worker="w", lease_for=LEASE
        )
        finishes = [
            self.random.choice(
                (success(lease, usage=USAGE), success(lease, usage=USAGE), failure(lease), retry(lease, 0))
            )
            for lease in claimed.leases
        ]
        await self.store.leases.finish(finishes)

    async def keep(self) -> None:
        # A lease that has lapsed already is taken away by the next who asks.
        lease = await self.store.batches.claim(worker="k", lease_for=self.random.choice((0, 0, LEASE)))
        if lease is None:
            return
        try:
            await self.step(lease)
        except FenceLost:
            self.lost += 1

    async def step(self, lease: BatchLease) -> None:
        batches = self.store.batches
        match lease.batch.status:
            case BatchStatus.VALIDATING:
                halves = dict.fromkeys(QUEUES, LINES // 2)
                await batches.accept(lease.fence, lines=LINES, queues=halves, model=None)
                await batches.release(lease.fence, due_at=self.clock.now(), total=lease.batch.counts.total)
            case BatchStatus.IN_PROGRESS:
                await self.feed(lease)
                if self.random.random() < 0.3:
                    await batches.rise(lease.fence, self.random.choice(list(Priority)), limit=20)
                await batches.release(lease.fence, due_at=self.clock.now(), total=lease.batch.counts.total)
            case BatchStatus.FINALIZING:
                while await batches.stop(lease.fence, limit=7):
                    pass
                await batches.conclude(lease.fence, Conclusion())
            case _:
                raise AssertionError(lease)

    async def feed(self, lease: BatchLease) -> None:
        line = lease.cursor.line
        for _ in range(2):
            bite = range(line, min(line + self.random.randint(1, 12), lease.batch.counts.total + 1))
            rows = [self.line(number, lease.batch) for number in bite]
            line += len(rows)
            if rows:
                await self.store.batches.feed(lease.fence, rows, Cursor(0, line, line))

    def line(self, number: int, batch: Batch) -> NewRow:
        if number % 20 == 0:
            return a_broken_line(number)
        return a_line(
            number,
            queue=queue_of(number),
            priority=batch.priority,
            deadline=batch.expires_at,
            max_attempts=99,
            metadata={"line": f"{number}"},
        )

    async def add(self) -> None:
        open_ = [batch_id for batch_id in self.everyones if not batch_id.startswith("batch_")]
        names = tuple(f"line-{number}" for number in range(1, 4))
        with suppress(BatchClosed, DuplicateLine):
            await self.store.batches.add("t", self.random.choice(open_), a_part(*names, queue="left"))
        fresh = tuple(new_id("name") for _ in range(3))
        with suppress(BatchClosed):
            part = a_part(*fresh, queue="left", queues={"left": 1, "right": 2})
            await self.store.batches.add("t", self.random.choice(open_), part)

    async def cancel(self) -> None:
        if self.random.random() < 0.1:
            with suppress(AlreadyEnded):
                await self.store.batches.cancel("t", self.random.choice(self.everyones), limit=5)
        rows = await self.store.batches.rows("t", self.random.choice(self.everyones), limit=LINES)
        for row in self.random.sample(rows, min(3, len(rows))):
            if row.request is not None:
                with suppress(AlreadyEnded, NotFound):
                    await self.store.requests.cancel("t", row.request.id)
                with suppress(NotEnded, NotFound):
                    await self.store.requests.delete("t", row.request.id)

    async def care(self) -> None:
        await self.store.upkeep.expire(limit=10)
        await self.store.upkeep.tidy(limit=10)
        self.clock.advance(seconds=WINDOW / SECOND / 200)


@pytest.mark.slow("many transactions of four processes")
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_to_batches_lines_in_are_lines_out(
    stores: list[Store], clock: FakeClock, seed: int
) -> None:
    """G2, G3, G6: feeds, claims, finishes, cancels, lapses and the end of the window, all at once."""
    news = [a_batch() for _ in range(4)] + [an_open_batch() for _ in range(2)]
    for new in news:
        await stores[0].batches.create(new)
    everyones = [new.id for new in news]
    random = Random(seed)
    those = [Process(store, clock, Random(random.random()), everyones) for store in stores * 2]

    async def live(process: Process) -> None:
        for _ in range(60):
            await process.act()

    async with asyncio.timeout(120):
        await asyncio.gather(*(live(process) for process in those))
        clock.advance(seconds=WINDOW / SECOND)
        while not all([(await stores[0].batches.get("t", batch_id)).status.final for batch_id in everyones]):
            await asyncio.gather(*(process.keep() for process in those))
        while left := await stores[0].leases.ready():
            for queue in left:
                await stores[0].leases.finish([success(lease) for lease in await claimed(stores[0], 99, queue=queue)])
    assert sum(process.lost for process in those) > 0
    for batch_id in everyones:
        await adds_up(stores[0], batch_id)
    assert not any((await stores[0].upkeep.gauges()).values())


async def adds_up(store: Store, batch_id: str) -> None:
    """What the batch has counted is what became of its rows."""
    batch = await store.batches.get("t", batch_id)
    rows = await store.batches.rows("t", batch_id, limit=10_000)
    became = Counter(row.request.status for row in rows if row.request)
    became[Status.FAILED] += sum(row.error is not None for row in rows)
    became[Status(batch.status)] += batch.counts.total - batch.counts.fed
    counted = Counter({status: getattr(batch.counts, status) for status in Status if status.final})
    forgotten = sum(row.request is None and row.error is None for row in rows)
    assert became <= counted
    assert (counted - became).total() == forgotten
    assert batch.counts.ended == batch.counts.total
    assert [row.line for row in rows] == list(range(1, batch.counts.fed + 1))
    ended = await store.batches.ended("t", batch_id, limit=10_000)
    assert [row.ended for row in ended] == list(range(1, batch.counts.fed + 1))
    assert {row.line for row in ended} == {row.line for row in rows}
    assert batch.usage.total_tokens == 3 * batch.counts.completed
    assert [event.type for event in await store.batches.events("t", batch_id)] == [f"batch.{batch.status}"]


async def test_a_batch_is_leased_by_one_of_many(stores: list[Store]) -> None:
    """G2."""
    created = [await stores[0].batches.create(a_batch()) for _ in range(10)]
    found = await asyncio.gather(
        *(store.batches.claim(worker="k", lease_for=LEASE) for store in stores * 5), return_exceptions=False
    )
    leases = [lease for lease in found if lease is not None]
    assert sorted(lease.batch.id for lease in leases) == sorted(each.batch.id for each in created)


async def test_a_bite_whose_fence_was_lost_on_the_way_leaves_nothing(stores: list[Store]) -> None:
    """G2: of two that feed the same lines at the same moment, with one fence after the other."""
    first = await under_way(stores[0], 50)
    await stores[0].batches.release(first.fence, due_at=None, total=first.batch.counts.total)
    for start in range(1, 50, 10):
        stale = await stores[0].batches.claim(worker="k", lease_for=0)
        assert stale is not None
        rows = [a_line(number) for number in range(start, start + 10)]
        again = [a_line(number) for number in range(start, start + 10)]

        async def take_over(cursor: Cursor, rows: Sequence[NewRow] = again) -> None:
            while (lease := await stores[1].batches.claim(worker="k", lease_for=LEASE)) is None:
                pass  # The other is just about to commit.
            if lease.cursor == cursor:
                await stores[1].batches.feed(lease.fence, rows, Cursor(0, cursor.line + 10, cursor.line + 10))
            await stores[1].batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)

        fed_by_one = stores[0].batches.feed(stale.fence, rows, Cursor(0, start + 10, start + 10))
        lost, other = await asyncio.gather(fed_by_one, take_over(stale.cursor), return_exceptions=True)
        assert lost is None or isinstance(lost, FenceLost)
        assert other is None or isinstance(other, FenceLost)
    found = await stores[0].batches.rows("t", first.batch.id, limit=100)
    assert [row.line for row in found] == list(range(1, 51))
    assert (await stores[0].upkeep.gauges())["small", Status.PENDING] == 50


async def test_ends_in_several_processes_are_numbered_without_gaps_and_the_last_finalizes(stores: list[Store]) -> None:
    """G6: each counted once, whoever ends it."""
    lease = await fed(stores[0], 80)
    await stores[0].batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)

    async def work(store: Store) -> None:
        while leases := await claimed(store, 3):
            await store.leases.finish([success(each, usage=USAGE) for each in leases])

    await asyncio.gather(*(work(store) for store in stores * 2))
    batch = await the(stores[0], lease)
    assert (batch.status, batch.ends_as) == (BatchStatus.FINALIZING, BatchStatus.COMPLETED)
    assert (batch.counts.completed, batch.usage.total_tokens) == (80, 240)
    ended = await stores[0].batches.ended("t", batch.id, limit=100)
    assert [row.ended for row in ended] == list(range(1, 81))


async def test_a_reader_of_ends_in_another_process_never_sees_a_later_one_before_an_earlier(
    stores: list[Store],
) -> None:
    """So that whoever goes on from the last it saw misses none."""
    lease = await fed(stores[0], 60)
    await stores[0].batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)
    seen = list[int | None]()

    async def work(store: Store) -> None:
        while leases := await claimed(store, 1):
            await store.leases.finish([success(each) for each in leases])

    async def read(store: Store) -> None:
        while len(seen) < 60:
            seen.extend(row.ended for row in await store.batches.ended("t", lease.batch.id, after=len(seen), limit=10))

    await asyncio.gather(read(stores[3]), *(work(store) for store in stores[:3]))
    assert seen == list(range(1, 61))


async def test_a_batch_created_by_many_under_one_key_is_one(stores: list[Store]) -> None:
    """G9: and another under that key is refused."""
    news = [a_batch(idempotency_key="k", fingerprint=b"f") for _ in range(12)]
    answers = await asyncio.gather(
        *(store.batches.create(new) for store, new in zip(stores * 3, news, strict=True)),
    )
    assert len({answer.batch.id for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1
    with pytest.raises(IdempotencyConflict):
        await stores[1].batches.create(a_batch(idempotency_key="k", fingerprint=b"other"))


async def test_lines_added_by_many_at_once_are_all_there_and_none_twice(stores: list[Store]) -> None:
    """G9: with the same key, with the same custom id, and with neither."""
    batch_id = (await stores[0].batches.create(an_open_batch())).batch.id

    async def add(store: Store, number: int) -> bool:
        await store.batches.add("t", batch_id, a_part(f"{number}", idempotency_key="the same"))
        await store.batches.add("t", batch_id, a_part(f"{number}-a", f"{number}-b"))
        try:
            await store.batches.add("t", batch_id, a_part(f"{number}-c", "wanted by all"))
        except DuplicateLine:
            return False
        return True

    added = await asyncio.gather(*(add(store, number) for number, store in enumerate(stores * 2)))
    assert added.count(True) == 1
    batch = await stores[0].batches.get("t", batch_id)
    assert batch.counts.total == 1 + 8 * 2 + 2
    parts = await stores[0].batches.parts("t", batch_id, limit=99)
    assert [part.position for part in parts] == list(range(len(parts)))
    ends = [part.first_line + (part.lines or 0) for part in parts]
    assert [part.first_line for part in parts] == [1, *ends[:-1]]


@pytest.mark.slow("many transactions of four processes")
async def test_forgetting_batches_and_their_requests_is_in_nobodys_way(stores: list[Store], clock: FakeClock) -> None:
    for _ in range(4):
        lease = await fed(stores[0], 60)
        await stores[0].leases.finish([success(each) for each in await claimed(stores[0], 60)])
        lease = await leased(stores[0])
        await stores[0].batches.conclude(lease.fence, Conclusion())
    clock.advance(seconds=BATCH_KEPT / SECOND)
    async with asyncio.timeout(60):
        while any(await asyncio.gather(*(store.upkeep.purge(limit=17) for store in stores))):
            clock.advance(seconds=1)
            if not await stores[0].batches.next_due():
                clock.advance(seconds=BATCH_KEPT / SECOND)
    assert (await stores[0].batches.list("t")).batches == []


async def test_other_processes_hear_of_batches(stores: list[Store]) -> None:
    told = asyncio.Event()

    with heard(stores[1], lambda change: told.set() if change.batches and change.elsewhere else None):
        await stores[0].batches.create(a_batch())
        async with asyncio.timeout(5):
            await told.wait()


async def test_names_that_postgresql_cannot_hold_are_refused_or_mended(stores: list[Store]) -> None:
    """Poison in one line does not stop the others."""
    lease = await under_way(stores[0], 3, queue="a\0b")
    rows = [a_line(1)._replace(custom_id="a\0b"), a_line(2, model="a\0b", queue="a\0b"), a_line(3)]
    await stores[0].batches.feed(lease.fence, rows, Cursor(0, 9, 4))
    first, second, third = await stores[0].batches.rows("t", lease.batch.id, limit=9)
    assert (first.custom_id, second.request) == ("a\N{REPLACEMENT CHARACTER}b (line 1)", None)
    assert second.error is not None
    assert first.request
    assert third.request
    assert (await the(stores[0], lease)).counts.failed == 1
