"""What `protocol.Batches` promises to the engine."""

from collections.abc import Awaitable, Callable

import pytest

from raincheck.core.batches import (
    LONG_INPUT,
    LONG_LINES,
    MOST_ERRORS,
    Appetite,
    BatchLease,
    BatchStatus,
    Body,
    Conclusion,
    Counts,
    Crowd,
    Cursor,
    LineError,
)
from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import FenceLost
from raincheck.core.model import Priority, Tenant
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    BROKEN,
    LEASE,
    START,
    WINDOW,
    FakeClock,
    Home,
    a_batch,
    a_broken_line,
    a_line,
    a_part,
    an_input,
    an_open_batch,
    claimed,
    completed,
    failure,
    fed,
    feed,
    heard,
    ids,
    leased,
    retry,
    submitted,
    success,
    the,
    under_way,
)

# --- leases


async def test_the_batch_that_has_been_due_longest_is_leased_first(store: Store, clock: FakeClock) -> None:
    first = (await store.batches.create(a_batch())).batch
    clock.advance(seconds=1)
    second = (await store.batches.create(a_batch(tenant="else"))).batch
    assert await store.batches.next_due() == START
    lease = await leased(store, first)
    assert (lease.batch, lease.cursor, lease.appetites) == (first, Cursor(), ())
    assert lease.lapses_at == clock.now() + LEASE
    await leased(store, second)
    assert await store.batches.claim(worker="keeper", lease_for=LEASE) is None


async def test_a_lease_that_lapsed_is_another_workers_with_another_fence(store: Store, clock: FakeClock) -> None:
    """G2, G3."""
    await store.batches.create(a_batch())
    first = await leased(store)
    await store.batches.extend(first.fence, lease_for=2 * LEASE)
    clock.advance(seconds=LEASE / SECOND)
    assert await store.batches.claim(worker="other", lease_for=LEASE) is None
    clock.advance(seconds=LEASE / SECOND)
    second = await leased(store)
    assert second.fence.number > first.fence.number
    with pytest.raises(FenceLost):
        await store.batches.extend(first.fence, lease_for=LEASE)
    await store.batches.extend(second.fence, lease_for=LEASE)


async def test_what_an_owner_of_the_store_left_leased_is_due_when_its_lease_ends(home: Home) -> None:
    """G3."""
    async with home.open() as store:
        await store.batches.create(a_batch())
        first = await leased(store)
    home.clock.advance(seconds=LEASE / SECOND)
    async with home.open() as store:
        assert (await leased(store)).fence.number > first.fence.number


async def test_a_released_batch_is_due_at_its_time_and_at_the_end_of_its_window(store: Store, clock: FakeClock) -> None:
    lease = await fed(store, 1)
    await store.batches.release(lease.fence, due_at=START + HOUR, total=1)
    assert await store.batches.next_due() == START + HOUR
    clock.advance(seconds=HOUR / SECOND)
    lease = await leased(store)
    await store.batches.release(lease.fence, due_at=None, total=1)
    assert await store.batches.next_due() == START + WINDOW


async def test_no_release_puts_off_the_end_of_the_window(store: Store) -> None:
    """G3."""
    lease = await fed(store, 1)
    await store.batches.release(lease.fence, due_at=START + 2 * WINDOW, total=1)
    assert await store.batches.next_due() == START + WINDOW


async def test_lines_added_under_a_lease_are_due_when_it_is_given_back(store: Store, clock: FakeClock) -> None:
    """G3."""
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1"))
    lease = await leased(store, batch)
    await feed(store, lease, [a_line(1)])
    await store.batches.add("t", batch.id, a_part("line-2"))
    assert await store.batches.claim(worker="other", lease_for=LEASE) is None
    with heard(store) as changes:
        await store.batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)
    assert {name for change in changes for name in change.batches} == {batch.id}
    assert (await leased(store, batch)).cursor.line == 2


