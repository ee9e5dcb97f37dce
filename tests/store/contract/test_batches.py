"""What `protocol.Batches` promises to the front desk."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from raincheck.core.batches import BatchDialect, BatchStatus, Body, Conclusion, Counts, Pace, Part, Usage
from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import (
    AlreadyEnded,
    AttachmentGone,
    BatchClosed,
    DuplicateLine,
    IdempotencyConflict,
    NotFound,
)
from raincheck.core.model import Priority
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    ANSWER,
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
    an_open_batch,
    an_output,
    claimed,
    completed,
    fed,
    feed,
    heard,
    leased,
    submitted,
    success,
    under_way,
)

# --- create, get, list


async def test_a_batch_is_there_after_the_store_is_opened_again(home: Home) -> None:
    """G1."""
    new = a_batch(metadata={"k": "wert 💧"}, webhook_url="https://h/", output_expires_after=HOUR, name="läufer")
    async with home.open() as store:
        created = await store.batches.create(new)
    async with home.open() as store:
        batch = await store.batches.get("t", new.id)
    assert batch == created.batch
    assert not created.repeated
    assert (batch.status, batch.in_progress_at, batch.ended_at) == (BatchStatus.VALIDATING, None, None)
    assert (batch.counts, batch.usage, batch.errors, batch.ends_as) == (Counts(), Usage(), (), None)
    assert (batch.metadata, batch.webhook_url) == ({"k": "wert 💧"}, "https://h/")
    assert (batch.name, batch.output_expires_after) == ("läufer", HOUR)
    assert (batch.created_at, batch.expires_at, batch.completion_window) == (START, START + WINDOW, "24h")
    assert (batch.endpoint, batch.model, batch.priority) == ("/v1/chat/completions", None, Priority.BATCH)


async def test_a_batch_without_a_body_is_in_progress_at_once(store: Store, clock: FakeClock) -> None:
    clock.advance(seconds=1)
    batch = (await store.batches.create(an_open_batch())).batch
    assert (batch.dialect, batch.status) == (BatchDialect.XAI, BatchStatus.IN_PROGRESS)
    assert batch.in_progress_at == clock.now()
    assert await store.batches.parts("t", batch.id, limit=99) == []
    assert await store.batches.next_due() == batch.expires_at


async def test_the_body_of_a_batch_is_its_one_part(store: Store) -> None:
    body = Body(size=3, digest="ef" * 32, text=b"{}\n")
    batch = (await store.batches.create(a_batch(body=body))).batch
    assert await store.batches.parts("t", batch.id, limit=99) == [Part(position=0, first_line=1, lines=None, body=body)]


async def test_the_blob_of_a_batchs_input_is_held(store: Store, clock: FakeClock) -> None:
    await store.blobs.expect("input", keep_for=HOUR)
    body = Body(size=9 << 30, digest="ef" * 32, blob="input")
    batch = (await store.batches.create(a_batch(body=body))).batch
    clock.advance(seconds=2 * HOUR / SECOND)
    assert await store.blobs.doomed(limit=9) == []
    [part] = await store.batches.parts("t", batch.id, limit=99)
    assert part.body == body


async def test_a_batch_whose_input_is_gone_is_not_made(store: Store, clock: FakeClock) -> None:
    await store.blobs.expect("late", keep_for=MINUTE)
    clock.advance(seconds=60)
    for blob in ("unknown", "late"):
        with pytest.raises(AttachmentGone):
            await store.batches.create(a_batch(body=Body(size=9, digest="ef" * 32, blob=blob)))
    assert (await store.batches.list("t")).batches == []
    assert await store.blobs.doomed(limit=9) == ["late"]


async def test_creating_again_under_the_same_key_is_the_same_batch(store: Store) -> None:
    """G9."""
    new = a_batch(idempotency_key="k", fingerprint=b"f")
    first = await store.batches.create(new)
    again = await store.batches.create(replace(new, id="batch_other"))
    assert (again.batch, again.repeated) == (first.batch, True)
    assert await store.batches.repeated(replace(new, id="batch_2")) == first.batch
    assert await store.batches.repeated(replace(new, idempotency_key="other")) is None
    assert await store.batches.repeated(replace(new, tenant="u")) is None
    with pytest.raises(IdempotencyConflict):
        await store.batches.repeated(replace(new, fingerprint=b"g"))
    with pytest.raises(IdempotencyConflict):
        await store.batches.create(replace(new, id="batch_other", fingerprint=b"g"))
    other = await store.batches.create(replace(new, id="batch_others", tenant="else", fingerprint=b"g"))
    assert not other.repeated
    assert len((await store.batches.list("t")).batches) == 1


async def test_a_clients_retry_is_recognised_for_a_while_and_what_is_said_again_on_purpose_is_not(
    store: Store, clock: FakeClock
) -> None:
    """G9."""
    new = a_batch(id="batch_1", fingerprint=b"f", repeat_until=START + MINUTE)
    await store.batches.create(new)
    retried = await store.batches.create(replace(new, id="batch_2", is_retry=True))
    assert (retried.batch.id, retried.repeated) == ("batch_1", True)
    assert not (await store.batches.create(replace(new, id="batch_3"))).repeated
    latest = await store.batches.create(replace(new, id="batch_4", is_retry=True))
    assert latest.batch.id == "batch_3"
    clock.advance(seconds=60)
    assert not (await store.batches.create(replace(new, id="batch_5", is_retry=True))).repeated


@pytest.mark.parametrize("tenant", ["else", ""])
async def test_another_tenants_batch_is_unknown(store: Store, tenant: str) -> None:
    """G8."""
    batch = (await store.batches.create(an_open_batch())).batch
    batches = store.batches
    calls: list[Callable[[str, str], Awaitable[object]]] = [
        batches.get,
        lambda tenant, id_: batches.parts(tenant, id_, limit=9),
        lambda tenant, id_: batches.add(tenant, id_, a_part("a")),
        lambda tenant, id_: batches.cancel(tenant, id_, limit=9),
        lambda tenant, id_: batches.rows(tenant, id_, limit=9),
        lambda tenant, id_: batches.results(tenant, id_, limit=9),
        lambda tenant, id_: batches.ended(tenant, id_, limit=9),
        lambda tenant, id_: batches.row(tenant, id_, "a"),
        lambda tenant, id_: batches.list(tenant, after=id_),
    ]
    for call in calls:
        with pytest.raises(NotFound) as told:
            await call(tenant, batch.id)
        with pytest.raises(NotFound) as unknown:
            await call("t", "batch_unknown")
        assert str(told.value).replace(batch.id, "…") == str(unknown.value).replace("batch_unknown", "…")
    assert await batches.events(tenant, batch.id) == []
    assert (await batches.list(tenant)).batches == []
    assert await batches.get("t", batch.id) == batch


async def test_an_id_that_no_batch_can_have_is_unknown(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.batches.get("t", "a\0b")


async def test_batches_are_listed_newest_first_by_dialect_and_page_by_page(store: Store) -> None:
    ids = list[str]()
    for number in range(4):
        new = a_batch() if number % 2 else an_open_batch()
        ids.append((await store.batches.create(new)).batch.id)
    await store.batches.create(a_batch(tenant="else"))
    page = await store.batches.list("t", limit=3)
    assert ([batch.id for batch in page.batches], page.has_more) == (ids[:0:-1], True)
    page = await store.batches.list("t", after=ids[1], limit=3)
    assert ([batch.id for batch in page.batches], page.has_more) == (ids[:1], False)
    page = await store.batches.list("t", dialect=BatchDialect.OPENAI, after=ids[3])
    assert [batch.id for batch in page.batches] == [ids[1]]


# --- add


async def test_added_lines_are_there_after_the_store_is_opened_again_and_wake_the_feeding(home: Home) -> None:
    """G1."""
    async with home.open() as store:
        batch = (await store.batches.create(an_open_batch())).batch
        assert await store.batches.claim(worker="keeper", lease_for=LEASE) is None
        with heard(store) as changes:
            await store.batches.add("t", batch.id, a_part("a", "b"))
        assert {name for change in changes for name in change.batches} == {batch.id}
        added = await store.batches.add("t", batch.id, a_part("c", queue="other"))
        assert added.counts == Counts(total=3)
        assert await store.batches.next_due() == home.clock.now()
    async with home.open() as store:
        first, second = await store.batches.parts("t", batch.id, limit=99)
        assert (first.position, first.first_line, first.lines, first.body) == (0, 1, 2, a_part("a", "b").body)
        assert (second.position, second.first_line, second.lines) == (1, 3, 1)
        assert await store.batches.parts("t", batch.id, start=1, limit=9) == [second]
        assert await store.batches.parts("t", batch.id, limit=1) == [first]
        lease = await leased(store, batch)
        assert [(each.queue, each.unfed) for each in lease.appetites] == [("other", 1), ("small", 2)]


@pytest.mark.parametrize("names", [("new", "b"), ("new", "new")])
async def test_a_custom_id_that_comes_twice_is_named_and_nothing_is_added(store: Store, names: tuple[str, ...]) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    before = await store.batches.add("t", batch.id, a_part("a", "b"))
    with pytest.raises(DuplicateLine, match=f"'{names[1]}'"):
        await store.batches.add("t", batch.id, a_part(*names))
    assert await store.batches.get("t", batch.id) == before
    assert len(await store.batches.parts("t", batch.id, limit=99)) == 1
    assert (await store.batches.add("t", batch.id, a_part("new"))).counts.total == 3


async def test_adding_again_with_the_same_key_changes_nothing(store: Store) -> None:
    """G9: also when the batch has been closed since."""
    batch = (await store.batches.create(an_open_batch())).batch
    first = await store.batches.add("t", batch.id, a_part("a", idempotency_key="k"))
    assert await store.batches.add("t", batch.id, a_part("a", idempotency_key="k")) == first
    cancelled = await store.batches.cancel("t", batch.id, limit=9)
    assert await store.batches.add("t", batch.id, a_part("a", idempotency_key="k")) == cancelled


async def test_lines_that_a_client_sends_again_by_itself_are_added_once(store: Store) -> None:
    """G9: whether their ids were said, or made when each try came in; also when the batch has been closed since."""
    batch = (await store.batches.create(an_open_batch())).batch
    first = await store.batches.add("t", batch.id, a_part("a", fingerprint=b"f"))
    for name in ("a", "made-up"):
        assert await store.batches.add("t", batch.id, a_part(name, fingerprint=b"f", is_retry=True)) == first
    cancelled = await store.batches.cancel("t", batch.id, limit=9)
    assert await store.batches.add("t", batch.id, a_part("a", fingerprint=b"f", is_retry=True)) == cancelled
    assert len(await store.batches.parts("t", batch.id, limit=9)) == 1


async def test_equal_lines_that_are_added_twice_on_purpose_stay_two(store: Store) -> None:
    """G9: and a retry of either is still known."""
    batch = (await store.batches.create(an_open_batch())).batch
    for name in ("made-up", "made-up-too", "another"):
        latest = await store.batches.add("t", batch.id, a_part(name, fingerprint=b"f"))
    assert latest.counts.total == 3
    assert await store.batches.add("t", batch.id, a_part("late", fingerprint=b"f", is_retry=True)) == latest


async def test_lines_are_known_for_two_minutes_since_they_were_last_added(store: Store, clock: FakeClock) -> None:
    """G9: so a retry whose own first try never came in is not taken for one of an older call that said the same."""
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("a", fingerprint=b"f"))
    clock.advance(seconds=119)
    latest = await store.batches.add("t", batch.id, a_part("b", fingerprint=b"f"))
    assert await store.batches.add("t", batch.id, a_part("c", fingerprint=b"f", is_retry=True)) == latest
    clock.advance(seconds=119)
    assert await store.batches.add("t", batch.id, a_part("c", fingerprint=b"f", is_retry=True)) == latest
    clock.advance(seconds=3)
    added = await store.batches.add("t", batch.id, a_part("c", fingerprint=b"f", is_retry=True))
    assert added.counts.total == 3
    assert await store.batches.add("t", batch.id, a_part("d", fingerprint=b"f", is_retry=True)) == added


async def test_a_key_of_a_caller_is_known_for_as_long_as_the_batch(store: Store, clock: FakeClock) -> None:
    """G9."""
    batch = (await store.batches.create(an_open_batch())).batch
    first = await store.batches.add("t", batch.id, a_part("a", idempotency_key="k"))
    clock.advance(seconds=HOUR / SECOND)
    assert await store.batches.add("t", batch.id, a_part("a", idempotency_key="k")) == first


async def test_a_clock_that_goes_back_hides_no_lines(store: Store, clock: FakeClock) -> None:
    """G9: and equal ones on purpose are taken whatever it shows."""
    batch = (await store.batches.create(an_open_batch())).batch
    for name, seconds in (("a", 0), ("b", -60), ("c", 60), ("d", -60)):
        clock.advance(seconds=seconds)
        latest = await store.batches.add("t", batch.id, a_part(name, fingerprint=b"f"))
    assert latest.counts.total == 4
    assert await store.batches.add("t", batch.id, a_part("e", fingerprint=b"f", is_retry=True)) == latest


async def test_a_retry_of_what_never_came_in_adds_its_lines_once(store: Store) -> None:
    """G9."""
    one, other = [(await store.batches.create(an_open_batch(id=name))).batch for name in ("batch_1", "batch_2")]
    await store.batches.add("t", other.id, a_part("a", fingerprint=b"f"))
    added = await store.batches.add("t", one.id, a_part("a", fingerprint=b"f", is_retry=True))
    assert added.counts.total == 1
    assert await store.batches.add("t", one.id, a_part("a", fingerprint=b"f", is_retry=True)) == added
    assert (await store.batches.add("t", one.id, a_part("b", fingerprint=b"g", is_retry=True))).counts.total == 2


async def test_no_key_of_a_caller_is_taken_for_what_another_call_said(store: Store) -> None:
    """G9."""
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("a", fingerprint=b"f"))
    for key in ("66", "body:66", "body"):
        await store.batches.add("t", batch.id, a_part(key, idempotency_key=key, fingerprint=b"f", is_retry=True))
    assert (await store.batches.get("t", batch.id)).counts.total == 4


async def test_a_batch_that_has_a_file_or_is_over_takes_no_more_lines(store: Store, clock: FakeClock) -> None:
    sealed = (await store.batches.create(a_batch())).batch
    cancelled = (await store.batches.create(an_open_batch())).batch
    await store.batches.cancel("t", cancelled.id, limit=9)
    late = (await store.batches.create(an_open_batch())).batch
    clock.advance_to(late.expires_at)
    for batch in (sealed, cancelled, late):
        with pytest.raises(BatchClosed):
            await store.batches.add("t", batch.id, a_part("a"))


async def test_a_large_part_is_held_and_a_lost_one_is_not_added(store: Store, clock: FakeClock) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.blobs.expect("part", keep_for=HOUR)
    await store.batches.add("t", batch.id, a_part("a", body=Body(size=9, digest="ef" * 32, blob="part")))
    with pytest.raises(AttachmentGone):
        await store.batches.add("t", batch.id, a_part("b", body=Body(size=9, digest="ef" * 32, blob="unknown")))
    clock.advance(seconds=2 * HOUR / SECOND)
    assert await store.blobs.doomed(limit=9) == []
    assert (await store.batches.get("t", batch.id)).counts.total == 1


# --- cancel


async def test_cancel_ends_some_at_once_and_feeds_nothing_more(store: Store, clock: FakeClock) -> None:
    """G5."""
    lease = await fed(store, 5)
    [running] = await claimed(store)
    clock.advance(seconds=1)
    batch = await store.batches.cancel("t", lease.batch.id, limit=3)
    assert (batch.status, batch.ends_as, batch.cancelling) == (BatchStatus.FINALIZING, BatchStatus.CANCELLED, True)
    assert (batch.finalizing_at, batch.ended_at) == (clock.now(), None)
    assert batch.counts == Counts(total=5, fed=5, cancelled=3)
    assert await store.leases.finish([success(running)]) == [running.fence]
    assert await store.batches.next_due() == clock.now()
    clock.advance(seconds=1)
    again = await store.batches.cancel("t", lease.batch.id, limit=3)
    assert again == replace(batch, counts=Counts(total=5, fed=5, cancelled=5))
    assert await claimed(store, 9) == []


async def test_cancelling_what_has_been_cancelled_changes_nothing_and_another_end_stays(store: Store) -> None:
    """G2."""
    lease = await fed(store, 1)
    await store.leases.finish([success(each) for each in await claimed(store)])
    with pytest.raises(AlreadyEnded):
        await store.batches.cancel("t", lease.batch.id, limit=9)
    other = (await store.batches.create(an_open_batch())).batch
    await store.batches.cancel("t", other.id, limit=9)
    for lease in (await leased(store), await leased(store)):
        ended = await store.batches.conclude(lease.fence, Conclusion())
        if ended.status is BatchStatus.CANCELLED:
            assert await store.batches.cancel("t", other.id, limit=9) == ended
        else:
            with pytest.raises(AlreadyEnded):
                await store.batches.cancel("t", ended.id, limit=9)


# --- the lines


async def test_rows_are_what_was_fed_in_input_order_page_by_page(store: Store) -> None:
    lease = await under_way(store, 6)
    fourth = a_line(4)
    await feed(store, lease, [a_line(1), a_broken_line(3), fourth])
    first, third = await store.batches.rows("t", lease.batch.id, limit=2)
    assert (first.line, first.custom_id, first.ended, first.error) == (1, "line-1", None, None)
    assert first.request is not None
    assert (first.request.status, first.request.batch) == (Status.PENDING, lease.batch.id)
    assert (third.line, third.request, third.ended, third.error) == (3, None, 1, BROKEN)
    [row] = await store.batches.rows("t", lease.batch.id, after=3, limit=9)
    assert fourth.request is not None
    assert row.request == await store.requests.get("t", fourth.request.id)
    assert await store.batches.rows("t", lease.batch.id, after=4, limit=9) == []


async def test_rows_come_with_their_results_where_they_are_asked_for(store: Store) -> None:
    lease = await fed(store, 2)
    [first] = await claimed(store)
    await store.leases.finish([success(first, attachments=(an_output(),))])
    plain, _ = await store.batches.rows("t", lease.batch.id, limit=9)
    assert plain.result is None
    row, other = await store.batches.results("t", lease.batch.id, limit=9)
    assert row.result is not None
    assert (row.result.body, row.result.attachments) == (ANSWER, (an_output(),))
    assert row.request == plain.request
    assert other.result is None


async def test_a_reader_of_ends_misses_none(store: Store) -> None:
    lease = await fed(store, 5)
    leases = await claimed(store, 5)
    await store.leases.finish([success(leases[3])])
    [row] = await store.batches.ended("t", lease.batch.id, limit=9)
    assert (row.line, row.ended, row.result and row.result.body) == (4, 1, ANSWER)
    await store.requests.cancel("t", leases[0].fence.request_id)
    await store.leases.finish([success(leases[4]), success(leases[1])])
    rows = await store.batches.ended("t", lease.batch.id, after=1, limit=2)
    assert [(row.line, row.ended) for row in rows] == [(1, 2), (5, 3)]
    rows = await store.batches.ended("t", lease.batch.id, after=3, limit=2)
    assert [(row.line, row.ended) for row in rows] == [(2, 4)]


async def test_no_more_results_are_read_than_have_room(store: Store) -> None:
    """G12."""
    lease = await fed(store, 5)
    leases = await claimed(store, 5)
    sizes = (10, 0, 5, 300, 1)
    await store.leases.finish([success(each, b"x" * size) for each, size in zip(leases, sizes, strict=True)])
    for read in (store.batches.results, store.batches.ended):
        for room, fitting in ((0, 1), (10, 1), (11, 3), (15, 3), (16, 4), (315, 4), (316, 5)):
            some = await read("t", lease.batch.id, limit=9, most_bytes=room)
            assert [len(row.result.body) for row in some if row.result is not None] == list(sizes[:fitting])
        rest = await read("t", lease.batch.id, after=3, limit=9, most_bytes=1)
        assert [row.line for row in rest] == [4]
        assert await read("t", lease.batch.id, after=5, limit=9, most_bytes=1) == []


async def test_parts_are_read_from_the_one_that_has_a_line_on(store: Store) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    for names in (("a", "b"), ("c",), ("d", "e", "f")):
        await store.batches.add("t", batch.id, a_part(*names))
    for line, position in ((0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (6, 2)):
        [part] = await store.batches.parts("t", batch.id, line=line, limit=1)
        assert part.position == position
    assert [part.position for part in await store.batches.parts("t", batch.id, line=3, limit=9)] == [1, 2]
    assert [part.position for part in await store.batches.parts("t", batch.id, start=2, line=3, limit=9)] == [2]


async def test_a_line_is_found_by_its_own_id_once_it_was_fed(store: Store) -> None:
    batch = (await store.batches.create(an_open_batch())).batch
    await store.batches.add("t", batch.id, a_part("line-1", "line-2"))
    await feed(store, await leased(store, batch), [a_line(1)])
    [lease] = await claimed(store)
    await store.leases.finish([success(lease)])
    row = await store.batches.row("t", batch.id, "line-1")
    assert row is not None
    assert (row.line, row.result and row.result.body) == (1, ANSWER)
    assert await store.batches.row("t", batch.id, "line-2") is None
    assert await store.batches.row("t", batch.id, "line-9") is None
    assert [row.line for row in await store.batches.rows("t", batch.id, limit=9)] == [1]


async def test_a_row_outlives_its_request(store: Store) -> None:
    lease = await fed(store, 2)
    leases = await claimed(store, 2)
    await store.leases.finish([success(each) for each in leases])
    lease = await leased(store)
    await store.batches.conclude(lease.fence, Conclusion())
    await store.requests.delete("t", leases[0].fence.request_id)
    await submitted(store)
    first, second = await store.batches.ended("t", lease.batch.id, limit=9)
    assert (first.line, first.custom_id, first.ended, first.request) == (1, "line-1", 1, None)
    assert second.request is not None


# --- how fast


async def test_paces_are_those_of_queues_that_were_ever_used(store: Store, clock: FakeClock) -> None:
    await submitted(store, 2, queue="slow")
    await submitted(store, 3, queue="slow", tenant="else")
    [lease] = await claimed(store, queue="slow")
    clock.advance(seconds=2)
    await store.leases.finish([success(lease)])
    await submitted(store, queue="new")
    paces = {pace.queue: pace for pace in await store.batches.paces(["slow", "new", "unknown"])}
    assert paces == {"slow": Pace("slow", 4, 2 * SECOND, 2 * SECOND), "new": Pace("new", 1, None, None)}


async def test_a_queue_that_is_not_asked_for_is_not_told_of(store: Store) -> None:
    await completed(store, queue="other")
    assert await store.batches.paces(["small"]) == []


async def test_a_requests_own_record_names_its_batch(store: Store) -> None:
    lease = await fed(store, 1)
    [row] = await store.batches.rows("t", lease.batch.id, limit=1)
    assert row.request is not None
    assert (await store.requests.get("t", row.request.id)).batch == lease.batch.id
    [alone] = await submitted(store)
    assert (await store.requests.get("t", alone.id)).batch is None
