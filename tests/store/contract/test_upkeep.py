"""What `protocol.Upkeep` promises."""

import pytest

from raincheck.core.clock import DAY, MINUTE, SECOND
from raincheck.core.errors import NotFound, ResultGone
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    RETENTION,
    START,
    FakeClock,
    a_request,
    accepted,
    capped,
    claimed,
    completed,
    events,
    failure,
    running,
    status,
    submitted,
    success,
)


async def test_expire_ends_pending_requests_whose_deadline_passed(store: Store, clock: FakeClock) -> None:
    """G6."""
    [due] = await submitted(store, deadline=START + MINUTE)
    [waits] = await submitted(store, deadline=START + MINUTE, not_before=START + DAY)
    [later] = await submitted(store, deadline=START + MINUTE + 1)
    [free] = await submitted(store)
    held = await running(store, queue="other", deadline=START + MINUTE)
    clock.advance(seconds=60)
    assert await store.upkeep.expire(limit=99) == 2
    for request in (due, waits):
        record = await store.requests.get("t", request.id)
        assert (record.status, record.ended_at) == (Status.EXPIRED, clock.now())
        assert record.error is not None
        assert record.error.code == "deadline_exceeded"
        assert await events(store, request.id) == ["chat.completion.expired"]
    assert await status(store, later.id) is Status.PENDING
    assert await status(store, free.id) is Status.PENDING
    assert await status(store, held.fence.request_id) is Status.PROCESSING
    assert await store.upkeep.expire(limit=99) == 0


async def test_expire_takes_at_most_its_limit_the_earliest_deadline_first(store: Store, clock: FakeClock) -> None:
    requests = [(await submitted(store, deadline=START + number * SECOND))[0] for number in (3, 1, 2)]
    clock.advance(seconds=60)
    assert await store.upkeep.expire(limit=2) == 2
    assert await status(store, requests[0].id) is Status.PENDING
    assert await store.upkeep.expire(limit=2) == 1


async def test_a_result_is_kept_for_its_retention_and_no_longer(store: Store, clock: FakeClock) -> None:
    request_id = await completed(store)
    clock.advance(seconds=RETENTION / SECOND - 0.000001)
    assert await store.upkeep.purge(limit=99) == 0
    assert await store.requests.result("t", request_id) is not None
    clock.advance(seconds=0.000001)
    assert await store.upkeep.purge(limit=99) == 1
    with pytest.raises(ResultGone):
        await store.requests.result("t", request_id)


async def test_first_the_bodies_go_and_the_row_stays(store: Store, clock: FakeClock) -> None:
    request_id = await completed(store, metadata={"k": "v"})
    before = await store.requests.get("t", request_id)
    assert not before.purged
    clock.advance(seconds=RETENTION / SECOND)
    await store.upkeep.purge(limit=99)
    record = await store.requests.get("t", request_id)
    assert (record.purged, record.status, record.ended_at) == (True, Status.COMPLETED, before.ended_at)
    assert record.metadata == {}
    assert await store.requests.attempts("t", request_id) == []
    assert await events(store, request_id) == ["chat.completion.completed"]


async def test_after_as_long_again_the_row_goes_with_its_key_and_event(store: Store, clock: FakeClock) -> None:
    request_id = await completed(store, idempotency_key="k", fingerprint=b"f")
    repeat = a_request(idempotency_key="k", fingerprint=b"f")
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=99) == 1
    assert accepted((await store.requests.submit([repeat]))[0]).request.id == request_id
    clock.advance(seconds=RETENTION / SECOND - 0.000001)
    assert await store.upkeep.purge(limit=99) == 0
    clock.advance(seconds=0.000001)
    assert await store.upkeep.purge(limit=99) == 1
    with pytest.raises(NotFound):
        await store.requests.get("t", request_id)
    with pytest.raises(NotFound):
        await store.requests.result("t", request_id)
    assert await events(store, request_id) == []
    assert not accepted((await store.requests.submit([repeat]))[0]).repeated


