"""The messages of a chat on their way to the model's server, pictures and files among them."""

import asyncio
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from xai_sdk.chat import assistant, developer, file, image, system, text, tool_result, user

from raincheck.grpc.chat.bounds import MOST_PIECES
from raincheck.grpc.chat.content import AT_A_TIME, messages_of
from raincheck.grpc.chat.inlining import MOST, MOST_ESCAPES
from raincheck.grpc.protos import batch_pb2, chat_pb2, image_pb2
from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.http.test_files import upload
from tests.media import make_png

Json = dict[str, Any]
PDF = b"%PDF-1.4\nplain enough"
LOOSE = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, content=[text("sunny")])
FUNCTION = chat_pb2.Message(role=chat_pb2.ROLE_FUNCTION, name="weather", content=[text("rain")])
UNUSABLE = [
    (file(url="https://example.com/a.pdf"), "not fetched from URLs here"),
    (file(url="data:text/plain;base64,!"), "base64 is broken"),
    (file(url="data:," + "%41" * (MOST_ESCAPES + 1)), "escapes; send base64"),
    (chat_pb2.Content(file=chat_pb2.FileContent()), "one of file_id, data and url"),
    (chat_pb2.Content(file=chat_pb2.FileContent(file_id="f", data=b"d")), "one of file_id, data and url"),
    (image("iVBORw0KGgo="), r"http\(s\) URL or a data URI"),
    (image("file:///etc/passwd"), r"http\(s\) URL or a data URI"),
    (chat_pb2.Content(), "of no kind that is known"),
]
CALLS = [
    chat_pb2.ToolCall(id=f"call-{name}", function=chat_pb2.FunctionCall(name=name, arguments='{"a":1}'))
    for name in ("a", "b")
]


