"""Calls to a scripted server on a real socket: answers, failures, cancelling, habits."""

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import SettingsInvalid, UpstreamDown
from raincheck.core.outcome import FailureKind
from raincheck.core.settings import UpstreamSettings
from raincheck.upstream.build import build
from raincheck.upstream.openai import OpenAIUpstream
from tests.scripted import (
    HELLO,
    Answer,
    Exchange,
    ScriptedUpstream,
    chunk,
    closing,
    cut,
    drop,
    error,
    reply,
    silence,
    stream,
    text,
)
from tests.upstream.openai_calls import CHAT, Told, body_of, calling, content_of, some_work, the_failure, the_reply

DEEP = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HALF = (chunk("one "), chunk("two "))
SOON = SECOND // 10
KEY = "sk-0123456789abcdefghij"


# --- answers


async def test_a_completion_is_asked_for_as_a_stream_and_comes_back_whole() -> None:
    async with ScriptedUpstream() as server, calling(server, api_key="sk-1") as upstream:
        told = Told()
        answer = the_reply(await upstream.perform(some_work(max_tokens=8, seed=3), told))
    assert body_of(answer) == {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": HELLO}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
    }
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.usage == b'{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}'
    asked = server.requests[0]
    assert asked.headers["authorization"] == "Bearer sk-1"
    assert asked.json["seed"] == 3
    assert (asked.json["stream"], asked.json["stream_options"]) == (True, {"include_usage": True})
    assert [msgspec.json.decode(delta)["object"] for delta in told.deltas] == ["chat.completion.chunk"] * 7
    assert told.steps[-1] == (0.5, "4 tokens")


async def test_members_reach_the_upstream_byte_for_byte() -> None:
    payload = b'{"model":"m", "temperature":1.0, "big":12345678901234567890123, "messages":[ {"a":"\\u00e9"} ]}'
    async with ScriptedUpstream() as server, calling(server) as upstream:
        await upstream.perform(replace(some_work(), payload=payload), Told())
    sent = server.requests[0].body
    for member in (b'"temperature":1.0', b'"big":12345678901234567890123', b'"messages":[ {"a":"\\u00e9"} ]'):
        assert member in sent


async def test_progress_and_deltas_come_while_the_answer_is_under_way() -> None:
    more = asyncio.Event()
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*HALF, more, chunk("three"), chunk(finish="stop")))
        told = Told()
        task = asyncio.create_task(upstream.perform(some_work(max_tokens=4), told))
        async with asyncio.timeout(5):
            while len(told.deltas) < 2:
                await asyncio.sleep(0)
        assert not task.done()
        assert told.steps[-1] == (0.5, "2 tokens")
        more.set()
        assert content_of(await task) == "one two three"


async def test_legacy_completions_are_assembled_too() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        answer = body_of(await upstream.perform(some_work("/completions", prompt="hi"), Told()))
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == HELLO


async def test_any_other_path_is_one_plain_call_kept_verbatim() -> None:
    work = some_work("/embeddings", input="x")
    body = b'{ "data" : [],"usage":{"total_tokens":1} }'
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(body, content_type="application/json; charset=utf-8"))
        answer = the_reply(await upstream.perform(work, Told()))
    assert (answer.body, answer.usage) == (body, b'{"total_tokens":1}')
    assert answer.content_type == "application/json; charset=utf-8"
    assert server.requests[0].body == work.payload


async def test_bytes_that_are_no_json_are_an_answer_where_they_say_what_they_are() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(b"\x00\xff", content_type="audio/mpeg"))
        answer = the_reply(await upstream.perform(some_work("/audio/speech"), Told()))
    assert (answer.body, answer.content_type, answer.usage) == (b"\x00\xff", "audio/mpeg", None)


@pytest.mark.parametrize("path", ["/embeddings", CHAT])
@pytest.mark.parametrize("body", [b'["\xff"]', b'{"\xff":1,"usage":1}', b'{"a":"\xff"}', DEEP])
async def test_an_answer_of_bad_bytes_or_without_a_bottom_is_no_json(path: str, body: bytes) -> None:
    async with ScriptedUpstream() as server, calling(server, stream=False) as upstream:
        server.script(reply(body))
        failure = the_failure(await upstream.perform(some_work(path), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "upstream_not_json")


@pytest.mark.parametrize("body", [b'["\xff"]', DEEP])
async def test_bad_bytes_in_a_stream_or_an_error_break_nothing(body: bytes) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(b"data: " + body + b"\n\n", content_type="text/event-stream"), reply(body, 500))
        streamed, refused = [the_failure(await upstream.perform(some_work(), Told())) for _ in range(2)]
    assert streamed.error.code == "upstream_not_json"
    assert refused.error.upstream is not None
    assert (refused.kind, refused.error.upstream.status) == (FailureKind.TRANSIENT, 500)


