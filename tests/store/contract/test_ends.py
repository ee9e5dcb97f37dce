"""One end, one event (G6): each way in which a request can end, and what they all have in common."""

from collections.abc import Awaitable, Callable

import pytest

from raincheck.core.clock import MINUTE, SECOND
from raincheck.core.errors import AlreadyEnded
from raincheck.core.events import Event
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    RETENTION,
    START,
    FakeClock,
    claimed,
    events,
    failure,
    heard,
    release,
    retry,
    running,
    submitted,
    success,
)

HOOK = "https://example.org/hook"
End = Callable[[Store, FakeClock], Awaitable[str]]


async def completed(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.leases.finish([success(lease)])
    return lease.fence.request_id


async def failed(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.leases.finish([failure(lease)])
    return lease.fence.request_id


async def expired_by_its_attempt(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.leases.finish([failure(lease, Status.EXPIRED)])
    return lease.fence.request_id


async def cancelled_while_pending(store: Store, _: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK)
    await store.requests.cancel("t", request.id)
    return request.id


async def cancelled_while_waiting(store: Store, _: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK, not_before=START + MINUTE)
    await store.requests.cancel("t", request.id)
    return request.id


async def cancelled_while_processing(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.requests.cancel("t", lease.fence.request_id)
    return lease.fence.request_id


async def expired_by_upkeep(store: Store, clock: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK, deadline=START + MINUTE)
    clock.advance(seconds=60)
    assert await store.upkeep.expire(limit=1) == 1
    return request.id


async def expired_at_its_claim(store: Store, clock: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK, deadline=START + MINUTE)
    clock.advance(seconds=60)
    assert await claimed(store) == []
    return request.id


async def expired_by_a_lapse(store: Store, clock: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK, deadline=START + SECOND)
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store) == []
    return lease.fence.request_id


async def failed_by_a_lapse(store: Store, clock: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK, max_attempts=1)
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store) == []
    return lease.fence.request_id


ENDS: dict[End, Status] = {
    completed: Status.COMPLETED,
    failed: Status.FAILED,
    expired_by_its_attempt: Status.EXPIRED,
    cancelled_while_pending: Status.CANCELLED,
    cancelled_while_waiting: Status.CANCELLED,
    cancelled_while_processing: Status.CANCELLED,
    expired_by_upkeep: Status.EXPIRED,
    expired_at_its_claim: Status.EXPIRED,
    expired_by_a_lapse: Status.EXPIRED,
    failed_by_a_lapse: Status.FAILED,
}
each_end = pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)


@each_end
async def test_one_end_writes_one_event(store: Store, clock: FakeClock, end: End) -> None:
    """G6."""
    with heard(store) as changes:
        request_id = await end(store, clock)
    [event] = await store.upkeep.events("t", request_id)
    assert event == Event(event.id, "t", f"chat.completion.{ENDS[end]}", clock.now(), HOOK, request_id)
    assert event.id.startswith("evt_")
    moves = [status for change in changes for moved_id, status in change.moved if moved_id == request_id]
    assert moves[-1] is ENDS[end]


@each_end
async def test_an_end_is_final(store: Store, clock: FakeClock, end: End) -> None:
    """G2: nothing that comes later changes the record or writes another event."""
    request_id = await end(store, clock)
    before = await store.requests.get("t", request_id)
    assert before.status is ENDS[end]
    assert (before.ended_at, before.purge_at) == (clock.now(), clock.now() + RETENTION)
    assert before.due_at is None
    clock.advance(seconds=2 * LEASE / SECOND)
    assert await claimed(store, 9) == []
    assert await store.upkeep.expire(limit=9) == 0
    assert await store.leases.next_due() is None
    if ENDS[end] is Status.CANCELLED:
        await store.requests.cancel("t", request_id)
    else:
        with pytest.raises(AlreadyEnded):
            await store.requests.cancel("t", request_id)
    assert await store.requests.get("t", request_id) == before
    assert len(await events(store, request_id)) == 1


@each_end
async def test_an_end_leaves_nothing_counted_as_pending_or_processing(store: Store, clock: FakeClock, end: End) -> None:
    await end(store, clock)
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 0)
    assert set((await store.upkeep.gauges()).values()) == {0}


async def test_there_is_no_event_before_the_end(store: Store, clock: FakeClock) -> None:
    """G6."""
    lease = await running(store, max_attempts=9)
    request_id = lease.fence.request_id
    assert await events(store, request_id) == []
    await store.leases.finish([retry(lease, clock.now())])
    assert await events(store, request_id) == []
    [lease] = await claimed(store)
    await store.leases.finish([release(lease)])
    assert await events(store, request_id) == []
    await claimed(store)
    clock.advance(seconds=LEASE / SECOND)
    await claimed(store)
    assert await events(store, request_id) == []
