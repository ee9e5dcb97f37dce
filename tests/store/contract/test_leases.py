"""What `protocol.Leases` promises."""

import asyncio
from collections import Counter

import msgspec
import pytest

from raincheck.core.adaptive import FIRST_LEVEL, Level, Sample, step
from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.model import (
    Attempt,
    Beat,
    Fence,
    Finish,
    Lease,
    Limits,
    Offer,
    Priority,
    Remote,
    Request,
    Result,
    Tenant,
)
from raincheck.core.outcome import Pause, RequestError, Retry, UpstreamError
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    ANSWER,
    BROKEN,
    LEASE,
    RETENTION,
    START,
    FakeClock,
    Home,
    Unsuccessful,
    a_request,
    capped,
    claimed,
    completed,
    events,
    failure,
    ids,
    release,
    retry,
    running,
    status,
    submitted,
    success,
    throttle,
)

# --- claim: what is handed out


async def test_a_lease_says_all_that_the_try_needs(store: Store, clock: FakeClock) -> None:
    new = a_request(operation="embedding", path="/embeddings", model="m", max_attempts=3, deadline=START + HOUR)
    await store.requests.submit([new])
    clock.advance(seconds=5)
    [lease] = await claimed(store, lease_for=MINUTE)
    assert lease == Lease(
        fence=lease.fence,
        tenant="t",
        queue="small",
        upstream="up",
        operation="embedding",
        path="/embeddings",
        model="m",
        payload=new.payload,
        attempt=1,
        max_attempts=3,
        created_at=START,
        claimed_at=START + 5 * SECOND,
        lapses_at=START + 65 * SECOND,
        deadline=START + HOUR,
    )


