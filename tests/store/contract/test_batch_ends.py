"""How batches end: every line is counted once, whatever became of it, and nothing is left behind."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from raincheck.core.batches import BATCH_KEPT, Batch, BatchLease, BatchStatus, Body, Conclusion, Counts, Usage
from raincheck.core.clock import HOUR, SECOND
from raincheck.core.errors import AttachmentGone, NotEnded, NotFound
from raincheck.core.ids import new_file_id
from raincheck.core.model import File, Lease
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    ANSWER,
    LEASE,
    RETENTION,
    START,
    WINDOW,
    FakeClock,
    a_batch,
    a_broken_line,
    a_line,
    a_part,
    an_open_batch,
    claimed,
    events,
    failure,
    fed,
    feed,
    heard,
    leased,
    success,
    the,
    under_way,
)


async def a_file(store: Store, blob: str) -> File:
    """A file of results, whose body is in the object store."""
    await store.blobs.expect(blob, keep_for=HOUR)
    return File(
        id=new_file_id(),
        tenant="t",
        filename="output.jsonl",
        purpose="batch_output",
        content_type="application/jsonl",
        size=9,
        digest="ab" * 32,
        blob=blob,
        created_at=START,
    )


async def finished(store: Store, how_many: int, *, usage: bytes | None = None) -> Sequence[Lease]:
    """So many of the queue's requests, completed."""
    leases = await claimed(store, how_many)
    assert len(leases) == how_many
    await store.leases.finish([success(lease, usage=usage) for lease in leases])
    return leases


async def stopped(store: Store, *, limit: int = 9) -> BatchLease:
    """The lease of the batch that is finalized, with nothing open any more."""
    lease = await leased(store)
    while await store.batches.stop(lease.fence, limit=limit) > 0:
        pass
    return lease


async def concluded(store: Store, conclusion: Conclusion | None = None) -> Batch:
    lease = await stopped(store)
    return await store.batches.conclude(lease.fence, conclusion or Conclusion())


# --- counting


async def test_each_end_is_counted_and_numbered_without_gaps(store: Store, clock: FakeClock) -> None:
    lease = await under_way(store, 6)
    await feed(store, lease, [*(a_line(number) for number in range(1, 6)), a_broken_line(6)])
    first, second, third, fourth = await claimed(store, 4)
    await store.leases.finish([success(first), failure(second), failure(third, Status.EXPIRED)])
    await store.requests.cancel("t", fourth.fence.request_id)
    assert (await the(store, lease)).counts == Counts(6, 6, completed=1, failed=2, cancelled=1, expired=1)
    rows = await store.batches.ended("t", lease.batch.id, limit=9)
    assert [(row.ended, row.line) for row in rows] == [(1, 6), (2, 1), (3, 2), (4, 3), (5, 4)]


async def test_a_lapse_and_an_expiry_are_counted_too(store: Store, clock: FakeClock) -> None:
    lease = await under_way(store, 3)
    soon = START + HOUR
    await feed(store, lease, [a_line(1, max_attempts=1), a_line(2, deadline=soon), a_line(3, deadline=soon)])
    await claimed(store)
    clock.advance_to(soon)
    assert await store.upkeep.expire(limit=1) == 1
    assert await claimed(store, 9) == []
    assert (await the(store, lease)).counts == Counts(3, 3, failed=1, expired=2)


CHAT = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSE = {
    "input_tokens": 20,
    "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 2},
    "cost_in_usd_ticks": 12345,
}
ODD: list[Any] = [
    None,
    [],
    "many",
    {"prompt_tokens": -1, "completion_tokens": "5", "total_tokens": 1.5},
    {"prompt_tokens": 10**30, "prompt_tokens_details": [], "cost_in_usd_ticks": True},
]


async def test_usage_is_summed_in_either_spelling_and_nonsense_is_nothing(store: Store) -> None:
    told = [CHAT, RESPONSE, *ODD]
    lease = await fed(store, len(told))
    leases = await claimed(store, len(told))
    await store.leases.finish(
        [success(each, usage=msgspec.json.encode(usage)) for each, usage in zip(leases, told, strict=True)]
    )
    batch = await the(store, lease)
    assert batch.usage == Usage(30, 5, 12, 5, 42, 12345)
    assert batch.counts.completed == len(told)


