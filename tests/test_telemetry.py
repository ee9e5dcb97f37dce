"""What the server says of itself: every transition, no payload, and no more series than models."""

import asyncio
import errno
import io
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from raincheck import telemetry
from raincheck.core.clock import SECOND, now
from raincheck.core.errors import RaincheckError, StoreUnavailable
from raincheck.core.model import Claimed, Finish, Lease, Limits, Offer, Queue, Submitted, Throttle
from raincheck.core.outcome import Ended, Pause, Released, RequestError, Retry, UpstreamError
from raincheck.core.status import Status
from raincheck.store.protocol import Change, Changes, Leases, Store
from raincheck.store.sqlite import open_store
from raincheck.telemetry import Metrics, observe
from raincheck.telemetry.codes import OUR_CODES
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.python import PythonUpstream
from tests.house.test_docs import printer
from tests.logs import logged
from tests.store.builders import a_request

BAD = RequestError("bad")


async def submit(store: Store, **changes: Any) -> str:
    [answer] = await store.requests.submit([a_request(**changes)])
    assert not isinstance(answer, RaincheckError)
    assert isinstance(answer, Submitted)
    return answer.request.id


async def claim(store: Store, places: int = 1) -> list[Lease]:
    claimed = await store.leases.claim([Offer("q", "up", places)], worker="w", lease_for=SECOND)
    return claimed.leases


async def heard() -> None:
    """The hints of the last commit have been passed on."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def named(events: list[dict[str, Any]], *names: str) -> list[tuple[str, str | None]]:
    return [(each["event"], each.get("id")) for each in events if each["event"] in names]


async def test_a_lapse_and_an_end_in_the_queue_are_spoken_of(tmp_path: Path) -> None:
    moment = now()
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=lambda: moment) as raw:
            store = observe(raw, Metrics())
            lapsed = await submit(store, queue="q", created_at=moment)
            used_up = await submit(store, queue="q", created_at=moment, max_attempts=1)
            await claim(store, 2)
            overdue = await submit(store, queue="q", created_at=moment, deadline=moment + SECOND)
            moment += 2 * SECOND
            await store.leases.claim([], worker="w", lease_for=SECOND)
            await store.upkeep.expire(limit=10)
            await heard()
    told = named(events, "request.lapsed", "request.failed", "request.expired")
    assert sorted(told) == sorted(
        [("request.lapsed", lapsed), ("request.failed", used_up), ("request.expired", overdue)]
    )


async def test_what_a_finish_says_is_said_once(tmp_path: Path) -> None:
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=now) as raw:
            store = observe(raw, Metrics())
            id_ = await submit(store, queue="q")
            [lease] = await claim(store)
            await store.leases.finish([Finish(lease.fence, Released(), "up")])
            [lease] = await claim(store)
            await store.leases.finish([Finish(lease.fence, Ended(Status.FAILED, BAD), "up")])
            await heard()
    assert [each["event"] for each in events if each.get("id") == id_] == [
        "request.submitted",
        "request.claimed",
        "request.released",
        "request.claimed",
        "request.failed",
    ]


@pytest.mark.parametrize(
    ("code", "logged_code"), [("upstream_timeout", "upstream_timeout"), ("bad: MY SECRET", "upstream_error")]
)
async def test_what_an_upstream_says_is_not_logged(tmp_path: Path, code: str, logged_code: str) -> None:
    """Upstreams quote the input in their errors: of those, only the status and our own codes are told."""
    error = RequestError("cannot read MY SECRET", "MY SECRET", code, "MY SECRET", UpstreamError("up", 400))
    outcomes = (Retry(error, 0), Released(error), Ended(Status.FAILED, error))
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=now) as raw:
            store = observe(raw, Metrics())
            await submit(store, queue="q")
            for outcome in outcomes:
                [lease] = await claim(store)
                await store.leases.finish([Finish(lease.fence, outcome, "up")])
    told = [each for each in events if each["event"] in ("request.retried", "request.released", "request.failed")]
    assert [(each["code"], each["upstream_status"]) for each in told] == [(logged_code, 400)] * 3
    assert "SECRET" not in str(events)


@pytest.mark.slow("reads every source file")
def test_every_code_of_ours_is_known_to_the_log() -> None:
    assert printer().reason_codes() == OUR_CODES


async def test_a_paused_queue_is_named(tmp_path: Path) -> None:
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=now) as raw:
            store = observe(raw, Metrics())
            await submit(store, queue="q")
            [lease] = await claim(store)
            until = now() + 60 * SECOND
            await store.leases.finish([Finish(lease.fence, Released(BAD, pause=Pause(until, 1)), "up")])
    [paused] = [each for each in events if each["event"] == "queue.paused"]
    assert (paused["queue"], paused["until"]) == ("q", until // 1000 / 1000)


async def test_an_upstream_that_goes_down_and_comes_back_is_spoken_of() -> None:
    upstream = PythonUpstream(name="up", handler="math:sqrt", models=("m",), max_concurrency=1)
    member = Member(upstream)
    catalogue = Catalogue([member], now)
    catalogue.on_health = telemetry.health
    with logged() as events:
        catalogue.mark_down(member, "no answer")
        catalogue.mark_down(member, "no answer")
        catalogue.mark_up(member)
        catalogue.mark_up(member)
    assert [(each["event"], each["upstream"], each.get("reason")) for each in events] == [
        ("upstream.down", "up", "no answer"),
        ("upstream.up", "up", None),
    ]


class Distant:
    """A store's changes, as if another process had made them."""

    def __init__(self, inner: Changes) -> None:
        self._inner = inner

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        return self._inner.listen(lambda change: listener(replace(change, elsewhere=True)))


