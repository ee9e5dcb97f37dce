"""Who is told of what, and when that is written: `outbox`'s first paragraph."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from raincheck.core.batches import Conclusion, LineError
from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.errors import FenceLost
from raincheck.core.ids import new_id
from raincheck.core.model import Beat
from raincheck.core.status import Status
from raincheck.core.webhooks import PROGRESS_EVERY, DeliveryStatus, EndpointChange
from raincheck.store.protocol import Store
from tests.store.builders import (
    HOOK,
    LEASE,
    RETENTION,
    START,
    FakeClock,
    Home,
    a_batch,
    a_line,
    claimed,
    completed,
    ended,
    failure,
    feed,
    heard,
    leased,
    listening,
    release,
    retry,
    running,
    submitted,
    success,
    told,
    under_way,
)

# --- each end, once


async def finished(store: Store, _: FakeClock) -> str:
    return await ended(store)


async def failed(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.leases.finish([failure(lease)])
    return lease.fence.request_id


async def cancelled(store: Store, _: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK)
    await store.requests.cancel("t", request.id)
    return request.id


async def cancelled_while_it_runs(store: Store, _: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK)
    await store.requests.cancel("t", lease.fence.request_id)
    return lease.fence.request_id


async def expired_by_upkeep(store: Store, clock: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK, deadline=START + MINUTE)
    clock.advance(seconds=60)
    await store.upkeep.expire(limit=9)
    return request.id


async def expired_by_a_claim(store: Store, clock: FakeClock) -> str:
    [request] = await submitted(store, webhook_url=HOOK, deadline=START + MINUTE)
    clock.advance(seconds=60)
    assert await claimed(store) == []
    return request.id


async def lapsed_for_good(store: Store, clock: FakeClock) -> str:
    lease = await running(store, webhook_url=HOOK, max_attempts=1)
    clock.advance_to(lease.lapses_at)
    assert await claimed(store) == []
    return lease.fence.request_id


End = Callable[[Store, FakeClock], Awaitable[str]]
END_OF: dict[End, Status] = {
    finished: Status.COMPLETED,
    failed: Status.FAILED,
    cancelled: Status.CANCELLED,
    cancelled_while_it_runs: Status.CANCELLED,
    expired_by_upkeep: Status.EXPIRED,
    expired_by_a_claim: Status.EXPIRED,
    lapsed_for_good: Status.FAILED,
}


@pytest.mark.parametrize("end", END_OF, ids=lambda end: end.__name__)
async def test_every_end_has_one_delivery_for_its_url_and_one_for_each_endpoint_and_they_share_the_events_id(
    store: Store, clock: FakeClock, end: End
) -> None:
    """G6."""
    type_ = f"chat.completion.{END_OF[end]}"
    endpoints = {
        (await listening(store)).id,
        (await listening(store, type_)).id,
        (await listening(store, type_, "*")).id,
    }
    await listening(store, "video.completed")
    await listening(store, tenant="other")
    with heard(store) as changes:
        request_id = await end(store, clock)
        await store.upkeep.check()
    deliveries = await told(store)
    assert sorted(delivery.endpoint_id or "" for delivery in deliveries) == sorted(["", *endpoints])
    [event] = await store.upkeep.events("t", request_id)
    assert {(each.event_id, each.type, each.object_id, each.created_at) for each in deliveries} == {
        (event.id, type_, request_id, event.created_at)
    }
    assert {each.status for each in deliveries} == {DeliveryStatus.PENDING}
    assert await told(store, "other") == []
    assert any(change.deliveries for change in changes)


async def test_an_end_that_nobody_wants_to_be_told_of_leaves_no_delivery(store: Store) -> None:
    with heard(store) as changes:
        await completed(store)
    assert await told(store) == []
    assert not any(change.deliveries for change in changes)
    assert await store.deliveries.next_due() is None


async def test_a_delivery_is_there_with_its_end_whatever_happens_next(home: Home) -> None:
    """G6: there is no moment between the two at which a process could die."""
    async with home.open() as store:
        request_id = await ended(store)
    async with home.open() as store:
        [delivery] = await told(store)
        assert delivery.object_id == request_id
        assert delivery.due_at == START


async def test_an_end_that_was_not_written_is_not_told_of(store: Store, clock: FakeClock) -> None:
    """G2, G6."""
    lease = await running(store, webhook_url=HOOK)
    clock.advance_to(lease.lapses_at)
    [again] = await claimed(store)
    assert await store.leases.finish([success(lease)]) == [lease.fence]
    assert await told(store) == []
    await store.leases.finish([success(again)])
    assert await store.leases.finish([success(again)]) == [again.fence]
    assert len(await told(store)) == 1


async def test_what_goes_on_is_not_told_of_as_ended(store: Store) -> None:
    await listening(store)
    first, second = [await running(store, webhook_url=HOOK) for _ in range(2)]
    await store.leases.finish([retry(first, START + HOUR), release(second)])
    assert await told(store) == []


async def test_the_url_is_told_only_of_the_ends_that_it_was_named_for(store: Store) -> None:
    events = ("failed", "expired")
    request_id = await ended(store, webhook_events=events)
    assert await told(store) == []
    assert (await store.requests.get("t", request_id)).webhook_events == events
    lease = await running(store, webhook_url=HOOK, webhook_events=events)
    await store.leases.finish([failure(lease)])
    assert [delivery.type for delivery in await told(store)] == ["chat.completion.failed"]


@pytest.mark.parametrize(("prefix", "operation"), [("resp", "response"), ("video", "video.generation")])
async def test_the_url_is_told_of_an_end_by_the_word_that_the_event_has_for_it(
    store: Store, clock: FakeClock, prefix: str, operation: str
) -> None:
    """OpenAI's APIs have no word for some ends: an expired response has failed."""
    for events in (("failed",), ("expired",), ("completed",)):
        await submitted(
            store,
            id=new_id(prefix),
            operation=operation,
            webhook_url=HOOK,
            webhook_events=events,
            deadline=clock.now() + SECOND,
        )
    clock.advance(seconds=1)
    assert await store.upkeep.expire(limit=9) == 3
    assert {each.type.rpartition(".")[2] for each in await told(store)} == {"failed"}
    assert len(await told(store)) == 2