async def test_a_request_outside_of_batches_is_nobodys_row(store: Store) -> None:
    lease = await fed(store, 1)
    [mine] = await claimed(store)
    await store.requests.cancel("t", mine.fence.request_id)
    copy = await store.requests.requeue("t", mine.fence.request_id, new_id="req_copy")
    assert copy.batch is None
    await finished(store, 1)
    assert (await the(store, lease)).counts == Counts(1, 1, cancelled=1)


# --- completed


async def test_a_batch_is_finalized_when_its_last_line_has_ended(store: Store, clock: FakeClock) -> None:
    """G3."""
    lease = await fed(store, 2)
    await store.batches.release(lease.fence, due_at=None, total=lease.batch.counts.total)
    await finished(store, 1)
    assert (await the(store, lease)).status is BatchStatus.IN_PROGRESS
    clock.advance(seconds=1)
    with heard(store) as changes:
        await finished(store, 1)
    assert lease.batch.id in {name for change in changes for name in change.batches}
    batch = await the(store, lease)
    assert (batch.status, batch.ends_as, batch.finalizing_at) == (
        BatchStatus.FINALIZING,
        BatchStatus.COMPLETED,
        clock.now(),
    )
    assert await store.batches.next_due() == clock.now()


async def test_lines_that_are_not_fed_yet_are_waited_for(store: Store) -> None:
    lease = await under_way(store, 2)
    await feed(store, lease, [a_line(1)])
    await finished(store, 1)
    assert (await the(store, lease)).status is BatchStatus.IN_PROGRESS
    await feed(store, lease, [a_line(2)])
    await finished(store, 1)
    assert (await the(store, lease)).status is BatchStatus.FINALIZING


async def test_a_batch_that_takes_lines_goes_on_when_all_have_ended(store: Store) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1"))
    lease = await leased(store, batch)
    await feed(store, lease, [a_line(1)])
    await finished(store, 1)
    assert (await the(store, lease)).status is BatchStatus.IN_PROGRESS
    assert (await store.batches.add("t", batch.id, a_part("line-2"))).counts == Counts(2, 1, completed=1)


async def test_a_conclusion_records_and_holds_its_files_with_the_end_and_one_event(
    store: Store, clock: FakeClock
) -> None:
    """G6."""
    await fed(store, 2, webhook_url="https://h/")
    first, second = await claimed(store, 2)
    await store.leases.finish([success(first), failure(second)])
    clock.advance(seconds=2)
    output, errors = await a_file(store, "output"), await a_file(store, "errors")
    with heard(store) as changes:
        batch = await concluded(store, Conclusion(output, errors))
    assert {name for change in changes for name in change.batches} == {batch.id}
    assert (batch.status, batch.ended_at) == (BatchStatus.COMPLETED, clock.now())
    assert (batch.output_file_id, batch.error_file_id) == (output.id, errors.id)
    assert batch == await store.batches.get("t", batch.id)
    [event] = await store.batches.events("t", batch.id)
    assert (event.type, event.webhook_url, event.batch_id) == ("batch.completed", "https://h/", batch.id)
    assert event.id.startswith("evt_")
    clock.advance(seconds=2 * HOUR / SECOND)
    assert await store.blobs.doomed(limit=9) == []
    assert await store.files.get("t", output.id) == output
    assert await store.batches.next_due() is None
    assert await store.batches.claim(worker="keeper", lease_for=LEASE) is None


async def test_a_conclusion_without_files_names_none(store: Store) -> None:
    await fed(store, 1)
    await finished(store, 1)
    batch = await concluded(store)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