async def test_each_process_speaks_of_its_own_commits_only(tmp_path: Path) -> None:
    moment = now()
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=lambda: moment) as raw:
            store = observe(replace(raw, changes=Distant(raw.changes)), Metrics())
            await submit(raw, queue="q", created_at=moment, max_attempts=1)
            await claim(raw)
            moment += 2 * SECOND
            await raw.leases.claim([], worker="w", lease_for=SECOND)
            await heard()
            assert store.requests is not raw.requests
    assert events == []


class Away:
    """The store's leases while it is down."""

    def __init__(self, inner: Leases) -> None:
        self.next_due, self.ready, self.finish, self.extend = inner.next_due, inner.ready, inner.finish, inner.extend
        self._inner = inner
        self.down = True

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        if self.down:
            raise StoreUnavailable("no route to the store")
        return await self._inner.claim(offers, worker=worker, lease_for=lease_for)


async def test_an_outage_of_the_store_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=now) as raw:
            away = Away(raw.leases)
            store = observe(replace(raw, leases=away), Metrics())
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await claim(store)
            away.down = False
            for _ in range(3):
                await claim(store)
    assert [(each["event"], each.get("reason")) for each in events] == [
        ("store.down", "no route to the store"),
        ("store.up", None),
    ]


async def test_what_need_not_be_kept_does_not_end_an_outage(tmp_path: Path) -> None:
    """A claim succeeds on a file that nobody can open any more, and no submit does."""
    path, gone = tmp_path / "it.db", tmp_path / "gone.db"
    with logged() as events:
        async with open_store(path, clock=now) as raw:
            store = observe(raw, Metrics())
            await submit(raw, queue="q")
            path.rename(gone)
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.leases.finish([])
                await claim(store)
            assert [each["event"] for each in events if each["event"].startswith("store.")] == ["store.down"]
            gone.rename(path)
            await claim(store)
    assert [each["event"] for each in events if each["event"].startswith("store.")] == ["store.down", "store.up"]


