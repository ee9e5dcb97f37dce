"""The engine, from a free place to a recorded outcome."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.clock import SECOND, now
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Claimed, Fence, Finish, Limits, Offer, Priority, Tenant
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError, Succeeded, UpstreamError
from raincheck.core.status import Status
from raincheck.dispatch.loop import LOOK_EVERY, RECORD_WITHIN
from raincheck.store.protocol import Change, Leases, Store
from raincheck.upstream.protocol import Report, Work
from tests.dispatch.engine import DONE, Engine, Scripted, an_engine, answering, failing
from tests.store.builders import a_request


async def forever(_: Work, __: Report) -> Reply:
    await asyncio.Event().wait()
    return DONE


async def test_what_is_submitted_gets_done(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit(payload=b'{"a":1}'))
        assert request.status is Status.COMPLETED
        assert [work.payload for work in upstream.works] == [b'{"a":1}']
        result = await engine.store.requests.result("t", request.id)
        assert result is not None
        assert result.body == DONE.body
        [attempt] = await engine.store.requests.attempts("t", request.id)
        assert (attempt.number, attempt.upstream, attempt.outcome) == (1, "up", "succeeded")


async def test_what_was_pending_before_the_start_gets_done(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()], started=False) as engine:
        id_ = await engine.submit()
    async with an_engine(tmp_path, [Scripted()]) as engine:
        assert (await engine.ended(id_)).status is Status.COMPLETED


async def test_no_more_run_at_once_than_there_are_places(tmp_path: Path) -> None:
    running = most = 0
    three = asyncio.Barrier(3)

    async def counting(_: Work, __: Report) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await three.wait()
        running -= 1
        return DONE

    async with an_engine(tmp_path, [Scripted(script=counting)], places=3) as engine:
        for id_ in await asyncio.gather(*(engine.submit() for _ in range(30))):
            await engine.ended(id_)
        assert most == 3
        await engine.dispatcher.close(0)
        assert engine.capacity.in_use() == {"up": 0}


async def test_one_queue_does_not_take_every_place(tmp_path: Path) -> None:
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], places=4, started=False) as engine:
        for _ in range(20):
            await engine.submit(queue="small")
        for _ in range(2):
            await engine.submit(queue="other")
        await engine.dispatcher.turn()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sorted(work.model for work in upstream.works) == ["other", "other", "small", "small"]


async def test_higher_service_tiers_go_first(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream], places=1, started=False) as engine:
        ids = {tier: await engine.submit(priority=tier) for tier in reversed(Priority)}
        loop = asyncio.create_task(engine.dispatcher.run())
        for id_ in ids.values():
            await engine.ended(id_)
        assert [work.request_id for work in upstream.works] == [ids[tier] for tier in Priority]
        await engine.dispatcher.close(0)
        await loop


async def test_a_stumble_is_tried_again(tmp_path: Path) -> None:
    upstream = Scripted(script=answering(failing(FailureKind.TRANSIENT), DONE))
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit())
        assert (request.status, request.attempt) == (Status.COMPLETED, 2)
        first, second = await engine.store.requests.attempts("t", request.id)
        assert (first.outcome, second.outcome) == ("retry", "succeeded")
        assert first.error is not None
        assert first.error.code == "transient"


async def test_attempts_run_out(tmp_path: Path) -> None:
    upstream = Scripted(script=answering(failing(FailureKind.TRANSIENT)))
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit(max_attempts=3))
        assert (request.status, request.attempt, len(upstream.works)) == (Status.FAILED, 3, 3)


async def test_what_is_refused_fails_at_once_with_the_upstreams_words(tmp_path: Path) -> None:
    upstream = Scripted(script=answering(failing(FailureKind.REJECTED)))
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit())
        assert (request.status, len(upstream.works)) == (Status.FAILED, 1)
        assert request.error is not None
        assert request.error.message == "it is rejected"


async def test_a_busy_upstream_pauses_the_queue_and_costs_no_attempt(tmp_path: Path) -> None:
    """G10: Retry-After is a floor for the whole queue."""
    upstream = Scripted(script=answering(failing(FailureKind.BUSY, retry_after=SECOND // 5), DONE))
    async with an_engine(tmp_path, [upstream], places=1) as engine:
        first, second = await engine.submit(), await engine.submit()
        began = now()
        one, two = await engine.ended(first), await engine.ended(second)
        assert now() - began >= SECOND // 5
        assert (one.status, two.status, one.attempt) == (Status.COMPLETED, Status.COMPLETED, 1)
        assert [work.request_id for work in upstream.works] == [first, first, second]


async def test_a_retry_never_overruns_the_deadline(tmp_path: Path) -> None:
    """G10."""
    upstream = Scripted(script=answering(failing(FailureKind.TRANSIENT, retry_after=60 * SECOND)))
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit(deadline=now() + 30 * SECOND))
        assert request.status is Status.EXPIRED
        assert request.error is not None
        assert "it is transient" in request.error.message


async def test_a_running_attempt_is_aborted_at_the_deadline(tmp_path: Path) -> None:
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit(deadline=now() + SECOND // 10))
        assert request.status is Status.EXPIRED
        assert upstream.aborted == [request.id]


async def test_an_unreachable_upstream_hands_over_to_another(tmp_path: Path) -> None:
    dead, alive = Scripted("dead"), Scripted("alive")
    async with an_engine(tmp_path, [dead, alive]) as engine:
        dead.reachable = False
        request = await engine.ended(await engine.submit())
        assert (request.status, request.attempt) == (Status.COMPLETED, 1)
        assert [work.request_id for work in alive.works] == [request.id]


async def test_what_a_down_upstream_said_stays_with_the_request(tmp_path: Path) -> None:
    """G8: its words may quote a payload, and every tenant sees why an upstream is down."""
    said = RequestError("loading, but I remember 'secret'", upstream=UpstreamError("up", 503))
    upstream = Scripted(script=answering(Failure(FailureKind.UNREACHABLE, said)))
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        await engine.until(id_, lambda request: request.status is Status.PENDING)
        [member] = engine.catalogue.members
        assert member.down_reason == "it answered 503 and takes nothing just now"


async def test_requests_wait_for_an_upstream_that_is_down(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream]) as engine:
        upstream.reachable = False
        id_ = await engine.submit()
        await upstream.called.wait()
        request = await engine.until(id_, lambda request: request.status is Status.PENDING)
        assert request.attempt == 0
        assert len(upstream.works) == 1
        upstream.reachable = True
        [member] = engine.catalogue.members
        engine.catalogue.mark_up(member)
        engine.capacity.open_up()
        assert (await engine.ended(id_)).status is Status.COMPLETED


async def test_cancelling_a_running_request_aborts_its_call(tmp_path: Path) -> None:
    """G5."""
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], places=1) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        await engine.store.requests.cancel("t", id_)
        upstream.script = answering(DONE)
        assert (await engine.ended(await engine.submit())).status is Status.COMPLETED  # the place is free again
        assert upstream.aborted == [id_]
        assert (await engine.ended(id_)).status is Status.CANCELLED


async def test_a_cancelled_pending_request_never_reaches_the_upstream(tmp_path: Path) -> None:
    """G5."""
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream], started=False) as engine:
        id_ = await engine.submit()
        await engine.store.requests.cancel("t", id_)
        await engine.dispatcher.turn()
        assert upstream.works == []


@pytest.mark.slow("outlives three leases of 0.3 s")
async def test_a_live_workers_request_is_never_started_again(tmp_path: Path) -> None:
    """G4: heartbeats keep the lease, however long the work takes."""

    async def slow(_: Work, __: Report) -> Reply:
        await asyncio.sleep(1)
        return DONE

    upstream = Scripted(script=slow)
    async with an_engine(tmp_path, [upstream], lease_for=SECOND * 3 // 10) as engine:
        request = await engine.ended(await engine.submit())
        assert (request.status, request.attempt, len(upstream.works)) == (Status.COMPLETED, 1, 1)


async def test_after_a_stall_the_own_leases_are_extended_before_anything_is_claimed(tmp_path: Path) -> None:
    """G4: a suspended machine must not take work from itself."""
    skipped = 0

    def clock() -> int:
        return now() + skipped

    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], clock=clock) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        skipped = 3600 * SECOND
        await engine.dispatcher.turn()
        request = await engine.store.requests.get("t", id_)
        assert (request.status, request.attempt, len(upstream.works)) == (Status.PROCESSING, 1, 1)


async def test_an_attempt_whose_lease_was_lost_is_stopped_and_records_nothing(tmp_path: Path) -> None:
    """G2."""
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        [attempt] = engine.dispatcher.running.values()
        fence = attempt.fence
        [thief] = await lapse_and_claim(engine.store, fence)
        await engine.dispatcher.beat()
        await asyncio.sleep(0)
        assert upstream.aborted == [id_]
        assert await engine.store.leases.finish([Finish(thief, Succeeded(DONE))]) == []


async def lapse_and_claim(store: Store, fence: Fence) -> list[Fence]:
    await store.leases.extend([Beat(fence)], lease_for=-SECOND)
    claimed = await store.leases.claim([Offer("small", "up", 1)], worker="thief", lease_for=60 * SECOND)
    return [lease.fence for lease in claimed.leases]


async def test_progress_and_pieces_of_the_answer_are_live(tmp_path: Path) -> None:
    async def telling(_: Work, report: Report) -> Reply:
        report.progress(0.5, "half way")
        report.delta(b'{"piece":1}')
        await asyncio.Event().wait()
        return DONE

    upstream = Scripted(script=telling)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        with engine.live.follow(id_) as watch:
            while (notes := engine.live.notes(id_)) is None or not notes.deltas:
                await watch.news(5)
        assert (notes.progress, notes.progress_message, list(notes.deltas)) == (0.5, "half way", [b'{"piece":1}'])
        await engine.dispatcher.beat()
        request = await engine.store.requests.get("t", id_)
        assert (request.progress, request.progress_message) == (0.5, "half way")


async def test_a_remote_jobs_id_is_handed_to_the_next_attempt(tmp_path: Path) -> None:
    """G4: a remote job whose id is known is re-attached."""

    async def starting(work: Work, report: Report) -> Reply:
        if work.remote_id is None:
            await report.remote("job-7")
            raise RuntimeError("and then the connection broke")
        return DONE

    upstream = Scripted(script=starting)
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit())
        assert request.status is Status.COMPLETED
        assert [work.remote_id for work in upstream.works] == [None, "job-7"]


async def test_closing_lets_running_attempts_finish(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def waiting(_: Work, __: Report) -> Reply:
        await go.wait()
        return DONE

    upstream = Scripted(script=waiting)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        closing = asyncio.create_task(engine.dispatcher.close(10))
        later = await engine.submit()
        go.set()
        await closing
        assert (await engine.ended(id_)).status is Status.COMPLETED
        assert (await engine.store.requests.get("t", later)).status is Status.PENDING


async def test_closing_gives_back_what_does_not_finish_in_time(tmp_path: Path) -> None:
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        await engine.dispatcher.close(0)
        request = await engine.store.requests.get("t", id_)
        assert (request.status, request.attempt, request.due_at) == (Status.PENDING, 0, None)
        assert upstream.aborted == [id_]


class Flaky:
    """The store's leases, unavailable for the first few finishes."""

    def __init__(self, inner: Leases, outages: int) -> None:
        self.claim, self.extend, self.next_due, self.ready = inner.claim, inner.extend, inner.next_due, inner.ready
        self._inner = inner
        self._outages = outages

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        if self._outages:
            self._outages -= 1
            raise StoreUnavailable
        return await self._inner.finish(finishes)


