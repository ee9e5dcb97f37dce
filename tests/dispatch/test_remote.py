"""Jobs at upstreams that go on by themselves: known before they are waited for, found again, and stopped in the end."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import StoreUnavailable, UpstreamDown
from raincheck.core.model import Beat, Fence, Finish, Offer, Remote, Stray
from raincheck.core.outcome import FailureKind, Reply, RequestError, Retry
from raincheck.core.status import Status
from raincheck.dispatch.sweep import Sweeper
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.protocol import Report, Work
from tests.dispatch.engine import DONE, Engine, Scripted, an_engine, answering, failing
from tests.store.builders import FakeClock, a_request, claimed


@asynccontextmanager
async def at_once() -> AsyncGenerator[None]:
    """What is promised within 2 s."""
    async with asyncio.timeout(2):
        yield


async def renders(work: Work, report: Report) -> Reply:
    """An adapter with a job that takes for ever, which it begins unless there is one."""
    if work.remote_id is None:
        await report.remote("job-1")
    report.progress(0.5)
    await asyncio.sleep(60)
    return DONE


async def begun(engine: Engine, id_: str) -> None:
    with engine.live.follow(id_) as watch:
        while (notes := engine.live.notes(id_)) is None or notes.progress is None:
            await watch.news(1)


async def until_abandoned(upstream: Scripted) -> None:
    while not upstream.abandoned:
        await asyncio.sleep(0.005)


async def left_with(folder: Path, remote: Remote) -> str:
    """A request whose last attempt left a remote job behind."""
    async with an_engine(folder, [], started=False) as engine:
        id_ = await engine.submit()
        leases = engine.store.leases
        [lease] = (await leases.claim([Offer("small", remote.upstream, 1)], worker="w", lease_for=SECOND)).leases
        await leases.extend([Beat(lease.fence, remote=remote)], lease_for=SECOND)
        outcome = Retry(RequestError("the worker was stopped"), engine.dispatcher.means.clock())
        assert await leases.finish([Finish(lease.fence, outcome, remote.upstream)]) == []
        return id_


async def test_the_next_attempt_is_made_at_the_upstream_that_has_the_job_g4(tmp_path: Path) -> None:
    first, second = Scripted("first"), Scripted("second")
    id_ = await left_with(tmp_path, Remote("second", "job-1"))
    async with an_engine(tmp_path, [first, second]) as engine:
        await engine.ended(id_)
        history = await engine.store.requests.attempts("t", id_)
    assert first.works == []
    assert [work.remote_id for work in second.works] == ["job-1"]
    assert history[-1].upstream == "second"


async def test_a_job_at_an_upstream_that_cannot_be_called_is_done_anew_and_left_to_who_can_stop_it(
    tmp_path: Path,
) -> None:
    upstream, words = Scripted(), list[str | None]()

    async def script(work: Work, _: Report) -> Reply:
        notes = engine.live.notes(work.request_id)
        words.append(notes and notes.progress_message)
        return DONE

    upstream.script = script
    id_ = await left_with(tmp_path, Remote("gone", "job-1"))
    async with an_engine(tmp_path, [upstream]) as engine:
        assert (await engine.ended(id_)).status is Status.COMPLETED
        [stray] = await engine.store.strays.due(["gone"], limit=9)
    assert stray.remote == Remote("gone", "job-1")
    assert [work.remote_id for work in upstream.works] == [None]
    assert words[0] is not None
    assert "'gone'" in words[0]


async def test_a_lost_job_is_forgotten_and_the_next_attempt_submits_anew(tmp_path: Path) -> None:
    upstream = Scripted()

    async def script(work: Work, report: Report) -> Reply:
        if work.attempt == 2:
            await report.remote(None)
            upstream.script = answering(failing(FailureKind.TRANSIENT), DONE)
            return await upstream.script(work, report)  # pyright: ignore[reportReturnType]
        raise AssertionError

    upstream.script = script
    id_ = await left_with(tmp_path, Remote("up", "job-1"))
    async with an_engine(tmp_path, [upstream]) as engine:
        await engine.ended(id_)
    assert [work.remote_id for work in upstream.works] == ["job-1", None]


async def test_a_cancel_stops_the_remote_job_within_two_seconds_g5(tmp_path: Path) -> None:
    upstream = Scripted(script=renders)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await begun(engine, id_)
        async with at_once():
            await engine.store.requests.cancel("t", id_)
            await until_abandoned(upstream)
            while await engine.store.strays.due(["up"], limit=1):
                await asyncio.sleep(0.005)
    assert upstream.abandoned == ["job-1"]


async def test_a_deadline_stops_the_remote_job_too(tmp_path: Path) -> None:
    upstream = Scripted(script=renders)
    async with an_engine(tmp_path, [upstream]) as engine, at_once():
        await engine.submit(deadline=engine.dispatcher.means.clock() + SECOND // 10)
        await until_abandoned(upstream)


async def test_a_job_begun_for_a_request_that_had_just_ended_is_stopped_g5(tmp_path: Path) -> None:
    """The record never knew of it, so it is the attempt that has to stop it."""

    async def script(_: Work, report: Report) -> Reply:
        entered.set()
        await cancelled.wait()
        await report.remote("job-1")
        return DONE

    entered, cancelled = asyncio.Event(), asyncio.Event()
    upstream = Scripted(script=script)
    async with an_engine(tmp_path, [upstream]) as engine, at_once():
        id_ = await engine.submit()
        await entered.wait()
        engine.dispatcher.running.clear()  # So that no hint stops it before it has begun its job.
        await engine.store.requests.cancel("t", id_)
        cancelled.set()
        await until_abandoned(upstream)


async def test_a_job_that_an_adapter_hands_over_after_its_end_is_stopped_g5(tmp_path: Path) -> None:
    """As when a server takes its time over beginning a job, and the request is cancelled meanwhile."""

    async def script(_: Work, report: Report) -> Reply:
        reports.append(report)
        entered.set()
        await asyncio.sleep(60)
        return DONE

    reports, entered = list[Report](), asyncio.Event()
    upstream = Scripted(script=script)
    async with an_engine(tmp_path, [upstream]) as engine, at_once():
        id_ = await engine.submit()
        await entered.wait()
        await engine.store.requests.cancel("t", id_)
        while engine.dispatcher.running:
            await asyncio.sleep(0.005)
        await reports[0].stray("job-1")
        await until_abandoned(upstream)
    assert upstream.abandoned == ["job-1"]


async def test_an_attempt_that_is_stopped_again_is_not_cancelled_again(tmp_path: Path) -> None:
    """The hint of a cancel comes first and the next heartbeat says the same: what an adapter does to stop goes on."""
    entered, stopping, cleared = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(_: Work, __: Report) -> Reply:
        entered.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopping.set()
            await asyncio.sleep(0.05)
            cleared.set()
        return DONE

    async with an_engine(tmp_path, [Scripted(script=script)]) as engine, at_once():
        id_ = await engine.submit()
        await entered.wait()
        await engine.store.requests.cancel("t", id_)
        await stopping.wait()
        await engine.dispatcher.beat()
        await cleared.wait()


async def test_a_stop_while_the_job_is_being_noted_leaves_it_either_known_or_stopped(tmp_path: Path) -> None:
    upstream, hold, noting = Scripted(script=renders), asyncio.Event(), asyncio.Event()
    async with an_engine(tmp_path, [upstream]) as engine:
        extend = engine.store.leases.extend

        async def slow(beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
            if any(isinstance(beat.remote, Remote) for beat in beats):
                noting.set()
                await hold.wait()
            return await extend(beats, lease_for=lease_for)

        engine.dispatcher.means.leases.extend = slow  # pyright: ignore[reportAttributeAccessIssue]
        id_ = await engine.submit()
        await noting.wait()
        async with at_once():
            await engine.store.requests.cancel("t", id_)
            hold.set()
            await until_abandoned(upstream)


async def test_a_closing_worker_leaves_the_job_to_the_next_g4(tmp_path: Path) -> None:
    upstream = Scripted(script=renders)
    async with an_engine(tmp_path, [upstream]) as engine:
        id_ = await engine.submit()
        await begun(engine, id_)
    again = Scripted()
    async with an_engine(tmp_path, [again]) as engine:
        await engine.ended(id_)
    assert (upstream.abandoned, again.abandoned) == ([], [])
    assert [work.remote_id for work in again.works] == ["job-1"]


# --- the sweeper alone, on a clock to turn


@asynccontextmanager
async def sweeping(
    tmp_path: Path, *upstreams: Scripted, strays: int = 1
) -> AsyncGenerator[tuple[Store, FakeClock, Sweeper, list[tuple[Stray, str]]]]:
    clock, told = FakeClock(), list[tuple[Stray, str]]()
    catalogue = Catalogue([Member(upstream) for upstream in upstreams], clock.now)
    async with open_store(tmp_path / "store.db", clock=clock.now) as store:
        for number in range(strays):
            new = a_request()
            await store.requests.submit([new])
            [lease] = await claimed(store)
            remote = Remote(upstreams[0].name, f"job-{number}")
            await store.leases.extend([Beat(lease.fence, remote=remote)], lease_for=SECOND)
            await store.requests.cancel("t", new.id)
        yield (
            store,
            clock,
            Sweeper(
                strays=store.strays,
                catalogue=catalogue,
                clock=clock.now,
                gave_up=lambda stray, why: told.append((stray, why)),
            ),
            told,
        )


async def look(sweeper: Sweeper) -> None:
    """One look at the only upstream, until all that it began is over."""
    async with asyncio.TaskGroup() as tasks:
        await sweeper.look(sweeper.catalogue.members[0], tasks)


async def down(_: str) -> None:
    raise UpstreamDown("it does not answer")


async def test_a_job_that_cannot_be_stopped_is_tried_again_ever_more_rarely_and_given_up_after_a_day(
    tmp_path: Path,
) -> None:
    upstream = Scripted(abandoning=down)
    async with sweeping(tmp_path, upstream) as (store, clock, sweeper, told):
        waits = list[int]()
        began = clock.now()
        while not told:
            before = len(upstream.abandoned)
            waited = 0
            while len(upstream.abandoned) == before:
                await look(sweeper)
                if len(upstream.abandoned) == before:
                    waited += 1
                    clock.advance(seconds=1)
            waits.append(waited)
            if len(waits) > 12:
                clock.advance_to(began + DAY)
        assert waits[:12] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]
        assert told[0][0].remote == Remote("up", "job-0")
        assert "it does not answer" in told[0][1]
        clock.advance(seconds=3600)
        assert await store.strays.due(["up"], limit=9) == []


async def test_a_flood_of_jobs_is_stopped_some_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raincheck.dispatch.sweep.AT_ONCE", 8)
    now, most = 0, 0

    async def takes_a_moment(_: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    upstream = Scripted(abandoning=takes_a_moment)
    async with sweeping(tmp_path, upstream, strays=20) as (store, _, sweeper, _told):
        running = asyncio.create_task(sweeper.run())
        async with at_once():
            while await store.strays.due(["up"], limit=9):
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.wait([running])
    assert sorted(upstream.abandoned) == sorted(f"job-{number}" for number in range(20))
    assert most == 8


async def test_a_stop_that_takes_long_holds_up_no_other_at_the_same_upstream_g5(tmp_path: Path) -> None:
    async def hangs(job: str) -> None:
        if job == "job-slow":
            await asyncio.sleep(60)

    upstream = Scripted(abandoning=hangs)
    async with an_engine(tmp_path, [upstream]) as engine, at_once():
        for job in ("job-slow", "job-1", "job-2"):
            await engine.store.strays.add([Remote("up", job)])
            while job not in upstream.abandoned:
                await asyncio.sleep(0.005)
        while len(await engine.store.strays.due(["up"], limit=9)) > 1:
            await asyncio.sleep(0.005)
    assert upstream.abandoned == ["job-slow", "job-1", "job-2"]


async def test_an_upstream_that_hangs_holds_up_no_other_g5(tmp_path: Path) -> None:
    async def hangs(_: str) -> None:
        await asyncio.sleep(60)

    stuck, well = Scripted("stuck", abandoning=hangs), Scripted("well", script=renders)
    async with an_engine(tmp_path, [stuck, well]) as engine:
        id_ = await left_elsewhere(engine)
        async with asyncio.timeout(2):
            await until_abandoned(stuck)
            other = await left_elsewhere(engine, "well")
            await until_abandoned(well)
    assert id_ != other


async def left_elsewhere(engine: Engine, upstream: str = "stuck") -> str:
    """A cancelled request with a job at this upstream, in a queue that nobody here serves."""
    id_ = await engine.submit(queue="unserved", model="unserved")
    offer = [Offer("unserved", upstream, 1)]
    [lease] = (await engine.store.leases.claim(offer, worker="other", lease_for=SECOND)).leases
    await engine.store.leases.extend([Beat(lease.fence, remote=Remote(upstream, "job-1"))], lease_for=SECOND)
    await engine.store.requests.cancel("t", id_)
    return id_


async def test_a_process_that_cannot_call_an_upstream_leaves_its_jobs_alone(tmp_path: Path) -> None:
    upstream = Scripted()
    async with sweeping(tmp_path, upstream) as (store, _, sweeper, _told):
        sweeper.catalogue.members[0].max_concurrency = 0
        await sweeper.run()
        assert upstream.abandoned == []
        assert len(await store.strays.due(["up"], limit=9)) == 1


async def test_a_sweeper_outlasts_an_outage_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raincheck.dispatch.sweep.LOOK_EVERY", 0.01)
    upstream, outages = Scripted(), 2
    async with sweeping(tmp_path, upstream) as (store, _, sweeper, _told):
        due = store.strays.due

        async def shaky(upstreams: Sequence[str], *, limit: int) -> list[Stray]:
            nonlocal outages
            if outages:
                outages -= 1
                raise StoreUnavailable
            return await due(upstreams, limit=limit)

        store.strays.due = shaky  # pyright: ignore[reportAttributeAccessIssue]
        running = asyncio.create_task(sweeper.run())
        async with at_once():
            await until_abandoned(upstream)
        running.cancel()
        await asyncio.wait([running])
    assert upstream.abandoned == ["job-0"]


async def test_a_job_is_noted_though_the_store_was_away_and_waited_for_only_then_g4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raincheck.dispatch.outage.RETRY_STORE_AFTER", 0.01)
    steps, outages = list[str](), 2

    async def script(_: Work, report: Report) -> Reply:
        await report.remote("job-1")
        steps.append("waiting")
        return DONE

    async with an_engine(tmp_path, [Scripted(script=script)]) as engine:
        extend = engine.store.leases.extend

        async def shaky(beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
            nonlocal outages
            if outages and any(isinstance(beat.remote, Remote) for beat in beats):
                outages -= 1
                steps.append("outage")
                raise StoreUnavailable
            return await extend(beats, lease_for=lease_for)

        engine.dispatcher.means.leases.extend = shaky  # pyright: ignore[reportAttributeAccessIssue]
        await engine.ended(await engine.submit())
    assert steps == ["outage", "outage", "waiting"]