async def test_a_compressed_answer_is_unpacked() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(gzip.compress(b'{"a":1}'), content_encoding="gzip"))
        assert the_reply(await upstream.perform(some_work("/embeddings"), Told())).body == b'{"a":1}'


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    socket = str(tmp_path / "s")
    async with ScriptedUpstream(unix_socket=socket), calling("http://local/v1", unix_socket=socket) as upstream:
        assert await upstream.probe() == {"m"}
        assert content_of(await upstream.perform(some_work(), Told())) == HELLO


# --- servers that cannot stream


async def test_with_stream_off_the_whole_answer_is_asked_for_at_once() -> None:
    async with ScriptedUpstream() as server, calling(server, stream=False) as upstream:
        assert content_of(await upstream.perform(some_work(), Told())) == HELLO
    assert "stream" not in server.requests[0].json


async def test_a_server_that_does_not_know_stream_options_is_asked_without_them_from_then_on() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, 422))
        for _ in range(2):
            assert content_of(await upstream.perform(some_work(), Told())) == HELLO
    assert [sorted(request.json.keys() & {"stream", "stream_options"}) for request in server.requests] == [
        ["stream", "stream_options"],
        ["stream"],
        ["stream"],
    ]


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_a_server_that_cannot_stream_is_asked_for_the_whole_from_then_on(status: int) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(error(status, "Streaming is not supported"))
        for _ in range(2):
            assert content_of(await upstream.perform(some_work(), Told())) == HELLO
    assert ["stream" in request.json for request in server.requests] == [True, False, False]


async def test_a_refusal_that_only_looks_like_one_of_streaming_changes_no_habit() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(*[error(400, "'stream' is not a valid role")] * 2)
        assert the_failure(await upstream.perform(some_work(), Told())).kind is FailureKind.REJECTED
        await upstream.perform(some_work(), Told())
    assert server.requests[-1].json["stream"] is True


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_whole_answer_to_a_streamed_question_is_taken(content_type: str) -> None:
    whole = {"object": "chat.completion", "choices": [{"message": {"content": "whole"}}]}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply(whole, content_type=content_type))
        assert content_of(await upstream.perform(some_work(), Told())) == "whole"


async def test_a_stream_by_another_name_is_taken() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*HALF, chunk(finish="stop"), content_type="text/plain"))
        assert content_of(await upstream.perform(some_work(), Told())) == "one two "


# --- whole or not