@pytest.mark.slow("waits out one pause of 0.5 s")
async def test_an_outcome_is_kept_until_the_store_is_back(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(
        tmp_path, [upstream], wrap=lambda store: replace(store, leases=Flaky(store.leases, 1))
    ) as engine:
        assert (await engine.ended(await engine.submit())).status is Status.COMPLETED
        assert len(upstream.works) == 1


class Down:
    """The store's leases, with nothing that can be written."""

    def __init__(self, inner: Leases) -> None:
        self.next_due, self.ready, self.finish = inner.next_due, inner.ready, inner.finish
        self.claims = 0

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        self.claims += 1
        raise StoreUnavailable

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        raise StoreUnavailable


async def test_a_store_that_is_down_is_not_asked_without_a_pause(tmp_path: Path) -> None:
    downs: list[Down] = []

    def broken(store: Store) -> Store:
        downs.append(Down(store.leases))
        return replace(store, leases=downs[0])

    async with an_engine(tmp_path, [Scripted()], wrap=broken) as engine:
        await engine.submit()
        for _ in range(200):
            await asyncio.sleep(0)
        assert downs[0].claims <= 2


@pytest.mark.slow("waits out the time that outcomes get to be recorded")
async def test_closing_ends_even_when_outcomes_cannot_be_recorded(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(
        tmp_path, [upstream], wrap=lambda store: replace(store, leases=Flaky(store.leases, 1_000))
    ) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        async with asyncio.timeout(RECORD_WITHIN + 2):
            await engine.dispatcher.close(0)
        assert (await engine.store.requests.get("t", id_)).status is Status.PROCESSING  # it lapses, and is done again


async def test_closing_waits_for_calls_that_are_passed_through(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()]) as engine:
        permit = engine.capacity.take("small")
        assert permit is not None
        closing = asyncio.create_task(engine.dispatcher.close(10))
        await asyncio.sleep(0.01)
        assert not closing.done()
        engine.capacity.give_back(permit)
        async with asyncio.timeout(1):
            await closing


async def test_a_second_signal_cuts_the_grace_short(tmp_path: Path) -> None:
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        closing = asyncio.create_task(engine.dispatcher.close(60))
        await asyncio.sleep(0.01)
        engine.dispatcher.give_up()
        async with asyncio.timeout(1):
            await closing
        assert (await engine.store.requests.get("t", id_)).attempt == 0


async def test_half_a_character_in_someones_words_harms_nothing(tmp_path: Path) -> None:
    async def blurting(_: Work, report: Report) -> Reply:
        report.progress(0.5, "half \ud800")
        raise ValueError("half \ud800 of it")

    upstream = Scripted(script=blurting)
    async with an_engine(tmp_path, [upstream]) as engine:
        request = await engine.ended(await engine.submit(max_attempts=1))
        assert request.status is Status.FAILED
        assert request.error is not None
        assert "half ? of it" in request.error.message


class Unfit:
    """The store's leases, tripping over every outcome in a way nobody expected."""

    def __init__(self, inner: Leases) -> None:
        self.claim, self.extend, self.next_due, self.ready = inner.claim, inner.extend, inner.next_due, inner.ready

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        raise ZeroDivisionError


async def test_an_outcome_that_trips_the_store_is_spoken_of(tmp_path: Path) -> None:
    upstream = Scripted()
    crashes: asyncio.Queue[tuple[type[Exception], str]] = asyncio.Queue()
    async with an_engine(tmp_path, [upstream], wrap=lambda store: replace(store, leases=Unfit(store.leases))) as engine:
        engine.dispatcher.crashed = lambda error, request_id: crashes.put_nowait((type(error), request_id))
        id_ = await engine.submit()
        async with asyncio.timeout(5):
            assert await crashes.get() == (ZeroDivisionError, id_)


class Watched:
    """The store's leases, with every claim and every finish noted."""

    def __init__(self, inner: Leases) -> None:
        self.extend, self.next_due, self.ready = inner.extend, inner.next_due, inner.ready
        self._inner = inner
        self.offers: list[list[Offer]] = []
        self.finishes: list[Finish] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """Called before the answer of a claim is heard."""

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        self.offers.append(list(offers))
        claimed = await self._inner.claim(offers, worker=worker, lease_for=lease_for)
        self.meanwhile()
        return claimed

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        self.finishes += finishes
        return await self._inner.finish(finishes)


@asynccontextmanager
async def watched(folder: Path, *upstreams: Scripted, **options: Any) -> AsyncGenerator[tuple[Engine, Watched]]:
    seen: list[Watched] = []

    def wrap(store: Store) -> Store:
        seen.append(Watched(store.leases))
        return replace(store, leases=seen[0])

    async with an_engine(folder, upstreams, wrap=wrap, **options) as engine:
        yield engine, seen[0]


def at_once() -> asyncio.Timeout:
    """Less than until the next look without a hint."""
    return asyncio.timeout(LOOK_EVERY / SECOND / 2)


async def heard() -> None:
    """The hints of the last commit have been passed on, and attempts have begun."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_free_places_are_offered_for_each_queue_at_each_upstream(tmp_path: Path) -> None:
    a, b = Scripted("a", script=forever), Scripted("b", script=forever)
    async with watched(tmp_path, a, b, places=2, started=False) as (engine, leases):
        for _ in range(3):
            await engine.submit(queue="small")
        await engine.dispatcher.turn()
        assert leases.offers == [[Offer("small", "a", 2), Offer("small", "b", 2)]]
        assert engine.capacity.in_use() == {"a": 2, "b": 1}
        await heard()
        assert (len(a.works), len(b.works)) == (2, 1)


async def test_what_a_limit_holds_back_is_not_offered_again_before_a_place_comes_free(tmp_path: Path) -> None:
    """G7: a queue at its limit costs no claims, however much is submitted to it."""
    go = asyncio.Event()

    async def waiting(_: Work, __: Report) -> Reply:
        await go.wait()
        return DONE

    async with watched(tmp_path, Scripted(script=waiting), started=False) as (engine, leases):
        await engine.store.registry.set_limits("queue", "small", Limits(max_concurrency=1))
        first = await engine.submit()
        second = await engine.submit()
        await engine.dispatcher.turn()
        assert list(engine.dispatcher.running) == [first]
        await engine.submit()
        await heard()
        await engine.dispatcher.turn()
        assert len(leases.offers) == 1
        go.set()
        await engine.ended(first)
        await heard()
        await engine.dispatcher.turn()
        assert len(leases.offers) == 2
        await engine.ended(second)


async def test_another_upstream_of_a_queue_that_was_held_back_is_still_offered(tmp_path: Path) -> None:
    tight, free = Scripted("tight", script=forever), Scripted("free", script=forever)
    async with watched(tmp_path, tight, free, places=2, started=False) as (engine, leases):
        await engine.store.registry.set_limits("upstream", "tight", Limits(max_concurrency=1))
        for _ in range(5):
            await engine.submit()
        busy = engine.capacity.permit("free")
        assert engine.capacity.reserve(["small"], but={("small", "tight")}) == {("small", "free"): 2}
        await engine.dispatcher.turn()
        assert leases.offers == [[Offer("small", "tight", 2)]]
        engine.capacity.give_back(busy)
        await engine.dispatcher.turn()
        assert leases.offers[1:] == [[Offer("small", "free", 1)]]


async def test_room_that_came_while_a_claim_was_under_way_is_not_overlooked(tmp_path: Path) -> None:
    async with watched(tmp_path, Scripted(script=forever), started=False) as (engine, leases):
        await engine.store.registry.set_limits("queue", "small", Limits(max_concurrency=1))
        await engine.submit()
        await engine.submit()
        leases.meanwhile = lambda: engine.dispatcher.on_change(Change(frozenset(), (), freed=True, elsewhere=True))
        await engine.dispatcher.turn()
        await engine.dispatcher.turn()
        assert len(leases.offers) == 2


async def test_what_was_held_back_is_offered_when_its_time_has_come(tmp_path: Path) -> None:
    skipped = 0

    def clock() -> int:
        return now() + skipped

    async with watched(tmp_path, Scripted(script=forever), clock=clock, started=False) as (engine, leases):
        await engine.store.registry.set_limits("queue", "small", Limits(rpm=1))
        await engine.submit()
        await engine.submit()
        await engine.dispatcher.turn()
        rest = await engine.dispatcher.turn()
        assert (len(leases.offers), len(engine.dispatcher.running)) == (1, 1)
        assert 0 < rest <= LOOK_EVERY / SECOND
        skipped = 61 * SECOND
        await engine.dispatcher.turn()
        assert len(engine.dispatcher.running) == 2


async def test_queues_take_turns_under_a_limit_they_share(tmp_path: Path) -> None:
    upstream = Scripted()
    async with an_engine(tmp_path, [upstream], places=8, started=False) as engine:
        await engine.store.registry.set_limits("upstream", "up", Limits(max_concurrency=1))
        ids = [await engine.submit(queue=queue) for queue in ("small", "other") for _ in range(4)]
        loop = asyncio.create_task(engine.dispatcher.run())
        for id_ in ids:
            await engine.ended(id_)
        assert [work.model for work in upstream.works] == ["small", "other"] * 4
        await engine.dispatcher.close(0)
        await loop


async def test_a_request_cancelled_on_another_machine_is_stopped_here(tmp_path: Path) -> None:
    """G5."""
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await upstream.called.wait()
        engine.dispatcher.on_change(Change(frozenset(), ((id_, Status.CANCELLED),), elsewhere=True))
        await heard()
        assert upstream.aborted == [id_]


async def test_what_ended_while_it_was_being_claimed_is_not_started(tmp_path: Path) -> None:
    """G5."""
    upstream = Scripted()
    async with watched(tmp_path, upstream, started=False) as (engine, leases):
        id_ = await engine.submit()
        gone = Change(frozenset(), ((id_, Status.CANCELLED),), elsewhere=True)
        leases.meanwhile = lambda: engine.dispatcher.on_change(gone)
        await engine.dispatcher.turn()
        await heard()
        assert upstream.works == []
        assert engine.capacity.in_use() == {"up": 0}


async def test_a_worker_that_takes_its_own_request_back_stops_the_older_call(tmp_path: Path) -> None:
    """G4: suspended between heartbeat and claim, it must not do the work twice at once."""
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], started=False) as engine:
        id_ = await engine.submit()
        await engine.dispatcher.turn()
        await heard()
        [older] = engine.dispatcher.running.values()
        await engine.store.leases.extend([Beat(older.fence)], lease_for=-SECOND)
        engine.dispatcher.on_change(Change(frozenset({"small"}), ()))
        await engine.dispatcher.turn()
        await heard()
        [newer] = engine.dispatcher.running.values()
        assert (newer.fence.request_id, newer.fence.number) == (id_, older.fence.number + 1)
        assert (len(upstream.works), upstream.aborted) == (2, [id_])
        await heard()
        assert engine.capacity.in_use() == {"up": 1}


async def test_a_finish_tells_what_the_upstream_used_and_how_soon_it_began(tmp_path: Path) -> None:
    """G7: the usage corrects the estimate of tokens per minute, the first token moves an adaptive limit."""

    async def telling(_: Work, report: Report) -> Reply:
        await asyncio.sleep(0.02)
        report.delta(b"{}")
        await asyncio.sleep(0.05)
        report.delta(b"{}")
        return Reply(b"{}", usage=b'{"total_tokens": 42}')

    async with watched(tmp_path, Scripted(script=telling)) as (engine, leases):
        await engine.ended(await engine.submit())
        [finish] = leases.finishes
        assert (finish.tokens, finish.congested) == (42, False)
        assert finish.first_token is not None
        assert 15_000 < finish.first_token < 65_000


async def test_a_finish_tells_that_the_upstream_has_too_much(tmp_path: Path) -> None:
    async with watched(tmp_path, Scripted(script=answering(failing(FailureKind.BUSY), DONE))) as (engine, leases):
        await engine.ended(await engine.submit())
        busy, done = leases.finishes
        assert (busy.congested, busy.tokens, busy.first_token) == (True, None, None)
        assert (done.congested, done.tokens, done.first_token) == (False, None, None)


@pytest.mark.slow("outlives a lease of 0.4 s while a claim hangs")
async def test_leases_are_kept_while_a_claim_hangs(tmp_path: Path) -> None:
    """G4: a claim that waits for a lock must not cost the worker what it holds already."""
    upstream = Scripted(script=forever)
    async with watched(tmp_path, upstream, lease_for=SECOND * 4 // 10) as (engine, leases):
        id_ = await engine.submit()
        await upstream.called.wait()
        hang = asyncio.Event()

        async def hanging(offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
            await hang.wait()
            return Claimed([], frozenset())

        claim, leases.claim = leases.claim, hanging  # pyright: ignore[reportAttributeAccessIssue]
        await engine.submit(queue="other")
        await asyncio.sleep(0.8)
        [lapsed] = [(await claim([], worker="thief", lease_for=SECOND)).leases]
        assert lapsed == []
        assert (await engine.store.requests.get("t", id_)).attempt == 1
        hang.set()


async def test_what_is_due_and_cannot_be_taken_is_not_asked_for_without_a_pause(tmp_path: Path) -> None:
    """Another worker has it locked, or our clock is ahead of the store's."""

    class Overdue(Watched):
        async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
            self.offers.append(list(offers))
            return Claimed([], frozenset())

    seen: list[Overdue] = []

    def wrap(store: Store) -> Store:
        async def long_ago() -> int:
            return now() - SECOND

        seen.append(Overdue(store.leases))
        seen[0].next_due = long_ago
        return replace(store, leases=seen[0])

    async with an_engine(tmp_path, [Scripted()], wrap=wrap):
        await asyncio.sleep(0.2)
        assert len(seen[0].offers) <= 6


async def test_a_clock_that_is_set_back_stops_no_heartbeat(tmp_path: Path) -> None:
    """G4."""
    back = 0

    def clock() -> int:
        return now() - back

    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], clock=clock, started=False) as engine:
        id_ = await engine.submit()
        await engine.dispatcher.turn()
        back = 3600 * SECOND
        before = (await engine.store.requests.get("t", id_)).due_at
        await engine.dispatcher.turn()
        assert before is not None
        assert (await engine.store.requests.get("t", id_)).due_at == pytest.approx(before - back, abs=SECOND)


