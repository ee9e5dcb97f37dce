"""G7, G8: what `protocol.Leases` promises about tenants beside each other: shares of a queue, and caps on what runs."""

from collections import Counter

import pytest

from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.model import Lease, Offer, Priority, Query, Scope, Tenant
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    START,
    WAYS,
    FakeClock,
    Home,
    Way,
    capped,
    claimed,
    events,
    heard,
    ids,
    running,
    status,
    stop,
    submitted,
    success,
)


async def at_most(store: Store, max_running: int | None, *, tenant: str = "t") -> None:
    await store.registry.put_tenant(Tenant(tenant, max_running=max_running))


async def claimed_in_the_end(store: Store, how_many: int, *, queue: str = "small") -> list[Lease]:
    """What a few claims in a row give: a single one may set aside only so many."""
    for _ in range(5):
        if leases := await claimed(store, how_many, queue=queue):
            return leases
        assert queue in await store.leases.ready()
    raise AssertionError("five claims gave nothing")


# --- shares


@pytest.mark.slow("two thousand claims")
async def test_weights_of_three_and_one_give_three_and_one(store: Store) -> None:
    await submitted(store, 2_000, tenant="three", weight=3.0)
    await submitted(store, 2_000, tenant="one", weight=1.0)
    starts = Counter[str]()
    for _ in range(100):
        leases = await claimed(store, 20)
        starts.update(lease.tenant for lease in leases)
        await store.leases.finish([success(lease) for lease in leases])
    assert starts["three"] == pytest.approx(3 * starts["one"], rel=0.05)


@pytest.mark.slow("twenty thousand requests")
async def test_who_comes_late_with_little_need_not_wait_behind_a_herd(store: Store) -> None:
    await submitted(store, 20_000, tenant="herd")
    await claimed(store, 50)
    few = await submitted(store, 10, tenant="few")
    starts = [lease.fence.request_id for _ in range(25) for lease in await claimed(store)]
    assert {request.id for request in few} <= set(starts)


# --- caps


async def test_max_running_holds_over_queues_and_workers(store: Store) -> None:
    await at_most(store, 3)
    for queue in ("a", "b"):
        await submitted(store, 5, queue=queue)
    assert len(await claimed(store, 2, queue="a", worker="one")) == 2
    assert len(await claimed(store, 5, queue="b", worker="two")) == 1
    for queue in ("a", "b"):
        assert await claimed(store, 5, queue=queue, worker="three") == []


async def test_offers_of_one_claim_share_a_tenants_cap(store: Store) -> None:
    await at_most(store, 3)
    for queue in ("a", "b"):
        await submitted(store, 5, queue=queue)
    offers = [Offer("a", "up", 2), Offer("b", "up", 2)]
    leases, _ = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert Counter(lease.queue for lease in leases) == {"a": 2, "b": 1}


async def test_a_tenant_without_a_cap_runs_as_much_as_there_are_places(store: Store) -> None:
    await at_most(store, 1, tenant="other")
    await at_most(store, None)
    await submitted(store, 50)
    assert len(await claimed(store, 50)) == 50


async def test_what_is_set_aside_is_pending_without_a_time_and_says_why(store: Store, clock: FakeClock) -> None:
    await at_most(store, 1)
    first, second = await submitted(store, 2)
    assert not second.parked
    [lease] = await claimed(store, 9)
    assert lease.fence.request_id == first.id
    record = await store.requests.get("t", second.id)
    assert (record.status, record.due_at, record.parked) == (Status.PENDING, None, True)
    [listed] = (await store.requests.search("t", Query(status=Status.PENDING))).requests
    assert listed == record
    assert await store.leases.next_due() == lease.lapses_at
    assert "small" in await store.leases.ready()
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (1, 1)
    clock.advance(seconds=5)
    await store.leases.finish([success(lease)])
    [again] = await claimed(store)
    record = await store.requests.get("t", second.id)
    assert (again.fence.request_id, record.parked, record.started_at) == (second.id, False, START + 5 * SECOND)


