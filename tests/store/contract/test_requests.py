"""What `protocol.Requests` promises."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.errors import (
    AlreadyEnded,
    IdempotencyConflict,
    NotEnded,
    NotFound,
    NotRequeueable,
    QuotaExceeded,
    ResultGone,
)
from raincheck.core.model import Attempt, NewRequest, Priority, Query, Request, Result, Submitted
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    BROKEN,
    LEASE,
    RETENTION,
    START,
    FakeClock,
    Home,
    Unsuccessful,
    a_request,
    accepted,
    claimed,
    completed,
    events,
    failure,
    ids,
    pages,
    release,
    retry,
    running,
    status,
    submitted,
    success,
)

# --- submit


async def test_what_submit_accepted_is_there_after_the_store_is_opened_again(home: Home) -> None:
    """G1."""
    new = a_request(metadata={"run": "7"}, deadline=START + HOUR)
    async with home.open() as store:
        [answer] = await store.requests.submit([new])
    async with home.open() as store:
        assert await store.requests.get("t", new.id) == accepted(answer).request
        [lease] = await claimed(store)
    assert lease.payload == new.payload


async def test_the_record_says_what_was_submitted(store: Store) -> None:
    new = a_request(
        queue="big",
        operation="embedding",
        path="/embeddings",
        model="m",
        priority=Priority.FLEX,
        not_before=START + MINUTE,
        deadline=START + HOUR,
        max_attempts=3,
        metadata={"a": "b"},
        webhook_url="https://example.org/hook",
    )
    [answer] = await store.requests.submit([new])
    expected = Request(
        id=new.id,
        tenant="t",
        queue="big",
        operation="embedding",
        path="/embeddings",
        model="m",
        status=Status.PENDING,
        priority=Priority.FLEX,
        attempt=0,
        max_attempts=3,
        created_at=START,
        due_at=START + MINUTE,
        deadline=START + HOUR,
        metadata={"a": "b"},
        webhook_url="https://example.org/hook",
    )
    assert answer == Submitted(expected)
    assert await store.requests.get("t", new.id) == expected


async def test_there_is_one_answer_per_request_in_order(store: Store) -> None:
    batch = [a_request(queue=queue) for queue in "cabacb"]
    answers = await store.requests.submit(batch)
    assert [accepted(answer).request.id for answer in answers] == [new.id for new in batch]
    assert await store.requests.submit([]) == []


async def test_concurrent_submits_each_get_their_own_answer(store: Store) -> None:
    batch = [a_request() for _ in range(40)]
    answers = await asyncio.gather(*(store.requests.submit([new]) for new in batch))
    assert [accepted(answer).request.id for [answer] in answers] == [new.id for new in batch]


async def test_a_refused_request_does_not_touch_the_others_of_its_batch(store: Store) -> None:
    batch = [a_request(max_pending=2) for _ in range(3)]
    other = a_request(tenant="else", max_pending=2)
    *first, third, fourth = await store.requests.submit([*batch, other])
    assert [accepted(answer).request.id for answer in first] == [batch[0].id, batch[1].id]
    assert isinstance(third, QuotaExceeded)
    assert accepted(fourth).request.id == other.id
    assert len(await claimed(store, 9)) == 3
    with pytest.raises(NotFound):
        await store.requests.get("t", batch[2].id)


def keyed(fingerprint: bytes = b"same", *, key: str = "k", **changes: Any) -> NewRequest:
    return a_request(idempotency_key=key, fingerprint=fingerprint, **changes)


async def test_a_repeated_key_answers_with_the_request_of_the_first_time_and_records_nothing(store: Store) -> None:
    """G9."""
    [first] = await store.requests.submit([keyed()])
    [again] = await store.requests.submit([keyed()])
    assert again == Submitted(accepted(first).request, repeated=True)
    assert len(await claimed(store, 9)) == 1
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 1)


async def test_a_repeated_key_shows_the_request_as_it_stands_now(store: Store) -> None:
    """G9."""
    request_id = await completed(store, idempotency_key="k", fingerprint=b"same")
    [again] = await store.requests.submit([keyed()])
    assert (accepted(again).request.id, accepted(again).request.status) == (request_id, Status.COMPLETED)


async def test_a_key_twice_within_one_batch_is_one_request(store: Store) -> None:
    """G9."""
    first, again, other = await store.requests.submit([keyed(), keyed(), keyed(b"other")])
    assert accepted(again) == Submitted(accepted(first).request, repeated=True)
    assert isinstance(other, IdempotencyConflict)


async def test_a_key_in_concurrent_submits_is_one_request(store: Store) -> None:
    """G9."""
    answers = await asyncio.gather(*(store.requests.submit([keyed()]) for _ in range(8)))
    assert len({accepted(answer).request.id for [answer] in answers}) == 1
    assert [accepted(answer).repeated for [answer] in answers].count(False) == 1


async def test_a_key_with_another_fingerprint_is_a_conflict(store: Store) -> None:
    """G9."""
    await store.requests.submit([keyed(b"one")])
    [answer] = await store.requests.submit([keyed(b"two")])
    assert isinstance(answer, IdempotencyConflict)
    assert len(await claimed(store, 9)) == 1


async def test_another_tenants_equal_key_is_independent(store: Store) -> None:
    """G8, G9."""
    mine, theirs = await store.requests.submit([keyed(), keyed(b"other", tenant="else")])
    assert not accepted(mine).repeated
    assert not accepted(theirs).repeated


async def test_the_request_of_a_key_is_found_by_it_as_it_stands_now(store: Store) -> None:
    """G8, G9."""
    request_id = await completed(store, idempotency_key="k", fingerprint=b"same")
    await submitted(store, fingerprint=b"k", repeat_until=START + DAY)
    await submitted(store, tenant="else", idempotency_key="other", fingerprint=b"f")
    assert await store.requests.repeated("t", "k") == await store.requests.get("t", request_id)
    for tenant, key in (("else", "k"), ("t", "other"), ("t", "k\0"), ("t", b"k".hex()), ("t", "")):
        assert await store.requests.repeated(tenant, key) is None
    await store.requests.delete("t", request_id)
    assert await store.requests.repeated("t", "k") is None


async def test_a_key_is_remembered_as_long_as_its_request(store: Store, clock: FakeClock) -> None:
    """G9."""
    request_id = await completed(store, idempotency_key="k", fingerprint=b"same")
    clock.advance(seconds=6 * DAY / SECOND)
    assert accepted((await store.requests.submit([keyed()]))[0]).request.id == request_id
    await store.requests.delete("t", request_id)
    assert not accepted((await store.requests.submit([keyed()]))[0]).repeated


async def test_a_repeat_is_answered_even_when_the_quota_is_used_up(store: Store) -> None:
    """G9."""
    await store.requests.submit([keyed(max_pending=1)])
    repeat, refused = await store.requests.submit([keyed(max_pending=1), keyed(key="k2", max_pending=1)])
    assert accepted(repeat).repeated
    assert isinstance(refused, QuotaExceeded)


def tried(*, is_retry: bool, fingerprint: bytes = b"same", until: int = START + MINUTE, **changes: Any) -> NewRequest:
    return a_request(fingerprint=fingerprint, repeat_until=until, is_retry=is_retry, **changes)


async def test_a_retry_with_a_fingerprint_seen_in_its_window_is_the_same_request(store: Store) -> None:
    """G9."""
    [first] = await store.requests.submit([tried(is_retry=False)])
    [again] = await store.requests.submit([tried(is_retry=True)])
    assert again == Submitted(accepted(first).request, repeated=True)


async def test_a_retry_after_its_window_is_a_new_request(store: Store, clock: FakeClock) -> None:
    await store.requests.submit([tried(is_retry=False)])
    clock.advance(seconds=60)
    [late] = await store.requests.submit([tried(is_retry=True, until=clock.now() + MINUTE)])
    assert not accepted(late).repeated
    [again] = await store.requests.submit([tried(is_retry=True)])
    assert again == Submitted(accepted(late).request, repeated=True)


async def test_an_equal_request_that_is_no_retry_is_a_new_one(store: Store) -> None:
    answers = await store.requests.submit([tried(is_retry=False), tried(is_retry=False)])
    assert [accepted(answer).repeated for answer in answers] == [False, False]
    [again] = await store.requests.submit([tried(is_retry=True)])
    assert accepted(again).request.id == accepted(answers[1]).request.id


async def test_a_retry_nobody_has_seen_before_is_a_new_request(store: Store) -> None:
    first, other, foreign = await store.requests.submit(
        [
            tried(is_retry=True),
            tried(is_retry=True, fingerprint=b"other"),
            tried(is_retry=True, tenant="else"),
        ]
    )
    assert [accepted(answer).repeated for answer in (first, other, foreign)] == [False, False, False]


async def test_a_fingerprint_without_key_or_window_is_not_remembered(store: Store) -> None:
    await store.requests.submit([a_request(fingerprint=b"same")])
    [answer] = await store.requests.submit([a_request(fingerprint=b"same", is_retry=True)])
    assert not accepted(answer).repeated


async def test_more_pending_requests_than_allowed_are_refused(store: Store) -> None:
    answers = await store.requests.submit([a_request(queue=queue, max_pending=3) for queue in "abcd"])
    refused = answers[3]
    assert isinstance(refused, QuotaExceeded)
    assert "3 pending requests" in refused.message
    assert refused.retry_after is not None


async def test_the_quota_counts_pending_requests_of_that_tenant_only(store: Store, clock: FakeClock) -> None:
    await submitted(store, 5, tenant="else")
    lease = await running(store, queue="other")
    await submitted(store, 1, not_before=START + HOUR)
    assert accepted((await store.requests.submit([a_request(max_pending=2)]))[0])
    assert isinstance((await store.requests.submit([a_request(max_pending=2)]))[0], QuotaExceeded)
    await store.leases.finish([retry(lease, clock.now())])
    assert isinstance((await store.requests.submit([a_request(max_pending=3)]))[0], QuotaExceeded)


@pytest.mark.parametrize("end", ["cancelled", "claimed", "expired"])
async def test_whatever_stops_being_pending_makes_room_in_the_quota(store: Store, clock: FakeClock, end: str) -> None:
    [request] = await submitted(store, deadline=START + MINUTE)
    match end:
        case "cancelled":
            await store.requests.cancel("t", request.id)
        case "claimed":
            await claimed(store)
        case _:
            clock.advance(seconds=60)
            await store.upkeep.expire(limit=1)
    assert accepted((await store.requests.submit([a_request(max_pending=1)]))[0])


@pytest.mark.parametrize(
    "text", ["žluťoučký kůň", "日本語", "🦆\U0010ffff", "quote ' \" \\ ; -- ?1 :x %s", "\x01\x1f\x7f"]
)
async def test_any_text_comes_back_as_it_went_in(store: Store, text: str) -> None:
    request_id = await completed(store, queue=text, model=text, metadata={text: text}, webhook_url=text)
    request = await store.requests.get("t", request_id)
    assert (request.queue, request.model, request.metadata, request.webhook_url) == (text, text, {text: text}, text)
    [other] = await submitted(store, tenant=text)
    assert await status(store, other.id, tenant=text) == Status.PENDING


# --- get, place, attempts, result

STRANGER_CALLS: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    "get": lambda store, request_id: store.requests.get("stranger", request_id),
    "place": lambda store, request_id: store.requests.place("stranger", request_id),
    "attempts": lambda store, request_id: store.requests.attempts("stranger", request_id),
    "result": lambda store, request_id: store.requests.result("stranger", request_id),
    "search": lambda store, request_id: store.requests.search("stranger", Query(after=request_id)),
    "cancel": lambda store, request_id: store.requests.cancel("stranger", request_id),
    "requeue": lambda store, request_id: store.requests.requeue("stranger", request_id, new_id="req_new"),
    "delete": lambda store, request_id: store.requests.delete("stranger", request_id),
}


@pytest.mark.parametrize("call", STRANGER_CALLS)
@pytest.mark.parametrize("stands", ["pending", "processing", "ended"])
async def test_another_tenants_id_is_answered_like_an_unknown_one(store: Store, call: str, stands: str) -> None:
    """G8."""
    if stands == "ended":
        lease = await running(store)
        await store.leases.finish([failure(lease)])
        request_id = lease.fence.request_id
    elif stands == "processing":
        request_id = (await running(store)).fence.request_id
    else:
        [request_id] = [request.id for request in await submitted(store)]
    before = await store.requests.get("t", request_id)

    with pytest.raises(NotFound) as foreign:
        await STRANGER_CALLS[call](store, request_id)
    with pytest.raises(NotFound) as unknown:
        await STRANGER_CALLS[call](store, "req_unknown")

    assert foreign.value.message.replace(request_id, "req_unknown") == unknown.value.message
    assert await store.requests.get("t", request_id) == before


async def test_another_tenant_finds_no_events_and_lists_nothing(store: Store) -> None:
    """G8."""
    request_id = await completed(store)
    assert await events(store, request_id, tenant="stranger") == []
    assert (await store.requests.search("stranger", Query())).requests == []


async def test_the_place_counts_who_is_claimed_before(store: Store) -> None:
    first, second = await submitted(store, 2)
    [urgent] = await submitted(store, priority=Priority.PRIORITY)
    [waiting] = await submitted(store, not_before=START + HOUR, priority=Priority.PRIORITY)
    await submitted(store, 3, queue="other")
    places = [await store.requests.place("t", request.id) for request in (urgent, first, second)]
    assert [(place.ahead, place.exact) for place in places if place] == [(0, True), (1, True), (2, True)]
    assert await store.requests.place("t", waiting.id) is not None
    await claimed(store, 1)
    place = await store.requests.place("t", second.id)
    assert place is not None
    assert place.ahead == 1


async def test_there_is_no_place_for_what_is_not_pending(store: Store) -> None:
    lease = await running(store)
    assert await store.requests.place("t", lease.fence.request_id) is None
    assert await store.requests.place("t", await completed(store)) is None


async def test_a_far_place_is_an_honest_estimate(store: Store) -> None:
    """Three flows of different weight, 2,000 rows: exact up to 1,000 and within a factor of 1.5 beyond."""
    flows = {"heavy": 2.0, "plain": 1.0, "light": 0.5}
    batch = [
        a_request(tenant=tenant, weight=weight)
        for tenant, weight in flows.items()
        for _ in range({"heavy": 1200, "plain": 500, "light": 300}[tenant])
    ]
    await store.requests.submit(batch)
    await claimed(store, 100)
    tenants = {new.id: new.tenant for new in batch}
    standing = dict[str, tuple[int, bool]]()
    for request_id, tenant in list(tenants.items())[::50]:
        if (place := await store.requests.place(tenant, request_id)) is not None:
            standing[request_id] = (place.ahead, place.exact)
    order = {request_id: number for number, request_id in enumerate(ids(await claimed(store, 2_000)))}
    assert len(order) == 1_900
    assert {exact for _, exact in standing.values()} == {True, False}
    for request_id, (ahead, exact) in standing.items():
        if exact:
            assert ahead == order[request_id] <= 1_000
        else:
            assert order[request_id] / 1.5 <= ahead <= order[request_id] * 1.5


async def test_a_far_place_counts_everyone_of_a_higher_priority(store: Store) -> None:
    await submitted(store, 1_100, tenant="else", priority=Priority.PRIORITY)
    *_, last = await submitted(store, 200)
    await submitted(store, 300, priority=Priority.BATCH)
    place = await store.requests.place("t", last.id)
    assert place is not None
    assert not place.exact
    assert place.ahead == pytest.approx(1_299, rel=0.01)


async def test_the_eta_follows_the_measured_pace(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    [first, *_, last] = await submitted(store, 5)
    before = await store.requests.place("t", first.id)
    assert before is not None
    assert before.eta is None
    for _ in range(10):
        clock.advance(seconds=4)
        await store.leases.finish([success(lease)])
        await submitted(store, 1, tenant="other", priority=Priority.PRIORITY)
        [lease] = await claimed(store)
    near, far = [await store.requests.place("t", request.id) for request in (first, last)]
    assert near is not None
    assert far is not None
    assert near.eta == pytest.approx(4 * SECOND, rel=0.01)
    assert far.eta == pytest.approx(20 * SECOND, rel=0.01)


async def test_the_place_tells_that_the_queue_is_closed_only_while_it_is(store: Store, clock: FakeClock) -> None:
    [request] = await submitted(store)
    await store.registry.pause("queue", "small", until=START + MINUTE, reason="repairs")
    place = await store.requests.place("t", request.id)
    assert place is not None
    assert (place.paused_until, place.pause_reason) == (START + MINUTE, "repairs")
    clock.advance(seconds=60)
    place = await store.requests.place("t", request.id)
    assert place is not None
    assert (place.paused_until, place.pause_reason) == (None, None)


async def test_attempts_are_the_tries_so_far_oldest_first_without_the_one_that_runs(
    store: Store, clock: FakeClock
) -> None:
    lease = await running(store)
    clock.advance(seconds=1)
    await store.leases.finish([retry(lease, clock.now())])
    [again] = await claimed(store)
    clock.advance(seconds=2)
    await store.leases.finish([release(again)])
    await claimed(store)
    attempts = await store.requests.attempts("t", lease.fence.request_id)
    assert attempts == [
        Attempt(1, "up", START, START + SECOND, "retry", BROKEN),
        Attempt(2, "up", START + SECOND, START + 3 * SECOND, "released", None),
    ]


async def test_a_pending_request_has_no_attempts_yet(store: Store) -> None:
    [request] = await submitted(store)
    assert await store.requests.attempts("t", request.id) == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"a":  1.0e5, "\\u00e9":"\xc3\xa9"}', bytes(range(256)), b"x" * 300_000], ids=len
)
async def test_a_result_is_kept_byte_for_byte(store: Store, body: bytes) -> None:
    lease = await running(store)
    await store.leases.finish([success(lease, body, status=201, content_type="a/b")])
    assert await store.requests.result("t", lease.fence.request_id) == Result(201, "a/b", body)


async def test_there_is_no_result_before_completion_nor_after_another_end(store: Store) -> None:
    lease = await running(store)
    assert await store.requests.result("t", lease.fence.request_id) is None
    await store.leases.finish([failure(lease)])
    assert await store.requests.result("t", lease.fence.request_id) is None


async def test_reading_a_purged_result_says_that_it_is_gone(store: Store, clock: FakeClock) -> None:
    request_id = await completed(store)
    clock.advance(seconds=RETENTION / SECOND)
    await store.upkeep.purge(limit=9)
    with pytest.raises(ResultGone):
        await store.requests.result("t", request_id)


# --- search


async def found(store: Store, query: Query) -> list[str]:
    return [request.id for request in (await store.requests.search("t", query)).requests]


async def test_every_part_of_the_query_must_match(store: Store) -> None:
    fields: dict[str, Any] = {"model": "m", "queue": "q", "operation": "o", "metadata": {"k": "v", "l": "w"}}
    [wanted] = await submitted(store, created_at=START + 10, **fields)
    others: list[dict[str, Any]] = [
        {"model": "other"},
        {"queue": "other"},
        {"operation": "other"},
        {"metadata": {"k": "w", "l": "v"}},
        {"metadata": {"k": "v"}},
        {"metadata": {}},
        {"created_at": START + 9},
        {"created_at": START + 20},
        {"tenant": "else"},
    ]
    for other in others:
        await submitted(store, **({"created_at": START + 10} | fields | other))
    query = Query(created_after=START + 10, created_before=START + 20, status=Status.PENDING, **fields)
    assert await found(store, query) == [wanted.id]
    assert await found(store, replace(query, status=None)) == [wanted.id]
    assert await found(store, replace(query, status=Status.COMPLETED)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "m"), ("queue", "q"), ("operation", "o"), ("metadata", {"k": "v"}), ("status", Status.FAILED)],
)
async def test_each_filter_works_alone(store: Store, field: str, value: Any) -> None:
    changes = {} if field == "status" else {field: value}
    lease = await running(store, **changes)
    await store.leases.finish([failure(lease)])
    await submitted(store, 3)
    assert await found(store, Query(**{field: value})) == [lease.fence.request_id]


async def test_the_status_filter_follows_the_request(store: Store) -> None:
    async def statuses() -> list[Status]:
        return [status for status in Status if await found(store, Query(status=status))]

    await submitted(store)
    assert await statuses() == [Status.PENDING]
    [lease] = await claimed(store)
    assert await statuses() == [Status.PROCESSING]
    await store.leases.finish([success(lease)])
    assert await statuses() == [Status.COMPLETED]


ODD = ["a.b", "$", "$.k", '"', "'", "[0]", "", " ", "%", "_", "\\", "key=value", "ключ", "🦆", "\x00", "null", "1"]


@pytest.mark.parametrize("odd", ODD)
async def test_metadata_with_odd_characters_is_found(store: Store, odd: str) -> None:
    [by_key] = await submitted(store, metadata={odd: "v", "z": "1"})
    [by_value] = await submitted(store, metadata={"k": odd})
    await submitted(store, metadata={"other": "v"})
    await submitted(store, metadata={"k": odd + "x", odd + "x": "v"})
    assert await found(store, Query(metadata={odd: "v"})) == [by_key.id]
    assert await found(store, Query(metadata={"k": odd})) == [by_value.id]


async def test_a_family_of_operations_is_found_by_its_name(store: Store) -> None:
    [edit] = await submitted(store, operation="video.edit")
    [making] = await submitted(store, operation="video.generation")
    await submitted(store, operation="videos.edit")
    [alone] = await submitted(store, operation="rerank")

    assert await found(store, Query(operation="video")) == [making.id, edit.id]
    assert await found(store, Query(operation="video.edit")) == [edit.id]
    assert await found(store, Query(operation="rerank")) == [alone.id]
    assert await found(store, Query(operation="vide")) == await found(store, Query(operation="video.")) == []


async def test_a_listing_is_newest_first(store: Store) -> None:
    requests = await submitted(store, 5)
    assert await found(store, Query()) == [request.id for request in reversed(requests)]


@pytest.mark.parametrize("status", [None, Status.PENDING])
async def test_paging_walks_every_row_once_newest_first_while_new_ones_arrive(
    store: Store, status: Status | None
) -> None:
    expected = [request.id for request in reversed(await submitted(store, 10))]
    seen: list[str] = []
    sizes: list[int] = []
    async for page in pages(store, Query(limit=3, status=status)):
        seen += [request.id for request in page.requests]
        sizes.append(len(page.requests))
        await submitted(store, 2)
    assert seen == expected
    assert sizes == [3, 3, 3, 1]


@pytest.mark.parametrize("narrowed", [{}, {"status": Status.PENDING}, {"operation": "video"}])
async def test_paging_from_the_oldest_walks_every_row_once_and_those_that_arrive_meanwhile(
    store: Store, narrowed: dict[str, Any]
) -> None:
    expected = [request.id for request in await submitted(store, 4, operation="video.edit")]
    await submitted(store, tenant="else", operation="video.edit")
    seen: list[str] = []
    async for page in pages(store, Query(limit=3, oldest_first=True, **narrowed)):
        seen += [request.id for request in page.requests]
        if page.has_more:
            expected += [request.id for request in await submitted(store, operation="video.edit")]
    assert seen == expected


async def test_a_page_that_is_just_full_is_the_last(store: Store) -> None:
    await submitted(store, 3)
    assert not (await store.requests.search("t", Query(limit=3))).has_more
    assert (await store.requests.search("t", Query(limit=2))).has_more
    assert (await store.requests.search("t", Query(model="none"))).requests == []


async def test_an_unknown_cursor_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.requests.search("t", Query(after="req_unknown"))


# --- cancel


async def test_what_was_cancelled_while_pending_cannot_be_claimed(store: Store) -> None:
    """G5."""
    [request] = await submitted(store)
    answer = await store.requests.cancel("t", request.id)
    assert (answer.status, answer.ended_at) == (Status.CANCELLED, START)
    assert await claimed(store, 9) == []
    assert await events(store, request.id) == ["chat.completion.cancelled"]


async def test_what_was_cancelled_while_waiting_for_its_time_never_becomes_ready(
    store: Store, clock: FakeClock
) -> None:
    """G5."""
    [request] = await submitted(store, not_before=START + MINUTE)
    await store.requests.cancel("t", request.id)
    clock.advance(seconds=60)
    assert await claimed(store, 9) == []
    assert await store.leases.next_due() is None


async def test_cancelling_a_processing_request_voids_its_fence_at_once(store: Store, clock: FakeClock) -> None:
    """G2, G5."""
    lease = await running(store)
    answer = await store.requests.cancel("t", lease.fence.request_id)
    assert answer.status is Status.CANCELLED
    assert await store.leases.finish([success(lease)]) == [lease.fence]
    assert await status(store, lease.fence.request_id) is Status.CANCELLED
    assert await store.requests.result("t", lease.fence.request_id) is None
    assert await events(store, lease.fence.request_id) == ["chat.completion.cancelled"]
    clock.advance(seconds=2 * LEASE / SECOND)
    assert await claimed(store, 9) == []


async def test_the_history_of_a_cancelled_processing_request_has_its_try(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    clock.advance(seconds=3)
    await store.requests.cancel("t", lease.fence.request_id)
    assert await store.requests.attempts("t", lease.fence.request_id) == [
        Attempt(1, None, START, START + 3 * SECOND, "cancelled", None)
    ]


async def test_cancelling_twice_changes_nothing_and_answers_with_the_record(store: Store, clock: FakeClock) -> None:
    """G6."""
    [request] = await submitted(store)
    first = await store.requests.cancel("t", request.id)
    clock.advance(seconds=1)
    assert await store.requests.cancel("t", request.id) == first
    assert len(await events(store, request.id)) == 1


@pytest.mark.parametrize("end", [Status.COMPLETED, Status.FAILED, Status.EXPIRED])
async def test_cancelling_what_ended_otherwise_is_refused(
    store: Store, end: Literal[Status.COMPLETED, Status.FAILED, Status.EXPIRED]
) -> None:
    """G2."""
    lease = await running(store)
    await store.leases.finish([success(lease) if end is Status.COMPLETED else failure(lease, end)])
    before = await store.requests.get("t", lease.fence.request_id)
    with pytest.raises(AlreadyEnded, match=end):
        await store.requests.cancel("t", lease.fence.request_id)
    assert await store.requests.get("t", lease.fence.request_id) == before


# --- requeue


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED, Status.EXPIRED])
async def test_requeue_submits_a_copy_ready_at_once_and_without_a_deadline(
    store: Store, clock: FakeClock, end: Unsuccessful
) -> None:
    lease = await running(
        store,
        priority=Priority.FLEX,
        metadata={"k": "v"},
        webhook_url="https://example.org/",
        max_attempts=2,
        deadline=START + HOUR,
    )
    await store.leases.finish([failure(lease, end)])
    old = await store.requests.get("t", lease.fence.request_id)
    clock.advance(seconds=5)

    copy = await store.requests.requeue("t", old.id, new_id="req_copy")

    assert copy == replace(
        old,
        id="req_copy",
        status=Status.PENDING,
        attempt=0,
        created_at=clock.now(),
        started_at=None,
        ended_at=None,
        deadline=None,
        purge_at=None,
        error=None,
    )
    [again] = await claimed(store)
    assert (again.fence.request_id, again.payload, again.attempt) == ("req_copy", lease.payload, 1)
    assert await store.requests.get("t", old.id) == old


async def test_requeue_keeps_the_share_of_its_tenant(store: Store) -> None:
    lease = await running(store, weight=2.0, metadata={})
    await store.leases.finish([failure(lease)])
    for number in range(4):
        await store.requests.requeue("t", lease.fence.request_id, new_id=f"copy{number}")
    await submitted(store, 2, tenant="else")
    assert [lease.tenant for lease in await claimed(store, 6)] == ["t", "t", "else", "t", "t", "else"]


async def test_only_failed_cancelled_and_expired_requests_are_requeued(store: Store) -> None:
    done = await completed(store)
    held = (await running(store)).fence.request_id
    [waits] = await submitted(store)
    for request_id in (done, held, waits.id):
        with pytest.raises(NotRequeueable):
            await store.requests.requeue("t", request_id, new_id="req_new")
    with pytest.raises(NotFound):
        await store.requests.get("t", "req_new")


async def test_requeue_after_the_payload_was_purged_says_that_it_is_gone(store: Store, clock: FakeClock) -> None:
    [request] = await submitted(store)
    await store.requests.cancel("t", request.id)
    clock.advance(seconds=RETENTION / SECOND)
    await store.upkeep.purge(limit=1)
    with pytest.raises(ResultGone):
        await store.requests.requeue("t", request.id, new_id="req_new")


# --- delete


async def test_delete_forgets_the_request_its_result_and_its_history(store: Store) -> None:
    request_id = await completed(store)
    await store.requests.delete("t", request_id)
    for call in ("get", "result", "attempts", "place", "cancel", "delete"):
        with pytest.raises(NotFound):
            await getattr(store.requests, call)("t", request_id)
    assert await events(store, request_id) == []
    assert await found(store, Query()) == []


async def test_delete_leaves_other_requests_alone_also_those_submitted_after_it(store: Store) -> None:
    kept = await completed(store, b"kept")
    await store.requests.delete("t", await completed(store, b"gone"))
    fresh = await completed(store, b"fresh")
    assert [(await store.requests.result("t", each)) for each in (kept, fresh)] == [
        Result(200, "application/json", b"kept"),
        Result(200, "application/json", b"fresh"),
    ]
    assert len(await store.requests.attempts("t", fresh)) == 1
    assert await events(store, fresh) == ["chat.completion.completed"]


async def test_what_has_not_ended_cannot_be_deleted(store: Store) -> None:
    """G3."""
    lease = await running(store)
    [request] = await submitted(store)
    for request_id in (lease.fence.request_id, request.id):
        with pytest.raises(NotEnded):
            await store.requests.delete("t", request_id)
    assert await store.leases.finish([success(lease)]) == []
    assert ids(await claimed(store)) == [request.id]


async def test_requeue_minds_the_cap_on_pending_requests(store: Store) -> None:
    await submitted(store)
    lease = (await claimed(store))[0]
    await store.leases.finish([failure(lease)])
    await submitted(store)
    with pytest.raises(QuotaExceeded):
        await store.requests.requeue("t", lease.fence.request_id, new_id="req_copy", max_pending=1)
    copy = await store.requests.requeue("t", lease.fence.request_id, new_id="req_copy", max_pending=2)
    assert copy.status is Status.PENDING