async def test_a_claimed_request_is_processing_since_its_first_claim(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    record = await store.requests.get("t", lease.fence.request_id)
    assert (record.status, record.started_at, record.attempt) == (Status.PROCESSING, START, 1)
    assert record.due_at == lease.lapses_at
    clock.advance(seconds=9)
    await store.leases.finish([retry(lease, clock.now())])
    [again] = await claimed(store)
    record = await store.requests.get("t", again.fence.request_id)
    assert (record.started_at, record.attempt) == (START, 2)


async def test_each_queue_gives_up_to_its_free_places(store: Store) -> None:
    for queue in ("a", "b", "c"):
        await submitted(store, 3, queue=queue)
    offers = [Offer("a", "up", 2), Offer("b", "up", 5), Offer("none", "up", 4)]
    leases, held_back = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert Counter(lease.queue for lease in leases) == {"a": 2, "b": 3}
    assert held_back == set()
    for nothing in ([Offer("c", "up", 0)], []):
        assert await store.leases.claim(nothing, worker="w", lease_for=LEASE) == ([], set())


async def test_concurrent_claims_never_hand_out_the_same_request(store: Store) -> None:
    await submitted(store, 30)
    leases = [lease for got in await asyncio.gather(*(claimed(store, 4) for _ in range(10))) for lease in got]
    assert len(leases) == 30
    assert len(set(ids(leases))) == 30


async def test_each_lease_has_a_fence_that_no_earlier_claim_had(store: Store, clock: FakeClock) -> None:
    """G2: after a lapse, a retry and a release alike."""
    lease = await running(store, max_attempts=9)
    fences = [lease.fence]
    for again in ("lapse", "retry", "release"):
        match again:
            case "lapse":
                clock.advance(seconds=LEASE / SECOND)
            case "retry":
                await store.leases.finish([retry(lease, clock.now())])
            case _:
                await store.leases.finish([release(lease)])
        [lease] = await claimed(store)
        fences.append(lease.fence)
    assert len(set(fences)) == 4
    assert await store.leases.extend([Beat(fence) for fence in fences], lease_for=LEASE) == {lease.fence}


# --- claim: order


async def test_order_is_by_priority_then_arrival(store: Store) -> None:
    tiers = [Priority.BATCH, Priority.FLEX, Priority.DEFAULT, Priority.PRIORITY] * 2
    requests = [(await submitted(store, priority=tier))[0] for tier in tiers]
    expected = [request.id for request in sorted(requests, key=lambda request: request.priority)]
    assert ids(await claimed(store, 9)) == expected


async def test_a_newcomer_is_behind_at_most_one_request_of_a_tenant_with_a_thousand(store: Store) -> None:
    await submitted(store, 1_000, tenant="crowd")
    [first] = await submitted(store, tenant="newcomer")
    assert [lease.tenant for lease in await claimed(store, 2)] == ["crowd", "newcomer"]
    await claimed(store, 500)
    await submitted(store, tenant="later")
    assert "later" in [lease.tenant for lease in await claimed(store, 2)]
    assert await status(store, first.id, tenant="newcomer") is Status.PROCESSING


async def test_equal_tenants_take_turns(store: Store) -> None:
    await submitted(store, 10, tenant="a")
    await submitted(store, 10, tenant="b")
    assert [lease.tenant for lease in await claimed(store, 8)] == ["a", "b"] * 4


async def test_weights_of_two_to_one_give_shares_of_two_to_one(store: Store) -> None:
    await submitted(store, 100, tenant="heavy", weight=2.0)
    await submitted(store, 100, tenant="light", weight=1.0)
    assert Counter(lease.tenant for lease in await claimed(store, 60)) == {"heavy": 40, "light": 20}


async def test_an_idle_flow_gathers_no_credit(store: Store) -> None:
    await submitted(store, 1, tenant="idle")
    await submitted(store, 100, tenant="busy")
    assert len(await claimed(store, 61)) == 61
    await submitted(store, 40, tenant="idle")
    share = Counter(lease.tenant for lease in await claimed(store, 20))
    assert share == {"idle": 10, "busy": 10}


async def test_a_flow_pays_for_what_it_already_asked_for(store: Store) -> None:
    await submitted(store, 20, tenant="early")
    await claimed(store, 5)
    await submitted(store, 20, tenant="late")
    await submitted(store, 20, tenant="early")
    shares = Counter(lease.tenant for lease in await claimed(store, 30))
    assert shares == {"early": 15, "late": 15}


async def test_priorities_and_queues_have_fair_clocks_of_their_own(store: Store) -> None:
    await submitted(store, 50, tenant="a", queue="other")
    await submitted(store, 50, tenant="a", priority=Priority.BATCH)
    await submitted(store, 2, tenant="a")
    await submitted(store, 2, tenant="b")
    assert [lease.tenant for lease in await claimed(store, 4)] == ["a", "b", "a", "b"]


async def test_a_retried_request_goes_before_those_that_came_after_it(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    await submitted(store, 3)
    await store.leases.finish([retry(lease, clock.now())])
    assert ids(await claimed(store)) == [lease.fence.request_id]


# --- claim: those that wait


async def test_what_waits_for_its_time_is_not_claimed_early_and_ready_when_due(store: Store, clock: FakeClock) -> None:
    [request] = await submitted(store, not_before=START + MINUTE)
    clock.advance(seconds=59.999999)
    assert await claimed(store) == []
    clock.advance(seconds=0.000001)
    assert ids(await claimed(store)) == [request.id]


async def test_a_not_before_that_is_over_is_no_wait(store: Store) -> None:
    [request] = await submitted(store, not_before=START)
    assert request.due_at is None
    assert ids(await claimed(store)) == [request.id]


async def test_a_backoff_is_not_claimed_early_and_ready_when_due(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    await store.leases.finish([retry(lease, START + 30 * SECOND)])
    record = await store.requests.get("t", lease.fence.request_id)
    assert (record.status, record.due_at) == (Status.PENDING, START + 30 * SECOND)
    assert await claimed(store) == []
    clock.advance(seconds=30)
    [again] = await claimed(store)
    assert (again.fence.request_id, again.attempt) == (lease.fence.request_id, 2)


async def test_a_herd_that_becomes_due_at_once_is_all_claimed(store: Store, clock: FakeClock) -> None:
    """G3."""
    await submitted(store, 450, not_before=START + MINUTE)
    clock.advance(seconds=60)
    leases: list[Lease] = []
    while got := await claimed(store, 1_000):
        leases += got
    assert len(set(ids(leases))) == 450


# --- claim: leases that lapsed


async def test_a_lapsed_lease_is_pending_again_and_the_lost_attempt_counts(store: Store, clock: FakeClock) -> None:
    """G3."""
    lease = await running(store)
    clock.advance(seconds=LEASE / SECOND - 0.000001)
    assert await claimed(store) == []
    clock.advance(seconds=0.000001)
    [again] = await claimed(store)
    assert (again.fence.request_id, again.attempt) == (lease.fence.request_id, 2)
    [attempt] = await store.requests.attempts("t", lease.fence.request_id)
    assert (attempt.number, attempt.outcome, attempt.started_at) == (1, "lapsed", START)
    assert attempt.error is not None


async def test_a_lease_lapses_also_when_nobody_asks_for_its_queue(store: Store, clock: FakeClock) -> None:
    """G3."""
    lease = await running(store)
    clock.advance(seconds=LEASE / SECOND)
    await claimed(store, queue="other")
    assert await status(store, lease.fence.request_id) is Status.PENDING


async def test_a_lapse_out_of_attempts_is_a_failure(store: Store, clock: FakeClock) -> None:
    """G3, G6."""
    lease = await running(store, max_attempts=1)
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store, 9) == []
    record = await store.requests.get("t", lease.fence.request_id)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error.code == "lease_lapsed"
    assert await events(store, record.id) == ["chat.completion.failed"]


async def test_a_lapse_after_the_deadline_expires(store: Store, clock: FakeClock) -> None:
    """G3, G6."""
    lease = await running(store, deadline=START + LEASE)
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store, 9) == []
    record = await store.requests.get("t", lease.fence.request_id)
    assert record.status is Status.EXPIRED
    assert record.error is not None
    assert record.error.code == "deadline_exceeded"
    assert await events(store, record.id) == ["chat.completion.expired"]


async def test_what_is_past_its_deadline_is_expired_instead_of_handed_out(store: Store, clock: FakeClock) -> None:
    """G6."""
    [late] = await submitted(store, deadline=START + MINUTE)
    [waits] = await submitted(store, not_before=START + SECOND, deadline=START + MINUTE)
    [other] = await submitted(store)
    clock.advance(seconds=60)
    assert ids(await claimed(store, 9)) == [other.id]
    for request in (late, waits):
        assert await status(store, request.id) is Status.EXPIRED
        assert await events(store, request.id) == ["chat.completion.expired"]


async def test_an_expired_request_at_the_head_holds_up_nobody(store: Store, clock: FakeClock) -> None:
    """G3: the place it did not take is offered again."""
    await submitted(store, 5, deadline=START + MINUTE)
    [request] = await submitted(store)
    clock.advance(seconds=60)
    for _ in range(6):
        leases = await claimed(store, 1)
        assert leases or "small" in await store.leases.ready()
    assert await status(store, request.id) is Status.PROCESSING


# --- claim: pauses and caps


async def test_a_paused_queue_gives_nothing_until_its_time(store: Store, clock: FakeClock) -> None:
    """G10."""
    await submitted(store, 2)
    [other] = await submitted(store, queue="open")
    await store.registry.pause("queue", "small", until=START + MINUTE)
    offers = [Offer("small", "up", 5), Offer("open", "up", 5)]
    leases, _ = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert ids(leases) == [other.id]
    clock.advance(seconds=60)
    assert len(await claimed(store, 5)) == 2


async def test_a_lease_lapses_in_a_paused_queue_too(store: Store, clock: FakeClock) -> None:
    """G3."""
    lease = await running(store)
    await store.registry.pause("queue", "small", until=START + HOUR)
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store) == []
    assert await status(store, lease.fence.request_id) is Status.PENDING