async def test_a_batch_that_is_being_finalized_is_put_off_beyond_its_window(store: Store, clock: FakeClock) -> None:
    """As while the object store cannot be reached."""
    lease = await fed(store, 1)
    clock.advance_to(lease.batch.expires_at)
    lease = await under_expiry(store)
    await store.batches.release(lease.fence, due_at=clock.now() + MINUTE, total=lease.batch.counts.total)
    assert await store.batches.claim(worker="keeper", lease_for=LEASE) is None
    clock.advance(seconds=60)
    await leased(store)


async def under_expiry(store: Store) -> BatchLease:
    lease = await leased(store)
    assert (lease.batch.status, lease.batch.ends_as) == (BatchStatus.FINALIZING, BatchStatus.EXPIRED)
    return lease


@pytest.mark.parametrize("validating", [True, False])
async def test_a_claim_finalizes_a_batch_whose_window_is_over(
    store: Store, clock: FakeClock, *, validating: bool
) -> None:
    batch = (await store.batches.create(a_batch() if validating else an_open_batch())).batch
    clock.advance_to(batch.expires_at)
    with heard(store) as changes:
        lease = await under_expiry(store)
    assert {name for change in changes for name in change.batches} == {batch.id}
    assert lease.batch.finalizing_at == clock.now()
    await store.batches.release(lease.fence, due_at=clock.now(), total=lease.batch.counts.total)
    clock.advance(seconds=1)
    assert (await under_expiry(store)).batch.finalizing_at == START + WINDOW


async def test_long_batches_are_passed_over_where_they_are_not_wanted(store: Store, clock: FakeClock) -> None:
    large = Body(size=LONG_INPUT + 1, digest="ab" * 32, text=b"{}")
    first = (await store.batches.create(a_batch(body=large))).batch
    clock.advance(seconds=1)
    assert await store.batches.next_due(long=False) is None
    assert await store.batches.claim(worker="keeper", lease_for=LEASE, long=False) is None
    second = (await store.batches.create(a_batch())).batch
    assert (await store.batches.next_due(), await store.batches.next_due(long=False)) == (START, clock.now())
    short = await store.batches.claim(worker="keeper", lease_for=LEASE, long=False)
    assert short is not None
    assert (short.batch.id, short.long) == (second.id, False)
    lease = await leased(store, first)
    assert lease.long
    # To feed it is not.
    await store.batches.accept(lease.fence, lines=2, queues={"small": 2}, model=None)
    await store.batches.release(lease.fence, due_at=clock.now(), total=2)
    short = await store.batches.claim(worker="keeper", lease_for=LEASE, long=False)
    assert short is not None
    assert (short.batch.id, short.long) == (first.id, False)


async def test_many_lines_make_a_batch_long_when_it_is_finalized(store: Store) -> None:
    lease = await under_way(store, LONG_LINES + 1)
    await store.batches.cancel("t", lease.batch.id, limit=9)
    assert await store.batches.claim(worker="keeper", lease_for=LEASE, long=False) is None
    assert (await leased(store)).long


# --- checking


async def test_a_good_file_is_accepted_and_fed_under_the_same_lease(home: Home) -> None:
    async with home.open() as store:
        await store.batches.create(a_batch())
        lease = await leased(store)
        home.clock.advance(seconds=1)
        await store.batches.accept(lease.fence, lines=5, queues={"small": 3, "big": 2}, model="m")
        await feed(store, lease, [a_line(1)])
    home.clock.advance(seconds=LEASE / SECOND)
    async with home.open() as store:
        lease = await leased(store)
        assert (lease.batch.status, lease.batch.in_progress_at) == (BatchStatus.IN_PROGRESS, START + SECOND)
        assert (lease.batch.model, lease.batch.counts) == ("m", Counts(total=5, fed=1))
        assert lease.appetites == (Appetite("big", 2, 0, None), Appetite("small", 2, 1, None))
        assert (await store.batches.parts("t", lease.batch.id, limit=99))[0].lines == 5


