"""Responses at a server that has the API."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.outcome import Failure, FailureKind
from raincheck.upstream.openai import OpenAIUpstream
from raincheck.upstream.protocol import Work
from tests.scripted import HELLO, Answer, ScriptedUpstream, cut, error, reply, stream, text
from tests.scripted.completions import response, response_events
from tests.upstream.openai_calls import CHAT, Told, calling, the_failure, the_reply
from tests.upstream.responses_calls import CREATED_AT, ID, a_response, checked, gathered, kinds, response_of, told_by

WHOLE_STORY = [
    *("created", "in_progress", "output_item.added", "content_part.added"),
    *["output_text.delta"] * 4,
    *("output_text.done", "content_part.done", "output_item.done", "completed"),
]
Json = dict[str, Any]
PATH = "/responses"


def failed_event(code: str, *, number: int = 1) -> Json:
    told = response("m", "", "failed") | {"error": {"code": code, "message": "no luck"}}
    return {"type": "response.failed", "sequence_number": number, "response": told}


async def failure_of(upstream: OpenAIUpstream, work: Work | None = None) -> Failure:
    return the_failure(await upstream.perform(work or a_response(), Told()))


async def test_a_response_is_streamed_told_and_answered_under_our_id(tmp_path: Path) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.always(text())
        report = Told()
        answer = await upstream.perform(a_response(tmp_path, metadata={"a": "b"}), report)

    events = told_by(report)
    assert kinds(events) == WHOLE_STORY
    assert gathered(events, "output_text") == HELLO
    body = response_of(answer)
    assert events[-1]["response"] == body
    assert (body["id"], body["status"], body["background"], body["store"]) == (ID, "completed", True, True)
    assert body["created_at"] == CREATED_AT // 1_000_000
    assert body["output"][0]["content"][0]["text"] == HELLO
    assert msgspec.json.decode(the_reply(answer).usage or b"") == body["usage"]
    assert report.steps[-1] == (None, "4 tokens")
    assert server.requests[0].json == {
        "model": "m",
        "input": "hi",
        "metadata": {"a": "b"},
        "stream": True,
        "store": False,
    }


async def test_the_events_are_kept_only_for_a_client_that_streams(tmp_path: Path) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.always(text())
        report = Told()
        [made] = the_reply(await upstream.perform(a_response(tmp_path), report)).made
        silent = the_reply(await upstream.perform(a_response(), Told())).made

    assert (made.name, made.content_type) == ("events.jsonl", "application/x-ndjson")
    assert made.path.read_bytes().splitlines() == report.deltas
    assert silent == ()


async def test_what_the_edge_did_is_told_and_not_sent() -> None:
    """The object tells of what the upstream never heard."""
    ours = {"previous_response_id": "resp_before", "service_tier": "flex"}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.always(text())
        work = a_response(raincheck=ours, background=True, store=True, background_options={"completion_window": "2h"})
        body = response_of(await upstream.perform(work, Told()))

    assert (body["previous_response_id"], body["service_tier"]) == ("resp_before", "flex")
    assert server.requests[0].json.keys() == {"model", "input", "stream", "store"}


async def test_thoughts_of_earlier_turns_go_only_to_a_server_that_can_read_them() -> None:
    """OpenAI's API refuses the whole call for a reasoning item that it was told not to keep."""
    said = {"role": "user", "content": "reasoning"}
    lost: Json = {"type": "reasoning", "id": "rs_1", "summary": []}
    whole: Json = lost | {"encrypted_content": "abc"}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.always(text())
        response_of(await upstream.perform(a_response(input=[said, lost, whole]), Told()))
        response_of(await upstream.perform(a_response(input="reasoning"), Told()))
    assert [request.json["input"] for request in server.requests] == [[said, whole], "reasoning"]


async def test_a_server_that_refuses_store_is_asked_without_it_from_then_on() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(error(400, "Unknown parameter: 'store'."), text(), text())
        for _ in range(2):
            response_of(await upstream.perform(a_response(), Told()))

    assert ["store" in request.json for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("refusing", [True, False])
async def test_a_server_that_cannot_stream_gives_the_same_events(*, refusing: bool) -> None:
    whole = reply(response("m", HELLO))
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(*([error(422, "stream is not supported")] if refusing else []), whole)
        report = Told()
        body = response_of(await upstream.perform(a_response(stream_options={"include_obfuscation": False}), report))

    events = told_by(report)
    assert kinds(events) == [kind for at, kind in enumerate(WHOLE_STORY) if kind != "output_text.delta" or at == 4]
    assert gathered(events, "output_text") == HELLO
    assert events[-1]["response"] == body
    assert ("stream" in server.requests[-1].json) is not refusing


async def test_calls_thoughts_and_refusals_of_a_whole_answer_are_told_too() -> None:
    call = {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
    }
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    refusal = {"type": "refusal", "refusal": "no"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [refusal]}
    whole = response("m", "") | {"output": [thought, message, call]}
    async with ScriptedUpstream() as server, calling(server, stream=False) as upstream:
        server.script(reply(whole))
        report = Told()
        body = response_of(await upstream.perform(a_response(), report))

    events = told_by(report)
    assert [gathered(events, kind) for kind in ("reasoning_summary_text", "refusal", "function_call_arguments")] == [
        "hm",
        "no",
        "{}",
    ]
    assert body["output"] == [thought, message, call]


async def test_an_incomplete_response_is_an_answer() -> None:
    cut_short = response("m", HELLO, "completed") | {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    events = response_events("m", HELLO)
    events[-1] |= {"type": "response.incomplete", "response": cut_short}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*events, done=False))
        answer = await upstream.perform(a_response(), Told())
        server.script(stream(*response_events("m", HELLO), done=False))
        whole = await upstream.perform(a_response(), Told())

    body = response_of(answer)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (the_reply(answer).incomplete, the_reply(whole).incomplete) == (True, False)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", FailureKind.BUSY),
        ("server_error", FailureKind.TRANSIENT),
        ("vector_store_timeout", FailureKind.TRANSIENT),
        ("never_heard_of", FailureKind.TRANSIENT),
        ("invalid_prompt", FailureKind.REJECTED),
        ("invalid_image_url", FailureKind.REJECTED),
        ("bio_policy", FailureKind.REJECTED),
    ],
)
async def test_a_failed_response_is_a_failure_by_its_code(code: str, kind: FailureKind) -> None:
    events = [response_events("m", HELLO)[0], failed_event(code)]
    in_words = {"type": "error", "sequence_number": 1, "code": code, "message": "no luck", "param": None}
    async with ScriptedUpstream() as server, calling(server) as upstream:
        for last in (events[1], in_words):
            server.script(stream(events[0], last))
            report = Told()
            failure = the_failure(await upstream.perform(a_response(), report))
            assert (failure.kind, failure.error.code, failure.error.message) == (kind, code, "no luck")
            assert kinds(told_by(report)) == ["created"]


