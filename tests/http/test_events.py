"""Server-sent events of one request."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from raincheck.app import Role
from raincheck.core.model import Beat, Fence, Finish, Offer, Request
from raincheck.core.outcome import Released, Reply, Succeeded
from raincheck.http.edge import Edge, Limits
from raincheck.live import MAX_DELTA_BYTES
from raincheck.store.protocol import Requests
from tests.scripted import chunk, stream, text
from tests.server import Running, running_server

Event = dict[str, Any]


async def follow(server: Running, request_id: str, last_event_id: str = "") -> AsyncGenerator[Event]:
    """The events as a browser would parse them, comments as {"event": "comment"}."""
    url = f"{server.url}/v1/requests/{request_id}/events"
    async with server.session.get(url, headers={"last-event-id": last_event_id}) as response:
        assert response.content_type == "text/event-stream"
        block: Event = {}
        async for raw in response.content:
            line = raw.decode().removesuffix("\n")
            if not line and block:
                yield block
                block = {}
            elif line.startswith(":"):
                block["event"] = "comment"
            elif line:
                name, _, value = line.partition(": ")
                block[name] = msgspec.json.decode(value) if name == "data" else value


async def test_a_life_is_told_from_the_first_status_to_the_last(server: Running) -> None:
    before = asyncio.Event()
    server.upstream.script(text("one two three", before=before))
    request_id = await server.defer()
    told: list[Event] = []
    async for event in follow(server, request_id):
        told.append(event)
        before.set()

    statuses = [event["data"]["status"] for event in told if event["event"] == "status"]
    words = [_content(event) for event in told if event["event"] == "delta"]
    assert told[0]["event"] == told[-1]["event"] == "status"
    assert statuses[-1] == "completed"
    assert statuses in (["pending", "processing", "completed"], ["processing", "completed"])
    assert "".join(words) == "one two three"
    assert told[-1]["data"]["result"]["choices"][0]["message"]["content"] == "one two three"


async def test_deltas_come_while_the_request_runs_and_are_numbered(server: Running) -> None:
    rest = asyncio.Event()
    server.upstream.script(stream(chunk("one "), rest, chunk("two"), chunk(finish="stop")))
    request_id = await server.defer()
    ids: list[str] = []
    async for event in follow(server, request_id):
        if event["event"] == "delta":
            ids.append(event["id"])
            rest.set()

    fence = ids[0].partition("-")[0]
    assert ids == [f"{fence}-{number}" for number in range(1, len(ids) + 1)]


async def test_an_ended_request_is_told_in_one_event(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    told = [event async for event in follow(server, request_id)]

    assert [event["event"] for event in told] == ["status"]


async def test_last_event_id_resumes_after_what_was_seen(server: Running) -> None:
    fence = await _running_here(server)
    for word in ("one", "two", "three"):
        server.edge.live.delta(fence, msgspec.json.encode({"word": word}))

    told = await _deltas(server, fence.request_id, 1, "1000-2")

    assert [(event["id"], event["data"]["word"]) for event in told] == [("1000-3", "three")]


@pytest.mark.parametrize("seen", ["999-7", "1-7", "1000", "-", "x-1", "1000-x", "9" * 30 + "-1", "1000-" + "9" * 30])
async def test_a_last_event_id_of_another_claim_or_none_at_all_starts_over(server: Running, seen: str) -> None:
    fence = await _running_here(server)
    server.edge.live.delta(fence, b'{"word":"again"}')

    told = await _deltas(server, fence.request_id, 1, seen)

    assert [event["id"] for event in told] == ["1000-1"]


async def test_what_is_given_back_and_claimed_again_begins_anew_after_a_status(server: Running) -> None:
    """A release costs no attempt: status and attempt are as before, and only the fence keeps two answers apart."""
    server.upstream.script(stream(chunk("old "), chunk("words"), asyncio.Event()), text("new"))
    request_id = await server.defer()
    told: list[Event] = []
    async for event in follow(server, request_id):
        told.append(event)
        if event["event"] == "delta" and _content(event) == "words":
            notes = server.edge.live.notes(request_id)
            assert notes is not None
            await server.edge.store.leases.finish([Finish(notes.fence, Released())])

    old = next(place for place, event in enumerate(told) if event["event"] == "delta")
    again = next(place for place, event in enumerate(told) if event.get("data", {}).get("attempts"))
    new = next(place for place in range(again, len(told)) if told[place]["event"] == "delta")
    assert [told[place]["data"].get("attempt") for place in (old - 1, new - 1)] == [1, 1]
    assert {event["event"] for event in told[again:new]} == {"status"}
    assert (_words(told[:again]), _words(told[again:])) == ("old words", "new")
    assert int(told[new]["id"].partition("-")[0]) > int(told[old]["id"].partition("-")[0])


async def test_another_claim_between_two_looks_is_told_by_a_status(server: Running) -> None:
    fence = await _running_here(server)
    server.edge.live.delta(fence, b'{"word":"old"}')
    events = follow(server, fence.request_id)
    told = [await anext(events), await anext(events)]

    again = fence._replace(number=fence.number + 1)
    server.edge.live.end(fence)
    server.edge.live.begin(again, 1)
    server.edge.live.delta(again, b'{"word":"new"}')
    told += [await anext(events), await anext(events)]
    await events.aclose()

    assert [event["event"] for event in told] == ["status", "delta", "status", "delta"]
    assert [event["id"] for event in told if "id" in event] == ["1000-1", "1001-1"]


async def test_deltas_that_were_dropped_are_counted(server: Running) -> None:
    fence = await _running_here(server)
    for _ in range(5):
        server.edge.live.delta(fence, b'"' + b"x" * (MAX_DELTA_BYTES // 3) + b'"')

    events = follow(server, fence.request_id)
    told = [await anext(events) for _ in range(4)]
    await events.aclose()

    assert [event["event"] for event in told] == ["status", "dropped", "delta", "delta"]
    assert told[1]["data"] == {"deltas": 3}
    assert [event["id"] for event in told[2:]] == ["1000-4", "1000-5"]


async def test_the_record_is_not_read_for_every_delta(tmp_path: Path) -> None:
    reads = Counted()
    async with running_server(tmp_path, change=reads.of) as server:
        fence = await _running_here(server)
        events = follow(server, fence.request_id)
        await anext(events)
        read = reads.count
        for _ in range(50):
            server.edge.live.delta(fence, b'{"word":"x"}')
            await anext(events)
        await events.aclose()

    assert reads.count - read <= 1


async def test_a_stream_ends_with_what_there_is_when_the_server_stops(server: Running) -> None:
    fence = await _running_here(server)
    events = follow(server, fence.request_id)
    told = [await anext(events)]
    server.edge.live.delta(fence, b'{"word":"last"}')
    server.edge.live.close()

    async with asyncio.timeout(5):
        told += [event async for event in events]

    assert [event["event"] for event in told] == ["status", "delta"]


async def test_progress_is_told_once_per_change(server: Running) -> None:
    fence = await _running_here(server)
    events = follow(server, fence.request_id)
    assert (await anext(events))["event"] == "status"

    server.edge.live.progress(fence, 0.5, "half")
    event = await anext(events)
    await events.aclose()

    assert (event["event"], event["data"]) == ("progress", {"progress": 0.5, "progress_message": "half"})


async def test_progress_of_an_attempt_in_another_process_is_told_as_its_heartbeats_have_it(tmp_path: Path) -> None:
    async with running_server(tmp_path, role=Role.DESK) as server:
        request_id = await server.defer()
        leases = server.edge.store.leases
        told = follow(server, request_id)
        assert (await anext(told))["data"]["status"] == "pending"
        claimed = await leases.claim([Offer("m", "up", 1)], worker="elsewhere", lease_for=60_000_000)
        assert (await anext(told))["data"]["status"] == "processing"
        fence = claimed.leases[0].fence
        for fraction in (0.25, 0.25, 0.5):
            await leases.extend([Beat(fence, fraction, "so far")], lease_for=60_000_000)
            server.edge.live.wake(request_id)  # It would look by itself, within seconds.
        assert await anext(told) == {"event": "progress", "data": {"progress": 0.25, "progress_message": "so far"}}
        assert (await anext(told))["data"]["progress"] == 0.5
        await leases.finish([Finish(fence, Succeeded(Reply(b"{}")))])
        assert (await anext(told))["data"]["status"] == "completed"
        assert [event async for event in told] == []


async def test_a_quiet_stream_says_that_it_is_still_there(tmp_path: Any) -> None:
    async with running_server(tmp_path, limits=Limits(keep_alive_every=0.05)) as server:
        server.upstream.always(text(before=asyncio.Event()))
        async for event in follow(server, await server.defer()):
            if event["event"] == "comment":
                break


async def test_newlines_in_a_chunk_do_not_end_its_event(server: Running) -> None:
    fence = await _running_here(server)
    server.edge.live.delta(fence, b'{"word":\n"one"\r\n}')

    [event] = await _deltas(server, fence.request_id, 1)

    assert event["data"] == {"word": "one"}


async def test_hanging_up_leaves_no_watch_behind(server: Running) -> None:
    fence = await _running_here(server)
    events = follow(server, fence.request_id)
    await anext(events)
    assert server.edge.live.waiting(fence.request_id) == 1
    await events.aclose()

    async with asyncio.timeout(5):
        while server.edge.live.waiting(fence.request_id):
            await asyncio.sleep(0.005)


class Counted:
    """The store's requests, and how often one was read."""

    def __init__(self) -> None:
        self.count = 0
        self._inner: Any = None

    def of(self, edge: Edge) -> Edge:
        self._inner = edge.store.requests
        return replace(edge, store=replace(edge.store, requests=cast("Requests", self)))

    async def get(self, tenant: str, request_id: str) -> Request:
        self.count += 1
        return await self._inner.get(tenant, request_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def _running_here(server: Running) -> Fence:
    """A request that waits upstream for ever, with notes that are the test's to write."""
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    await server.upstream.received()
    fence = Fence(request_id, 1_000)
    server.edge.live.begin(fence, 1)
    return fence


async def _deltas(server: Running, request_id: str, count: int, last_event_id: str = "") -> list[Event]:
    told: list[Event] = []
    async for event in follow(server, request_id, last_event_id):
        if event["event"] == "delta":
            told.append(event)
        if len(told) == count:
            break
    return told


def _words(told: list[Event]) -> str:
    return "".join(_content(event) for event in told if event["event"] == "delta")


def _content(event: Event) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["data"]["choices"])
