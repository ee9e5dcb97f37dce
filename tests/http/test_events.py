"""Server-sent events of one request."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from raincheck.core.model import Fence
from raincheck.http.edge import Limits
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

    assert ids == [f"1-{number}" for number in range(1, len(ids) + 1)]


async def test_an_ended_request_is_told_in_one_event(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    told = [event async for event in follow(server, request_id)]

    assert [event["event"] for event in told] == ["status"]


async def test_last_event_id_resumes_after_what_was_seen(server: Running) -> None:
    fence = await _running_here(server)
    for word in ("one", "two", "three"):
        server.edge.live.delta(fence, msgspec.json.encode({"word": word}))

    told = await _deltas(server, fence.request_id, 1, "1-2")

    assert [(event["id"], event["data"]["word"]) for event in told] == [("1-3", "three")]


async def test_a_last_event_id_of_an_earlier_attempt_starts_over(server: Running) -> None:
    fence = await _running_here(server, attempt=2)
    server.edge.live.delta(fence, b'{"word":"again"}')

    told = await _deltas(server, fence.request_id, 1, "1-7")

    assert [event["id"] for event in told] == ["2-1"]


async def test_progress_is_told_once_per_change(server: Running) -> None:
    fence = await _running_here(server)
    events = follow(server, fence.request_id)
    assert (await anext(events))["event"] == "status"

    server.edge.live.progress(fence, 0.5, "half")
    event = await anext(events)
    await events.aclose()

    assert (event["event"], event["data"]) == ("progress", {"progress": 0.5, "progress_message": "half"})


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


async def _running_here(server: Running, *, attempt: int = 1) -> Fence:
    """A request that waits upstream for ever, with notes that are the test's to write."""
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    await server.upstream.received()
    fence = Fence(request_id, 1_000)
    server.edge.live.begin(fence, attempt)
    return fence


async def _deltas(server: Running, request_id: str, count: int, last_event_id: str = "") -> list[Event]:
    told: list[Event] = []
    async for event in follow(server, request_id, last_event_id):
        if event["event"] == "delta":
            told.append(event)
        if len(told) == count:
            break
    return told


def _content(event: Event) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["data"]["choices"])
