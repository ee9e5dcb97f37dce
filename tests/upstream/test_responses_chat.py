"""Responses at a server that has chat completions only: asked for, told and answered as if it had the API."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.outcome import FailureKind
from tests.scripted import HELLO, Answer, ScriptedUpstream, chunk, error, reply, stream, text
from tests.upstream.openai_calls import Told, calling, the_failure, the_reply
from tests.upstream.responses_calls import a_response, checked, gathered, kinds, no_responses, response_of, told_by

Json = dict[str, Any]
CHAT_USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def used() -> Json:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE}


def a_call(index: int | None, id_: str | None, name: str | None, arguments: str) -> Json:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece = {"function": function} | ({"id": id_, "type": "function"} if id_ else {})
    return piece if index is None else piece | {"index": index}


async def translated(*chunks: Json, **members: Any) -> tuple[Json, list[Json]]:
    """The response and its events, of a chat that streams these chunks."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), stream(*chunks))
        report = Told()
        body = response_of(await upstream.perform(a_response(**members), report))
    events = told_by(report)
    assert events[-1]["response"] == body
    return body, events


async def test_a_server_without_the_api_is_asked_by_chat_and_remembered(tmp_path: Path) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), text(), text())
        report = Told()
        answer = await upstream.perform(a_response(tmp_path), report)
        response_of(await upstream.perform(a_response(), Told()))

    events = told_by(report)
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * 4,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    body = response_of(answer)
    assert events[-1]["response"] == body
    assert gathered(events, "output_text") == body["output"][0]["content"][0]["text"] == HELLO
    assert [request.path for request in server.requests] == ["/responses", "/chat/completions", "/chat/completions"]
    assert server.requests[1].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    [made] = the_reply(answer).made
    assert checked(made.path.read_bytes().splitlines()) == events


@pytest.mark.parametrize(
    "refusal",
    [
        error(405, "method not allowed"),
        error(501, "not implemented"),
        error(404, "Invalid URL (POST /v1/responses)"),
        reply("404 page not found", 404, content_type="text/plain"),
        reply({"detail": "Not Found"}, 404),
        reply({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, 404),
        reply({"error": "Unexpected endpoint or method. (POST /v1/responses)"}),
    ],
)
async def test_each_way_to_have_no_such_path_is_understood(refusal: Answer) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(refusal, text())
        response_of(await upstream.perform(a_response(), Told()))


async def test_a_server_with_only_some_of_the_api_is_asked_by_chat() -> None:
    """llama.cpp streams responses without numbers, and heeds no `text.format`."""
    begun = {"type": "response.created", "response": {"id": "r", "object": "response", "status": "in_progress"}}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(begun, ...), text(), text())
        report = Told()
        response_of(await upstream.perform(a_response(), report))
        response_of(await upstream.perform(a_response(), Told()))

    told_by(report)
    assert [request.path for request in server.requests] == ["/responses", "/chat/completions", "/chat/completions"]
    assert server.requests[0].left.is_set()


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_short_is_incomplete(finish: str, reason: str) -> None:
    body, events = await translated(chunk("Once"), chunk(finish=finish), used(), max_output_tokens=1)

    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert body["output"][0]["status"] == "incomplete"
    assert kinds(events)[-1] == "incomplete"
    assert (body["max_output_tokens"], body["completed_at"]) == (1, None)


async def test_usage_is_counted_as_responses_count() -> None:
    body, _ = await translated(chunk("a"), chunk(finish="stop"), used())

    assert body["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
async def test_thoughts_become_an_item_of_their_own(member: str) -> None:
    thoughts: list[Json] = [{"choices": [{"index": 0, "delta": {member: text}}]} for text in ("I ", "see.")]
    body, events = await translated(*thoughts, chunk("Yes."), chunk(finish="stop"))

    assert [item["type"] for item in body["output"]] == ["reasoning", "message"]
    assert body["output"][0]["summary"] == [{"type": "summary_text", "text": "I see."}]
    assert gathered(events, "reasoning_summary_text") == "I see."
    assert kinds(events)[2:9] == [
        *("output_item.added", "reasoning_summary_part.added"),
        *["reasoning_summary_text.delta"] * 2,
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
    ]


async def test_calls_come_piece_by_piece_and_in_parallel() -> None:
    body, events = await translated(
        chunk("Let me look."),
        chunk(tool_calls=[a_call(0, "call_a", "look", "")]),
        chunk(tool_calls=[a_call(0, None, None, '{"at"')]),
        chunk(tool_calls=[a_call(1, "call_b", "listen", "{}")]),
        chunk(tool_calls=[a_call(0, None, None, ":1}")]),
        chunk(finish="tool_calls"),
        tools=[{"type": "function", "name": "look", "parameters": {"type": "object"}}],
    )

    calls = [(item["call_id"], item["name"], item["arguments"]) for item in body["output"][1:]]
    assert calls == [("call_a", "look", '{"at":1}'), ("call_b", "listen", "{}")]
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["output_index"], event["arguments"]) for event in done] == [(1, '{"at":1}'), (2, "{}")]
    assert body["tools"][0]["name"] == "look"