async def test_what_is_set_aside_takes_nobodys_place(store: Store) -> None:
    await at_most(store, 1, tenant="capped")
    await running(store, tenant="capped")
    await submitted(store, 5, tenant="capped")
    others = await submitted(store, 3, tenant="other", priority=Priority.FLEX)
    assert ids(await claimed(store, 3)) == [request.id for request in others]


async def test_three_hundred_of_a_full_tenant_delay_nobody(store: Store) -> None:
    await at_most(store, 1, tenant="capped")
    await running(store, tenant="capped")
    await submitted(store, 300, tenant="capped", priority=Priority.PRIORITY)
    [other] = await submitted(store, tenant="other")
    assert ids(await claimed_in_the_end(store, 1)) == [other.id]
    # From now on nothing is in the way.
    [next_one] = await submitted(store, tenant="other")
    assert ids(await claimed(store, 1)) == [next_one.id]


@pytest.mark.slow("over a thousand requests")
@pytest.mark.parametrize("scope", [None, "queue", "upstream"])
async def test_a_claim_that_set_much_aside_says_that_there_is_more(store: Store, scope: Scope | None) -> None:
    """G3, G7: no limit holds back who waits behind it, so whoever has places left goes on at once."""
    await at_most(store, 1, tenant="capped")
    await running(store, tenant="capped")
    await submitted(store, 1_300, tenant="capped", priority=Priority.PRIORITY)
    [other] = await submitted(store, tenant="other")
    if scope is not None:
        await capped(store, 4, scope=scope, name="small" if scope == "queue" else "up")
    leases, claims = list[Lease](), 0
    while not leases:
        with heard(store) as changes:
            leases, held_back = await store.leases.claim([Offer("small", "up", 8)], worker="w", lease_for=LEASE)
        assert leases or any("small" in change.ready for change in changes)
        assert held_back == set()
        claims += 1
    assert ids(leases) == [other.id]
    assert claims < 9


@pytest.mark.parametrize("way", [way for way in WAYS if way != "lapsed"])
async def test_each_end_lets_one_more_start_in_order(store: Store, clock: FakeClock, way: Way) -> None:
    """G3, G7: whatever the end."""
    await at_most(store, 2)
    requests = await submitted(store, 9, queue="small")
    at_work = await claimed(store, 9)
    assert ids(at_work) == [request.id for request in requests[:2]]
    for expected in requests[2:5]:
        with heard(store) as changes:
            await stop(store, clock, at_work[0], way)
        assert any("small" in change.ready for change in changes)
        leases = await claimed(store, 9)
        assert ids(leases) == [expected.id]
        at_work = [*at_work[1:], *leases]
        assert await claimed(store, 9) == []


async def test_what_lapsed_is_next_again_and_no_more_than_the_cap(store: Store, clock: FakeClock) -> None:
    """G3, G7."""
    await at_most(store, 2)
    requests = await submitted(store, 5)
    for _ in range(3):
        at_work = await claimed(store, 9)
        assert ids(at_work) == [request.id for request in requests[:2]]
        await stop(store, clock, at_work[0], "lapsed")


async def test_what_lapsed_makes_room_for_its_tenant_in_every_queue(store: Store, clock: FakeClock) -> None:
    """G3."""
    await at_most(store, 1)
    lease = await running(store, queue="a", max_attempts=1)
    [waits] = await submitted(store, queue="b")
    assert await claimed(store, queue="b") == []
    with heard(store) as changes:
        await stop(store, clock, lease, "lapsed")
    assert any("b" in change.ready for change in changes)
    assert ids(await claimed(store, queue="b")) == [waits.id]


async def test_a_tenant_that_ends_one_in_one_queue_may_start_one_in_another(store: Store) -> None:
    await at_most(store, 1)
    lease = await running(store, queue="a")
    [waits] = await submitted(store, queue="b")
    assert await claimed(store, queue="b") == []
    with heard(store) as changes:
        await store.leases.finish([success(lease)])
    assert any("b" in change.ready for change in changes)
    assert ids(await claimed(store, queue="b")) == [waits.id]