async def test_a_limit_met_after_there_was_output_costs_the_attempt() -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*response_events("m", HELLO)[:5], failed_event("rate_limit_exceeded", number=5)))
        assert (await failure_of(upstream)).kind is FailureKind.TRANSIENT


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (stream(*response_events("m", HELLO)[:6], done=False), "upstream_cut_off"),
        (stream(*response_events("m", HELLO)[:6]), "upstream_cut_off"),
        (cut(text(), after=1500), "upstream_disconnected"),
        (stream("no json"), "upstream_not_json"),
        (reply("no json"), "upstream_not_json"),
        (reply({"object": "list"}), "upstream_not_json"),
        (reply(response("m", "", "queued")), "upstream_cut_off"),
        (reply({"error": {"message": "later", "code": "server_error"}}), "server_error"),
    ],
)
async def test_what_is_no_whole_answer_is_another_try(answer: Answer, code: str) -> None:
    """Half an answer is none."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(answer)
        failure = await failure_of(upstream)
    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, code)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        error(404, "The model `m` does not exist", code="model_not_found"),
        error(404, "Previous response with id 'resp_1' not found."),
        error(404, "Item with id 'rs_1' not found."),
        error(404, "Prompt with id 'pmpt_x' not found."),
        error(404, "No such File object: file-abc"),
        error(400, "max_output_tokens must be positive"),
    ],
)
async def test_a_refusal_that_is_not_for_the_path_is_the_answer(refusal: Answer) -> None:
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(refusal)
        failure = await failure_of(upstream)
    assert failure.kind is FailureKind.REJECTED
    assert [request.path for request in server.requests] == ["/responses"]


async def test_a_stray_404_changes_nothing_for_a_server_that_has_the_api() -> None:
    """As of a proxy that is being restarted."""
    stray = error(404, "404 page not found")
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(text(), stray, text(), text(), stray)
        for _ in range(3):
            response_of(await upstream.perform(a_response(), Told()))
        failure = await failure_of(upstream, a_response(tools=[{"type": "web_search"}]))
    assert [request.path for request in server.requests] == [PATH, PATH, CHAT, PATH, PATH]
    assert (failure.kind, failure.error.message) == (FailureKind.TRANSIENT, "404 page not found")


async def test_that_a_server_has_no_api_is_not_believed_for_ever() -> None:
    async with ScriptedUpstream() as server, calling(server, habit_for=0) as upstream:
        server.script(error(404, "Not Found"), text(), text(), text())
        for _ in range(3):
            response_of(await upstream.perform(a_response(), Told()))
    assert [request.path for request in server.requests] == [PATH, CHAT, PATH, PATH]


async def test_a_beginning_is_told_where_the_server_tells_none() -> None:
    """Who waited in the queue was told of the creation, and skips the first event of the attempt."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*response_events("m", HELLO)[1:], done=False))
        report = Told()
        response_of(await upstream.perform(a_response(), report))
    assert kinds(told_by(report)) == WHOLE_STORY


async def test_words_that_only_keep_the_line_open_are_not_told() -> None:
    events = response_events("m", HELLO)
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(events[0], {"type": "keepalive", "sequence_number": 1}, b": ping\n\n", *events[1:]))
        report = Told()
        response_of(await upstream.perform(a_response(), report))
    assert kinds(told_by(report)) == WHOLE_STORY


async def test_cancelling_closes_the_connection_and_the_file(tmp_path: Path) -> None:
    """G5: a response that nobody wants is stopped where it is made."""
    async with ScriptedUpstream() as server, calling(server) as upstream:
        server.script(stream(*response_events("m", HELLO)[:5], ...))
        report = Told()
        task = asyncio.create_task(upstream.perform(a_response(tmp_path), report))
        async with asyncio.timeout(5):
            while len(report.deltas) < 5:
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await server.requests[0].left.wait()
    assert checked((tmp_path / "events.jsonl").read_bytes().splitlines()) == told_by(report)


async def test_events_that_outgrow_their_bound_end_the_request(tmp_path: Path) -> None:
    async with ScriptedUpstream() as server, calling(server, largest_answer=4_000) as upstream:
        server.script(text("word " * 200), text("word " * 200))
        failure = await failure_of(upstream, a_response(tmp_path))
        unheard = await failure_of(upstream)
    for each in (failure, unheard):
        assert (each.kind, each.error.code) == (FailureKind.REJECTED, "result_too_large")
