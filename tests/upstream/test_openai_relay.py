"""Calls passed through while the client waits."""

import asyncio

import msgspec
import pytest

from raincheck.core.errors import UpstreamBroke, UpstreamDown
from tests.scripted import Answer, ScriptedUpstream, chunk, cut, drop, error, reply, silence, stream, text
from tests.upstream.openai_calls import CHAT, calling

PAYLOAD = b'{"model":"m", "messages":[],"stream":true}'


async def test_the_answer_passes_as_it_is_and_as_it_comes() -> None:
    more = asyncio.Event()
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(chunk("one"), more, chunk("two")))
        async with upstream.relay(CHAT, PAYLOAD) as relayed:
            assert (relayed.status, relayed.headers["content-type"]) == (200, "text/event-stream")
            body = aiter(relayed.body)
            assert b"one" in await anext(body)
            more.set()
            assert b"[DONE]" in b"".join([piece async for piece in body])
    assert server.requests[0].body == PAYLOAD


async def test_an_error_passes_with_the_headers_that_mean_something() -> None:
    headers = {"retry_after": "3", "x_request_id": "u1", "x_ratelimit_limit_tokens": "9", "set_cookie": "a=b"}
    headers |= {"openai_processing_ms": "12", "openai_organization": "whose-key-it-is"}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(error(429, "slow down", **headers))
        async with upstream.relay(CHAT, PAYLOAD) as relayed:
            body = b"".join([piece async for piece in relayed.body])
    assert relayed.status == 429
    assert relayed.headers == {
        "content-type": "application/json",
        "retry-after": "3",
        "x-upstream-request-id": "u1",
        "x-ratelimit-limit-tokens": "9",
        "openai-processing-ms": "12",
    }
    assert msgspec.json.decode(body)["error"]["message"] == "slow down"


async def test_leaving_early_closes_the_connection_at_once() -> None:
    """G5: a client that hangs up stops the work."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(chunk("one"), ...))
        async with upstream.relay(CHAT, PAYLOAD) as relayed:
            await anext(aiter(relayed.body))
        async with asyncio.timeout(2):
            await server.requests[0].left.wait()


async def test_cancelling_before_the_first_byte_closes_the_connection() -> None:
    """G5: also while the upstream has not said a word."""

    async def call() -> None:
        async with upstream.relay(CHAT, PAYLOAD):
            raise AssertionError("there is no answer")

    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(silence())
        task = asyncio.create_task(call())
        request = await server.received()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await request.left.wait()


async def test_a_server_that_is_not_there_is_down() -> None:
    server = ScriptedUpstream()
    async with server:
        pass
    async with calling(server) as upstream:
        with pytest.raises(UpstreamDown, match="cannot be reached"):
            await upstream.relay(CHAT, PAYLOAD).__aenter__()


async def test_a_stale_connection_is_tried_once_more_on_a_new_one() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(text(), drop(), text("again"))
        bodies: list[bytes] = []
        for _ in range(2):
            async with upstream.relay(CHAT, PAYLOAD) as relayed:
                bodies.append(b"".join([piece async for piece in relayed.body]))
    assert b"again" in bodies[1]
    assert [request.connection for request in server.requests] == [1, 1, 2]


async def test_a_connection_that_breaks_midway_says_so() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(cut(stream(chunk("one"), chunk("two")), after=50))
        async with upstream.relay(CHAT, PAYLOAD) as relayed:
            with pytest.raises(UpstreamBroke, match="broke the connection"):
                _ = [piece async for piece in relayed.body]


KEY = "sk-0123456789abcdefghij"


@pytest.mark.parametrize(
    "answer",
    [error(400, f"you sent Bearer {KEY}"), stream({"error": {"message": KEY}}), reply({"headers": KEY})],
)
async def test_a_key_that_an_upstream_quotes_is_not_relayed(answer: Answer) -> None:
    async with ScriptedUpstream() as server, calling(server, api_key=KEY) as upstream:
        server.script(answer)
        async with upstream.relay(CHAT, PAYLOAD) as relayed:
            body = b"".join([piece async for piece in relayed.body])
    assert KEY.encode() not in body
    assert b"***" in body


async def test_a_word_in_place_of_a_key_is_hidden_in_errors_and_left_in_answers() -> None:
    async with ScriptedUpstream() as server, calling(server, api_key="lm-studio") as upstream:
        server.script(reply({"owned_by": "lm-studio"}), error(401, "lm-studio"))
        bodies: list[bytes] = []
        for _ in range(2):
            async with upstream.relay(CHAT, PAYLOAD) as relayed:
                bodies.append(b"".join([piece async for piece in relayed.body]))
    assert [b"lm-studio" in body for body in bodies] == [True, False]


@pytest.mark.parametrize("status", [600, 799])
async def test_a_number_that_is_no_status_is_an_upstream_that_broke(status: int) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply("", status))
        with pytest.raises(UpstreamBroke, match=f"answered {status}"):
            await upstream.relay(CHAT, PAYLOAD).__aenter__()