async def test_a_bad_file_fails_the_batch_with_what_is_wrong_and_one_event(store: Store, clock: FakeClock) -> None:
    """G6."""
    await store.batches.create(a_batch(webhook_url="https://h/"))
    lease = await leased(store)
    clock.advance(seconds=1)
    errors = [LineError("invalid_json", f"line {number} ☂", number, "body") for number in range(MOST_ERRORS)]
    await store.batches.refuse(lease.fence, errors)
    batch = await the(store, lease)
    assert (batch.status, batch.errors, batch.ended_at) == (BatchStatus.FAILED, tuple(errors), clock.now())
    [event] = await store.batches.events("t", batch.id)
    assert (event.type, event.batch_id, event.request_id) == ("batch.failed", batch.id, None)
    assert (event.tenant, event.created_at, event.webhook_url) == ("t", clock.now(), "https://h/")
    assert await store.batches.next_due() is None


# --- feeding


async def test_fed_lines_are_requests_like_any_other_in_order(store: Store) -> None:
    lease = await under_way(store, 3)
    rows = [a_line(number, metadata={"n": f"{number}"}, tokens=7) for number in range(1, 4)]
    with heard(store) as changes:
        await feed(store, lease, rows)
    assert {queue for change in changes for queue in change.ready} == {"small"}
    requests = [row.request for row in rows if row.request is not None]
    leases = await claimed(store, 9)
    assert ids(leases) == [request.id for request in requests]
    assert [each.payload for each in leases] == [request.payload for request in requests]
    record = await store.requests.get("t", requests[1].id)
    assert (record.metadata, record.priority, record.deadline) == ({"n": "2"}, Priority.BATCH, START + WINDOW)
    assert (await the(store, lease)).counts == Counts(total=3, fed=3)
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 3)


async def test_the_cursor_and_the_appetites_are_those_of_the_last_bite(store: Store, clock: FakeClock) -> None:
    await submitted(store, 2, priority=Priority.BATCH)
    await completed(store, queue="other")
    await submitted(store, 5, tenant="else", priority=Priority.BATCH)
    lease = await under_way(store, 4)
    await store.batches.feed(lease.fence, [a_line(1), a_line(2)], Cursor(0, 77, 4))
    await store.batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)
    lease = await leased(store)
    assert lease.cursor == Cursor(0, 77, 4)
    assert lease.appetites == (Appetite("small", 2, 4, None),)


async def test_a_batch_takes_its_turn_beside_other_tenants(store: Store) -> None:
    """However many lines come in one bite, a tenant with one request waits for one of them."""
    lease = await under_way(store, 50)
    await feed(store, lease, [a_line(number) for number in range(1, 51)])
    [other] = await submitted(store, tenant="else", priority=Priority.BATCH)
    assert other.id in ids(await claimed(store, 2))


async def test_a_line_that_is_no_request_after_all_ends_at_once_as_failed(store: Store) -> None:
    lease = await under_way(store, 3)
    await feed(store, lease, [a_broken_line(1), a_line(2), a_broken_line(3)])
    assert (await the(store, lease)).counts == Counts(total=3, fed=3, failed=2)
    first, third = await store.batches.ended("t", lease.batch.id, limit=9)
    assert [(row.line, row.ended, row.error, row.request) for row in (first, third)] == [
        (1, 1, BROKEN, None),
        (3, 2, BROKEN, None),
    ]
    await store.batches.release(lease.fence, due_at=START, total=lease.batch.counts.total)
    assert (await leased(store)).appetites == ()


async def test_a_batch_whose_last_line_is_no_request_is_finalized(store: Store) -> None:
    """G3."""
    lease = await under_way(store, 2)
    await feed(store, lease, [a_broken_line(1), a_broken_line(2)])
    batch = await the(store, lease)
    assert (batch.status, batch.ends_as) == (BatchStatus.FINALIZING, BatchStatus.COMPLETED)
    await leased(store, batch)


