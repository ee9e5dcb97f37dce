"""The engine, from a free place to a recorded outcome."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND, now
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Fence, Finish, Lease, Priority
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError, Succeeded, UpstreamError
from raincheck.core.status import Status
from raincheck.dispatch.loop import RECORD_WITHIN
from raincheck.store.protocol import Leases, Store
from raincheck.upstream.protocol import Report, Work
from tests.dispatch.engine import DONE, Scripted, an_engine, answering, failing


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
        [fence] = engine.dispatcher.running
        [thief] = await lapse_and_claim(engine.store, fence)
        await engine.dispatcher.beat()
        await asyncio.sleep(0)
        assert upstream.aborted == [id_]
        assert await engine.store.leases.finish([Finish(thief, Succeeded(DONE))]) == []


async def lapse_and_claim(store: Store, fence: Fence) -> list[Fence]:
    await store.leases.extend([Beat(fence)], lease_for=-SECOND)
    return [lease.fence for lease in await store.leases.claim({"small": 1}, worker="thief", lease_for=60 * SECOND)]


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

    async def claim(self, free: Mapping[str, int], *, worker: str, lease_for: int) -> list[Lease]:
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
