"""The unmodified openai client makes responses in the background, over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from raincheck.app import Role
from raincheck.core.clock import FOREVER
from tests.http.responses import life_of, serving, streamed
from tests.scripted import error, silence
from tests.scripted import stream as scripted_stream
from tests.server import Running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(tmp_path, role=Role.SERVER) as running:
        yield running


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


async def until_ended(client: AsyncOpenAI, response: Response) -> Response:
    """As OpenAI's guide has it, with shorter naps."""
    while response.status in {"queued", "in_progress"}:
        await asyncio.sleep(0.01)
        response = await client.responses.retrieve(response.id)
    return response


async def test_one_is_created_and_polled_until_it_is_completed(server: Running, client: AsyncOpenAI) -> None:
    before = asyncio.Event()
    server.upstream.script(streamed("one two three", before, metadata={"team": "blue"}))
    queued = await client.responses.create(
        model="m", input="Hello", background=True, metadata={"team": "blue"}, service_tier="flex"
    )
    before.set()
    response = await until_ended(client, queued)

    assert (queued.status, queued.output_text, queued.background) == ("queued", "", True)
    assert (response.id, response.status, response.output_text) == (queued.id, "completed", "one two three")
    assert response.usage is not None
    assert response.usage.total_tokens == 8
    assert (response.background, response.metadata, response.service_tier) == (True, {"team": "blue"}, "flex")
    assert response._request_id is not None  # pyright: ignore[reportPrivateUsage]
    Response.model_validate((await server.get(f"/v1/responses/{response.id}")).json, strict=True)


async def test_the_sync_client_does_all_of_it(server: Running) -> None:
    server.upstream.script(streamed("one two three"), streamed("four"))

    def story() -> tuple[list[str], str, list[str]]:
        with OpenAI(base_url=server.base_url, api_key="none") as client:
            response = client.responses.create(model="m", input="Hello", background=True)
            while response.status in {"queued", "in_progress"}:
                response = client.responses.retrieve(response.id, extra_query={"wait": 5})
            again = client.responses.create(
                model="m", input="More", background=True, stream=True, previous_response_id=response.id
            )
            events = list(again)
            last = events[-1]
            assert last.type == "response.completed"
            items = [item.type for item in client.responses.input_items.list(last.response.id, limit=1)]
            for each in (response.id, last.response.id):
                client.responses.delete(each)
            return [event.type for event in events], last.response.output_text, items

    told, text, items = await asyncio.to_thread(story)

    assert told == [event["type"] for event in life_of("four")]
    assert text == "four"
    assert items == ["message"] * 3
    assert (await server.get("/v1/requests")).json["data"] == []


async def test_a_stream_that_was_left_is_gone_on_with(server: Running, client: AsyncOpenAI) -> None:
    rest = asyncio.Event()
    server.upstream.script(streamed("one two three", rest))
    stream = await client.responses.create(model="m", input="Hello", background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    response_id, cursor = seen[0].response.id, seen[-1].sequence_number

    resumed = await client.responses.retrieve(response_id, stream=True, starting_after=cursor)
    rest.set()
    seen += [event async for event in resumed]
    replayed = [event async for event in await client.responses.retrieve(response_id, stream=True)]

    assert [event.sequence_number for event in seen] == list(range(len(life_of("one two three"))))
    assert seen[-1].response.output_text == "one two three"
    assert [event.type for event in replayed] == [event.type for event in seen]
    assert len(server.upstream.requests) == 1


async def test_a_stream_that_is_queued_can_be_cancelled(server: Running, client: AsyncOpenAI) -> None:
    """G5: its first event tells its id."""
    await server.edge.store.registry.pause("queue", "m", until=FOREVER)
    stream = await client.responses.create(model="m", input="Hello", background=True, stream=True)
    async with asyncio.timeout(5):
        first = await anext(aiter(stream))
    assert first.type == "response.created"
    await client.responses.cancel(first.response.id)
    rest = [event async for event in stream]

    assert [(event.type, event.sequence_number) for event in rest] == [("response.failed", 1)]
    assert server.upstream.requests == []


async def test_the_clients_own_gathering_of_a_stream_works(server: Running, client: AsyncOpenAI) -> None:
    server.upstream.script(streamed("one two three"))
    created = await client.responses.create(model="m", input="Hello", background=True, stream=True)
    first = await anext(aiter(created))
    assert first.type == "response.created"
    await created.close()
    async with client.responses.stream(response_id=first.response.id) as stream:
        response = await stream.get_final_response()

    assert response.output_text == "one two three"


@pytest.mark.slow("waits for a second try")
async def test_the_gathering_survives_a_try_that_came_to_nothing(server: Running, client: AsyncOpenAI) -> None:
    """A stream that broke off is done again, with other words; the client is left with the words that count."""
    half = life_of("one two three", item_id="msg_gone")[:6]
    server.upstream.script(scripted_stream(*half, done=False), streamed("uno dos"))
    async with client.responses.stream(model="m", input="Hello", background=True) as stream:
        response = await stream.get_final_response()

    assert response.output_text == "uno dos"


async def test_cancelling_aborts_the_call_and_may_be_done_again(server: Running, client: AsyncOpenAI) -> None:
    """G5."""
    server.upstream.script(silence())
    queued = await client.responses.create(model="m", input="Hello", background=True)
    received = await server.upstream.received()
    cancelled = [await client.responses.cancel(queued.id) for _ in range(2)]
    async with asyncio.timeout(5):
        await received.left.wait()

    assert [each.status for each in cancelled] == ["cancelled"] * 2
    assert (await client.responses.retrieve(queued.id)).status == "cancelled"


async def test_errors_are_those_that_the_client_expects(server: Running, client: AsyncOpenAI) -> None:
    server.upstream.script(streamed("one"), error(400, "No.", "invalid_prompt"))
    done = await until_ended(client, await client.responses.create(model="m", input="Hello", background=True))
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        await client.responses.cancel(done.id)
    refused = await until_ended(client, await client.responses.create(model="m", input="Hello", background=True))
    await client.responses.delete(done.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            await call(done.id)
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="m", input="Hello", background=True, store=False)

    assert (refused.status, refused.error is not None and refused.error.code) == ("failed", "invalid_prompt")


class Answer(BaseModel):
    number: int


async def test_what_is_structured_can_be_parsed(server: Running, client: AsyncOpenAI) -> None:
    server.upstream.script(streamed('{"number":4}'))
    queued = await client.responses.parse(model="m", input="2+2?", background=True, text_format=Answer)
    response = await until_ended(client, queued)

    assert Answer.model_validate_json(response.output_text) == Answer(number=4)
    assert server.upstream.requests[0].json["text"]["format"]["name"] == "Answer"


@pytest.mark.slow("starts two servers")
async def test_what_a_server_left_is_read_at_the_next_one(tmp_path: Path) -> None:
    """G1, G4: the response and its events outlive the process."""
    async with (
        serving(tmp_path, role=Role.SERVER) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        server.upstream.script(streamed("one two three"))
        stream = await client.responses.create(model="m", input="Hello", background=True, stream=True)
        before = [event async for event in stream]
    last = before[-1]
    assert last.type == "response.completed"
    async with (
        serving(tmp_path, role=Role.SERVER) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        response = await client.responses.retrieve(last.response.id)
        after = [event async for event in await client.responses.retrieve(response.id, stream=True, starting_after=4)]

    assert response.output_text == "one two three"
    assert after == before[5:]
