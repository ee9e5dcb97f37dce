"""Calls that are passed on: any JSON POST below /v1, and what happens when they break midway."""

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.scripted import cut, error, reply, silence, text
from tests.server import Running, a_chat, running_server


@pytest.mark.parametrize("path", ["/completions", "/embeddings", "/responses", "/rerank", "/chat/other", "/a/b/c"])
async def test_any_json_post_is_passed_on_to_the_same_path(server: Running, path: str) -> None:
    answer = await server.post(f"/v1{path}", {"model": "m", "input": "x"})

    assert answer.status == 200
    assert server.upstream.requests[0].path == path
    assert server.upstream.requests[0].json == {"model": "m", "input": "x"}


async def test_any_json_post_can_be_deferred_and_answers_with_the_request(server: Running) -> None:
    answer = await server.post("/v1/rerank", {"model": "m", "input": "x"}, prefer="respond-async")

    assert (answer.status, answer.json["object"], answer.json["operation"]) == (202, "request", "rerank")
    assert (await server.ended(answer.json["id"]))["result"]["path"] == "/rerank"


async def test_the_upstreams_status_body_and_retry_after_are_passed_on(server: Running) -> None:
    server.upstream.script(error(429, "slow down", "busy", retry_after="7"))

    answer = await server.post("/v1/chat/completions", a_chat())

    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (429, "busy", "7")


async def test_an_adapters_list_of_headers_is_the_only_one(server: Running) -> None:
    server.upstream.script(reply({"a": 1}, x_request_id="u1", x_ratelimit_limit_requests="9", openai_organization="o"))

    answer = await server.post("/v1/embeddings", {"model": "m", "input": "x"})

    assert (answer.headers["x-upstream-request-id"], answer.headers["x-ratelimit-limit-requests"]) == ("u1", "9")
    assert "openai-organization" not in answer.headers


async def test_nothing_new_is_passed_on_while_the_server_stops(tmp_path: Path) -> None:
    async with running_server(tmp_path, change=lambda edge: replace(edge, stopping=lambda: True)) as server:
        answers = [
            await server.post("/v1/chat/completions", a_chat()),
            await server.post("/v1/embeddings", {"model": "m", "input": "x"}),
        ]
        flat = await server.post("/xai/v1/chat/completions", a_chat())

    assert [(answer.status, answer.error["code"]) for answer in answers] == [(503, "stopping")] * 2
    assert answers[0].headers["retry-after"] == "2"
    assert flat.status == 503
    assert server.upstream.requests == []


async def test_what_is_no_json_is_passed_on_as_it_is(server: Running) -> None:
    server.upstream.script(reply(b"\x00\x01", content_type="audio/mpeg"))

    answer = await server.post("/v1/audio/speech", {"model": "m", "input": "x"})

    assert (answer.body, answer.headers["content-type"]) == (b"\x00\x01", "audio/mpeg")


async def test_a_stream_that_breaks_says_so_in_its_last_event(server: Running) -> None:
    server.upstream.script(cut(text("one two three"), after=400))

    answer = await server.post("/v1/chat/completions", a_chat(stream=True))

    last = answer.body.decode().strip().split("\n\n")[-1]
    assert '"code":"upstream_broke"' in last
    assert "[DONE]" not in answer.body.decode()


async def test_a_whole_answer_that_breaks_is_a_broken_connection_and_not_a_short_answer(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    server.upstream.script(cut(text("one two three"), after=40))

    with pytest.raises(aiohttp.ClientPayloadError):
        await server.post("/v1/chat/completions", a_chat())

    assert (await server.get("/health/live")).status == 200
    assert caplog.messages == []


async def test_hanging_up_before_the_answer_ends_the_call_upstream(server: Running) -> None:
    server.upstream.script(silence())
    asking = asyncio.create_task(server.post("/v1/chat/completions", a_chat()))
    call = await server.upstream.received()
    asking.cancel()

    async with asyncio.timeout(5):
        await call.left.wait()


async def test_xai_tells_that_an_upstream_refused_us_in_its_own_way(server: Running) -> None:
    server.upstream.script(error(403, "no"))

    answer = await server.post("/xai/v1/chat/completions", a_chat())

    assert (answer.status, answer.json["code"]) == (502, "Internal error")


async def test_an_upstreams_status_beyond_all_statuses_is_a_502(server: Running) -> None:
    server.upstream.script(reply("", 799))

    answer = await server.post("/v1/chat/completions", a_chat())

    assert (answer.status, answer.error["code"]) == (502, "upstream_broke")
