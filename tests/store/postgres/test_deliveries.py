"""Deliveries under several processes at once: nothing stuck, nobody overrun, each told at least once, no deadlock."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import pytest

from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import NotFound
from raincheck.core.events import ENDPOINT_DISABLED
from raincheck.core.model import Beat, Offer
from raincheck.core.webhooks import DeliveryLease, DeliveryStatus, Endpoint, EndpointChange, Receiver, Redelivery, Sent
from raincheck.store.protocol import Change, Store
from tests.store.builders import (
    DEAD_AFTER,
    HOOK,
    LEASE,
    PLACES,
    PLENTY,
    FakeClock,
    arrived,
    bounced,
    ended,
    given_up,
    heard,
    listening,
    posted,
    running,
    sent,
    submitted,
    success,
    told,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.server import psql
from tests.store.postgres.test_concurrency import deadlocks, processes

STUCK = """select count(*) from delivery d left join endpoint e on e.id = d.endpoint_id
            where d.status = 'pending' and d.due_at is null and e.disabled_at is null
              and (d.endpoint_id is null or e.id is not null)
              and not exists (select 1 from delivery o where o.receiver = d.receiver and o.due_at is not null)"""
"""Parked deliveries of receivers that have none that is due or being sent."""


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


class Process:
    """One that ends requests, delivers well and badly, and lets its operators do what they like."""

    def __init__(self, store: Store, clock: FakeClock, seed: int, endpoints: list[Endpoint]) -> None:
        self.store, self.clock, self.random, self.endpoints = store, clock, Random(seed), endpoints
        self.arrived = Counter[str]()

    async def act(self) -> None:
        often = (self.end, self.deliver, self.deliver, self.deliver)
        seldom = (self.turn, self.again, self.all_again, self.care, self.remove, self.move, self.rotate)
        with suppress(NotFound):  # Another has removed it meanwhile.
            await self.random.choice((*often, *seldom))()

    async def end(self) -> None:
        await submitted(self.store, 6, webhook_url=self.random.choice((None, HOOK)), max_attempts=99)
        claimed = await self.store.leases.claim([Offer("small", "up", 6)], worker="w", lease_for=LEASE)
        await self.store.leases.finish([success(lease) for lease in claimed.leases])

    async def deliver(self) -> None:
        claimed = await self.store.deliveries.claim(
            worker="w", lease_for=SECOND, limit=5, places=PLACES, strangers=PLENTY
        )
        outcomes = [outcome for lease in claimed.leases if (outcome := self.outcome(lease)) is not None]
        # Several at once: they share a transaction with each other, or meet at the receivers.
        done = await asyncio.gather(*(sent(self.store, outcome) for outcome in outcomes))
        lost = {fence for each in done for fence in each.lost}
        self.arrived.update(
            each.fence.request_id
            for each in outcomes
            if each.status is DeliveryStatus.DELIVERED and each.fence not in lost
        )

    def outcome(self, lease: DeliveryLease) -> Sent | None:
        soon = self.clock.now() + self.random.randint(0, 3) * SECOND
        match self.random.randrange(10):
            case 0:
                return None  # It has died: the lease lapses.
            case 1 | 2 | 3:
                return bounced(lease, soon)
            case 4:
                return bounced(lease, soon, pause_until=soon)
            case _:
                return arrived(lease)

    async def turn(self) -> None:
        """Switch an endpoint off or on."""
        endpoint = self.random.choice(self.endpoints)
        change = EndpointChange(enabled=self.random.random() < 0.6)
        await self.store.endpoints.update("t", endpoint.id, change)

    async def remove(self) -> None:
        """Delete an endpoint and make another."""
        self.endpoints.append(await listening(self.store, name="another"))
        gone = self.endpoints.pop(self.random.randrange(len(self.endpoints)))
        await self.store.endpoints.delete("t", gone.id)

    async def move(self) -> None:
        change = EndpointChange(url=f"https://number{self.random.randrange(9)}.example.com/")
        await self.store.endpoints.update("t", self.random.choice(self.endpoints).id, change)

    async def rotate(self) -> None:
        await self.store.endpoints.rotate("t", self.random.choice(self.endpoints).id, "whsec_new", overlap=5)

    async def again(self) -> None:
        deliveries = await told(self.store, limit=50)
        if deliveries:
            await self.store.deliveries.redeliver("t", self.random.choice(deliveries).id)

    async def all_again(self) -> None:
        since = self.clock.now() - SECOND
        await self.store.deliveries.redeliver_all("t", Redelivery(since=since, delivered_too=True), after=None, limit=9)

    async def care(self) -> None:
        await self.store.upkeep.purge(limit=20)
        await self.store.upkeep.tidy(limit=20)


@pytest.mark.slow("four processes, some hundreds of deliveries, and a long end")
@pytest.mark.parametrize("seed", range(3))
async def test_with_several_processes_at_work_nothing_that_waits_is_ever_stuck(
    url: str, clock: FakeClock, stores: list[Store], seed: int
) -> None:
    """G6: whatever they do at the same moment, a parked delivery has another to go on with; in the end all arrive."""
    endpoints = [await listening(stores[0], name=name) for name in ("one", "two")]
    crew = [Process(store, clock, 10 * seed + number, endpoints) for number, store in enumerate(stores)]
    for _ in range(12):
        for _ in range(4):
            await asyncio.gather(*(process.act() for process in crew for _ in range(2)))
            assert psql(url, STUCK) == "0"
        clock.advance(seconds=1)
    for endpoint in endpoints:
        await stores[0].endpoints.update("t", endpoint.id, EndpointChange(enabled=True))
    await _deliver_the_rest(stores, crew, clock)
    assert {delivery.status for delivery in await told(stores[0])} == {DeliveryStatus.DELIVERED}
    assert {delivery.id for delivery in await told(stores[0])} <= set().union(*(each.arrived for each in crew))


async def _deliver_the_rest(stores: list[Store], crew: list[Process], clock: FakeClock) -> None:
    for _ in range(5_000):
        leases = [
            (process, lease)
            for process, some in zip(crew, await asyncio.gather(*(posted(store) for store in stores)), strict=True)
            for lease in some
        ]
        for process, lease in leases:
            process.arrived[lease.fence.request_id] += 1
        await asyncio.gather(*(sent(process.store, arrived(lease)) for process, lease in leases))
        if not leases:
            due = await stores[0].deliveries.next_due()
            if due is None:
                return
            clock.advance_to(due)
    raise AssertionError("it does not come to an end")


async def test_several_processes_together_give_a_receiver_no_more_than_its_places(stores: list[Store]) -> None:
    """G6: an unknown receiver has two at once, however many claim for it, and a good one soon has all its places."""
    await listening(stores[0])
    for _ in range(40):
        await ended(stores[0], webhook_url=None)
    most = list[int]()
    while leases := [lease for some in await asyncio.gather(*map(posted, stores)) for lease in some]:
        most.append(len(leases))
        await asyncio.gather(*(sent(stores[number % 4], arrived(lease)) for number, lease in enumerate(leases)))
    assert most[0] == Receiver().places
    assert max(most) == PLACES
    assert sum(most) == 40


async def test_each_of_several_processes_has_deliveries_of_its_own(stores: list[Store]) -> None:
    """G2: no two hold the same delivery, and of two that say how it went one is heard."""
    for number in range(12):
        await ended(stores[0], webhook_url=f"https://host-{number}.example.com/")
    leases = [lease for some in await asyncio.gather(*map(posted, stores)) for lease in some]
    assert sorted(Counter(lease.delivery.id for lease in leases).values()) == [1] * 12
    [lease, *_] = leases
    both = await asyncio.gather(*(sent(store, arrived(lease)) for store in stores[:2]))
    assert sorted(len(done.lost) for done in both) == [0, 1]


async def test_a_fence_does_not_go_back_when_a_crash_undid_the_claim(
    url: str, clock: FakeClock, stores: list[Store]
) -> None:
    """G2: a claim is not flushed; the number that it gave out is not given out again."""
    await ended(stores[0])
    [before] = await posted(stores[0])
    psql(url, "update delivery set worker = null, fence = 0, attempt = 0, due_at = created_at")
    clock.advance(seconds=1)
    [after] = await posted(stores[1])
    assert after.fence.number > before.fence.number
    assert (await sent(stores[0], arrived(before))).lost == [before.fence]


async def test_other_processes_hear_of_deliveries_and_of_no_end_that_tells_nobody(stores: list[Store]) -> None:
    changes, told_of = list[Change](), asyncio.Event()

    def hear(change: Change) -> None:
        changes.append(change)
        if change.moved:
            told_of.set()

    with heard(stores[1], hear):
        for webhook_url in (None, HOOK):
            told_of.clear()
            changes.clear()
            await ended(stores[0], webhook_url=webhook_url)
            async with asyncio.timeout(5):
                await told_of.wait()
            assert any(change.deliveries for change in changes) is (webhook_url is not None)


async def test_an_endpoint_that_dies_in_several_hands_at_once_is_disabled_once(
    clock: FakeClock, stores: list[Store]
) -> None:
    """G6: and its tenant's other endpoint is told of that once."""
    dead, other = await listening(stores[0]), await listening(stores[0], ENDPOINT_DISABLED)
    for _ in range(30):
        await ended(stores[0], webhook_url=None)
        for lease in await posted(stores[0]):
            await sent(stores[0], arrived(lease))
    for _ in range(PLACES):
        await ended(stores[0], webhook_url=None)
    leases = await posted(stores[0])
    assert len(leases) == PLACES
    done = await asyncio.gather(
        *(sent(stores[number % 4], given_up(lease, gone=True)) for number, lease in enumerate(leases))
    )
    assert [endpoint.id for each in done for endpoint in each.disabled] == [dead.id]
    assert [delivery.object_id for delivery in await told(stores[0], endpoint_id=other.id)] == [dead.id]