async def test_max_concurrency_counts_what_runs_over_all_workers(store: Store) -> None:
    """G7."""
    await submitted(store, 9)
    await capped(store, 3)
    first = await claimed(store, 2, worker="one")
    second = await claimed(store, 2, worker="two")
    assert (len(first), len(second)) == (2, 1)
    assert await claimed(store, 2, worker="three") == []


@pytest.mark.parametrize("way", ["succeeded", "retry", "released", "failed", "cancelled", "lapsed"])
async def test_whatever_stops_running_frees_its_place_in_a_capped_queue(
    store: Store, clock: FakeClock, way: str
) -> None:
    """G7."""
    await capped(store, 1)
    lease = await running(store)
    await submitted(store, 2)
    assert await claimed(store) == []
    match way:
        case "succeeded":
            await store.leases.finish([success(lease)])
        case "retry":
            await store.leases.finish([retry(lease, START + HOUR)])
        case "released":
            await store.leases.finish([release(lease)])
        case "failed":
            await store.leases.finish([failure(lease)])
        case "cancelled":
            await store.requests.cancel("t", lease.fence.request_id)
        case _:
            clock.advance(seconds=LEASE / SECOND)
    assert len(await claimed(store, 9)) == 1


# --- extend


async def test_extend_pushes_the_end_of_a_lease(store: Store, clock: FakeClock) -> None:
    """G4: however long it runs."""
    lease = await running(store)
    for _ in range(5):
        clock.advance(seconds=0.75 * LEASE / SECOND)
        assert await store.leases.extend([Beat(lease.fence)], lease_for=LEASE) == {lease.fence}
        assert await claimed(store) == []
    assert (await store.requests.get("t", lease.fence.request_id)).due_at == clock.now() + LEASE