async def test_a_line_whose_input_is_gone_fails_and_the_others_are_fed(store: Store) -> None:
    lease = await under_way(store, 3)
    kept = await an_input(store, "uploads/kept")
    lost = await an_input(store, "uploads/lost")
    await store.blobs.expect("uploads/lost", keep_for=0)
    rows = [a_line(1, attachments=(lost,)), a_line(2, attachments=(kept,)), a_line(3)]
    await feed(store, lease, rows)
    assert (await the(store, lease)).counts == Counts(total=3, fed=3, failed=1)
    [row] = await store.batches.ended("t", lease.batch.id, limit=9)
    assert (row.line, row.error and row.error.code) == (1, "attachment_gone")
    assert len(await claimed(store, 9)) == 2
    assert rows[1].request is not None
    assert await store.requests.attachments("t", rows[1].request.id) == [kept]


async def test_lines_for_several_queues_that_wait_for_a_time_are_fed_together(store: Store, clock: FakeClock) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1", "line-2", queues={"one": 1, "two": 1}))
    lease = await leased(store, batch)
    await feed(store, lease, [a_line(1, queue="one", not_before=START + MINUTE), a_line(2, queue="two")])
    assert await claimed(store, queue="one") == []
    assert len(await claimed(store, queue="two")) == 1
    clock.advance(seconds=60)
    assert len(await claimed(store, queue="one")) == 1


async def test_a_line_that_is_no_request_leaves_no_appetite_behind(store: Store) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1"))
    lease = await leased(store, batch)
    await feed(store, lease, [a_broken_line(1)])
    await store.batches.add("t", batch.id, a_part("line-2", queue="other"))
    await store.batches.release(lease.fence, due_at=None, total=1)
    assert (await leased(store)).appetites == (Appetite("other", 1, 0, None),)


async def test_what_a_capped_tenants_batches_have_waiting_is_told(store: Store) -> None:
    lease = await under_way(store, 9)
    assert lease.crowd is None
    await store.registry.put_tenant(Tenant("t", max_pending=100))
    await feed(store, lease, [a_line(1), a_line(2), a_line(3, queue="other")])
    second = await fed(store, 2)
    assert second.batch.tenant == "t"
    await submitted(store, 50)
    await submitted(store, 50, tenant="else")
    await store.batches.release(lease.fence, due_at=START - 1, total=9)
    lease = await leased(store, lease.batch)
    assert lease.crowd == Crowd(2, 5)
    assert len(await claimed(store, 99, queue="other")) == 1
    while some := await claimed(store, 99):
        await store.leases.finish([success(each) for each in some])
    await store.batches.release(lease.fence, due_at=START - 1, total=9)
    # All that waits of it now is none.
    assert (await leased(store, lease.batch)).crowd == Crowd(2, 0)


# --- rising


async def test_what_has_risen_goes_before_what_has_not(store: Store) -> None:
    lease = await under_way(store, 6)
    await feed(store, lease, [a_line(number) for number in range(1, 6)])
    [running] = await claimed(store)
    assert await store.batches.rise(lease.fence, Priority.DEFAULT, limit=2) == 2
    # One that is cut off here is taken up again.
    assert (await the(store, lease)).priority is Priority.BATCH
    [plain] = await submitted(store, priority=Priority.FLEX)
    order = [(await store.requests.get("t", id_)).priority for id_ in ids(await claimed(store, 9))]
    assert order == [Priority.DEFAULT, Priority.DEFAULT, Priority.FLEX, Priority.BATCH, Priority.BATCH]
    assert await store.batches.rise(lease.fence, Priority.DEFAULT, limit=2) == 0
    assert (await the(store, lease)).priority is Priority.DEFAULT
    assert (await store.requests.get("t", running.fence.request_id)).priority is Priority.BATCH
    assert plain.priority is Priority.FLEX


async def test_rising_keeps_order_fairness_and_counts(store: Store) -> None:
    others = await submitted(store, 3, tenant="else", priority=Priority.DEFAULT)
    lease = await under_way(store, 4)
    rows = [a_line(number, weight=1.0) for number in range(1, 5)]
    await feed(store, lease, rows)
    assert await store.batches.rise(lease.fence, Priority.DEFAULT, limit=9) == 4
    assert await store.batches.rise(lease.fence, Priority.DEFAULT, limit=9) == 0
    mine = [row.request.id for row in rows if row.request is not None]
    order = ids(await claimed(store, 9))
    assert [id_ for id_ in order if id_ in mine] == mine
    assert set(order[:4]) == {*mine[:2], *(other.id for other in others[:2])}
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 7)