async def test_what_was_set_aside_comes_back_in_its_order_before_what_came_later(store: Store) -> None:
    await at_most(store, 1)
    first = await submitted(store, 4)
    [lease] = await claimed(store, 9)
    first += await submitted(store, 2)
    order = [lease.fence.request_id]
    for _ in range(5):
        await store.leases.finish([success(lease)])
        [lease] = await claimed(store, 9)
        order.append(lease.fence.request_id)
    assert order == [request.id for request in first]


@pytest.mark.parametrize("cap", [None, 100])
async def test_a_cap_that_is_lifted_lets_everything_go(store: Store, cap: int | None) -> None:
    """G3."""
    await at_most(store, 1)
    requests = await submitted(store, 7)
    assert len(await claimed(store, 9)) == 1
    with heard(store) as changes:
        await at_most(store, cap)
    assert any("small" in change.ready for change in changes)
    assert ids(await claimed(store, 9)) == [request.id for request in requests[1:]]
    assert await claimed(store, 9) == []
    assert await store.leases.ready() == set()


async def test_a_cap_that_is_lowered_lets_what_runs_run(store: Store) -> None:
    await submitted(store, 5)
    leases = await claimed(store, 3)
    await at_most(store, 1)
    for lease in leases:
        assert await claimed(store, 9) == []
        assert await store.leases.finish([success(lease)]) == []
    assert len(await claimed(store, 9)) == 1


async def test_what_is_set_aside_can_be_cancelled_and_deleted(store: Store) -> None:
    """G5."""
    await at_most(store, 1)
    lease, [waits, last] = await running(store), await submitted(store, 2)
    assert await claimed(store, 9) == []
    answer = await store.requests.cancel("t", waits.id)
    assert (answer.status, answer.parked) == (Status.CANCELLED, False)
    assert await events(store, waits.id) == ["chat.completion.cancelled"]
    await store.requests.delete("t", waits.id)
    await store.leases.finish([success(lease)])
    assert ids(await claimed(store, 9)) == [last.id]


async def test_when_all_that_was_set_aside_is_cancelled_nothing_is_left_to_claim(store: Store) -> None:
    await at_most(store, 1)
    lease, waiting = await running(store), await submitted(store, 3)
    assert await claimed(store, 9) == []
    for request in waiting:
        await store.requests.cancel("t", request.id)
    await store.leases.finish([success(lease)])
    assert await claimed(store, 9) == []
    assert await store.leases.ready() == set()
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing, queue.waiting_since) == (0, 0, None)


async def test_what_is_set_aside_expires_at_its_deadline(store: Store, clock: FakeClock) -> None:
    """G6."""
    await at_most(store, 1)
    await submitted(store)
    await claimed(store, 9, lease_for=HOUR)
    [by_upkeep] = await submitted(store, deadline=START + MINUTE)
    [by_claim] = await submitted(store, deadline=START + 2 * MINUTE)
    assert await claimed(store, 9) == []
    clock.advance(seconds=60)
    assert await store.upkeep.expire(limit=9) == 1
    assert await status(store, by_upkeep.id) is Status.EXPIRED
    clock.advance(seconds=60)
    await at_most(store, None)
    assert await claimed(store, 9) == []
    assert await status(store, by_claim.id) is Status.EXPIRED
    assert await events(store, by_claim.id) == ["chat.completion.expired"]


async def test_what_is_set_aside_waits_over_a_restart(home: Home) -> None:
    """G3."""
    async with home.open() as store:
        await at_most(store, 1)
        lease, [waits] = await running(store), await submitted(store)
        assert await claimed(store, 9) == []
        await store.leases.finish([success(lease)])
    async with home.open() as store:
        assert await store.leases.ready() == {"small"}
        assert ids(await claimed(store, 9)) == [waits.id]


async def test_caps_of_tenants_and_queues_hold_together(store: Store) -> None:
    await at_most(store, 2, tenant="capped")
    await capped(store, 3)
    await submitted(store, 9, tenant="capped")
    await submitted(store, 9, tenant="other")
    starts = Counter[str]()
    for _ in range(12):
        leases = await claimed(store, 9)
        assert len(leases) <= 3
        starts.update(lease.tenant for lease in leases)
        assert Counter(lease.tenant for lease in leases)["capped"] <= 2
        await store.leases.finish([success(lease) for lease in leases])
    assert starts == {"capped": 9, "other": 9}