async def test_extend_notes_progress_and_keeps_what_a_later_beat_does_not_say(store: Store) -> None:
    lease = await running(store)
    for beat in (Beat(lease.fence, 0.25, "a quarter"), Beat(lease.fence, 0.5), Beat(lease.fence)):
        await store.leases.extend([beat], lease_for=LEASE)
    record = await store.requests.get("t", lease.fence.request_id)
    assert (record.progress, record.progress_message) == (0.5, "a quarter")


async def test_progress_starts_over_with_the_next_attempt_and_is_whole_at_completion(
    store: Store, clock: FakeClock
) -> None:
    lease = await running(store)
    await store.leases.extend([Beat(lease.fence, 0.5, "half")], lease_for=LEASE)
    await store.leases.finish([retry(lease, clock.now())])
    record = await store.requests.get("t", lease.fence.request_id)
    assert (record.progress, record.progress_message) == (None, None)
    [again] = await claimed(store)
    await store.leases.finish([success(again)])
    assert (await store.requests.get("t", again.fence.request_id)).progress == 1.0


async def test_a_remote_job_is_kept_for_whoever_claims_next(home: Home) -> None:
    """G4: on disk when extend returns."""
    async with home.open() as store:
        lease = await running(store)
        assert lease.remote is None
        await store.leases.extend([Beat(lease.fence, remote=Remote("up", "job-7"))], lease_for=LEASE)
        await store.leases.extend([Beat(lease.fence)], lease_for=LEASE)
    home.clock.advance(seconds=LEASE / SECOND)
    async with home.open() as store:
        [again] = await claimed(store)
    assert again.remote == Remote("up", "job-7")


async def test_extend_returns_the_fences_that_still_hold(store: Store, clock: FakeClock) -> None:
    """G2."""
    zombie = await running(store, max_attempts=9)
    clock.advance(seconds=LEASE / SECOND)
    [owner] = await claimed(store)
    ended, cancelled = await running(store), await running(store)
    await store.leases.finish([success(ended)])
    await store.requests.cancel("t", cancelled.fence.request_id)
    unknown = Fence("req_unknown", 1)
    asked = [zombie.fence, owner.fence, ended.fence, cancelled.fence, unknown]
    assert await store.leases.extend([Beat(fence) for fence in asked], lease_for=LEASE) == {owner.fence}
    assert await store.leases.extend([], lease_for=LEASE) == set()


async def test_a_zombie_cannot_note_progress_or_a_remote_job(store: Store, clock: FakeClock) -> None:
    """G2."""
    zombie = await running(store)
    clock.advance(seconds=LEASE / SECOND)
    [owner] = await claimed(store)
    await store.leases.extend([Beat(zombie.fence, 0.9, "late", Remote("up", "job-9"))], lease_for=HOUR)
    record = await store.requests.get("t", owner.fence.request_id)
    assert (record.progress, record.progress_message, record.due_at) == (None, None, owner.lapses_at)
    clock.advance(seconds=LEASE / SECOND)
    assert (await claimed(store))[0].remote is None


# --- finish


