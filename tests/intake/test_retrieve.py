"""Why a request waits, and waiting for it."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from raincheck.core.clock import FOREVER, HOUR, SECOND, now
from raincheck.core.model import Place, Priority, Request
from raincheck.core.status import Status
from raincheck.intake.links import Links
from raincheck.intake.retrieve import Desk, waiting_reason
from raincheck.live import Live
from raincheck.store.sqlite import open_store
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.openai import OpenAIUpstream
from tests.store.builders import running, submitted, success

NOW = 1_790_000_000 * SECOND
LINKS = Links(b"s" * 32, HOUR)
EMPTY = Catalogue([], lambda: NOW)
SERVING = Catalogue([Member(OpenAIUpstream("up", "http://127.0.0.1:9/v1"), ("m",))], lambda: NOW)


def a_pending(*, due_at: int | None = None, attempt: int = 0, parked: bool = False) -> Request:
    return Request(
        id="req_1",
        tenant="t",
        queue="m",
        operation="chat.completion",
        path="/chat/completions",
        model="m",
        status=Status.PENDING,
        priority=Priority.DEFAULT,
        attempt=attempt,
        max_attempts=5,
        created_at=NOW,
        due_at=due_at,
        parked=parked,
    )


def a_place(ahead: int = 0, *, exact: bool = True, until: int | None = None, reason: str | None = None) -> Place:
    return Place(ahead, exact, None, until, reason)


def held(until: int, reason: str = "at most 120 requests a minute for queue m") -> Place:
    return replace(a_place(), held_until=until, held_reason=reason)


LATER = NOW + SECOND


@pytest.mark.parametrize(
    ("request_", "place", "reason", "words"),
    [
        (a_pending(due_at=LATER), a_place(until=LATER), "scheduled", "later"),
        (a_pending(due_at=LATER, attempt=1), a_place(), "retry", "attempt 2"),
        (a_pending(due_at=NOW), a_place(), "position", "next"),
        (a_pending(), a_place(until=LATER, reason="maintenance"), "paused", "maintenance"),
        (a_pending(), a_place(until=LATER), "rate_limited", "the upstream"),
        (a_pending(), a_place(2, until=NOW), "position", "2 requests are ahead"),
        (a_pending(parked=True), a_place(), "tenant_limit", "max_running"),
        (a_pending(parked=True), held(LATER), "tenant_limit", "max_running"),
        (a_pending(parked=True), a_place(until=LATER, reason="maintenance"), "paused", "maintenance"),
        (a_pending(), held(LATER), "rate_limited", "at most 120 requests a minute for queue m"),
        (a_pending(), held(LATER, "upstream up is paused (new weights)"), "rate_limited", "new weights"),
        (a_pending(), held(NOW), "position", "next"),
        (a_pending(due_at=LATER), held(LATER), "scheduled", "later"),
        (a_pending(), a_place(1), "position", "1 request is ahead"),
        (a_pending(), a_place(4_000, exact=False), "position", "about 4000 requests are ahead"),
    ],
)
def test_the_reason_for_waiting(request_: Request, place: Place, reason: str, words: str) -> None:
    waiting = waiting_reason(request_, place, SERVING, NOW)

    assert waiting.reason == reason
    assert words in waiting.message


@pytest.mark.parametrize(
    "place", [a_place(until=FOREVER, reason="closed"), held(FOREVER, "upstream up is paused (closed)")]
)
def test_a_pause_that_only_a_word_will_end_has_no_time(place: Place) -> None:
    waiting = waiting_reason(a_pending(), place, SERVING, NOW)

    assert waiting.until is None
    assert "closed" in waiting.message


@pytest.mark.parametrize("place", [a_place(), a_place(until=LATER)])
def test_g3_a_model_that_nobody_serves_any_more_is_named_with_what_to_do(place: Place) -> None:
    waiting = waiting_reason(a_pending(), place, EMPTY, NOW)

    assert (waiting.reason, waiting.until) == ("not_served", None)
    assert "no upstream serves 'm' now" in waiting.message
    assert "cancel it" in waiting.message


async def test_a_hint_wakes_whoever_waits_and_progress_of_the_moment_wins(tmp_path: Path) -> None:
    live = Live()
    async with open_store(tmp_path / "store.db", clock=now) as store:
        desk = Desk(store.requests, EMPTY, live, now, LINKS)
        lease = await running(store)
        request_id = lease.fence.request_id
        live.begin(lease.fence, 1)
        live.progress(lease.fence, 0.5, "half")
        waiting = asyncio.create_task(waited(desk, request_id, 50))
        await asyncio.sleep(0)
        shown = await desk.view("t", request_id)
        await store.leases.finish([success(lease)])
        live.wake(request_id)

        async with asyncio.timeout(2):
            ended = await waiting

    assert (shown.progress, shown.progress_message) == (0.5, "half")
    assert ended.status is Status.COMPLETED


async def test_waiting_gives_up_when_its_time_is_over(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db", clock=now) as store:
        [request] = await submitted(store)

        found = await waited(Desk(store.requests, EMPTY, Live(), now, LINKS), request.id, 0.01)

    assert found.status is Status.PENDING


async def test_waiting_ends_with_the_record_as_it_stands_when_the_server_stops(tmp_path: Path) -> None:
    live = Live()
    async with open_store(tmp_path / "store.db", clock=now) as store:
        [request] = await submitted(store)
        desk = Desk(store.requests, SERVING, live, now, LINKS)
        waiting = asyncio.create_task(waited(desk, request.id, 50))
        while not live.waiting(request.id):
            await asyncio.sleep(0)
        live.close()

        async with asyncio.timeout(2):
            found = [await waiting, await waited(desk, request.id, 50)]

    assert [each.status for each in found] == [Status.PENDING] * 2


async def waited(desk: Desk, request_id: str, seconds: float) -> Request:
    with desk.live.watch(request_id) as watch:
        return await desk.wait(watch, await desk.requests.get("t", request_id), seconds=seconds)