async def test_purge_takes_at_most_its_limit_the_longest_kept_first(store: Store, clock: FakeClock) -> None:
    first, second, third = [await completed(store) for _ in range(3)]
    clock.advance(seconds=1)
    fourth = await completed(store)
    clock.advance(seconds=RETENTION / SECOND)
    assert [await store.upkeep.purge(limit=3) for _ in range(3)] == [3, 1, 0]
    for request_id in (first, second, third, fourth):
        assert (await store.requests.get("t", request_id)).purged


async def test_purge_forgets_fingerprints_whose_window_is_over(store: Store, clock: FakeClock) -> None:
    until = START + MINUTE
    await store.requests.submit([a_request(fingerprint=b"%d" % each, repeat_until=until) for each in range(5)])
    assert await store.upkeep.purge(limit=99) == 0
    clock.advance(seconds=60)
    assert [await store.upkeep.purge(limit=3) for _ in range(3)] == [3, 2, 0]


async def test_the_limit_of_purge_holds_for_all_kinds_together(store: Store, clock: FakeClock) -> None:
    for each in range(3):
        await completed(store, fingerprint=b"%d" % each, repeat_until=START + MINUTE)
    clock.advance(seconds=RETENTION / SECOND)
    assert [await store.upkeep.purge(limit=4) for _ in range(3)] == [4, 2, 0]


async def test_what_has_not_ended_is_never_purged(store: Store, clock: FakeClock) -> None:
    """G3."""
    [request] = await submitted(store)
    held = await running(store, queue="other")
    clock.advance(seconds=3 * RETENTION / SECOND)
    assert await store.upkeep.purge(limit=99) == 0
    assert (await claimed(store))[0].fence.request_id == request.id
    assert not (await store.requests.get("t", held.fence.request_id)).status.final


async def test_gauges_count_pending_and_processing_per_queue(store: Store) -> None:
    assert await store.upkeep.gauges() == {}
    await submitted(store, 3, queue="a")
    await claimed(store, 1, queue="a")
    await store.leases.finish([failure(await running(store, queue="b"))])
    assert await store.upkeep.gauges() == {
        ("a", Status.PENDING): 2,
        ("a", Status.PROCESSING): 1,
        ("b", Status.PENDING): 0,
        ("b", Status.PROCESSING): 0,
    }


async def test_there_are_no_events_of_an_unknown_request(store: Store) -> None:
    assert await store.upkeep.events("t", "req_unknown") == []


async def test_tidy_forgets_queues_that_nobody_has_used_for_long(store: Store, clock: FakeClock) -> None:
    """G12: names that clients made up do not stay for ever."""
    await submitted(store, queue="busy")
    await submitted(store, queue="done")
    await store.leases.finish([success(lease) for lease in await claimed(store, queue="done")])
    for queue in ("capped", "paused"):
        await store.requests.cancel("t", (await submitted(store, queue=queue))[0].id)
    await capped(store, 1, name="capped")
    await store.registry.pause("queue", "paused", until=START + 3 * RETENTION)
    assert await store.upkeep.tidy(limit=10) == 0
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.tidy(limit=10) == 1
    assert [queue.name for queue in await store.registry.queues()] == ["busy", "capped", "paused"]
    await submitted(store, queue="done")
    assert await store.leases.ready() == {"busy", "done"}


async def test_tidy_takes_at_most_its_limit(store: Store) -> None:
    for number in range(3):
        [request] = await submitted(store, queue=f"queue-{number}")
        await store.requests.cancel("t", request.id)
    assert await store.upkeep.tidy(limit=2) == 2
    assert await store.upkeep.tidy(limit=2) == 1


async def test_check_changes_nothing(store: Store) -> None:
    [request] = await submitted(store)
    await store.upkeep.check()
    assert await store.requests.get("t", request.id) == request
