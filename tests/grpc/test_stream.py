"""GetCompletionChunk, as the unmodified xai-sdk calls it: `chat.stream()`, `chat.stream_batch()`."""

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

import grpc
import pytest
from xai_sdk.chat import tool, user

from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.scripted import Answer, chunk, cut, drop, error, reply, stream
from tests.scripted.completions import HELLO, frame

WEATHER = tool("weather", "Looks out of the window.", {"type": "object", "properties": {"city": {"type": "string"}}})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COUNTED = frame("chat.completion.chunk", "m", []) | {"usage": USAGE}
END = chunk(finish="stop")


async def test_a_stream_is_told_to_both_clients(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        told = [each async for each in _a_chat(server).stream()]
        answer, pieces = told[-1][0], [piece.content for _, piece in told]
        assert pieces == ["Hello ", "from ", "the ", "script.", ""]
        assert (answer.content, answer.role, answer.finish_reason) == (HELLO, "ROLE_ASSISTANT", "REASON_STOP")
        assert (answer.id, answer.usage.total_tokens, answer.created.year) == ("chatcmpl-scripted", 9, 2023)
        asked = server.upstream.requests[0].json
        assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})

        def blocking() -> Any:
            chat = server.sync_client().chat.create(model="m", messages=[user("Hello")])
            return list(chat.stream())

        told = await asyncio.to_thread(blocking)
        assert [piece.content for _, piece in told] == pieces
        assert told[-1][0].content == HELLO