async def test_a_file_whose_body_is_gone_concludes_nothing(store: Store, clock: FakeClock) -> None:
    await fed(store, 1)
    await finished(store, 1)
    output, errors = await a_file(store, "output"), await a_file(store, "errors")
    await store.blobs.expect("errors", keep_for=0)
    lease = await stopped(store)
    with pytest.raises(AttachmentGone):
        await store.batches.conclude(lease.fence, Conclusion(output, errors))
    assert (await the(store, lease)).status is BatchStatus.FINALIZING
    with pytest.raises(NotFound):
        await store.files.get("t", output.id)
    assert await store.batches.events("t", lease.batch.id) == []


async def test_nothing_is_concluded_while_requests_are_open(store: Store) -> None:
    lease = await fed(store, 2)
    await store.batches.cancel("t", lease.batch.id, limit=1)
    lease = await leased(store)
    with pytest.raises(NotEnded):
        await store.batches.conclude(lease.fence, Conclusion())
    assert (await the(store, lease)).status is BatchStatus.FINALIZING


# --- cancelled and expired


async def cancelled(store: Store, clock: FakeClock, lease: BatchLease) -> None:
    await store.batches.cancel("t", lease.batch.id, limit=1)


async def expired(store: Store, clock: FakeClock, lease: BatchLease) -> None:
    clock.advance_to(lease.batch.expires_at)


OVER: dict[Callable[[Store, FakeClock, BatchLease], Awaitable[None]], Status] = {
    cancelled: Status.CANCELLED,
    expired: Status.EXPIRED,
}


@pytest.mark.parametrize("over", OVER, ids=lambda over: over.__name__)
async def test_what_ends_halfway_adds_up(store: Store, clock: FakeClock, over: Any) -> None:
    """G2, G6: half has ended, a few run, some wait, and the rest was never fed."""
    lease = await under_way(store, 20)
    await feed(store, lease, [a_line(number) for number in range(1, 16)])
    await finished(store, 10)
    running = await claimed(store, 2)
    await over(store, clock, lease)
    lease = await stopped(store, limit=2)
    assert (await the(store, lease)).counts.ended == 15
    assert await store.leases.finish([success(each) for each in running]) == [each.fence for each in running]
    assert await claimed(store, 9) == []
    batch = await store.batches.conclude(lease.fence, Conclusion())
    how = OVER[over]
    assert batch.status == how
    assert batch.counts == Counts(20, 15, completed=10, **{how.value: 10})
    assert [each.type for each in await store.batches.events("t", batch.id)] == [f"batch.{how}"]
    rows = await store.batches.rows("t", batch.id, limit=99)
    assert [row.line for row in rows] == list(range(1, 16))
    assert sorted(row.ended or 0 for row in rows) == list(range(1, 16))
    for row in rows:
        assert row.request is not None
        assert row.request.status is (Status.COMPLETED if row.line <= 10 else how)
        assert await events(store, row.request.id) == [f"chat.completion.{row.request.status}"]
    [attempt] = await store.requests.attempts("t", running[0].fence.request_id)
    assert attempt.outcome == how
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 0)


async def test_an_expired_row_says_why(store: Store, clock: FakeClock) -> None:
    lease = await fed(store, 1)
    clock.advance_to(lease.batch.expires_at)
    await concluded(store)
    [row] = await store.batches.rows("t", lease.batch.id, limit=9)
    assert row.request is not None
    assert row.request.error is not None
    assert row.request.error.code == "deadline_exceeded"


async def test_a_batch_whose_last_rows_the_window_ended_is_expired(store: Store, clock: FakeClock) -> None:
    """Whether the batch was met first or its rows."""
    lease = await fed(store, 2)
    await finished(store, 1)
    clock.advance_to(lease.batch.expires_at)
    assert await store.upkeep.expire(limit=9) == 1
    assert (await concluded(store)).status is BatchStatus.EXPIRED


async def test_cancelling_an_unchecked_batch_ends_it_without_lines(store: Store) -> None:
    batch = (await store.batches.create(a_batch())).batch
    await store.batches.cancel("t", batch.id, limit=9)
    ended = await concluded(store)
    assert (ended.status, ended.counts) == (BatchStatus.CANCELLED, Counts())