async def test_success_is_recorded_with_result_history_and_event(home: Home) -> None:
    """G1, G6: on disk when finish returns."""
    usage = b'{"total_tokens":7}'
    async with home.open() as store:
        lease = await running(store)
        home.clock.advance(seconds=2)
        assert await store.leases.finish([success(lease, usage=usage)]) == []
    async with home.open() as store:
        request_id = lease.fence.request_id
        record = await store.requests.get("t", request_id)
        assert (record.status, record.usage, record.error) == (Status.COMPLETED, usage, None)
        assert (record.ended_at, record.purge_at) == (START + 2 * SECOND, START + 2 * SECOND + RETENTION)
        assert record.due_at is None
        assert await store.requests.result("t", request_id) == Result(200, "application/json", ANSWER)
        assert await store.requests.attempts("t", request_id) == [
            Attempt(1, "up", START, START + 2 * SECOND, "succeeded", None)
        ]
        assert await events(store, request_id) == ["chat.completion.completed"]


@pytest.mark.parametrize("body", ['"no such 🦆"'.encode(), b'{"odd":  1.0e5,\n"err":[]}'], ids=["text", "json"])
@pytest.mark.parametrize("end", [Status.FAILED, Status.EXPIRED, Status.CANCELLED])
async def test_an_end_without_a_result_keeps_the_upstreams_own_words(
    store: Store,
    end: Unsuccessful,
    body: bytes,
) -> None:
    """G6."""
    upstream = UpstreamError("gpu", 422, msgspec.Raw(body))
    error = RequestError("It said no.", "invalid_request_error", "refused", "messages", upstream)
    lease = await running(store)
    words = {name: getattr(error, name) for name in ("message", "type", "code", "param", "upstream")}
    await store.leases.finish([failure(lease, end, **words)])
    record = await store.requests.get("t", lease.fence.request_id)
    [attempt] = await store.requests.attempts("t", record.id)
    assert (record.status, attempt.outcome) == (end, end)
    assert msgspec.json.encode([record.error, attempt.error]) == msgspec.json.encode([error, error])
    assert await events(store, record.id) == [f"chat.completion.{end}"]


async def test_a_retry_counts_its_attempt_and_writes_no_event(store: Store, clock: FakeClock) -> None:
    """G6."""
    lease = await running(store)
    await store.leases.finish([retry(lease, clock.now())])
    record = await store.requests.get("t", lease.fence.request_id)
    assert (record.status, record.attempt, record.due_at) == (Status.PENDING, 1, None)
    assert [attempt.error for attempt in await store.requests.attempts("t", record.id)] == [BROKEN]
    assert await events(store, record.id) == []
    [again] = await claimed(store)
    assert again.attempt == 2


async def test_a_release_refunds_its_attempt(store: Store) -> None:
    lease = await running(store)
    for _ in range(3):
        await store.leases.finish([release(lease, reason=BROKEN)])
        assert (await store.requests.get("t", lease.fence.request_id)).attempt == 0
        [lease] = await claimed(store)
        assert lease.attempt == 1
    history = await store.requests.attempts("t", lease.fence.request_id)
    assert [(attempt.number, attempt.outcome, attempt.error) for attempt in history] == [(1, "released", BROKEN)] * 3
    assert await events(store, lease.fence.request_id) == []


