"""What `protocol.Changes` promises: hints after commits, never early."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raincheck.core.clock import MINUTE, SECOND
from raincheck.core.model import Beat
from raincheck.core.status import Status
from raincheck.store.protocol import Change, Store
from tests.store.builders import (
    LEASE,
    START,
    FakeClock,
    capped,
    claimed,
    heard,
    release,
    retry,
    running,
    submitted,
    success,
)


def ready(changes: list[Change]) -> set[str]:
    return {queue for change in changes for queue in change.ready}


def moved(changes: list[Change]) -> list[tuple[str, Status]]:
    return [move for change in changes for move in change.moved]


async def test_a_hint_names_the_request_its_new_status_and_the_queue(store: Store) -> None:
    with heard(store) as changes:
        [request] = await submitted(store)
        assert (ready(changes), moved(changes)) == ({"small"}, [(request.id, Status.PENDING)])
        changes.clear()
        [lease] = await claimed(store)
        assert (ready(changes), moved(changes)) == (set(), [(request.id, Status.PROCESSING)])
        changes.clear()
        await store.leases.finish([success(lease)])
        assert moved(changes) == [(request.id, Status.COMPLETED)]


async def test_a_listener_that_reads_sees_the_new_state(store: Store) -> None:
    seen: list[tuple[Status, Status]] = []
    reads: set[asyncio.Task[None]] = set()

    async def read(request_id: str, hinted: Status) -> None:
        seen.append((hinted, (await store.requests.get("t", request_id)).status))

    def listener(change: Change) -> None:
        reads.update(asyncio.ensure_future(read(*move)) for move in change.moved)

    async def hinted() -> None:
        await asyncio.gather(*reads)
        reads.clear()

    with heard(store, listener):
        [request] = await submitted(store)
        await hinted()
        [lease] = await claimed(store)
        await hinted()
        await store.leases.finish([success(lease)])
        await hinted()
        [other] = await submitted(store)
        await hinted()
        await store.requests.cancel("t", other.id)
        await hinted()
    assert request.id != other.id
    stages = [Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.PENDING, Status.CANCELLED]
    assert seen == [(stage, stage) for stage in stages]


async def test_the_hint_has_come_when_the_write_returns(store: Store) -> None:
    with heard(store) as changes:
        for number in range(1, 6):
            await submitted(store)
            assert len(changes) == number


async def test_what_waits_for_a_time_hints_when_it_gets_the_time_and_when_it_is_due(
    store: Store, clock: FakeClock
) -> None:
    with heard(store) as changes:
        await submitted(store, not_before=START + MINUTE)
        assert ready(changes) == {"small"}
        changes.clear()
        clock.advance(seconds=60)
        await claimed(store, queue="other")
        assert ready(changes) == {"small"}


async def free_by_finish(store: Store, _: FakeClock) -> None:
    await capped(store, 1)
    await store.leases.finish([success(await running(store))])


async def free_by_retry(store: Store, clock: FakeClock) -> None:
    await store.leases.finish([retry(await running(store), clock.now())])


async def free_by_release(store: Store, _: FakeClock) -> None:
    await store.leases.finish([release(await running(store))])


async def free_by_cancel(store: Store, _: FakeClock) -> None:
    await capped(store, 1)
    await store.requests.cancel("t", (await running(store)).fence.request_id)


async def free_by_lapse(store: Store, clock: FakeClock) -> None:
    await running(store)
    clock.advance(seconds=LEASE / SECOND)
    await claimed(store, queue="other")


async def open_again(store: Store, _: FakeClock) -> None:
    await store.registry.pause("queue", "small", until=None)


async def raise_the_cap(store: Store, _: FakeClock) -> None:
    await capped(store, 9)


async def pass_over_the_expired(store: Store, clock: FakeClock) -> None:
    await submitted(store, deadline=START + MINUTE)
    clock.advance(seconds=60)
    assert await claimed(store) == []


async def requeue(store: Store, _: FakeClock) -> None:
    [request] = await submitted(store)
    await store.requests.cancel("t", request.id)
    await store.requests.requeue("t", request.id, new_id="req_copy")


WAYS: list[Callable[[Store, FakeClock], Awaitable[None]]] = [
    free_by_finish,
    free_by_retry,
    free_by_release,
    free_by_cancel,
    free_by_lapse,
    open_again,
    raise_the_cap,
    pass_over_the_expired,
    requeue,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_whatever_may_make_something_claimable_hints_at_its_queue(
    store: Store, clock: FakeClock, way: Callable[[Store, FakeClock], Awaitable[None]]
) -> None:
    """G3: who sleeps until a hint is not left asleep."""
    last: list[Change] = []

    def keep(change: Change) -> None:
        last[:] = [change]

    with heard(store, keep):
        await way(store, clock)
    assert ready(last) == {"small"}


async def test_what_changes_nothing_gives_no_hint(store: Store) -> None:
    lease = await running(store)
    with heard(store) as changes:
        await store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE)
        await claimed(store, 5)
        await store.upkeep.purge(limit=5)
        await store.upkeep.expire(limit=5)
    assert changes == []


async def test_a_refused_write_gives_no_hint(store: Store) -> None:
    await submitted(store, idempotency_key="k", fingerprint=b"f")
    with heard(store) as changes:
        await submitted(store, idempotency_key="k", fingerprint=b"f")
    assert changes == []


async def test_a_listener_that_was_stopped_hears_nothing_and_the_others_go_on(store: Store) -> None:
    with heard(store) as all_changes:
        with heard(store) as some_changes:
            await submitted(store)
        await submitted(store)
    assert (len(some_changes), len(all_changes)) == (1, 2)
    await submitted(store)
    assert len(all_changes) == 2


async def test_a_listener_may_stop_itself_while_it_is_called(store: Store) -> None:
    calls: list[str] = []

    def listen_once(name: str) -> None:
        def once(_: Change) -> None:
            calls.append(name)
            stop()

        stop = store.changes.listen(once)

    listen_once("first")
    listen_once("second")
    await submitted(store)
    await submitted(store)
    assert calls == ["first", "second"]


async def test_a_listener_that_breaks_harms_neither_the_write_nor_the_other_listeners(store: Store) -> None:
    """G1: what is committed stays committed, once."""
    broken: list[object] = []

    def breaks(_: Change) -> None:
        raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context["exception"]))
    with heard(store, breaks), heard(store) as changes:
        first, second = await asyncio.gather(submitted(store), submitted(store))
    assert len(await claimed(store, 9)) == 2
    assert {first[0].id, second[0].id} == {request_id for request_id, _ in moved(changes)}
    assert [type(error) for error in broken] == [ZeroDivisionError] * len(changes)