async def test_a_stream_without_done_is_whole_when_every_choice_said_why_it_ended() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*HALF, chunk(finish="stop"), done=False))
        assert content_of(await upstream.perform(some_work(), Told())) == "one two "


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (stream(*HALF, done=False), "upstream_cut_off"),
        (stream(done=True), "upstream_cut_off"),
        (stream(*HALF, b'data: {"choi', done=False), "upstream_cut_off"),
        (stream(*HALF, chunk(finish="abort"), done=False), "upstream_cut_off"),
        (cut(stream(*HALF, chunk(finish="stop")), after=300), "upstream_disconnected"),
        (cut(stream(*HALF), after=0), "upstream_disconnected"),
        (drop(), "upstream_disconnected"),
        (stream(*HALF, "this is no JSON"), "upstream_not_json"),
        (stream(*HALF, "[1]"), "upstream_not_json"),
        (reply("<html>log in here</html>", content_type="text/html"), "upstream_not_json"),
        (reply("", content_type="application/json"), "upstream_not_json"),
        (cut(reply({"choices": []}), after=4), "upstream_disconnected"),
        (stream(*HALF, {"error": {"message": "out of memory", "code": 500}}), "upstream_error"),
        (stream(*HALF, b'event: error\ndata: {"message":"x"}\n\n'), "upstream_error"),
        (stream(*HALF, {"error": {"message": "slow down", "code": 429}}), "upstream_busy"),
        (reply({"error": {"message": "200 but no", "code": 502}}), "upstream_error"),
    ],
)
async def test_an_answer_that_is_not_whole_is_a_failure_worth_another_try(answer: Answer, code: str) -> None:
    """G2: a cut-off answer is never taken for a result."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(answer)
        failure = the_failure(await upstream.perform(some_work(), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, code)


async def test_both_of_two_choices_must_have_ended() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(chunk("a", finish="stop"), done=False))
        assert the_failure(await upstream.perform(some_work(n=2), Told())).error.code == "upstream_cut_off"


async def test_busy_in_a_stream_before_any_output_costs_no_attempt() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream({"error": {"message": "slow down", "code": 429}}))
        assert the_failure(await upstream.perform(some_work(), Told())).kind is FailureKind.BUSY


@pytest.mark.parametrize(
    "answer",
    [
        stream(*[chunk("word " * 20)] * 50),
        stream(b"data: " + b"x" * 5_000),
        reply({"choices": ["x" * 5_000]}),
    ],
)
async def test_an_answer_beyond_the_bound_is_refused(answer: Answer) -> None:
    """G12: memory is bounded, whatever an upstream sends."""
    async with ScriptedUpstream() as server, calling(server, largest_answer=4_000) as upstream:
        server.script(answer)
        failure = the_failure(await upstream.perform(some_work(), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "result_too_large")


async def test_the_upstreams_refusal_is_passed_on() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(error(429, "later", retry_after="2"), error(400, "too long", "context_length_exceeded"))
        busy = the_failure(await upstream.perform(some_work(), Told()))
        rejected = the_failure(await upstream.perform(some_work(), Told()))
    assert (busy.kind, busy.retry_after) == (FailureKind.BUSY, 2 * SECOND)
    assert (rejected.kind, rejected.error.code) == (FailureKind.REJECTED, "context_length_exceeded")


async def test_a_key_that_an_upstream_quotes_is_not_passed_on() -> None:
    async with ScriptedUpstream() as server, calling(server, api_key="sk-secret") as upstream:
        server.script(error(401, "Incorrect API key: sk-secret"))
        failure = the_failure(await upstream.perform(some_work(), Told()))
    assert b"sk-secret" not in msgspec.json.encode(failure.error)


@pytest.mark.parametrize(
    "answer",
    [stream({"error": {"message": KEY}}), stream(*HALF, KEY), reply(KEY), reply({"error": {"message": KEY}})],
)
async def test_a_key_quoted_in_what_looks_like_a_success_is_not_passed_on(answer: Answer) -> None:
    async with ScriptedUpstream() as server, calling(server, api_key=KEY) as upstream:
        server.script(answer)
        failure = the_failure(await upstream.perform(some_work(), Told()))
    said = msgspec.json.encode(failure.error)
    assert KEY.encode() not in said
    assert b"***" in said


@pytest.mark.parametrize("body", ["null", "[1,2]", '"words"', "3"])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_completion_that_is_no_object_is_no_result(body: str, streams: bool) -> None:
    async with ScriptedUpstream() as server, calling(server, stream=streams) as upstream:
        server.script(reply(body), reply(body))
        failure = the_failure(await upstream.perform(some_work(), Told()))
        other = the_reply(await upstream.perform(some_work("/rerank"), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "upstream_not_json")
    assert other.body == body.encode()


async def test_redirects_are_not_followed() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(reply("", 307, location=f"{server.base_url}/elsewhere"))
        failure = the_failure(await upstream.perform(some_work(), Told()))
    assert failure.kind is FailureKind.REJECTED
    assert len(server.requests) == 1


async def test_a_path_that_climbs_out_of_the_base_url_is_refused() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        assert the_failure(await upstream.perform(some_work("/../admin"), Told())).kind is FailureKind.REJECTED
    assert server.requests == []


# --- connections


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    server = ScriptedUpstream()
    async with server:
        pass
    async with calling(server) as upstream:
        failure = the_failure(await upstream.perform(some_work(), Told()))
        with pytest.raises(UpstreamDown, match="pool"):
            await upstream.probe()
    assert (failure.kind, failure.error.code) == (FailureKind.UNREACHABLE, "upstream_unreachable")


@pytest.mark.parametrize("answer", [silence(), stream(*HALF, ...)])
async def test_silence_beyond_the_timeout_is_a_failure(answer: Answer) -> None:
    async with ScriptedUpstream() as server, calling(server, silence_timeout=SOON) as upstream:
        server.script(answer)
        failure = the_failure(await upstream.perform(some_work(), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "upstream_timeout")


async def test_an_answer_may_take_far_longer_than_the_silence_timeout() -> None:
    """G4: there is no limit on how long a call runs, as long as something comes."""
    slow = [step for number in range(8) for step in (chunk(f"{number}"), 0.05)]
    async with ScriptedUpstream() as server, calling(server, silence_timeout=2 * SOON) as upstream:
        server.script(stream(*slow, chunk(finish="stop")))
        assert content_of(await upstream.perform(some_work(), Told())) == "01234567"


async def stuck(exchange: Exchange) -> None:
    """Half of a JSON answer, and then nothing."""
    exchange.head(200, {"content-type": "application/json"}, 99)
    exchange.write(b'{"choices":')
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [silence(), stream(*HALF, ...), stuck])
@pytest.mark.parametrize("whole", [False, True])
async def test_cancelling_closes_the_connection_at_once(answer: Answer, *, whole: bool) -> None:
    """G5: cancel means stop, and on such servers the closed connection is how they are told."""
    async with ScriptedUpstream() as server, calling(server, stream=not whole) as upstream:
        server.script(answer)
        task = asyncio.create_task(upstream.perform(some_work(), Told()))
        request = await server.received()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await request.left.wait()


async def test_connections_are_used_again() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        for path in (CHAT, "/embeddings", CHAT):
            the_reply(await upstream.perform(some_work(path), Told()))
    assert server.connections == 1


async def test_without_keep_alive_each_call_has_a_connection_of_its_own() -> None:
    async with ScriptedUpstream() as server, calling(server, keep_alive=False) as upstream:
        for _ in range(3):
            the_reply(await upstream.perform(some_work(), Told()))
    assert server.connections == 3


async def test_an_old_connection_that_breaks_without_a_byte_is_tried_once_more_on_a_new_one() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(text(), drop(), text("again"))
        the_reply(await upstream.perform(some_work(), Told()))
        assert content_of(await upstream.perform(some_work(), Told())) == "again"
    assert [request.connection for request in server.requests] == [1, 1, 2]


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    """G4: the server may have begun; that is for the retry policy to count."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(drop())
        assert the_failure(await upstream.perform(some_work(), Told())).kind is FailureKind.TRANSIENT
    assert len(server.requests) == 1