async def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    pieces = [a_call(None, "call_a", "f", "{}"), a_call(None, "call_b", "f", "[]")]
    body, _ = await translated(chunk(tool_calls=pieces), chunk(finish="tool_calls"))
    assert [(item["call_id"], item["arguments"]) for item in body["output"]] == [("call_a", "{}"), ("call_b", "[]")]


async def test_a_refusal_is_a_part_of_the_message() -> None:
    body, events = await translated(chunk(refusal="I "), chunk(refusal="won't."), chunk(finish="stop"))
    assert body["output"][0]["content"] == [{"type": "refusal", "refusal": "I won't."}]
    assert gathered(events, "refusal") == "I won't."


async def test_log_probabilities_go_with_the_text() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    said = chunk("Hi")
    said["choices"][0]["logprobs"] = {"content": [token]}
    body, _ = await translated(said, chunk(finish="stop"), top_logprobs=1)

    [told] = body["output"][0]["content"][0]["logprobs"]
    assert told == token | {"top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": []}]}


async def test_an_answer_without_a_word_is_a_message_without_text() -> None:
    body, _ = await translated(chunk(""), chunk(finish="stop"))
    assert body["output"][0]["content"][0]["text"] == ""


async def test_a_chat_that_comes_whole_is_told_all_the_same() -> None:
    async with ScriptedUpstream() as server, calling(server, stream=False) as upstream:
        server.script(no_responses(), text())
        report = Told()
        body = response_of(await upstream.perform(a_response(), report))
    assert gathered(told_by(report), "output_text") == body["output"][0]["content"][0]["text"] == HELLO


async def test_a_bound_on_tokens_is_called_as_the_server_wants_it() -> None:
    refusal = error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), refusal, text(), text())
        for _ in range(2):
            response_of(await upstream.perform(a_response(max_output_tokens=9), Told()))

    asked = [[name for name in request.json if name.startswith("max_")] for request in server.requests]
    assert asked == [["max_output_tokens"], ["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


async def test_what_cannot_be_asked_by_chat_ends_the_request_and_says_so() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses())
        failure = the_failure(await upstream.perform(a_response(tools=[{"type": "web_search"}]), Told()))

    assert (failure.kind, failure.error.code, failure.error.param) == (
        FailureKind.REJECTED,
        "not_translatable",
        "tools[0]",
    )
    assert "'web_search'" in failure.error.message
    assert "structured output" in failure.error.message
    assert len(server.requests) == 1


async def test_a_chat_that_breaks_off_is_another_try_with_no_end_told() -> None:
    """Half an answer is none."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), stream(chunk("Once"), done=False))
        report = Told()
        failure = the_failure(await upstream.perform(a_response(), report))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "upstream_cut_off")
    assert kinds(told_by(report))[-1] == "output_text.delta"


async def test_a_model_that_is_unknown_by_either_name_is_refused_in_the_servers_words() -> None:
    unknown = error(404, "no such thing")
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(unknown, unknown)
        failure = the_failure(await upstream.perform(a_response(), Told()))
    assert (failure.kind, failure.error.message) == (FailureKind.REJECTED, "no such thing")


async def test_an_answer_that_is_no_chat_is_another_try() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(no_responses(), reply({"object": "list"}))
        failure = the_failure(await upstream.perform(a_response(), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "upstream_not_json")


async def test_a_payload_that_is_no_object_is_refused() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        failure = the_failure(await upstream.perform(replace(a_response(), payload=b"[]"), Told()))
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "invalid_request")