async def test_a_copy_of_a_request_is_told_of_in_the_same_way(store: Store) -> None:
    lease = await running(store, webhook_url=HOOK, webhook_events=("completed",), webhook_result=True)
    await store.leases.finish([failure(lease)])
    copy = await store.requests.requeue("t", lease.fence.request_id, new_id=new_id("req"))
    assert (copy.webhook_events, copy.webhook_result) == (("completed",), True)
    [again] = await claimed(store)
    await store.leases.finish([success(again)])
    [delivery] = await told(store)
    assert (delivery.object_id, delivery.include_result) == (copy.id, True)


async def test_a_delivery_names_its_receiver_and_whether_it_wants_the_result(store: Store) -> None:
    thin, fat = await listening(store), await listening(store, include_result=True, url="https://fat.example.com/")
    await ended(store, webhook_result=True)
    found = {each.endpoint_id: (each.url, each.include_result) for each in await told(store)}
    assert found == {None: (HOOK, True), thin.id: (thin.url, False), fat.id: (fat.url, True)}


async def test_a_delivery_to_an_endpoint_goes_where_that_is_now(store: Store) -> None:
    endpoint = await listening(store)
    await ended(store, None)
    await store.endpoints.update("t", endpoint.id, EndpointChange(url="https://moved.example.com/"))
    [delivery] = await told(store)
    assert delivery.url == "https://moved.example.com/"


async def test_an_end_is_never_lost_over_a_url_that_is_none(store: Store) -> None:
    for url in ("https://[half", "nonsense", "https://h:port/", "", "http://[::1]:80/"):
        request_id = await ended(store, url)
        [delivery] = await told(store, object_id=request_id)
        assert delivery.url == url


@pytest.mark.parametrize(
    ("prefix", "operation", "incomplete", "expected"),
    [
        ("resp", "response", False, "response.completed"),
        ("resp", "response", True, "response.incomplete"),
        ("video", "video.generation", False, "video.completed"),
        ("req", "video.generation", False, "video.generation.completed"),
    ],
)
async def test_an_event_is_called_as_the_api_calls_it_by_which_the_work_came(
    store: Store, prefix: str, operation: str, incomplete: bool, expected: str
) -> None:
    await listening(store, expected)
    lease = await running(store, id=new_id(prefix), operation=operation, webhook_url=HOOK)
    await store.leases.finish([success(lease, incomplete=incomplete)])
    assert [delivery.type for delivery in await told(store)] == [expected] * 2
    assert [event.type for event in await store.upkeep.events("t", lease.fence.request_id)] == [expected]


async def test_deliveries_outlive_what_they_tell_of(store: Store) -> None:
    request_id = await ended(store)
    await store.requests.delete("t", request_id)
    [delivery] = await told(store)
    assert delivery.object_id == request_id


# --- batches


