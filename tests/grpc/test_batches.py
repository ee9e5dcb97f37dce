"""Batches with the real xai-sdk."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from xai_sdk import AsyncClient
from xai_sdk.batch import BatchResult

from raincheck.core.model import LOCAL_TENANT
from raincheck.grpc.methods import LARGEST
from raincheck.grpc.protos import batch_pb2, chat_pb2
from tests.grpc.batches import a_chat, a_request, adding, an_open_batch, batching, counts, done
from tests.grpc.server import RunningGrpc, reason_of
from tests.http.batches import a_file, a_line, an_item
from tests.http.webhooks import FAR
from tests.scripted import error, reply, silence, text

State = batch_pb2.BatchRequestMetadata.State


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningGrpc]:
    async with batching(tmp_path) as running:
        yield running


async def test_a_batch_of_chats_is_made_worked_off_and_read(server: RunningGrpc) -> None:
    client = server.client()
    batch = await client.batch.create("capitals")
    assert (batch.name, counts(batch), batch.create_api_key_id) == ("capitals", (0, 0, 0, 0), "")
    assert batch.create_time.ToMicroseconds() < batch.expire_time.ToMicroseconds()
    assert not any(map(batch.HasField, ("cancel_time", "cancel_by_xai_message", "input_file_id")))
    server.upstream.always(text("Paris."))
    named = [a_chat(client, name, name, temperature=0.5) for name in ("uk", "fr")]
    await client.batch.add(batch.batch_id, [*named, a_chat(client, "unnamed")])
    ended = await done(client, batch.batch_id)
    assert counts(ended) == (0, 3, 0, 0)

    page = await client.batch.list_batch_results(batch.batch_id)
    assert (len(page.succeeded), page.failed, page.pagination_token) == (3, [], None)
    names = {each.batch_request_id for each in page.results}
    assert {"uk", "fr"} < names
    assert all(names)
    for each in page.succeeded:
        assert (each.is_success, each.error_message) == (True, None)
        assert (each.response.content, each.response.finish_reason) == ("Paris.", "REASON_STOP")
        assert each.response.usage.total_tokens > 0
    assert {request.json["temperature"] for request in server.upstream.requests if "temperature" in request.json} == {
        0.5
    }

    listed = await client.batch.list_batch_requests(batch.batch_id)
    assert [each.batch_request_id for each in listed.batch_request_metadata][:2] == ["uk", "fr"]
    for each in listed.batch_request_metadata:
        assert (each.endpoint, each.model, each.state) == ("/v1/chat/completions", "m", State.STATE_SUCCEEDED)
        assert batch.create_time.ToMicroseconds() <= each.create_time.ToMicroseconds()
        assert each.create_time.ToMicroseconds() <= each.finish_time.ToMicroseconds()


async def test_the_blocking_client_does_the_same(server: RunningGrpc) -> None:
    client, aio = server.sync_client(), server.client()

    def story() -> str:
        batch = client.batch.create("blocking")
        client.batch.add(batch.batch_id, [a_chat(client, "one", "one"), a_request("two")])
        assert [each.batch_id for each in client.batch.list().batches] == [batch.batch_id]
        assert len(client.batch.list_batch_requests(batch.batch_id).batch_request_metadata) == 2
        return batch.batch_id

    batch_id = await asyncio.to_thread(story)
    await done(aio, batch_id)
    page = await asyncio.to_thread(client.batch.list_batch_results, batch_id)
    assert len(page.succeeded) == 2
    assert all(each.response.content for each in page.succeeded)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(client.batch.get, "unknown")
    assert reason_of(caught.value)[0] == "not_found"


async def test_what_failed_is_told_with_a_code_that_is_not_nought(server: RunningGrpc) -> None:
    client = server.client()
    refusal = {"message": "The context is too long.", "type": "invalid_request_error"}
    server.upstream.script(reply({"error": refusal}, 400))
    batch_id = await an_open_batch(client, "bad")
    assert counts(await done(client, batch_id)) == (0, 0, 1, 0)
    [failed] = (await client.batch.list_batch_results(batch_id)).failed
    assert (failed.batch_request_id, failed.has_error, failed.is_success) == ("bad", True, False)
    assert "The context is too long." in (failed.error_message or "")
    assert failed.proto.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    [line] = (await client.batch.list_batch_requests(batch_id)).batch_request_metadata
    assert line.state == State.STATE_FAILED


async def test_an_answer_that_is_no_completion_is_told_as_a_failure(server: RunningGrpc) -> None:
    client = server.client()
    server.upstream.script(reply({"object": "chat.completion", "choices": []}))
    batch_id = await an_open_batch(client, "odd")
    await done(client, batch_id)
    [failed] = (await client.batch.list_batch_results(batch_id)).failed
    assert failed.proto.error.code == grpc.StatusCode.INTERNAL.value[0]


async def test_what_was_not_begun_is_counted_as_cancelled_in_the_answer(server: RunningGrpc) -> None:
    client = server.client()
    server.upstream.always(silence())
    batch_id = await an_open_batch(client, *map(str, range(40)))
    assert counts(await client.batch.cancel(batch_id)) == (0, 0, 0, 40)


async def test_a_cancelled_batch_keeps_its_results_and_takes_no_more(server: RunningGrpc) -> None:
    client = server.client()
    batch_id = await an_open_batch(client, "first")
    await done(client, batch_id)
    server.upstream.always(silence())
    await client.batch.add(batch_id, [a_chat(client, "second", "second"), a_chat(client, "third", "third")])
    await server.upstream.received(2)
    ended = await client.batch.cancel(batch_id)
    assert ended.HasField("cancel_time")
    assert counts(ended) == (0, 1, 0, 2)
    assert not ended.HasField("cancel_by_xai_message")
    page = await client.batch.list_batch_results(batch_id)
    assert [each.batch_request_id for each in page.succeeded] == ["first"]
    assert {each.proto.error.code for each in page.failed} == {grpc.StatusCode.CANCELLED.value[0]}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.batch.add(batch_id, [a_chat(client)])
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(caught.value)[0] == "batch_closed"


async def test_a_batch_of_an_uploaded_file_is_checked_before_it_is_told_of(server: RunningGrpc) -> None:
    client = server.client()
    lines = [a_line("a"), a_line("b"), {"batch_request_id": "c", **an_item("c")}]
    batch = await client.batch.create("file", input_file_id=await a_file(server.http, lines))
    assert batch.state.num_requests == 3
    assert counts(await done(client, batch.batch_id)) == (0, 3, 0, 0)
    page = await client.batch.list_batch_results(batch.batch_id)
    assert {each.batch_request_id for each in page.succeeded} == {"a", "b", "c"}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.batch.add(batch.batch_id, [a_chat(client)])
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    refused = await client.batch.create("bad", input_file_id=await a_file(server.http, b"no json\n"))
    assert refused.HasField("cancel_time")
    assert "line 1" in refused.cancel_by_xai_message
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.batch.create("none", input_file_id="file-none")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_batches_of_either_port_are_read_at_the_other(server: RunningGrpc) -> None:
    client = server.client()
    by_grpc = await an_open_batch(client, "x")
    await done(client, by_grpc)
    told = (await server.http.get(f"/xai/v1/batches/{by_grpc}")).json
    assert (told["batch_id"], told["state"]["num_success"]) == (by_grpc, 1)
    results = (await server.http.get(f"/v1/batches/{by_grpc}/results")).json
    assert results["succeeded"][0]["batch_request_id"] == "x"
    one = (await server.http.get(f"/v1/batches/{by_grpc}/requests")).json["batch_request_metadata"]
    assert one[0]["state"] == "succeeded"

    by_http = (await server.http.post("/xai/v1/batches", {"name": "h"})).json["batch_id"]
    await server.http.post(f"/xai/v1/batches/{by_http}/requests", {"batch_requests": [an_item("y")]})
    assert counts(await done(client, by_http)) == (0, 1, 0, 0)
    [result] = (await client.batch.list_batch_results(by_http)).succeeded
    assert result.batch_request_id == "y"
    assert result.response.content
    assert [each.batch_id for each in (await client.batch.list()).batches] == [by_http, by_grpc]
    await client.batch.add(by_http, [a_chat(client, "z", "z")])
    assert (await server.http.post(f"/v1/batches/{by_http}:cancel")).status == 200
    assert (await client.batch.get(by_http)).HasField("cancel_time")


async def test_what_is_asked_of_a_batch_beside_its_message_is_said_in_metadata(server: RunningGrpc) -> None:
    told = server.client(metadata=(("raincheck-webhook-url", FAR), ("raincheck-webhook-events", "completed")))
    batch_id = (await told.batch.create("told")).batch_id
    record = await server.http.edge.store.batches.get(LOCAL_TENANT, batch_id)
    assert (record.webhook_url, record.webhook_events) == (FAR, ("completed",))
    with pytest.raises(grpc.aio.AioRpcError, match="A batch has no expires_in") as caught:
        await server.client(metadata=(("raincheck-expires-in", "60"),)).batch.create("late")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_pages_of_batches_follow_each_other(server: RunningGrpc) -> None:
    client = server.client()
    made = [(await client.batch.create(f"{n}")).batch_id for n in range(3)]
    first = await client.batch.list(limit=2)
    assert [each.batch_id for each in first.batches] == made[:0:-1]
    second = await client.batch.list(limit=2, pagination_token=first.pagination_token)
    assert [each.batch_id for each in second.batches] == made[:1]
    assert not second.HasField("pagination_token")
    for ask in (client.batch.list(limit=-1), client.batch.list_batch_results(made[0], pagination_token="what")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow("250 requests run")
async def test_two_hundred_and_fifty_results_are_read_page_by_page(server: RunningGrpc) -> None:
    client = server.client()
    wanted = {f"{n}" for n in range(250)}
    batch_id = await an_open_batch(client, *sorted(wanted))
    await done(client, batch_id)

    async def results(token: str | None) -> tuple[list[str], str | None]:
        page = await client.batch.list_batch_results(batch_id, limit=100, pagination_token=token)
        return [each.batch_request_id for each in page.succeeded], page.pagination_token

    async def requests(token: str | None) -> tuple[list[str], str | None]:
        page = await client.batch.list_batch_requests(batch_id, limit=100, pagination_token=token)
        return [each.batch_request_id for each in page.batch_request_metadata], page.pagination_token or None

    for read in (results, requests):
        pages, token = list[list[str]](), None
        while not pages or token is not None:
            names, token = await read(token)
            pages.append(names)
        assert [len(names) for names in pages] == [100, 100, 50]
        assert {name for names in pages for name in names} == wanted
    assert len((await client.batch.list_batch_results(batch_id)).results) == 100
    assert len((await client.batch.list_batch_results(batch_id, limit=5_000)).results) == 250


@pytest.mark.slow("2,000 requests run")
async def test_two_thousand_requests_are_added_by_one_call(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        client = server.client()
        batch = await client.batch.create("many")
        server.upstream.always(silence())
        chats = [a_chat(client, f"{n} " + "é" * 4_000, f"{n}") for n in range(2_000)]
        size = sum(chat.proto.ByteSize() for chat in chats)
        assert 15 << 20 < size < LARGEST
        await client.batch.add(batch.batch_id, chats)
        added = await client.batch.get(batch.batch_id)
        assert added.state.num_requests == 2_000
        # Of most of them nothing was begun; they are told of all the same.
        await client.batch.cancel(batch.batch_id)
        assert counts(await done(client, batch.batch_id)) == (0, 0, 0, 2_000)
        found, token = list[str](), None
        while not found or token is not None:
            page = await client.batch.list_batch_results(batch.batch_id, limit=1_000, pagination_token=token)
            assert {each.proto.error.code for each in page.failed} == {grpc.StatusCode.CANCELLED.value[0]}
            found += [each.batch_request_id for each in page.failed]
            token = page.pagination_token
        assert sorted(map(int, found)) == list(range(2_000))
        asked = batch_pb2.GetBatchRequestResultRequest(batch_id=batch.batch_id, batch_request_id="1999")
        one = await server.call("BatchMgmt/GetBatchRequestResult", asked, batch_pb2.GetBatchRequestResultResponse)
        assert one.result.error.code == grpc.StatusCode.CANCELLED.value[0]
        too_many = adding(batch.batch_id, *[batch_pb2.BatchRequest()] * 10_001)
        with pytest.raises(grpc.aio.AioRpcError, match="10000 may be added"):
            await server.call("BatchMgmt/AddBatchRequests", too_many, Empty)


async def test_requests_are_listed_by_where_they_stand(server: RunningGrpc) -> None:
    client = server.client()
    server.upstream.script(error(400), text(), error(400), text(), text())
    batch_id = await an_open_batch(client)
    for name in "abcde":  # One by one, so that each gets its own answer.
        await client.batch.add(batch_id, [a_chat(client, name, name)])
        await done(client, batch_id)

    async def names(
        limit: int, token: str | None = None, *states: batch_pb2.BatchRequestMetadata.State
    ) -> tuple[str, str | None]:
        asked = batch_pb2.ListBatchRequestMetadataRequest(
            batch_id=batch_id, limit=limit, pagination_token=token, status=states
        )
        page = await server.call(
            "BatchMgmt/ListBatchRequestMetadata", asked, batch_pb2.ListBatchRequestMetadataResponse
        )
        return "".join(each.batch_request_id for each in page.batch_request_metadata), page.pagination_token or None

    assert await names(9, None, State.STATE_FAILED) == ("ac", None)
    assert (await names(9, None, State.STATE_SUCCEEDED, State.STATE_FAILED))[0] == "abcde"
    assert await names(9, None, State.STATE_PENDING) == ("", None)
    first, token = await names(2, None, State.STATE_SUCCEEDED)
    assert first == "bd"
    assert await names(2, token, State.STATE_SUCCEEDED) == ("e", None)
    with pytest.raises(grpc.aio.AioRpcError, match="status must name"):
        await names(2, None, State.STATE_UNKNOWN)


async def test_one_result_is_read_by_its_id(server: RunningGrpc) -> None:
    client = server.client()
    batch_id = await an_open_batch(client, "a")
    await done(client, batch_id)
    server.upstream.always(silence())
    await client.batch.add(batch_id, [a_chat(client, "late", "late")])
    await server.upstream.received(2)

    async def result(name: str) -> batch_pb2.GetBatchRequestResultResponse:
        asked = batch_pb2.GetBatchRequestResultRequest(batch_id=batch_id, batch_request_id=name)
        return await server.call("BatchMgmt/GetBatchRequestResult", asked, batch_pb2.GetBatchRequestResultResponse)

    good = await result("a")
    assert (good.request.batch_request_id, good.request.completion_request.model) == ("a", "m")
    assert good.result.response.completion_response.outputs[0].message.role == chat_pb2.ROLE_ASSISTANT
    for name, code in (("late", grpc.StatusCode.FAILED_PRECONDITION), ("none", grpc.StatusCode.NOT_FOUND)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await result(name)
        assert caught.value.code() is code, name
    await client.batch.cancel(batch_id)
    await done(client, batch_id)
    assert (await result("late")).result.error.code == grpc.StatusCode.CANCELLED.value[0]


@pytest.mark.parametrize(
    ("requests", "code", "words"),
    [
        ((), grpc.StatusCode.INVALID_ARGUMENT, "missing or empty"),
        ((a_request(), batch_pb2.BatchRequest()), grpc.StatusCode.INVALID_ARGUMENT, r"batch_requests\[1\]"),
        ((a_request(name="there"),), grpc.StatusCode.ALREADY_EXISTS, "'there'"),
        ((a_request(name="a"), a_request(name="a")), grpc.StatusCode.ALREADY_EXISTS, r"batch_requests\[1\]"),
        ((a_request(name="raincheck:1"),), grpc.StatusCode.INVALID_ARGUMENT, "must not begin"),
    ],
)
async def test_requests_that_are_no_good_are_named_and_none_is_added(
    server: RunningGrpc, requests: tuple[batch_pb2.BatchRequest, ...], code: grpc.StatusCode, words: str
) -> None:
    client = server.client()
    batch_id = await an_open_batch(client, "there")
    with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
        await client.batch.add(batch_id, [*requests])
    assert caught.value.code() is code
    assert (await client.batch.get(batch_id)).state.num_requests == 1


async def test_an_unknown_model_is_told_with_the_request_that_asks_for_it(server: RunningGrpc) -> None:
    client = server.client()
    batch_id = await an_open_batch(client)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.batch.add(batch_id, [a_chat(client), a_chat(client, model="nobody")])
    assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    assert "batch_requests[1]" in (caught.value.details() or "")


async def test_another_tenants_batch_is_not_there(server: RunningGrpc) -> None:
    """G8."""
    mine, other = server.client(await server.http.key("t")), server.client(await server.http.key("else"))
    batch_id = await an_open_batch(mine, "a")
    one = batch_pb2.GetBatchRequestResultRequest(batch_id=batch_id, batch_request_id="a")

    async def read_one(client: AsyncClient) -> object:
        del client
        key = await server.http.key("else")
        return await server.call(
            "BatchMgmt/GetBatchRequestResult", one, batch_pb2.GetBatchRequestResultResponse, key=key
        )

    for ask in (
        other.batch.get(batch_id),
        other.batch.cancel(batch_id),
        other.batch.add(batch_id, [a_chat(other)]),
        other.batch.list_batch_requests(batch_id),
        other.batch.list_batch_results(batch_id),
        other.batch.list(pagination_token=batch_id),
        read_one(other),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert list((await other.batch.list()).batches) == []
    assert counts(await done(mine, batch_id)) == (0, 1, 0, 0)


async def test_a_key_that_may_only_write_sees_no_counts_and_reads_nothing(server: RunningGrpc) -> None:
    writer = server.client(await server.http.key("t", "write"))
    batch = await writer.batch.create("w")
    await writer.batch.add(batch.batch_id, [a_chat(writer)])
    assert (await writer.batch.cancel(batch.batch_id)).state.num_requests == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await writer.batch.get(batch.batch_id)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    reader = server.client(await server.http.key("t", "read"))
    assert (await reader.batch.get(batch.batch_id)).state.num_requests == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reader.batch.create("r")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_asks_for_something_without_a_message_is_told_where_it_is_read(server: RunningGrpc) -> None:
    client = server.client()
    server.upstream.script(reply({"object": "list", "data": [{"embedding": [0.5]}]}))
    line = a_line("e", url="/v1/embeddings", body={"model": "m", "input": "x"})
    batch = await client.batch.create("file", input_file_id=await a_file(server.http, [line]))
    await done(client, batch.batch_id)
    [failed] = (await client.batch.list_batch_results(batch.batch_id)).failed
    assert failed.proto.error.code == grpc.StatusCode.UNIMPLEMENTED.value[0]
    path = (failed.error_message or "").rpartition(" ")[2].rstrip(".")
    async with aiohttp.ClientSession() as session, session.get(server.http.url + path) as answer:
        assert (await answer.json())["data"] == [{"embedding": [0.5]}]


@pytest.mark.slow("tens of megabytes are answered and read")
async def test_results_that_have_no_room_together_come_on_pages_and_one_that_has_none_is_told(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        client = server.client()
        large, huge = "x" * (7 << 20), "y" * (21 << 20)
        server.upstream.script(text(large), text(large), text(large), text(huge))
        batch_id = await an_open_batch(client)
        for name in "abcd":  # One by one, so that each gets its own answer.
            await client.batch.add(batch_id, [a_chat(client, name, name)])
            await done(client, batch_id)
        found, token, pages = dict[str, BatchResult](), None, 0
        while not pages or token is not None:
            page = await client.batch.list_batch_results(batch_id, pagination_token=token)
            found |= {each.batch_request_id: each for each in page.results}
            token, pages = page.pagination_token, pages + 1
        assert pages > 1
        assert [found[name].response.content for name in "abc"] == [large] * 3
        assert "/v1/requests/batch_req_" in (found["d"].error_message or "")
        assert found["d"].proto.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