async def test_what_the_model_says_reaches_the_caller_as_it_says_it(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        more = asyncio.Event()
        server.upstream.script(stream(chunk("One"), more, chunk(" two"), END))
        told = aiter(_a_chat(server).stream())
        assert (await anext(told))[1].content == "One"
        more.set()
        assert (await anext(told))[1].content == " two"
        assert [piece.content async for _, piece in told] == [""]


async def test_a_character_that_is_cut_in_two_is_whole(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        data = b"data: " + json.dumps(chunk("snø ✓"), ensure_ascii=False).encode() + b"\r\n\r\n"
        server.upstream.script(stream(*(data[n : n + 1] for n in range(len(data))), END))
        assert await _content(server) == "snø ✓"


async def test_calls_of_tools_come_whole(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        begun = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        parts = ({"index": 0, "function": {"arguments": piece}} for piece in ('{"city', '": "Oslo"}'))
        deltas = [chunk(tool_calls=[piece]) for piece in (begun, *parts)]
        server.upstream.script(stream(*deltas, chunk(finish="tool_calls"), COUNTED))
        chat = server.client().chat.create(model="m", messages=[user("Oslo?")], tools=[WEATHER])
        told = [(answer, piece) async for answer, piece in chat.stream()]
        [(answer, piece)] = told
        [call] = piece.tool_calls
        assert (call.id, call.function.name) == ("call-1", "weather")
        assert json.loads(call.function.arguments) == {"city": "Oslo"}
        assert list(answer.tool_calls) == [call]
        assert (answer.finish_reason, answer.usage.total_tokens) == ("REASON_TOOL_CALLS", 5)


async def test_reasoning_and_several_answers_are_told_apart(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(
            stream(
                chunk(reasoning_content="hm"),
                chunk("a", index=0),
                chunk("b", index=1),
                chunk(index=1, finish="length"),
                END,
                COUNTED,
            )
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            answers = [each async for each, _ in _a_chat(server).stream_batch(2)][-1]
        assert [answer.content for answer in answers] == ["a", "b"]
        assert [answer.finish_reason for answer in answers] == ["REASON_STOP", "REASON_MAX_LEN"]
        assert answers[0].reasoning_content == "hm"
        assert server.upstream.requests[0].json["n"] == 2


async def test_an_upstream_that_answers_in_one_piece_is_told_in_one_chunk(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        choice = {"index": 0, "message": {"content": "All."}, "finish_reason": "stop"}
        server.upstream.script(reply({"choices": [choice], "usage": USAGE}))
        [(answer, piece)] = [each async for each in _a_chat(server).stream()]
        assert (piece.content, answer.finish_reason, answer.usage.total_tokens) == ("All.", "REASON_STOP", 5)


async def test_a_stream_under_another_name_is_one_all_the_same(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(stream(chunk("One"), chunk(" two"), END, content_type="text/plain"))
        assert await _content(server) == "One two"


async def test_an_upstream_that_refuses_to_count_or_to_stream_is_asked_for_less(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(error(400, "unknown field stream_options"), stream(chunk("Hi"), END))
        assert await _content(server) == "Hi"
        server.upstream.script(error(400, "unknown stream_options"), error(400, "streaming is not supported"))
        assert await _content(server) == HELLO
        asked = [{"stream", "stream_options"} & each.json.keys() for each in server.upstream.requests]
        both = {"stream", "stream_options"}
        assert asked == [both, {"stream"}, both, {"stream"}, set()]


async def test_a_stream_that_is_refused_ends_with_the_upstreams_words(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(error(429, "slow down", retry_after="7"))
        assert await _broken(server) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "upstream_error", "")


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ({"error": {"message": "out of memory"}}, grpc.StatusCode.INTERNAL, "out of memory"),
        ({"error": {"message": "too long", "code": 400}}, grpc.StatusCode.INVALID_ARGUMENT, "too long"),
        (b'event: error\ndata: {"message":"gone"}\n\n', grpc.StatusCode.INTERNAL, "gone"),
        ("no json", grpc.StatusCode.INTERNAL, "no JSON"),
    ],
)
async def test_an_error_in_the_stream_ends_it_with_its_words(
    said: Any, code: grpc.StatusCode, words: str, tmp_path: Path
) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(stream(chunk("One"), said))
        told = await _broken(server)
        assert (told[0], told[3]) == (code, "One")
        assert words in told[1]
        assert len(server.upstream.requests) == 1


async def test_a_stream_that_breaks_off_is_no_answer(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        one = stream(chunk("One"), 0.05, chunk("two"), END)
        # An old connection may have been closed by chance: a call that nothing came back for is made again, once.
        broken: list[list[Answer]] = [[cut(one, after=200)], [stream(chunk("One"), done=False)], [drop(), drop()]]
        for answers in broken:
            server.upstream.script(*answers)
            code, _, reason, _ = await _broken(server)
            assert (code, reason) == (grpc.StatusCode.INTERNAL, "upstream_broke")


async def test_a_stream_whose_answers_all_ended_is_whole_without_a_last_word(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(stream(chunk("One"), END, done=False))
        assert await _content(server) == "One"


async def test_a_stream_without_any_answer_is_no_completion(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(stream(COUNTED))
        assert (await _broken(server))[2] == "not_a_completion"


async def test_a_reader_who_hangs_up_ends_the_stream_upstream(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(stream(chunk("One"), ...))
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in _a_chat(server).stream():
                begun.set()

        reading = asyncio.ensure_future(read())
        async with asyncio.timeout(5):
            await begun.wait()
            reading.cancel()
            await server.upstream.requests[0].left.wait()


async def test_the_connection_to_the_upstream_is_kept_for_the_next_stream(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        before = server.upstream.connections
        for _ in range(5):
            assert await _content(server) == HELLO
        assert server.upstream.connections == before + 1


def _a_chat(server: RunningGrpc) -> Any:
    return server.client().chat.create(model="m", messages=[user("Hello")])


async def _content(server: RunningGrpc) -> str:
    return "".join([piece.content async for _, piece in _a_chat(server).stream()])


async def _broken(server: RunningGrpc) -> tuple[grpc.StatusCode, str, str, str]:
    """The code, the words and the reason of a stream that breaks, and what was told before."""
    told = ""
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # noqa: PT012 - what came before matters
        async for _, piece in _a_chat(server).stream():
            told += piece.content
    return caught.value.code(), caught.value.details() or "", reason_of(caught.value)[0], told