async def test_each_role_and_all_that_a_message_has_is_told(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        called = chat_pb2.Message(
            role=chat_pb2.ROLE_ASSISTANT,
            content=[text("")],
            reasoning_content="hm",
            encrypted_content="sealed",
            tool_calls=CALLS[:1],
        )
        named = user("Who?")
        named.name = "ann"
        told = await _sent(
            server, system("S"), developer("D"), named, assistant("A"), called, tool_result("42", "call-a"), FUNCTION
        )
        function = {"name": "a", "arguments": '{"a":1}'}
        assert told == [
            {"role": "system", "content": "S"},
            {"role": "developer", "content": "D"},
            {"role": "user", "content": "Who?", "name": "ann"},
            {"role": "assistant", "content": "A"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call-a", "type": "function", "function": function}],
                "reasoning_content": "hm",
            },
            {"role": "tool", "content": "42", "tool_call_id": "call-a"},
            {"role": "function", "content": "rain", "name": "weather"},
        ]


async def test_texts_are_joined_and_pictures_stand_between_them(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        plain, mixed, empty = await _sent(
            server,
            user("One", "two"),
            user("What is", image("https://example.com/a.png", detail="high"), "?"),
            chat_pb2.Message(role=chat_pb2.ROLE_USER),
        )
        assert plain["content"] == "One\ntwo"
        assert mixed["content"] == [
            {"type": "text", "text": "What is"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
            {"type": "text", "text": "?"},
        ]
        assert empty["content"] == ""


async def test_a_result_that_does_not_name_its_call_answers_the_next_one(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        called = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, tool_calls=CALLS)
        told = await _sent(server, user("?"), called, LOOSE, LOOSE, LOOSE)
        assert [message.get("tool_call_id") for message in told[2:]] == ["call-a", "call-b", None]
        told = await _sent(server, user("?"), called, tool_result("1", "call-a"), LOOSE)
        assert [message.get("tool_call_id") for message in told[2:]] == ["call-a", "call-b"]


async def test_uploaded_files_come_along_by_what_is_in_them(tmp_path: Path) -> None:
    async with _with_files(tmp_path) as server:
        png = make_png(tmp_path / "a.png").read_bytes()
        ids = [
            await _uploaded(server, png, "notes.txt", "text/plain"),
            await _uploaded(server, "naïve".encode(), "notes.txt"),
            await _uploaded(server, PDF, "a.pdf", "application/pdf"),
        ]
        [message] = await _sent(server, user("Look:", *(file(each) for each in ids), _picture(file_id=ids[0])))
        shown = {"url": f"data:image/png;base64,{b64encode(png).decode()}"}
        pdf = f"data:application/pdf;base64,{b64encode(PDF).decode()}"
        assert message["content"] == [
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": shown},
            {"type": "text", "text": "notes.txt:\n\nnaïve"},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
            {"type": "image_url", "image_url": shown | {"detail": "low"}},
        ]


async def test_files_that_are_sent_along_need_no_object_store(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        written = f"data:text/plain;charset=utf-8;base64,{b64encode(b'hi').decode()}"
        [message] = await _sent(
            server,
            user(
                file(data=b"a,b", filename="t.csv", mime_type="text/csv"),
                file(data=PDF, mime_type="odd\r\nkind"),
                file(url=written, filename="w.txt"),
                file(url="data:,a%20b"),
            ),
        )
        pdf = f"data:application/octet-stream;base64,{b64encode(PDF).decode()}"
        assert message["content"] == [
            {"type": "text", "text": "t.csv:\n\na,b"},
            {"type": "file", "file": {"filename": "file", "file_data": pdf}},
            {"type": "text", "text": "w.txt:\n\nhi"},
            {"type": "text", "text": "file:\n\na b"},
        ]


async def test_another_tenants_file_is_unknown(tmp_path: Path) -> None:
    """G8."""
    async with _with_files(tmp_path) as server:
        owner, other = await server.http.key("owner"), await server.http.key("other")
        theirs = (await upload(server.http, b"secret", key=owner)).json["id"]
        assert (await _sent(server, user(file(theirs)), key=owner))[0]["content"] == "a.txt:\n\nsecret"
        for part in (file(theirs), _picture(file_id=theirs)):
            assert await _refused(server, user(part), key=other) == ("NOT_FOUND", "messages[0].content[0]")
        assert len(server.upstream.requests) == 1


@pytest.mark.slow("moves 30 MiB of files")
async def test_all_files_of_a_chat_have_a_bound_together(tmp_path: Path) -> None:
    async with _with_files(tmp_path) as server:
        half = await _uploaded(server, bytes(MOST // 2), "half.bin")
        refused = await _refused(server, user(file(half)), user(file(half), file(data=b"one byte more")))
        assert refused == ("INVALID_ARGUMENT", "messages[1].content[1]")


async def test_what_a_tenant_may_send_counts_its_files(tmp_path: Path) -> None:
    async with _with_files(tmp_path) as server:
        key = await server.http.key("small")
        large = (await upload(server.http, bytes(2_000), key=key)).json["id"]
        await server.http.tenant("small", max_body_bytes=1_000)
        key = await server.http.key("small")  # A key that is known already is believed for a moment.
        with pytest.raises(grpc.aio.AioRpcError, match="this API key may send 1000"):
            await _sent(server, user(file(large)), key=key)


async def test_a_part_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        for part, why in UNUSABLE:
            with pytest.raises(grpc.aio.AioRpcError, match=why) as caught:
                await _sent(server, system("be kind"), user("look", part))
            assert reason_of(caught.value)[1]["param"] == "messages[1].content[1]"


async def test_a_file_that_is_no_picture_is_not_shown_as_one(tmp_path: Path) -> None:
    async with _with_files(tmp_path) as server:
        words = await _uploaded(server, b"words", "a.txt")
        assert (await _refused(server, user(_picture(file_id=words))))[0] == "INVALID_ARGUMENT"


async def test_messages_that_nobody_here_could_read_are_refused(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        sealed = chat_pb2.Message(role=chat_pb2.ROLE_USER, encrypted_content="sealed")
        assert await _refused(server, user("a"), sealed) == ("INVALID_ARGUMENT", "messages[1]")
        assert await _refused(server, chat_pb2.Message(content=[text("a")])) == ("INVALID_ARGUMENT", "messages[0].role")
        assert await _refused(server) == ("INVALID_ARGUMENT", "messages")


async def test_a_chat_of_too_many_pieces_is_refused_on_every_way(tmp_path: Path) -> None:
    async with _with_files(tmp_path) as server:
        batch = await server.client().batch.create("b")
        request = chat_pb2.GetCompletionsRequest(model="m", messages=[chat_pb2.Message()] * (MOST_PIECES + 1))
        line = batch_pb2.BatchRequest(completion_request=request)
        added = batch_pb2.AddBatchRequestsRequest(batch_id=batch.batch_id, batch_requests=[line])
        for method, message in (
            ("Chat/GetCompletion", request),
            ("Chat/StartDeferredCompletion", request),
            ("BatchMgmt/AddBatchRequests", added),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=f"at most {MOST_PIECES} messages"):
                await server.call(method, message, chat_pb2.GetChatCompletionResponse)


async def test_a_long_chat_lets_others_have_their_turn() -> None:
    no_files: Any = None
    turns = asyncio.create_task(_turns())
    await asyncio.sleep(0)
    await messages_of([chat_pb2.Message(role=chat_pb2.ROLE_USER)] * 3 * AT_A_TIME, no_files)
    await messages_of([user(*["a"] * 3 * AT_A_TIME)], no_files)
    turns.cancel()
    assert await turns >= 6


async def test_a_model_that_nobody_serves_is_told_before_files_are_read(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        request = chat_pb2.GetCompletionsRequest(model="nobody", messages=[user(file("file-unknown"))])
        for method in ("Chat/GetCompletion", "Chat/StartDeferredCompletion"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.call(method, request, chat_pb2.GetChatCompletionResponse)
            assert reason_of(caught.value)[0] == "model_not_found"


async def test_a_key_that_may_not_read_cannot_read_through_the_model(tmp_path: Path) -> None:
    """G8: neither a file nor an earlier conversation, by no call that may name one."""
    async with _with_files(tmp_path) as server:
        writer, both = await server.http.key("t", "write"), await server.http.key("t")
        theirs = (await upload(server.http, b"secret", key=both)).json["id"]
        earlier = server.client(both).chat.create("m", messages=[user("Hi")], store_messages=True)
        before = (await earlier.sample()).id
        batch_id = (await server.client(both).batch.create("b")).batch_id
        asked = len(server.upstream.requests)
        chats = [
            chat_pb2.GetCompletionsRequest(model="m", messages=[user(file(theirs))]),
            chat_pb2.GetCompletionsRequest(model="m", messages=[user(_picture(file_id=theirs))]),
            chat_pb2.GetCompletionsRequest(model="m", messages=[user("go on")], previous_response_id=before),
        ]
        drawn = image_pb2.GenerateImageRequest(model="m", image=image_pb2.ImageUrlContent(file_id=theirs))
        lines = [batch_pb2.BatchRequest(image_request=drawn)]
        lines += [batch_pb2.BatchRequest(completion_request=chat) for chat in chats]
        calls: list[tuple[str, Any]] = [
            ("BatchMgmt/AddBatchRequests", batch_pb2.AddBatchRequestsRequest(batch_id=batch_id, batch_requests=[line]))
            for line in lines
        ]
        calls += [
            (f"Chat/{method}", chat)
            for method in ("GetCompletion", "GetCompletionChunk", "StartDeferredCompletion")
            for chat in chats
        ]
        for method, message in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.call(method, message, chat_pb2.GetChatCompletionResponse, key=writer)
            assert reason_of(caught.value)[0] == "scope_missing", method
        assert len(server.upstream.requests) == asked


async def _turns() -> int:
    """How often it had its turn until it was cancelled."""
    turns = 0
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0)
            turns += 1
    return turns


def _with_files(folder: Path) -> Any:
    return running_grpc(folder, blobs_url=(folder / "blobs").as_uri())


def _picture(**source: str) -> chat_pb2.Content:
    return chat_pb2.Content(image_url=image_pb2.ImageUrlContent(detail=image_pb2.DETAIL_LOW, **source))


async def _uploaded(server: RunningGrpc, body: bytes, filename: str, kind: str = "application/x-any") -> str:
    return (await upload(server.http, body, filename=filename, kind=kind)).json["id"]


async def _sent(server: RunningGrpc, *messages: chat_pb2.Message, key: str | None = None) -> list[Json]:
    """These messages as the upstream was sent them."""
    request = chat_pb2.GetCompletionsRequest(model="m", messages=messages)
    await server.call("Chat/GetCompletion", request, chat_pb2.GetChatCompletionResponse, key=key)
    return server.upstream.requests[-1].json["messages"]


async def _refused(server: RunningGrpc, *messages: chat_pb2.Message, key: str | None = None) -> tuple[str, str]:
    """The code, and which part is named."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _sent(server, *messages, key=key)
    return caught.value.code().name, reason_of(caught.value)[1]["param"]
