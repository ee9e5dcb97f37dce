"""What the server says of itself: every transition, no payload, and no more series than models."""

import asyncio
import errno
import io
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from raincheck import telemetry
from raincheck.core.clock import SECOND, now
from raincheck.core.errors import RaincheckError
from raincheck.core.model import Finish, Submitted
from raincheck.core.outcome import Ended, Pause, Released, RequestError, Retry, UpstreamError
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from raincheck.telemetry import Metrics, observe
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
            await store.leases.claim({"q": 2}, worker="w", lease_for=SECOND)
            overdue = await submit(store, queue="q", created_at=moment, deadline=moment + SECOND)
            moment += 2 * SECOND
            await store.leases.claim({}, worker="w", lease_for=SECOND)
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
            [lease] = await store.leases.claim({"q": 1}, worker="w", lease_for=SECOND)
            await store.leases.finish([Finish(lease.fence, Released(), "up")])
            [lease] = await store.leases.claim({"q": 1}, worker="w", lease_for=SECOND)
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
                [lease] = await store.leases.claim({"q": 1}, worker="w", lease_for=SECOND)
                await store.leases.finish([Finish(lease.fence, outcome, "up")])
    told = [each for each in events if each["event"] in ("request.retried", "request.released", "request.failed")]
    assert [(each["code"], each["upstream_status"]) for each in told] == [(logged_code, 400)] * 3
    assert "SECRET" not in str(events)


@pytest.mark.slow("reads every source file")
def test_every_code_of_ours_is_known_to_the_log() -> None:
    assert printer().reason_codes() == telemetry.OUR_CODES


async def test_a_paused_queue_is_named(tmp_path: Path) -> None:
    with logged() as events:
        async with open_store(tmp_path / "it.db", clock=now) as raw:
            store = observe(raw, Metrics())
            await submit(store, queue="q")
            [lease] = await store.leases.claim({"q": 1}, worker="w", lease_for=SECOND)
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
        structlog.get_logger().error("http.crashed")


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
            structlog.get_logger().error("http.crashed", exc_info=error)
    assert "ValueError: 9" in stderr.getvalue()
    assert "rc_secret" not in stderr.getvalue()