async def test_the_end_of_a_batch_is_told_once_and_its_rows_are_told_of_by_it_alone(store: Store) -> None:
    """G6."""
    endpoint = await listening(store, "*", "chat.completion.processing", "chat.completion.progress")
    lease = await under_way(store, 2, webhook_url=HOOK)
    await feed(store, lease, [a_line(number, webhook_url=HOOK) for number in (1, 2)])
    rows = await claimed(store, 2)
    await store.leases.extend([Beat(row.fence, 0.5, "half") for row in rows], lease_for=LEASE)
    await store.leases.finish([success(row) for row in rows])
    assert await told(store) == []
    last = await leased(store, lease.batch)
    batch = await store.batches.conclude(last.fence, Conclusion())
    [event] = await store.batches.events("t", batch.id)
    found = {(each.endpoint_id, each.event_id, each.type, each.object_id) for each in await told(store)}
    assert found == {(to, event.id, "batch.completed", batch.id) for to in (None, endpoint.id)}
    with pytest.raises(FenceLost):
        await store.batches.conclude(last.fence, Conclusion())
    assert len(await told(store)) == 2


@pytest.mark.parametrize(("events", "count"), [((), 1), (("failed",), 1), (("completed",), 0)])
async def test_the_url_of_a_batch_is_told_only_of_the_ends_that_it_was_named_for(
    store: Store, events: tuple[str, ...], count: int
) -> None:
    created = await store.batches.create(a_batch(webhook_url=HOOK, webhook_events=events))
    assert created.batch.webhook_events == events
    lease = await leased(store, created.batch)
    await store.batches.refuse(lease.fence, [LineError("bad", "no", 1)])
    assert len(await told(store)) == count


# --- moments before the end

PROCESSING, PROGRESS = "chat.completion.processing", "chat.completion.progress"


async def test_that_work_has_begun_is_told_to_who_named_it_and_at_the_first_claim_alone(store: Store) -> None:
    endpoint = await listening(store, PROCESSING)
    await listening(store)
    lease = await running(store, webhook_url=HOOK, webhook_events=("processing", "completed"))
    found = await told(store)
    assert {each.endpoint_id for each in found} == {None, endpoint.id}
    assert {(each.type, each.object_id, each.include_result) for each in found} == {
        (PROCESSING, lease.fence.request_id, False)
    }
    assert len({each.event_id for each in found}) == 1
    await store.leases.finish([release(lease)])
    [again] = await claimed(store)
    assert len(await told(store)) == 2
    await store.leases.finish([success(again)])
    ids = {each.event_id for each in await told(store)}
    assert len(ids) == 2
    assert {event.id for event in await store.upkeep.events("t", lease.fence.request_id)} < ids


async def test_nobody_is_told_of_moments_who_did_not_name_them(store: Store) -> None:
    await listening(store)
    lease = await running(store, webhook_url=HOOK)
    await store.leases.extend([Beat(lease.fence, 0.5, "half")], lease_for=LEASE)
    assert await told(store) == []


async def test_progress_is_told_as_it_was_and_not_too_often(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store, PROGRESS)
    lease = await running(store, webhook_url=HOOK, webhook_events=("progress",))

    async def beat(progress: float | None, message: str | None = None) -> None:
        await store.leases.extend([Beat(lease.fence, progress, message)], lease_for=LEASE)

    await beat(None)
    assert await told(store) == []
    await beat(0.25, "draft")
    await beat(0.3)
    clock.advance(seconds=PROGRESS_EVERY / SECOND - 1)
    await beat(0.4)
    clock.advance(seconds=1)
    await beat(0.5)
    await beat(0.6)
    found = await told(store)
    for to in (None, endpoint.id):
        details = [msgspec.json.decode(each.detail or b"") for each in found if each.endpoint_id == to]
        assert details == [
            {"progress": 0.25, "progress_message": "draft"},
            {"progress": 0.5, "progress_message": "draft"},
        ]
    assert {each.type for each in found} == {PROGRESS}
    assert len({each.event_id for each in found}) == 2


async def test_a_heartbeat_that_has_nothing_but_a_message_is_told_too(store: Store) -> None:
    lease = await running(store, webhook_url=HOOK, webhook_events=("progress",))
    await store.leases.extend([Beat(lease.fence, None, "rendering")], lease_for=LEASE)
    assert [each.detail for each in await told(store)] == [b'{"progress_message":"rendering"}']


async def test_a_beat_whose_lease_was_lost_tells_nobody(store: Store, clock: FakeClock) -> None:
    """G2."""
    lease = await running(store, webhook_url=HOOK, webhook_events=("progress",))
    clock.advance_to(lease.lapses_at)
    assert len(await claimed(store)) == 1
    assert await store.leases.extend([Beat(lease.fence, 0.9)], lease_for=LEASE) == set()
    assert await told(store) == []


# --- how long they are kept


async def test_deliveries_are_kept_for_as_long_as_the_log(store: Store, clock: FakeClock) -> None:
    for _ in range(3):
        await ended(store)
    clock.advance(seconds=DAY / SECOND)
    await ended(store)
    clock.advance_to(START + RETENTION)
    assert len(await told(store)) == 4
    while await store.upkeep.purge(limit=2):
        pass
    assert len(await told(store)) == 1