async def test_a_release_may_wait_for_a_time(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    await store.leases.finish([release(lease, due_at=START + MINUTE)])
    assert await claimed(store) == []
    clock.advance(seconds=60)
    assert len(await claimed(store)) == 1


async def test_a_pause_that_comes_with_a_release_only_ever_extends(store: Store, clock: FakeClock) -> None:
    """G10. The pause has no words: they would be those of another tenant's call (G8)."""
    short, longer, shorter = [await running(store) for _ in range(3)]
    slow_down = RequestError("Slow down.")

    async def paused() -> tuple[int | None, str | None]:
        found = await throttle(store)
        return found.paused_until, found.pause_reason

    await store.leases.finish([release(short, reason=slow_down, pause_until=START + 10 * SECOND)])
    assert await paused() == (START + 10 * SECOND, None)
    await store.leases.finish([release(longer, pause_until=START + 30 * SECOND)])
    assert await paused() == (START + 30 * SECOND, None)
    await store.leases.finish([release(shorter, reason=slow_down, pause_until=START + 20 * SECOND)])
    assert await paused() == (START + 30 * SECOND, None)
    assert await claimed(store, 9) == []
    clock.advance(seconds=30)
    assert len(await claimed(store, 9)) == 3


async def test_a_pause_that_comes_with_a_release_does_not_rename_a_longer_one(store: Store) -> None:
    lease = await running(store)
    await store.registry.pause("queue", "small", until=START + DAY, reason="repairs")
    await store.leases.finish([release(lease, pause_until=START + SECOND)])
    found = await throttle(store)
    assert (found.paused_until, found.pause_reason) == (START + DAY, "repairs")


@pytest.mark.parametrize("late", ["success", "failure", "retry", "release"])
async def test_a_zombie_cannot_finish(store: Store, clock: FakeClock, late: str) -> None:
    """G2: a lost fence writes nothing at all."""
    zombie = await running(store)
    clock.advance(seconds=LEASE / SECOND)
    [owner] = await claimed(store)
    before = await store.requests.get("t", owner.fence.request_id)
    finishes = {
        "success": success(zombie, b"late"),
        "failure": failure(zombie),
        "retry": retry(zombie, START + DAY),
        "release": release(zombie, pause_until=START + DAY),
    }

    assert await store.leases.finish([finishes[late]]) == [zombie.fence]

    assert await store.requests.get("t", owner.fence.request_id) == before
    assert [attempt.outcome for attempt in await store.requests.attempts("t", before.id)] == ["lapsed"]
    assert await events(store, before.id) == []
    [queue] = await store.registry.queues()
    assert (queue.pending, queue.processing) == (0, 1)
    assert (await throttle(store)).paused_until is None
    assert await store.leases.finish([success(owner, b"mine")]) == []
    assert await store.requests.result("t", before.id) == Result(200, "application/json", b"mine")


async def test_a_zombie_cannot_finish_what_has_ended(store: Store, clock: FakeClock) -> None:
    """G2, G6."""
    zombie = await running(store)
    clock.advance(seconds=LEASE / SECOND)
    [owner] = await claimed(store)
    await store.leases.finish([success(owner, b"mine")])
    before = await store.requests.get("t", owner.fence.request_id)
    for late in (success(zombie, b"late"), failure(zombie), success(owner, b"again"), failure(owner)):
        assert await store.leases.finish([late]) == [late.fence]
    assert await store.requests.get("t", before.id) == before
    assert await store.requests.result("t", before.id) == Result(200, "application/json", b"mine")
    assert len(await events(store, before.id)) == 1


async def test_a_zombie_cannot_finish_what_waits_for_its_next_attempt(store: Store, clock: FakeClock) -> None:
    """G2: between two claims the last fence is void although no newer one exists."""
    zombie = await running(store)
    clock.advance(seconds=LEASE / SECOND)
    await claimed(store, queue="other")
    assert await status(store, zombie.fence.request_id) is Status.PENDING
    assert await store.leases.finish([success(zombie)]) == [zombie.fence]
    assert await status(store, zombie.fence.request_id) is Status.PENDING


async def test_a_late_finish_counts_while_nobody_has_taken_the_request_back(store: Store, clock: FakeClock) -> None:
    """G4: work that was done is not done again."""
    lease = await running(store)
    clock.advance(seconds=2 * LEASE / SECOND)
    assert await store.leases.finish([success(lease)]) == []
    assert await claimed(store) == []


async def test_finish_returns_the_lost_fences_and_records_the_others(store: Store) -> None:
    """G2."""
    good, gone, other = [await running(store) for _ in range(3)]
    await store.requests.cancel("t", gone.fence.request_id)
    lost = await store.leases.finish([success(good), success(gone), failure(other), success(good)])
    assert lost == [gone.fence, good.fence]
    ends = [await status(store, lease.fence.request_id) for lease in (good, gone, other)]
    assert ends == [Status.COMPLETED, Status.CANCELLED, Status.FAILED]
    assert await store.leases.finish([]) == []


# --- next_due, ready


async def test_next_due_is_the_next_moment_at_which_something_may_be_claimed(store: Store, clock: FakeClock) -> None:
    assert await store.leases.next_due() is None
    lease = await running(store)
    await submitted(store)
    assert await store.leases.next_due() == lease.lapses_at
    await submitted(store, not_before=START + 40 * SECOND)
    assert await store.leases.next_due() == START + 40 * SECOND
    await store.leases.finish([retry(lease, START + 30 * SECOND)])
    assert await store.leases.next_due() == START + 30 * SECOND
    await store.registry.pause("queue", "small", until=START + 20 * SECOND)
    assert await store.leases.next_due() == START + 20 * SECOND
    clock.advance(seconds=20)
    assert await store.leases.next_due() == START + 30 * SECOND


async def test_next_due_is_none_when_nothing_waits_for_a_time(store: Store) -> None:
    await submitted(store, 2)
    await store.leases.finish([success((await claimed(store))[0])])
    assert await store.leases.next_due() is None


async def test_ready_names_the_queues_with_something_to_claim_paused_or_not(store: Store) -> None:
    assert await store.leases.ready() == set()
    await submitted(store, queue="now")
    await submitted(store, queue="paused")
    await submitted(store, queue="later", not_before=START + MINUTE)
    await running(store, queue="taken")
    await store.registry.pause("queue", "paused", until=START + HOUR)
    assert await store.leases.ready() == {"now", "paused"}


async def test_the_number_of_pending_requests_stays_true_through_every_move(store: Store, clock: FakeClock) -> None:
    async def counts() -> tuple[int, int]:
        [queue] = await store.registry.queues()
        return queue.pending, queue.processing

    requests: list[Request] = await submitted(store, 6, max_attempts=9)
    leases = await claimed(store, 5)
    assert await counts() == (1, 5)
    await store.leases.finish([retry(leases[0], START + HOUR), release(leases[1]), success(leases[2])])
    assert await counts() == (3, 2)
    await store.requests.cancel("t", requests[5].id)
    await store.requests.cancel("t", leases[3].fence.request_id)
    assert await counts() == (2, 1)
    clock.advance(seconds=LEASE / SECOND)
    await claimed(store, queue="other")
    assert await counts() == (3, 0)


async def test_a_queue_counts_how_often_in_a_row_it_was_told_to_wait(store: Store, clock: FakeClock) -> None:
    """G10: what the policy doubles its waits by; a storm of equal answers counts once, a success starts anew."""
    leases = [await running(store) for _ in range(3)]
    await store.leases.finish([release(lease, pause_until=START + SECOND, misses=1) for lease in leases])
    clock.advance(seconds=2)
    again = await claimed(store, 3)
    assert [lease.misses for lease in again] == [1, 1, 1]
    await store.leases.finish([release(again[0], pause_until=START + 5 * SECOND, misses=2), success(again[1])])
    clock.advance(seconds=5)
    [last] = await claimed(store, 1)
    assert last.misses == 0


async def test_a_retry_can_pause_the_queue_as_well(store: Store, clock: FakeClock) -> None:
    """G10: Retry-After is a floor for the whole queue, whatever status it came with."""
    lease = await running(store)
    await submitted(store)
    pause = Pause(START + 10 * SECOND, 0)
    await store.leases.finish([Finish(lease.fence, Retry(BROKEN, START + 12 * SECOND, pause), "up")])
    assert await claimed(store, 9) == []
    clock.advance(seconds=10)
    assert len(await claimed(store, 9)) == 1


async def test_attempts_that_end_together_move_an_adaptive_level_as_those_that_were_at_work_together(
    store: Store, clock: FakeClock
) -> None:
    """G7: each of them shows that the level is used up, the last as well as the first."""
    await store.registry.set_limits("queue", "small", Limits(max_concurrency="auto"))
    await submitted(store, 64)
    known = Level()
    for _ in range(5):
        leases = await claimed(store, 64)
        clock.advance(seconds=1)
        await store.leases.finish([success(lease) for lease in leases])
        for lease in leases:
            known = step(known, Sample(lease.claimed_at, len(leases), congested=False), now=clock.now())
        assert (await throttle(store)).level == known.level
    assert known.level > FIRST_LEVEL + 3


async def test_ready_names_each_queue_with_something_to_claim_and_no_other(store: Store, clock: FakeClock) -> None:
    for queue in ("a", "b", "c", "d", "e"):
        await completed(store, queue=queue)
    assert await store.leases.ready() == set()
    await submitted(store, 3, queue="b", priority=Priority.BATCH)
    await submitted(store, 2, queue="b", priority=Priority.PRIORITY)
    await submitted(store, queue="c", not_before=clock.now() + MINUTE)
    await submitted(store, queue="e", tenant="other")
    await running(store, queue="d")
    assert await store.leases.ready() == {"b", "e"}
    await store.registry.put_tenant(Tenant("full", max_running=1))
    await submitted(store, 2, queue="a", tenant="full")
    await claimed(store, 2, queue="a")
    assert await store.leases.ready() == {"a", "b", "e"}
