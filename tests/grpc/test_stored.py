"""`store_messages`: completions that are recorded, read again, gone on from and deleted."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from xai_sdk.chat import tool, tool_result, user

from raincheck.core.clock import SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.grpc.protos import chat_pb2
from raincheck.http.edge import Edge
from raincheck.intake.gate import TRUST_FOR, Gate
from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.grpc.test_deferred import EAGER, ELSEWHERE, held_at, refused, start, the_id
from tests.scripted import HELLO, chunk, cut, error, reply, stream, text
from tests.scripted.completions import whole
from tests.store.builders import FakeClock, running


def said_to(server: RunningGrpc, number: int) -> list[Any]:
    """The messages that the upstream was asked with, the `number`-th time."""
    return [(each["role"], each["content"]) for each in server.upstream.requests[number].json["messages"]]


async def sample(server: RunningGrpc, content: str = "Hi", **fields: Any) -> Any:
    chat = server.client().chat.create("m", messages=[user(content)], **fields)
    return await chat.sample()


async def get(server: RunningGrpc, response_id: str, **options: Any) -> chat_pb2.GetChatCompletionResponse:
    message = chat_pb2.GetStoredCompletionRequest(response_id=response_id)
    return await server.call("Chat/GetStoredCompletion", message, chat_pb2.GetChatCompletionResponse, **options)


async def test_a_stored_sample_is_recorded_and_can_be_read_again(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        client = server.client()
        response = await client.chat.create("m", messages=[user("Hi")], store_messages=True).sample()
        [again] = await client.chat.get_stored_completion(response.id)
        [blocking] = await asyncio.to_thread(server.sync_client().chat.get_stored_completion, response.id)

        assert response.content == again.content == blocking.content == HELLO
        assert again.id == response.id
        assert (await server.http.get(f"/v1/requests/{response.id}")).json["status"] == "completed"
        assert server.upstream.count == 1


async def test_a_sample_that_is_not_stored_is_not_there(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        response = await sample(server)

        assert (await server.http.get("/v1/requests")).json["data"] == []
        assert (await refused(get(server, response.id))).code() is grpc.StatusCode.NOT_FOUND


async def test_a_stored_stream_is_told_as_it_is_said(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with running_grpc(tmp_path) as server:
        server.upstream.script(
            stream(
                chunk("one ", role="assistant"), go_on, chunk("two"), chunk(finish="stop"), {**chunk(), "choices": []}
            )
        )
        chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=True)
        seen = list[str]()
        ids = set[str]()
        last: Any = None
        async for response, piece in chat.stream():
            seen.append(piece.content)
            ids.add(piece.proto.id)
            last = response
            go_on.set()

        assert [each for each in seen if each] == ["one ", "two"]
        assert (last.content, last.finish_reason) == ("one two", "REASON_STOP")
        assert ids == {last.id}
        assert (await get(server, last.id)).outputs[0].message.content == "one two"


async def test_a_stored_stream_ends_with_what_was_used(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=True)
        *_, (response, _) = [each async for each in chat.stream()]

        assert response.content == HELLO
        assert response.usage.total_tokens > 0


@pytest.mark.parametrize("streams", [True, False], ids=["calls", "cannot stream"])
async def test_a_stored_stream_of_nothing_to_hear_is_told_whole(tmp_path: Path, streams: bool) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    if streams:
        answer = stream(chunk(tool_calls=[{"index": 0, **call}]), chunk(finish="tool_calls"))
    else:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        answer = reply(whole("/chat/completions", "m", "") | {"choices": [choice]})
    async with running_grpc(tmp_path) as server:
        server.upstream.script(answer)
        chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=True)
        *_, (response, _) = [each async for each in chat.stream()]

        assert [each.function.name for each in response.tool_calls] == ["look"]
        assert response.finish_reason == "REASON_TOOL_CALLS"


@pytest.mark.slow("waits for a second try")
async def test_a_stored_stream_survives_a_try_that_said_nothing_yet(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(error(503))
        chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=True)
        *_, (response, _) = [each async for each in chat.stream()]

        assert response.content == HELLO
        assert server.upstream.count == 2


async def test_a_stored_stream_that_begins_anew_says_where_its_answer_will_be(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(cut(text("one two three", pause=0.05), after=400))
        chat = server.client().chat.create("m", messages=[user("Hi")], store_messages=True)
        seen = list[str]()

        async def listen() -> None:
            async for _, piece in chat.stream():
                seen.append(piece.content)

        told = await refused(listen())
        request_id = await the_id(server)
        await server.http.ended(request_id)

        assert "".join(seen).startswith("one")
        assert told.code() is grpc.StatusCode.ABORTED
        assert request_id in (told.details() or "")
        assert (await get(server, request_id)).outputs[0].message.content == HELLO


@pytest.mark.slow("moves 6 MB")
async def test_a_stored_stream_that_is_not_read_says_where_its_answer_is(tmp_path: Path) -> None:
    """What is streamed is kept in memory up to a bound; none of it is left out unsaid."""
    pieces = ["x" * 60_000] * 100
    async with running_grpc(tmp_path, blobs_url=(tmp_path / "blobs").as_uri()) as server:
        server.upstream.script(stream(*(chunk(piece) for piece in pieces), chunk(finish="stop")))
        client = server.client()
        said = client.chat.create("m", messages=[user("Hi")], store_messages=True).stream()
        response, _ = await anext(said)
        await server.http.ended(response.id)

        async def listen() -> None:
            async for _ in said:
                pass

        told = await refused(listen())
        [stored] = await client.chat.get_stored_completion(response.id)

        assert told.code() is grpc.StatusCode.ABORTED
        assert response.id in (told.details() or "")
        assert stored.content == "".join(pieces)


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_what_fails_is_told_in_the_upstreams_words(tmp_path: Path, streamed: bool) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(error(400, "too long"))

        told = await refused(_asked(server, streamed))

        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert told.details() == "too long"


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_what_is_stored_goes_on_when_its_caller_hangs_up(tmp_path: Path, streamed: bool) -> None:
    before = asyncio.Event()
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=before))
        asking = asyncio.create_task(_asked(server, streamed))
        await server.upstream.received()
        request_id = await the_id(server)
        await held_at(server, request_id)
        asking.cancel()
        async with asyncio.timeout(5):
            while server.http.edge.live.waiting(request_id):
                await asyncio.sleep(0.005)
        before.set()
        await server.http.ended(request_id)

        assert (await get(server, request_id)).outputs[0].message.content == HELLO


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_a_server_that_stops_says_where_the_answer_will_be(tmp_path: Path, streamed: bool) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        asking = asyncio.create_task(refused(_asked(server, streamed)))
        await server.upstream.received()
        request_id = await the_id(server)
        await held_at(server, request_id)
        server.http.edge.live.close()

        told = await asking
        assert told.code() is grpc.StatusCode.ABORTED
        assert f"get_stored_completion('{request_id}')" in (told.details() or "")


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_g9_a_store_that_is_away_after_the_record_is_no_reason_to_send_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    async def away(tenant: str, request_id: str) -> Any:
        raise StoreUnavailable

    async with running_grpc(tmp_path) as server:
        requests = server.http.edge.store.requests
        monkeypatch.setattr(requests, "get", away)
        told = await refused(_asked(server, streamed))
        monkeypatch.undo()

        request_id = await the_id(server)
        assert (told.code(), reason_of(told)[0]) == (grpc.StatusCode.ABORTED, "still_under_way")
        assert f"get_stored_completion('{request_id}')" in (told.details() or "")
        assert (await server.http.ended(request_id))["status"] == "completed"


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_a_call_whose_time_is_over_says_where_the_answer_will_be(tmp_path: Path, streamed: bool) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))

        told = await refused(_asked(server, streamed, timeout=1.2))

        assert told.code() is grpc.StatusCode.ABORTED
        assert await the_id(server) in (told.details() or "")


@pytest.mark.slow("waits for the end of a retention")
async def test_what_was_purged_is_gone(tmp_path: Path) -> None:
    async with running_grpc(tmp_path, retention=SECOND) as server:
        response = await sample(server, store_messages=True)
        await asyncio.sleep(1)
        await server.http.edge.store.upkeep.purge(limit=10)

        told = [
            await refused(get(server, response.id)),
            await refused(sample(server, previous_response_id=response.id)),
        ]

        assert [each.code() for each in told] == [grpc.StatusCode.NOT_FOUND] * 2
        assert [reason_of(each)[0] for each in told] == ["result_gone", "not_found"]


@pytest.mark.parametrize("streamed", [False, True], ids=["sample", "stream"])
async def test_a_key_that_is_revoked_meanwhile_is_told_nothing_more(tmp_path: Path, streamed: bool) -> None:
    clock, before = FakeClock(), asyncio.Event()

    def with_clock(edge: Edge) -> Edge:
        return replace(edge, gate=Gate(edge.store.registry, clock.now, loopback=True))

    async with running_grpc(tmp_path, change=with_clock) as server:
        server.upstream.always(text(before=before))
        key = await server.http.key()
        asking = asyncio.create_task(refused(_asked(server, streamed, key=key)))
        await server.upstream.received()
        await held_at(server, await the_id(server, authorization=f"Bearer {key}"))
        [made] = await server.http.edge.store.registry.keys()
        await server.http.edge.store.registry.revoke_key(made.id)
        clock.advance(seconds=TRUST_FOR / SECOND)
        before.set()

        assert (await asking).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_conversation_goes_on_over_three_turns(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(*(reply(whole("/chat/completions", "m", f"answer {n}")) for n in (1, 2, 3)))
        first = await sample(server, "question 1", store_messages=True)
        client = server.client()
        chat = client.chat.create("m", messages=[user("question 2")], previous_response_id=first.id)
        second = await chat.defer(interval=EAGER)  # A deferred one can be gone on from as well.
        third = await sample(server, "question 3", store_messages=True, previous_response_id=second.id)

        assert third.content == "answer 3"
        assert said_to(server, 2) == [
            ("user", "question 1"),
            ("assistant", "answer 1"),
            ("user", "question 2"),
            ("assistant", "answer 2"),
            ("user", "question 3"),
        ]


async def test_a_conversation_goes_on_in_what_is_not_stored_itself(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        first = await sample(server, "question 1", store_messages=True)
        await sample(server, "question 2", previous_response_id=first.id)

        assert said_to(server, 1) == [("user", "question 1"), ("assistant", HELLO), ("user", "question 2")]


async def test_a_conversation_goes_on_with_what_a_tool_found(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"where": "up"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    tools = [tool("look", "Looks somewhere.", {"type": "object", "properties": {"where": {"type": "string"}}})]
    async with running_grpc(tmp_path) as server:
        server.upstream.script(reply(whole("/chat/completions", "m", "") | {"choices": [choice]}))
        client = server.client()
        asked = await client.chat.create("m", messages=[user("What is up?")], tools=tools, store_messages=True).sample()
        found = tool_result("the sky", tool_call_id=asked.tool_calls[0].id)
        chat = client.chat.create("m", messages=[found], tools=tools, previous_response_id=asked.id)

        assert (await chat.sample()).content == HELLO
        _, called, result = server.upstream.requests[1].json["messages"]
        assert called == {"role": "assistant", "content": None, "tool_calls": [call]}
        assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "c1", "the sky")


async def test_g8_only_what_is_the_callers_own_can_be_gone_on_from(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        mine, other = await server.http.key("mine"), await server.http.key("other")
        writer = await server.http.key("mine", "write")
        request_id = await start(server, key=mine)
        await server.http.ended(request_id, authorization=f"Bearer {mine}")

        told = [
            await refused(_asked(server, False, key=key, previous_response_id=named, store_messages=stored))
            for key, named in ((other, request_id), (mine, "nothing"), (writer, request_id))
            for stored in (False, True)
        ]

        unknown, unread = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
        assert [each.code() for each in told] == [unknown, unknown, unknown, unknown, unread, unread]
        assert server.upstream.count == 1


async def test_what_has_not_ended_or_failed_cannot_be_gone_on_from(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.script(error(400, "too long"), text(before=asyncio.Event()))
        failed = await start(server)
        await server.http.ended(failed)
        waits = await start(server)

        told = [await refused(_asked(server, False, previous_response_id=each)) for each in (failed, waits)]
        read = [await refused(get(server, each)) for each in (failed, waits)]

        assert "go on from one before it" in (told[0].details() or "")
        assert read[0].details() == "too long"
        for errors in (told, read):
            assert [each.code() for each in errors] == [
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
            ]
        assert reason_of(read[1])[0] == "not_ended"


async def test_a_conversation_that_grew_too_long_is_refused(tmp_path: Path) -> None:
    async with running_grpc(tmp_path, max_body_bytes=2_000) as server:
        server.upstream.always(reply(whole("/chat/completions", "m", "raincheck " * 200)))
        first = await sample(server, store_messages=True)

        told = await refused(sample(server, previous_response_id=first.id))

        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "begin a new one" in (told.details() or "")


async def test_what_was_deleted_is_gone(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        client = server.client()
        response = await client.chat.create("m", messages=[user("Hi")], store_messages=True).sample()

        assert await client.chat.delete_stored_completion(response.id) == response.id

        told = [
            await refused(client.chat.get_stored_completion(response.id)),
            await refused(client.chat.delete_stored_completion(response.id)),
            await refused(sample(server, previous_response_id=response.id)),
        ]
        assert [each.code() for each in told] == [grpc.StatusCode.NOT_FOUND] * 3
        assert (await server.http.get(f"/v1/requests/{response.id}")).status == 404


async def test_what_has_not_ended_or_is_no_completion_is_not_deleted(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        video = await running(server.http.edge.store, tenant="default", queue=ELSEWHERE, operation="video.generation")
        waits = await start(server)
        delete = server.client().chat.delete_stored_completion

        told = [await refused(delete(each)) for each in (waits, video.fence.request_id)]

        assert [each.code() for each in told] == [
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.INVALID_ARGUMENT,
        ]


async def test_scopes_of_what_is_stored(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        reader, writer = await server.http.key("t", "read"), await server.http.key("t", "write")
        request_id = await start(server, key=writer)
        await server.http.ended(request_id, authorization=f"Bearer {reader}")

        told = [
            await refused(get(server, request_id, key=writer)),
            await refused(server.client(reader).chat.delete_stored_completion(request_id)),
            await refused(_asked(server, False, key=writer)),
        ]

        assert [each.code() for each in told] == [grpc.StatusCode.PERMISSION_DENIED] * 3
        assert await server.client(writer).chat.delete_stored_completion(request_id) == request_id


async def _asked(
    server: RunningGrpc, streamed: bool, *, key: str = "none", timeout: float | None = None, **fields: Any
) -> object:
    """A stored completion, asked for by the SDK."""
    fields.setdefault("store_messages", True)
    chat = server.client(key, timeout=timeout).chat.create("m", messages=[user("Hi")], **fields)
    return [each async for each in chat.stream()] if streamed else await chat.sample()
