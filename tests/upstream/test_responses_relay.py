"""Responses passed through while the client waits, and translated where the server has no such API."""

import asyncio
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response

from raincheck.core.errors import UpstreamBroke, UpstreamDown
from raincheck.upstream.openai import OpenAIUpstream
from tests.scripted import HELLO, ScriptedUpstream, chunk, drop, error, reply, stream, text
from tests.scripted.completions import response, response_events
from tests.upstream.openai_calls import calling
from tests.upstream.responses_calls import EVENT, no_responses

Json = dict[str, Any]
PATH = "/responses"


def asked(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "input": "hi"} | members)


async def relayed(upstream: OpenAIUpstream, **members: Any) -> tuple[int, bytes]:
    async with upstream.relay(PATH, asked(**members)) as answer:
        return answer.status, b"".join([piece async for piece in answer.body])


def read(body: bytes) -> list[Json]:
    """The events of a stream, each named by its type and as OpenAI's types say."""
    events: list[Json] = []
    for number, block in enumerate(body.decode().split("\n\n")[:-1]):
        name, data = block.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "))
        EVENT.validate_python(event, strict=True)
        assert (name, event["sequence_number"]) == (f"event: {event['type']}", number)
        events.append(event)
    return events


async def test_a_server_that_has_the_api_is_passed_its_own_words() -> None:
    payload = asked(store=True)
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(response("m", HELLO)))
        async with upstream.relay(PATH, payload) as answer:
            body = b"".join([piece async for piece in answer.body])
    assert msgspec.json.decode(body) == response("m", HELLO)
    assert server.requests[0].body == payload


async def test_an_error_that_is_not_for_the_path_passes_as_it_is() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(error(404, "The model `m` does not exist"))
        status, body = await relayed(upstream)
    assert (status, msgspec.json.decode(body)["error"]["message"]) == (404, "The model `m` does not exist")


async def test_without_the_api_the_answer_is_a_whole_response_of_a_caller_who_waits() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), text(), text())
        for _ in range(2):
            status, body = await relayed(upstream)
            told = Response.model_validate(msgspec.json.decode(body), strict=True)
            assert (status, told.output_text, told.background) == (200, HELLO, False)
            assert told.id.startswith("resp_")
    assert [request.path for request in server.requests] == [PATH, "/chat/completions", "/chat/completions"]


async def test_without_the_api_a_stream_is_told_as_it_comes() -> None:
    more = asyncio.Event()
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), stream(chunk("one"), more, chunk("two", finish="stop")))
        async with upstream.relay(PATH, asked(stream=True)) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
            pieces = aiter(answer.body)
            begun = [await anext(pieces) for _ in range(5)]
            assert b'"one"' in begun[-1]
            more.set()
            events = read(b"".join([*begun, *[piece async for piece in pieces]]))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "onetwo"


async def test_a_translated_stream_that_breaks_off_ends_with_a_failure() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), stream(chunk("one"), done=False))
        _, body = await relayed(upstream, stream=True)
    last = read(body)[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_refusal_keeps_its_status(*, streaming: bool) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        for refusal, status in ((error(429, "slow down", retry_after="3"), 429), (error(503, "no room"), 503)):
            server.script(no_responses(), refusal)
            told, body = await relayed(upstream, stream=streaming)
            assert (told, "error" in msgspec.json.decode(body)) == (status, True)
        server.script(no_responses())
        told, body = await relayed(upstream, stream=streaming, tools=[{"type": "mcp"}])
        assert (told, msgspec.json.decode(body)["error"]["code"]) == (400, "not_translatable")


async def test_a_stray_404_changes_nothing_for_a_server_that_has_the_api() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*response_events("m", HELLO), done=False), error(404, "404 page not found"), text())
        for _ in range(2):
            assert (await relayed(upstream, stream=True))[0] == 200
        server.script(error(404, "404 page not found"))
        status, body = await relayed(upstream, tools=[{"type": "mcp"}])
    assert (status, msgspec.json.decode(body)["error"]["message"]) == (404, "404 page not found")
    assert [request.path for request in server.requests] == [PATH, PATH, "/chat/completions", PATH]


async def test_odd_json_is_the_clients_error() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        odd: list[Json] = [{"text": {"format": {"type": []}}}, {"input": [{"role": []}]}]
        for members in odd:
            server.script(no_responses())
            assert (await relayed(upstream, **members))[0] == 400


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_response_that_outgrows_its_bound_is_broken_off(*, streaming: bool) -> None:
    async with ScriptedUpstream() as server, calling(server, largest_answer=4_000) as upstream:
        server.script(no_responses(), text("word " * 200))
        _, body = await relayed(upstream, stream=streaming)
    assert b"result_too_large" in body or b"is larger than" in body


async def test_leaving_early_stops_the_chat() -> None:
    """G5: a client that hangs up stops the work."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), stream(chunk("one"), ...))
        async with upstream.relay(PATH, asked(stream=True)) as answer:
            await anext(aiter(answer.body))
        async with asyncio.timeout(2):
            await server.requests[1].left.wait()


async def test_a_server_that_breaks_off_or_is_gone_is_told_apart() -> None:
    server = ScriptedUpstream()
    async with server, calling(server) as upstream:
        server.script(no_responses(), drop(), drop())
        with pytest.raises(UpstreamBroke):
            await relayed(upstream)
        server.script(no_responses(), text())
        await relayed(upstream)  # From here on it is known to need translation.
        await server.close()
        with pytest.raises(UpstreamDown):
            await relayed(upstream)
