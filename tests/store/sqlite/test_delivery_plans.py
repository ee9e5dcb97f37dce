"""G11: what telling receivers costs does not depend on how many deliveries there are, or for whom."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from raincheck.core.clock import DAY, HOUR, SECOND
from raincheck.core.model import Beat
from raincheck.core.webhooks import DeliveryQuery, DeliveryStatus, EndpointChange, Receiver, Redelivery
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import (
    LEASE,
    PLACES,
    RETENTION,
    START,
    FakeClock,
    a_request,
    arrived,
    bounced,
    ended,
    given_up,
    listening,
    posted,
    running,
    sent,
    success,
    told,
)
from tests.store.sqlite.watched import Watched, watching

Answer = TypeVar("Answer")
Act = Callable[[Store, FakeClock, Watched], Awaitable[object]]
DEAD = "https://dead.example.com/"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def store(folder: Path, clock: FakeClock, watched: Watched) -> AsyncIterator[Store]:
    with watching(watched):
        async with open_store(folder / "store.db", clock=clock.now, retention=RETENTION) as store:
            yield store


async def tell(store: Store, _: FakeClock, watched: Watched) -> None:
    await listening(store, "*", "chat.completion.processing", "chat.completion.progress")
    watched.reset()
    lease = await running(store)
    await store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE)
    await store.leases.finish([success(lease)])


async def deliver(store: Store, clock: FakeClock, watched: Watched) -> None:
    await listening(store)
    for _ in range(6):
        await ended(store)
    watched.reset()
    leases = await posted(store)
    await sent(store, arrived(leases[0]), *(given_up(lease, gone=True) for lease in leases[1:]))
    for _ in range(9):
        await sent(store, *(bounced(lease, clock.now() + HOUR) for lease in await posted(store)))


async def look_into_the_log(store: Store, clock: FakeClock, watched: Watched) -> None:
    endpoint = await listening(store)
    request_id = await ended(store)
    [first, *_] = await told(store)
    watched.reset()
    for query in (
        DeliveryQuery(),
        DeliveryQuery(after=first.id, status=DeliveryStatus.FAILED, since=clock.now()),
        DeliveryQuery(endpoint_id=endpoint.id),
        DeliveryQuery(object_id=request_id),
    ):
        await store.deliveries.list("t", query)
    await store.deliveries.get("t", first.id)
    await store.deliveries.attempts("t", first.id)
    await store.deliveries.redeliver("t", first.id)
    for endpoint_id in (None, endpoint.id):
        await store.deliveries.redeliver_all("t", Redelivery(since=0, endpoint_id=endpoint_id), after=None, limit=9)


async def manage_endpoints(store: Store, _: FakeClock, watched: Watched) -> None:
    endpoint = await listening(store)
    await ended(store, None)
    watched.reset()
    await listening(store)
    await store.endpoints.list("t")
    await store.endpoints.list("t", newest=False)
    for change in (EndpointChange(enabled=False), EndpointChange(enabled=True, event_types=("a.b",))):
        await store.endpoints.update("t", endpoint.id, change)
    await store.endpoints.signing_key("t", endpoint.id)
    await store.endpoints.signing_key("t", offered="s")
    await store.endpoints.rotate("t", endpoint.id, "s", overlap=HOUR)
    await store.endpoints.delete("t", endpoint.id)


async def clean_up(store: Store, clock: FakeClock, watched: Watched) -> None:
    endpoint = await listening(store)
    for _ in range(3):
        await ended(store)
    await sent(store, *map(arrived, await posted(store)))
    await store.endpoints.delete("t", endpoint.id)
    watched.reset()
    await store.upkeep.purge(limit=9)
    clock.advance(seconds=8 * DAY / SECOND)
    await store.upkeep.purge(limit=99)
    await store.upkeep.tidy(limit=9)


MEANT: dict[Act, tuple[str, ...]] = {
    tell: ("s USING PRIMARY KEY (tenant=? AND type=?)",),
    deliver: (
        "d USING INDEX delivery_due (due_at<?)",
        "delivery_sent (receiver=?)",
        "delivery_parked (receiver=?)",
        "delivery_waiting (receiver=? AND due_at>? AND due_at<?)",
        "receiver USING PRIMARY KEY (name=?)",
        "delivery USING COVERING INDEX delivery_due (due_at>?)",
    ),
    look_into_the_log: (
        "d USING INDEX delivery_listed (tenant=? AND seq<?)",
        "d USING INDEX delivery_of_receiver (receiver=? AND seq<?)",
        "d USING INDEX delivery_about (object_id=?",
        "d USING INDEX delivery_listed (tenant=? AND seq>?)",
        "d USING INDEX delivery_of_receiver (receiver=? AND seq>?)",
        "delivery_attempt USING PRIMARY KEY (delivery_seq=?)",
    ),
    manage_endpoints: (
        "e USING INDEX endpoint_listed (tenant=? AND seq<?)",
        "e USING INDEX endpoint_listed (tenant=? AND seq>?)",
        "subscription_endpoint (endpoint_seq=?)",
        "signing_key USING PRIMARY KEY (owner=?)",
    ),
    clean_up: (
        "delivery_kept (status=? AND created_at<?)",
        "receiver_used (used_at=?)",
        "receiver_used (used_at>? AND used_at<?)",
    ),
}
"""The indexes each act must use."""
LOOKED_THROUGH = {
    "queue",
    "throttle",
    "spent",
    "worker",
    "CONSTANT",
    "(subquery-1)",
    "(subquery-2)",
    "2",
    "3",
    "ready",
    "parked",
}
"""What may be read from end to end, as in `test_plans`."""


@pytest.mark.parametrize("act", MEANT, ids=lambda act: act.__name__)
async def test_the_index_that_is_meant_is_used_and_no_table_is_scanned(
    store: Store, clock: FakeClock, watched: Watched, act: Act
) -> None:
    """G11."""
    await act(store, clock, watched)
    plans = watched.plans()
    for index in MEANT[act]:
        assert any(index in plan for plan in plans), (index, plans)
    for plan in plans:
        assert "TEMP B-TREE" not in plan, plans
        words = plan.split()
        assert words[0] != "SCAN" or words[1] in LOOKED_THROUGH, plans


async def cost_of_each_act(folder: Path, backlog: int, receivers: int) -> dict[str, int]:
    """Steps of SQLite's machine for each act beside a dead receiver's backlog, and others that wait for a time."""
    clock, watched, exits = FakeClock(), Watched(), AsyncExitStack()
    costs = dict[str, int]()

    async def measured(name: str, work: Awaitable[Answer]) -> Answer:
        watched.reset()
        answer = await work
        costs[name] = watched.steps
        return answer

    async def end_many(urls: list[str]) -> None:
        await store.requests.submit([a_request(webhook_url=url, deadline=START) for url in urls])
        assert await store.upkeep.expire(limit=len(urls)) == len(urls)

    with watching(watched):
        opening = open_store(folder / f"{backlog}.db", clock=clock.now, retention=RETENTION)
        store = await exits.enter_async_context(opening)
    async with exits:
        for _ in range(Receiver.BREAK_AFTER):
            await ended(store, DEAD)
            [lease] = await posted(store, 1)
            await sent(store, given_up(lease))
        await end_many([DEAD] * backlog)
        assert await posted(store) == []
        for _ in range(2):
            await end_many([f"https://host{number}.example.com/" for number in range(receivers)])
            leases = await posted(store, receivers, strangers=receivers)
            assert len(leases) == receivers
            await sent(store, *(bounced(lease, START + HOUR) for lease in leases))

        fresh = await running(store, webhook_url="https://fresh.example.com/")
        await measured("end", store.leases.finish([success(fresh)]))
        [lease] = await measured("claim", posted(store, 1))
        await measured("finish", sent(store, arrived(lease)))
        await measured("look", store.deliveries.next_due())
        await ended(store, DEAD)
        assert await measured("set aside", posted(store)) == []
        clock.advance_to(START + Receiver.FIRST_PAUSE)
        [probe] = await measured("claim a probe", posted(store, PLACES))
        assert probe.delivery.url == DEAD
        await measured("finish a bad probe", sent(store, bounced(probe, START + HOUR)))
        clock.advance_to(START + 3 * Receiver.FIRST_PAUSE)
        [probe] = await posted(store, PLACES)
        await measured("finish a good probe", sent(store, arrived(probe)))
        await measured("claim of a backlog", posted(store, 2))
        await measured("list", store.deliveries.list("t", DeliveryQuery()))
        await measured("send again", store.deliveries.redeliver("t", probe.delivery.id))
        await measured("sweep", store.deliveries.redeliver_all("t", Redelivery(since=START), after=None, limit=9))
        await measured("tidy", store.upkeep.purge(limit=9))
    return costs


@pytest.mark.slow("twenty thousand deliveries")
async def test_a_dead_receivers_backlog_and_a_thousand_others_make_no_act_dearer(folder: Path) -> None:
    """G11."""
    few = await cost_of_each_act(folder, 100, 20)
    many = await cost_of_each_act(folder, 20_000, 1_000)
    assert all(few.values())
    assert {name: (steps, few[name]) for name, steps in many.items() if steps > 1.3 * few[name]} == {}