@pytest.mark.slow("submits over a thousand requests")
@pytest.mark.parametrize("limit", [None, 4])
async def test_a_tenant_at_its_cap_delays_nobody_however_much_it_queues(tmp_path: Path, limit: int | None) -> None:
    """G7: what is set aside for it takes many claims, and those go on at once."""
    upstream = Scripted(script=forever)
    async with an_engine(tmp_path, [upstream], places=8) as engine:
        await engine.store.registry.put_tenant(Tenant("greedy", max_running=1))
        await engine.store.registry.set_limits("upstream", "up", Limits(max_concurrency=limit))
        herd = [a_request(tenant="greedy", priority=Priority.PRIORITY, created_at=now()) for _ in range(1_300)]
        await engine.store.requests.submit(herd)
        modest = [await engine.submit() for _ in range(3)]
        async with at_once():
            for id_ in modest:
                await engine.until(id_, lambda request: request.status is Status.PROCESSING)
            while len(engine.dispatcher.running) < 4:
                await asyncio.sleep(0)
        assert len(engine.dispatcher.running) == 4


async def test_what_is_submitted_while_a_claim_is_under_way_does_not_wait_beside_free_places(tmp_path: Path) -> None:
    """G3: every place is reserved then, though most of them are about to be given back."""
    async with watched(tmp_path, Scripted(script=forever)) as (engine, leases):
        claim, ids = leases.claim, list[str]()

        async def slow(offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
            claimed = await claim(offers, worker=worker, lease_for=lease_for)
            if len(ids) < 3:
                ids.append(await engine.submit(queue="other"))
            return claimed

        leases.claim = slow  # pyright: ignore[reportAttributeAccessIssue]
        await engine.submit()
        async with at_once():
            while len(ids) < 3:
                await heard()
            for id_ in ids:
                await engine.until(id_, lambda request: request.status is Status.PROCESSING)


async def test_places_that_one_queue_cannot_use_go_to_another_at_once(tmp_path: Path) -> None:
    """G3: each was offered its share of the places, and one has no use for its own."""
    async with an_engine(tmp_path, [], started=False) as engine:
        ids = [await engine.submit(queue=queue) for queue in ("other", "small", "small", "small")]
    async with an_engine(tmp_path, [Scripted(script=forever)]) as engine, at_once():
        for id_ in ids:
            await engine.until(id_, lambda request: request.status is Status.PROCESSING)


@pytest.mark.parametrize("limits", [Limits(rpm=1), Limits(max_concurrency=1)], ids=["rpm", "max_concurrency"])
async def test_an_upstream_at_its_limit_holds_nothing_back_from_another_that_is_free(
    tmp_path: Path, limits: Limits
) -> None:
    """G7."""
    tight, free = Scripted("tight", script=forever), Scripted("free", script=forever)
    async with an_engine(tmp_path, [tight, free]) as engine:
        await engine.store.registry.set_limits("upstream", "tight", limits)
        async with at_once():
            for _ in range(4):
                id_ = await engine.submit()
                await engine.until(id_, lambda request: request.status is Status.PROCESSING)
                await heard()
        assert (len(tight.works), len(free.works)) == (1, 3)


async def test_a_held_back_pair_that_found_the_queue_empty_elsewhere_costs_no_more_claims(tmp_path: Path) -> None:
    tight, free = Scripted("tight", script=forever), Scripted("free", script=forever)
    async with watched(tmp_path, tight, free, started=False) as (engine, leases):
        await engine.store.registry.pause("upstream", "tight", until=now() + 60 * SECOND)
        await engine.submit()
        for _ in range(3):
            await engine.dispatcher.turn()
        assert leases.offers == [[Offer("small", "tight", 4), Offer("small", "free", 4)]]
        assert list(engine.capacity.in_use().values()) == [0, 1]
