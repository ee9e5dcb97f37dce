"""GetCompletion, as the unmodified xai-sdk calls it: `chat.sample()`, `chat.sample_batch()`, `chat.parse()`."""

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import BaseModel
from xai_sdk.chat import system, tool, tool_result, user

from raincheck.grpc.protos import chat_pb2
from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.scripted import Answer, cut, drop, error, reply, silence, text
from tests.scripted.completions import HELLO

Json = dict[str, Any]
WEATHER = tool("weather", "Looks out of the window.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
REFUSALS = [
    (400, grpc.StatusCode.INVALID_ARGUMENT),
    (404, grpc.StatusCode.NOT_FOUND),
    (413, grpc.StatusCode.INVALID_ARGUMENT),
    (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (500, grpc.StatusCode.INTERNAL),
    (503, grpc.StatusCode.INTERNAL),  # It does not say that it did nothing.
    (502, grpc.StatusCode.INTERNAL),
]


class City(BaseModel):
    name: str
    people: int


async def test_a_chat_is_answered_to_both_clients(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.client().chat.create(model="m", messages=[system("Be kind."), user("Hello")], temperature=0.7)
        answer = await chat.sample()
        assert (answer.content, answer.role, answer.finish_reason) == (HELLO, "ROLE_ASSISTANT", "REASON_STOP")
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 4, 9)
        assert (answer.id, answer.created.year) == ("chatcmpl-scripted", 2023)
        assert server.upstream.requests[0].json == {
            "model": "m",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
            "n": 1,
            "temperature": 0.7,
        }
        blocking = server.sync_client().chat.create(model="m", messages=[user("Hello")])
        assert (await asyncio.to_thread(blocking.sample)).content == HELLO
        assert (await server.http.get("/v1/requests")).json["data"] == []


async def test_a_conversation_goes_on_with_what_was_answered(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.client().chat.create(model="m", messages=[user("Hello")])
        chat.append(await chat.sample()).append(user("Go on."))
        await chat.sample()
        assert server.upstream.requests[1].json["messages"] == [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": HELLO},
            {"role": "user", "content": "Go on."},
        ]


async def test_a_call_of_a_tool_goes_out_and_its_result_comes_back(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:

        def look(sample: Any, chat: Any) -> Any:
            answer = sample()
            [call] = answer.tool_calls
            assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})
            assert answer.finish_reason == "REASON_TOOL_CALLS"
            chat.append(answer).append(tool_result("rain", tool_call_id=call.id))
            return sample()

        server.upstream.script(_answer({"content": None, "tool_calls": [CALL]}, "tool_calls"))
        chat = server.sync_client().chat.create(model="m", messages=[user("Oslo?")], tools=[WEATHER])
        assert (await asyncio.to_thread(look, chat.sample, chat)).content == HELLO
        function = CALL["function"]
        assert server.upstream.requests[1].json["messages"][1:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "call-1"},
        ]
        assert server.upstream.requests[1].json["tools"][0]["function"]["name"] == "weather"


async def test_arguments_that_are_no_json_reach_the_caller_all_the_same(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        broken = CALL | {"function": {"name": "weather", "arguments": '{"city'}}
        server.upstream.script(_answer({"content": None, "tool_calls": [broken]}, "tool_calls"))
        chat = server.client().chat.create(model="m", messages=[user("Oslo?")], tools=[WEATHER])
        [call] = (await chat.sample()).tool_calls
        assert json.loads(call.function.arguments) == {"invalid_json": '{"city'}


async def test_structured_output_is_parsed_by_both_clients(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(_answer({"content": '{"name": "Oslo", "people": 700000}'}))
        chat = server.client().chat.create(model="m", messages=[user("Oslo?")])
        _, city = await chat.parse(City)
        assert city == City(name="Oslo", people=700_000)
        schema = server.upstream.requests[0].json["response_format"]["json_schema"]
        assert schema == {"name": "response", "schema": City.model_json_schema()}
        blocking = server.sync_client().chat.create(model="m", messages=[user("Oslo?")])
        assert (await asyncio.to_thread(blocking.parse, City))[1] == city


async def test_several_answers_are_told_apart(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        choices = [{"index": n, "message": {"content": word}, "finish_reason": "stop"} for n, word in enumerate("ab")]
        server.upstream.script(reply({"choices": choices}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            answers = await server.client().chat.create(model="m", messages=[user("Hi")]).sample_batch(2)
        assert [answer.content for answer in answers] == ["a", "b"]
        assert server.upstream.requests[0].json["n"] == 2


async def test_what_an_upstream_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        for status, code in REFUSALS:
            server.upstream.script(error(status, f"said with {status}"))
            assert await _refused(server) == (code, f"said with {status}", "upstream_error")
        server.upstream.script(error(401, "wrong key sk-1"))
        code, words, reason = await _refused(server)
        assert (code, reason) == (grpc.StatusCode.INTERNAL, "upstream_refused")
        assert "sk-1" not in words
        assert len(server.upstream.requests) == len(REFUSALS) + 1


async def test_long_words_of_an_upstream_are_told_with_their_own_code(tmp_path: Path) -> None:
    """Beyond 8 KiB of metadata, of which one character may take nine bytes, clients tell of another error."""
    async with running_grpc(tmp_path) as server:
        client = server.client()
        for words in ("x" * 4_096, "\u9519" * 900, "\u9519" * 2_000, "\U0001f327" * 2_000):
            for how in ("sample", "defer"):
                server.upstream.script(error(400, words))
                chat = client.chat.create(model="m", messages=[user("Hi")])
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await getattr(chat, how)()
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert (caught.value.details() or "").startswith(words[:200])
                assert reason_of(caught.value)[0] == "upstream_error"


@pytest.mark.slow("the SDK waits between its tries")
async def test_a_call_that_no_one_could_take_is_sent_again_by_the_sdk(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(*[error(503, "loading", retry_after="0")] * 2)
        assert (await server.client().chat.create(model="m", messages=[user("Hi")]).sample()).content == HELLO
        assert len(server.upstream.requests) == 3


async def test_an_answer_that_is_none_is_an_error_of_the_server(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        broken: dict[str, Answer] = {
            "upstream_not_json": reply("<html>busy</html>"),
            "not_a_completion": reply({"choices": []}),
            "upstream_broke": cut(text(), after=10),
            "upstream_error": reply({"error": {"message": "out of memory"}}),
        }
        for reason, answer in broken.items():
            server.upstream.script(answer)
            code, _, said = await _refused(server)
            assert (code, said) == (grpc.StatusCode.INTERNAL, reason)
        server.upstream.script(drop(), drop())  # The first may have been an old connection's end.
        assert (await _refused(server))[2] == "upstream_broke"


async def test_a_dead_upstream_is_unavailable(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        await server.upstream.close()
        code, words, reason = await _refused(server)
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "upstream_down")
        assert "defer the request" in words


async def test_an_unknown_model_and_a_wrong_key_are_told(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        reader, key = await server.http.key("t", "read"), await server.http.key("t")
        unknown = await _refused(server, model="nobody", key=key)
        assert unknown[::2] == (grpc.StatusCode.NOT_FOUND, "model_not_found")
        nameless = await _refused(server, model="", key=key)
        assert nameless[::2] == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
        assert (await _refused(server, key=reader))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await _refused(server, key="rc_wrong"))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert not server.upstream.requests


async def test_a_caller_who_hangs_up_ends_the_call_upstream(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(silence())
        waiting = asyncio.ensure_future(server.client().chat.create(model="m", messages=[user("Hi")]).sample())
        asked = await server.upstream.received()
        waiting.cancel()
        async with asyncio.timeout(5):
            await asked.left.wait()


@pytest.mark.slow("waits for a deadline")
async def test_a_deadline_ends_the_call_upstream(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(silence())
        client = server.client(timeout=0.5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.chat.create(model="m", messages=[user("Hi")]).sample()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await server.upstream.requests[0].left.wait()


async def test_a_tenants_cap_holds_for_messages_too(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        key = await server.http.key("small")
        await server.http.tenant("small", max_body_bytes=100)
        chat = server.client(key).chat.create(model="m", messages=[user("x" * 200)])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await chat.sample()
        assert reason_of(caught.value)[0] == "request_too_large"


@pytest.mark.slow("an answer of 20 MiB")
async def test_an_answer_too_large_for_a_message_says_where_it_could_be_read(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(_answer({"content": "x" * (20 << 20)}))
        code, words, reason = await _refused(server)
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "result_too_large")
        assert "/result" in words


def _answer(message: Json, finish: str = "stop") -> Answer:
    return reply({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]})


async def _refused(server: RunningGrpc, model: str = "m", key: str | None = None) -> tuple[grpc.StatusCode, str, str]:
    """The code, the words and the reason of a call without the SDK's own tries around it."""
    request = chat_pb2.GetCompletionsRequest(
        model=model, messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.Content(text="Hi")])]
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.call("Chat/GetCompletion", request, chat_pb2.GetChatCompletionResponse, key=key)
    return caught.value.code(), caught.value.details() or "", reason_of(caught.value)[0]