async def test_after_rising_the_appetite_is_that_of_the_new_lane(store: Store) -> None:
    lease = await under_way(store, 4)
    await feed(store, lease, [a_line(1), a_line(2), a_line(3)])
    await store.batches.rise(lease.fence, Priority.FLEX, limit=9)
    await store.batches.release(lease.fence, due_at=START, total=lease.batch.counts.total)
    assert (await leased(store)).appetites == (Appetite("small", 1, 3, None),)


# --- G2


async def lose_by_lapse(store: Store, clock: FakeClock, _: BatchLease) -> None:
    clock.advance(seconds=LEASE / SECOND)
    await leased(store)


async def lose_by_release(store: Store, clock: FakeClock, lease: BatchLease) -> None:
    await store.batches.release(lease.fence, due_at=clock.now() + HOUR, total=lease.batch.counts.total)


async def lose_by_cancel(store: Store, _: FakeClock, lease: BatchLease) -> None:
    await store.batches.cancel("t", lease.batch.id, limit=0)


@pytest.mark.parametrize("lose", [lose_by_lapse, lose_by_release, lose_by_cancel])
async def test_a_lost_fence_writes_nothing(
    store: Store, clock: FakeClock, lose: Callable[[Store, FakeClock, BatchLease], Awaitable[None]]
) -> None:
    """G2."""
    lease = await under_way(store, 4)
    await feed(store, lease, [a_line(1)])
    await lose(store, clock, lease)
    before, due = await the(store, lease), await store.batches.next_due()
    batches, fence = store.batches, lease.fence
    for call in (
        lambda: batches.extend(fence, lease_for=9 * LEASE),
        lambda: batches.release(fence, due_at=None, total=0),
        lambda: batches.accept(fence, lines=9, queues={"small": 9}, model="other"),
        lambda: batches.refuse(fence, [LineError("bad", "bad")]),
        lambda: batches.feed(fence, [a_line(2)], Cursor(0, 99, 3)),
        lambda: batches.rise(fence, Priority.PRIORITY, limit=9),
        lambda: batches.stop(fence, limit=9),
        lambda: batches.conclude(fence, Conclusion()),
    ):
        with pytest.raises(FenceLost):
            await call()
    assert await the(store, lease) == before
    assert await store.batches.next_due() == due
    assert await batches.events("t", before.id) == []
    [row] = await batches.rows("t", before.id, limit=9)
    assert row.request is not None
    assert (row.request.status, row.request.priority) == (Status.PENDING, Priority.BATCH)
    assert len(await claimed(store, 9)) == 1


async def test_a_step_that_does_not_fit_the_batchs_status_writes_nothing(store: Store) -> None:
    """G2."""
    await store.batches.create(a_batch())
    lease = await leased(store)
    batches, fence = store.batches, lease.fence
    for call in (
        lambda: batches.feed(fence, [a_line(1)], Cursor(0, 9, 2)),
        lambda: batches.stop(fence, limit=9),
        lambda: batches.conclude(fence, Conclusion()),
    ):
        with pytest.raises(FenceLost):
            await call()
    await batches.accept(fence, lines=2, queues={"small": 2}, model=None)
    for call in (
        lambda: batches.accept(fence, lines=2, queues={"small": 2}, model=None),
        lambda: batches.refuse(fence, [LineError("bad", "bad")]),
        lambda: batches.conclude(fence, Conclusion()),
    ):
        with pytest.raises(FenceLost):
            await call()
    assert (await the(store, lease)).counts == Counts(total=2)
    assert await claimed(store) == []


async def test_a_retried_row_stays_open(store: Store, clock: FakeClock) -> None:
    lease = await fed(store, 2)
    first, second = await claimed(store, 2)
    await store.leases.finish([retry(first, clock.now()), failure(second)])
    assert (await the(store, lease)).counts == Counts(total=2, fed=2, failed=1)
