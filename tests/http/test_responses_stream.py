"""The events of a response: live, resumed, replayed, and over several attempts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from raincheck.http.edge import Limits
from raincheck.live import MAX_DELTA_BYTES
from tests.http.responses import (
    a_response,
    all_of,
    create,
    create_streamed,
    created,
    follow,
    kinds,
    life_of,
    numbers,
    serving,
    take,
)
from tests.server import Json, Running

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(tmp_path) as running:
        yield running


async def test_events_come_while_the_attempt_runs_and_the_end_once_it_is_on_record(
    server: Running, tmp_path: Path
) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two three")
    hand.say(*life[:6])
    events = follow(server, response_id)
    live = [await anext(events) for _ in range(6)]
    hand.say(*life[6:])
    live += [await anext(events) for _ in range(len(life) - 7)]
    last = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert not last.done()
    await hand.complete(life[-1]["response"], events=life, folder=tmp_path)

    assert [*live, await last] == life
    assert [event async for event in events] == []
    for event in life:
        EVENT.validate_python(event, strict=True)


@pytest.mark.parametrize("after", [None, 0, 3, 9, 10, 99])
async def test_a_replay_is_exact_from_any_number_on(server: Running, tmp_path: Path, after: int | None) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two three")
    await hand.complete(life[-1]["response"], events=life, folder=tmp_path)

    assert await all_of(server, response_id, after) == life[0 if after is None else after + 1 :]


async def test_who_left_goes_on_live_where_it_was(server: Running, tmp_path: Path) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two three")
    hand.say(*life[:6])
    first = follow(server, response_id)
    seen = [await anext(first) for _ in range(3)]
    await first.aclose()

    second = follow(server, response_id, seen[-1]["sequence_number"])
    seen.append(await anext(second))
    hand.say(*life[6:])
    await hand.complete(life[-1]["response"], events=life, folder=tmp_path)
    seen += [event async for event in second]

    assert seen == life


async def test_what_was_dropped_from_memory_is_told_from_the_record(server: Running, tmp_path: Path) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("x" * (MAX_DELTA_BYTES // 3) + " two three")
    following = asyncio.create_task(all_of(server, response_id, 1))
    hand.say(*life)
    await hand.complete(life[-1]["response"], events=life, folder=tmp_path)

    assert await following == life[2:]
    assert await all_of(server, response_id) == life


async def test_an_attempt_in_another_process_is_told_once_it_has_ended(server: Running, tmp_path: Path) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two three")
    server.edge.live.end(hand.lease.fence)
    following = asyncio.create_task(all_of(server, response_id))
    await hand.complete(life[-1]["response"], events=life, folder=tmp_path)

    told = await following
    assert (kinds(told), told[1:]) == (kinds(life), life[1:])


async def test_a_second_attempt_never_goes_on_with_what_the_first_one_said(server: Running, tmp_path: Path) -> None:
    """The number that a client saw last tells which attempt it saw."""
    response_id = await create_streamed(server)
    first, life = await take(server), life_of("one two", item_id="msg_first")
    seen_by_first = follow(server, response_id)
    first.say(*life[:5])
    told = [await anext(seen_by_first) for _ in range(5)]
    await first.retry()

    second, again = await take(server), life_of("uno dos tres", item_id="msg_second")
    second.say(*again[:5])
    fresh = follow(server, response_id)
    seen_by_second = [await anext(fresh) for _ in range(5)]
    await second.complete(again[-1]["response"], events=again, folder=tmp_path)
    seen_by_second += [event async for event in fresh]
    told += [event async for event in seen_by_first]

    renumbered = [event | {"sequence_number": 1_000_000 + number} for number, event in enumerate(again)]
    assert seen_by_second == renumbered == await all_of(server, response_id)
    # The item that it saw begin is closed, and then comes the whole response.
    assert kinds(told[5:]) == ["output_item.done", "completed"]
    assert told[5]["item"] == life[2]["item"] | {"status": "incomplete"}
    assert (numbers(told[5:]), told[-1]) == ([5, renumbered[-1]["sequence_number"]], renumbered[-1])
    # It is the same for one who connects again; who saw some of the second goes on with that.
    assert await all_of(server, response_id, 4) == renumbered[-1:]
    assert await all_of(server, response_id, 1_000_003) == renumbered[4:]
    for event in told:
        EVENT.validate_python(event, strict=True)


async def test_an_attempt_given_back_untried_counts_as_one(server: Running, tmp_path: Path) -> None:
    response_id = await create_streamed(server)
    first, life = await take(server), life_of("one two")
    first.say(*life[:5])
    seen = follow(server, response_id)
    assert numbers([await anext(seen) for _ in range(5)]) == [0, 1, 2, 3, 4]
    await first.release()
    second, again = await take(server), life_of("uno dos")
    await second.complete(again[-1]["response"], events=again, folder=tmp_path)

    assert numbers(await all_of(server, response_id, 4)) == [1_000_000 + len(again) - 1]


async def test_an_attempt_that_says_it_failed_and_is_tried_again_has_not_failed(
    server: Running, tmp_path: Path
) -> None:
    response_id = await create_streamed(server)
    first, life = await take(server), life_of("one two")
    failed = {"type": "response.failed", "sequence_number": 0, "response": a_response("") | {"status": "failed"}}
    first.say(failed)
    following = asyncio.create_task(all_of(server, response_id))
    await first.retry()
    second = await take(server)
    second.say(*life)
    await second.complete(life[-1]["response"], events=life, folder=tmp_path)

    assert kinds(await following) == kinds(life)


async def test_one_that_never_began_ends_with_one_word(server: Running) -> None:
    response_id = await create_streamed(server)
    following = asyncio.create_task(all_of(server, response_id))
    await server.post(f"/v1/responses/{response_id}/cancel", b"")

    told = await following

    assert (kinds(told), numbers(told)) == (["created", "failed"], [0, 1])
    assert told[1]["response"]["status"] == "cancelled"
    assert told == await all_of(server, response_id)
    assert await all_of(server, response_id, 0) == told[1:]
    assert await all_of(server, response_id, 1) == []
    for event in told:
        EVENT.validate_python(event, strict=True)


async def test_one_that_broke_off_ends_behind_what_was_told(server: Running) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two")
    hand.say(*life[:4])
    events = follow(server, response_id)
    told = [await anext(events) for _ in range(4)]
    await hand.fail()
    told += [event async for event in events]

    assert kinds(told) == [*kinds(life[:4]), "failed"]
    assert numbers(told) == sorted(set(numbers(told)))
    assert told[-1]["response"]["error"]["message"] == "The upstream stumbled."
    assert await all_of(server, response_id, 3) == told[-1:]
    assert await all_of(server, response_id, told[-1]["sequence_number"]) == []


async def test_cancelling_ends_a_stream(server: Running) -> None:
    response_id = await create_streamed(server)
    hand, life = await take(server), life_of("one two")
    hand.say(*life[:4])
    events = follow(server, response_id)
    told = [await anext(events) for _ in range(4)]
    await server.post(f"/v1/responses/{response_id}/cancel", b"")
    told += [event async for event in events]

    assert (kinds(told)[4:], told[-1]["response"]["status"]) == (["failed"], "cancelled")


async def test_an_answer_without_events_is_told_in_one(server: Running) -> None:
    """As of an upstream that knows no events."""
    for size in (3, 2 << 20):
        response_id = await create_streamed(server)
        answer = a_response("x" * size, response_id=response_id)
        await (await take(server)).complete(answer)

        told = await all_of(server, response_id)

        assert (kinds(told), numbers(told)) == (["created", "completed"], [0, 1])
        assert told[-1]["response"] == answer


async def test_who_creates_one_may_have_its_events_from_the_first_on(server: Running, tmp_path: Path) -> None:
    body = {"model": "m", "input": "Hello", "background": True, "stream": True}
    life = life_of("one two three")
    async with server.session.post(f"{server.url}/v1/responses", json=body) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        hand = await take(server)
        hand.say(*life)
        await hand.complete(life[-1]["response"], events=life, folder=tmp_path)
        text = await response.text()

    told = told_in(text)
    assert (kinds(told), told[1:]) == (kinds(life), life[1:])


def told_in(text: str) -> list[Json]:
    return [msgspec.json.decode(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_who_waits_in_the_queue_knows_at_once_what_for(server: Running, tmp_path: Path) -> None:
    """By the id it can come back, or cancel."""
    body = {"model": "m", "input": "Hello", "background": True, "stream": True}
    life = life_of("one two")
    async with server.session.post(f"{server.url}/v1/responses", json=body) as response:
        response_id = response.headers["raincheck-request-id"]
        async with asyncio.timeout(5):
            while not (line := await response.content.readline()).startswith(b"data: "):
                pass
        [first] = told_in(line.decode())
        hand = await take(server)
        hand.say(*life)
        await hand.complete(life[-1]["response"], events=life, folder=tmp_path)
        rest = told_in(await response.text())

    EVENT.validate_python(first, strict=True)
    assert (first["type"], first["sequence_number"]) == ("response.created", 0)
    assert (first["response"]["id"], first["response"]["status"]) == (response_id, "queued")
    assert rest == life[1:] == await all_of(server, response_id, 0)


async def test_who_knows_of_the_creation_alone_follows_any_attempt(server: Running, tmp_path: Path) -> None:
    response_id = await create_streamed(server)
    queued, left = follow(server, response_id), follow(server, response_id)
    told, seen = [await anext(queued)], [await anext(left)]
    await left.aclose()
    first, life = await take(server), life_of("one two")
    await first.retry()
    second = await take(server)
    second.say(*life[:5])
    told += [await anext(queued) for _ in range(4)]
    resumed = follow(server, response_id, seen[-1]["sequence_number"])
    seen += [await anext(resumed) for _ in range(4)]
    await second.complete(life[-1]["response"], events=life, folder=tmp_path)
    for events, gathered in ((queued, told), (resumed, seen)):
        gathered += [event async for event in events]
        assert kinds(gathered) == kinds(life)
        assert numbers(gathered) == [0, *(1_000_000 + number for number in range(1, len(life)))]
        assert [event["type"] for event in gathered].count("response.created") == 1


async def test_a_repetition_is_told_which_one_it_repeats(server: Running) -> None:
    """G9."""
    body = {"model": "m", "input": "Hello", "background": True, "stream": True}
    ids = set[str]()
    for replayed in (None, "true"):
        headers = {"idempotency-key": "k"}
        async with server.session.post(f"{server.url}/v1/responses", json=body, headers=headers) as response:
            ids.add(response.headers["raincheck-request-id"])
            assert response.headers.get("idempotency-replayed") == replayed
    assert len(ids) == 1


async def test_a_quiet_stream_says_that_it_is_still_there(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(keep_alive_every=0.02)) as server:
        response_id = await create_streamed(server)
        url = f"{server.url}/v1/responses/{response_id}?stream=true"
        async with server.session.get(url) as response:
            while b"keep-alive" not in await response.content.readline():
                pass


async def test_a_server_that_stops_ends_its_streams(server: Running) -> None:
    response_id = await create_streamed(server)
    following = asyncio.create_task(all_of(server, response_id))
    while not server.edge.live.waiting(response_id):
        await asyncio.sleep(0.005)
    server.edge.live.close()

    assert kinds(await following) == ["created"]


async def test_what_was_created_without_a_stream_has_none(server: Running) -> None:
    reply = await server.get(f"/v1/responses/{await created(server)}?stream=true")

    assert (reply.status, reply.error["param"]) == (400, "stream")


@pytest.mark.parametrize("query", ["stream=maybe", "stream=true&starting_after=-1", "stream=true&starting_after=x"])
async def test_a_query_that_makes_no_sense_is_refused(server: Running, query: str) -> None:
    reply = await server.get(f"/v1/responses/{await create_streamed(server)}?{query}")

    assert reply.status == 400


async def test_without_a_place_for_files_there_are_no_streams(tmp_path: Path) -> None:
    async with serving(tmp_path, blobs_url=None) as server:
        reply = await create(server, stream=True)

    assert (reply.status, reply.error["code"]) == (501, "no_object_store")