async def test_what_an_end_writes_while_its_endpoint_is_being_enabled_is_not_stuck(
    url: str, stores: list[Store]
) -> None:
    """An end sees an endpoint as disabled that is enabled before the end is committed: its delivery is due all the
    same."""
    endpoint = await listening(stores[0])
    await stores[0].endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
    await ended(stores[0], webhook_url=None)
    assert psql(url, "select count(*) from delivery where due_at is null") == "0"
    assert await posted(stores[0]) == []
    assert psql(url, "select count(*) from delivery where due_at is null") == "1"
    await stores[0].endpoints.update("t", endpoint.id, EndpointChange(enabled=True))
    assert len(await posted(stores[0])) == 1


async def test_forgetting_the_one_that_others_wait_for_lets_another_go_on(
    url: str, clock: FakeClock, stores: list[Store]
) -> None:
    """G6: the log is kept for a time, and what it forgets takes nothing with it that is younger."""
    endpoint = await listening(stores[0])
    await ended(stores[0], webhook_url=None)
    for _ in range(6):  # Its breaker opens.
        for lease in await posted(stores[0]):
            await sent(stores[0], bounced(lease, clock.now() + SECOND))
        clock.advance(seconds=3600)
    psql(url, "update delivery set due_at = due_at + 1000000000000000")
    clock.advance(seconds=8 * DAY / SECOND)
    lease = await running(stores[0])
    psql(url, "update receiver set open_until = null, failures = 0, failing_since = null")
    await stores[0].leases.finish([success(lease)])
    psql(url, f"update delivery set due_at = null where created_at > {clock.now() - SECOND}")
    assert await posted(stores[0]) == []
    await stores[0].upkeep.purge(limit=10)
    [young] = await posted(stores[0])
    assert young.delivery.endpoint_id == endpoint.id
    assert young.delivery.object_id == lease.fence.request_id


async def test_a_text_that_postgresql_cannot_hold_is_cleaned_in_the_log(stores: list[Store]) -> None:
    await ended(stores[0])
    [lease] = await posted(stores[0], worker="a\0worker")
    outcome = given_up(lease)
    broken = "what\0it \ud800said"
    attempt = Sent(
        fence=outcome.fence,
        status=outcome.status,
        attempt=type(outcome.attempt)(number=1, started_at=0, ended_at=1, error=broken, response=broken),
    )
    assert (await stores[0].deliveries.finish([attempt], places=PLACES, disable_after=DEAD_AFTER)).lost == []
    [noted] = await stores[0].deliveries.attempts("t", lease.delivery.id)
    assert noted.error == noted.response == "what\N{REPLACEMENT CHARACTER}it ?said"


async def test_heartbeats_that_tell_of_progress_do_so_once_for_many_processes(
    clock: FakeClock, stores: list[Store]
) -> None:
    lease = await running(stores[0], webhook_url=HOOK, webhook_events=("progress",))
    for _ in range(3):
        await asyncio.gather(*(store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE) for store in stores))
        clock.advance(seconds=10)
    assert [delivery.type for delivery in await told(stores[0])] == ["chat.completion.progress"] * 3