def test_an_outage_of_the_object_store_is_told_with_its_cause_and_without_its_key() -> None:
    with logged() as events:
        error = StoreUnavailable("The object store cannot be used just now.")
        error.__cause__ = OSError("404: <Error><Code>NoSuchBucket</Code>\n<AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId>")
        telemetry.object_store(error)
        telemetry.object_store(None)
    assert [(each["event"], each.get("reason")) for each in events] == [
        ("blobs.down", "404: NoSuchBucket"),
        ("blobs.up", None),
    ]


def test_how_long_queues_wait_is_measured() -> None:
    """A worker pool is scaled by these."""
    metrics = Metrics()
    metrics.known = lambda: {"m", "idle"}
    queues = [
        Queue(name="m", pending=3, processing=0, waiting_since=100 * SECOND),
        Queue(name="idle", pending=0, processing=1),
        Queue(name="made-up-1", pending=1, processing=0, waiting_since=105 * SECOND),
        Queue(name="made-up-2", pending=1, processing=0, waiting_since=103 * SECOND),
    ]
    metrics.wait(queues, now=110 * SECOND)
    page = metrics.page().decode()
    for queue, waited in (("m", 10.0), ("idle", 0.0), ("other", 7.0)):
        assert f'raincheck_oldest_pending_seconds{{queue="{queue}"}} {waited}' in page
    metrics.wait([], now=111 * SECOND)
    assert 'queue="m"' not in metrics.page().decode()


def test_how_much_upstreams_are_used_is_measured() -> None:
    metrics = Metrics()
    metrics.bear(
        [
            Throttle(scope="upstream", name="fixed", limits=Limits(max_concurrency=8), running=3),
            Throttle(scope="upstream", name="adaptive", limits=Limits(max_concurrency="auto"), level=5.5, running=5),
            Throttle(scope="upstream", name="paused", limits=Limits(rpm=3)),
        ]
    )
    page = metrics.page().decode()
    for line in ('running{upstream="fixed"} 3.0', 'places{upstream="fixed"} 8.0', 'places{upstream="adaptive"} 5.0'):
        assert f"raincheck_upstream_{line}" in page
    assert 'raincheck_upstream_places{upstream="paused"}' not in page


async def test_made_up_queue_names_make_no_series(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.known = lambda: {"real": ["up"]}
    async with open_store(tmp_path / "it.db", clock=now) as raw:
        store = observe(raw, metrics)
        for queue in ("real", "made-up-1", "made-up-2"):
            await submit(store, queue=queue)
        metrics.stand(await store.upkeep.gauges())
    page = metrics.page().decode()
    assert 'raincheck_submitted_total{queue="real"} 1.0' in page
    assert 'raincheck_submitted_total{queue="other"} 2.0' in page
    assert 'raincheck_requests{queue="other",status="pending"} 2.0' in page
    assert "made-up" not in page


def test_a_queue_that_is_gone_is_no_longer_shown() -> None:
    metrics = Metrics()
    metrics.known = lambda: {"a", "b"}
    metrics.stand({("a", Status.PENDING): 1})
    metrics.stand({("b", Status.PENDING): 1})
    assert 'queue="a"' not in metrics.page().decode()


@contextmanager
def as_stderr(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Log to it meanwhile as the server would."""
    before = structlog.get_config()
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.configure_logs("info")
    try:
        yield
    finally:
        structlog.configure(**before)


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with as_stderr(FullDisk(), monkeypatch):
        structlog.get_logger().error("call.crashed")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stderr", [io.StringIO(), Terminal()], ids=["programs", "people"])
def test_a_traceback_shows_no_local_variables(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        api_key = "rc_" + "secret"
        raise ValueError(len(api_key))

    with as_stderr(stderr, monkeypatch):
        try:
            broken()
        except ValueError as error:
            structlog.get_logger().error("call.crashed", exc_info=error)
    assert "ValueError: 9" in stderr.getvalue()
    assert "rc_secret" not in stderr.getvalue()