async def test_lines_that_were_added_and_never_fed_are_counted(store: Store) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1", "line-2", "line-3"))
    await feed(store, await leased(store), [a_line(1)])
    await store.batches.cancel("t", batch.id, limit=9)
    ended = await concluded(store)
    assert ended.counts == Counts(3, 1, cancelled=3)
    assert [row.line for row in await store.batches.ended("t", batch.id, limit=9)] == [1]


# --- being forgotten


async def test_a_row_is_not_forgotten_before_its_batch_has_ended(store: Store) -> None:
    lease = await fed(store, 2)
    [first] = await finished(store, 1)
    with pytest.raises(NotEnded):
        await store.requests.delete("t", first.fence.request_id)
    await finished(store, 1)
    with pytest.raises(NotEnded):
        await store.requests.delete("t", first.fence.request_id)
    await concluded(store)
    await store.requests.delete("t", first.fence.request_id)
    assert (await the(store, lease)).counts == Counts(2, 2, completed=2)


async def test_no_row_is_forgotten_while_its_batch_has_no_files_yet(store: Store, clock: FakeClock) -> None:
    """However long writing them was put off."""
    lease = await fed(store, 2)
    await finished(store, 2)
    for _ in range(3):
        clock.advance_to(lease.batch.expires_at)
        clock.advance(seconds=(WINDOW + RETENTION) / SECOND)
        while await store.upkeep.purge(limit=1) > 0:
            pass
    rows = await store.batches.results("t", lease.batch.id, limit=9)
    assert [row.result.body for row in rows if row.result is not None] == [ANSWER] * 2
    await concluded(store)
    clock.advance(seconds=RETENTION / SECOND)
    while await store.upkeep.purge(limit=1) > 0:
        pass
    rows = await store.batches.results("t", lease.batch.id, limit=9)
    assert [row.result for row in rows] == [None] * 2


async def test_a_row_is_kept_as_if_it_had_ended_with_the_window(store: Store, clock: FakeClock) -> None:
    lease = await fed(store, 2)
    await finished(store, 1)
    clock.advance_to(lease.batch.expires_at)
    await concluded(store)
    for row in await store.batches.rows("t", lease.batch.id, limit=9):
        assert row.request is not None
        assert row.request.purge_at == START + WINDOW + RETENTION


async def test_a_batch_is_forgotten_when_it_was_kept_long_enough_bite_by_bite(store: Store, clock: FakeClock) -> None:
    await store.blobs.expect("input", keep_for=HOUR)
    body = Body(size=9, digest="ab" * 32, blob="input")
    lease = await fed(store, 5, body=body, idempotency_key="k", fingerprint=b"f")
    await finished(store, 5)
    await concluded(store)
    clock.advance(seconds=(BATCH_KEPT - 1) / SECOND)
    while await store.upkeep.purge(limit=99) > 0:
        pass
    assert (await the(store, lease)).status is BatchStatus.COMPLETED
    assert len(await store.batches.ended("t", lease.batch.id, limit=9)) == 5
    assert await store.blobs.doomed(limit=9) == []
    clock.advance(seconds=1)
    steps = list[int]()
    while (taken := await store.upkeep.purge(limit=3)) > 0:
        steps.append(taken)
        if len(steps) == 1:
            assert await store.batches.parts("t", lease.batch.id, limit=99) == []
    assert max(steps) <= 3 < sum(steps)
    with pytest.raises(NotFound):
        await the(store, lease)
    assert await store.batches.events("t", lease.batch.id) == []
    assert await store.blobs.doomed(limit=9) == ["input"]
    again = await store.batches.create(a_batch(idempotency_key="k", fingerprint=b"other"))
    assert not again.repeated


async def test_a_refused_batch_is_forgotten_too(store: Store, clock: FakeClock) -> None:
    await store.batches.create(a_batch())
    lease = await leased(store)
    await store.batches.refuse(lease.fence, [])
    clock.advance(seconds=BATCH_KEPT / SECOND)
    while await store.upkeep.purge(limit=9) > 0:
        pass
    with pytest.raises(NotFound):
        await the(store, lease)