async def test_a_server_that_closes_after_every_stream_without_saying_so_loses_no_call() -> None:
    """llama.cpp does that."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.always(closing(text()))
        answers = [await upstream.perform(some_work(), Told()) for _ in range(20)]
    assert [content_of(answer) for answer in answers] == [HELLO] * 20


# --- probe, and the building


async def test_probe_lists_the_models() -> None:
    async with ScriptedUpstream(models=["a", "b"]) as server, calling(server) as upstream:
        assert await upstream.probe() == {"a", "b"}


async def test_an_entry_without_a_name_takes_nothing_from_the_other_models() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.on_models = reply({"data": [{"id": "a"}, {"id": None}, {"id": 3}, {"id": ""}, {}, "b", {"id": "c"}]})
        assert await upstream.probe() == {"a", "c"}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_a_list_of_models_is_up(status: int) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.on_models = error(status)
        assert await upstream.probe() == frozenset()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(401), "api_key_env"),
        (error(503, "Loading model"), "Loading model"),
        (reply({"hello": 1}), "base_url"),
        (reply({"data": [{"id": None}]}), "base_url"),
        (reply("<html>"), "base_url"),
        (reply(b'{"data":[{"id":"\xff"}]}'), "base_url"),
        (reply(DEEP), "base_url"),
        (reply(b'{"error":"\xff"}', 500), "GET /models"),
        (reply(DEEP, 500), "GET /models"),
        (drop(), "broke the connection"),
    ],
)
async def test_a_probe_that_fails_says_why(answer: Answer, reason: str) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.on_models = answer
        with pytest.raises(UpstreamDown, match=reason):
            await upstream.probe()


async def test_closing_twice_is_safe() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        await upstream.close()


@pytest.mark.parametrize("url", ["", "ftp://x/v1", "localhost:8000/v1", "http://"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="base_url"):
        OpenAIUpstream("pool", url)


def test_an_upstream_is_built_from_its_settings() -> None:
    assert build(UpstreamSettings(name="pool", base_url="http://10.0.0.5:8000/v1")).name == "pool"
    with pytest.raises(SettingsInvalid, match="needs a base_url"):
        build(UpstreamSettings(name="pool"))
    with pytest.raises(SettingsInvalid, match="needs a handler"):
        build(UpstreamSettings(name="mine", kind="python"))
