"""Deferred chat: what `chat.defer()` of the xai-sdk comes to."""

import asyncio
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from xai_sdk.chat import user

from raincheck.core.clock import SECOND, now, seconds
from raincheck.grpc.chat.deferring import held
from raincheck.grpc.protos import chat_pb2, deferred_pb2
from raincheck.http.edge import Edge
from raincheck.intake.gate import TRUST_FOR, Gate
from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.scripted import HELLO, error, reply, text
from tests.scripted.completions import whole
from tests.store.builders import FakeClock, running, success

EAGER = timedelta(milliseconds=10)
"""How often the SDK asks here; of itself it waits a second."""
PENDING, DONE = deferred_pb2.DeferredStatus.PENDING, deferred_pb2.DeferredStatus.DONE
ELSEWHERE = "not-served"
"""A queue that no upstream serves, so that a test may do the work itself."""


def a_message(content: str = "Hi", **fields: Any) -> chat_pb2.GetCompletionsRequest:
    return chat_pb2.GetCompletionsRequest(model="m", messages=[user(content)], **fields)


async def start(server: RunningGrpc, content: str = "Hi", *, key: str | None = None, **metadata: str) -> str:
    """The id of a completion that was deferred without the SDK around it."""
    started = await server.call(
        "Chat/StartDeferredCompletion", a_message(content), deferred_pb2.StartDeferredResponse, key=key, **metadata
    )
    return started.request_id


async def get(
    server: RunningGrpc, request_id: str, *, key: str | None = None
) -> chat_pb2.GetDeferredCompletionResponse:
    message = deferred_pb2.GetDeferredRequest(request_id=request_id)
    return await server.call("Chat/GetDeferredCompletion", message, chat_pb2.GetDeferredCompletionResponse, key=key)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """What a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def held_at(server: RunningGrpc, request_id: str) -> None:
    """Wait until a call is held for news of this request."""
    async with asyncio.timeout(5):
        while not server.http.edge.live.waiting(request_id):
            await asyncio.sleep(0.005)


async def the_id(server: RunningGrpc, **headers: str) -> str:
    """Of the only request there is, once there is one."""
    async with asyncio.timeout(5):
        while not (listed := (await server.http.get("/v1/requests", **headers)).json["data"]):
            await asyncio.sleep(0.005)
    [request] = listed
    return request["id"]


async def test_what_was_deferred_comes_back(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.client().chat.create("m", messages=[user("Hi")], temperature=0.5)

        response = await chat.defer()
        record = (await server.http.get(f"/v1/requests/{response.id}")).json

        assert response.content == HELLO
        assert response.finish_reason == "REASON_STOP"
        assert response.usage.total_tokens > 0
        assert (record["status"], record["operation"]) == ("completed", "chat.completion")
        asked = server.upstream.requests[0].json
        assert asked["temperature"] == 0.5
        assert "deferred" not in asked
        assert (await server.http.get(f"/v1/chat/deferred-completion/{response.id}")).json["choices"]


async def test_the_blocking_client_defers_as_well(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        chat = server.sync_client().chat.create("m", messages=[user("Hi")])

        assert (await asyncio.to_thread(chat.defer)).content == HELLO


async def test_several_answers_to_one_question(tmp_path: Path) -> None:
    message = [
        {"index": n, "message": {"role": "assistant", "content": f"{n}"}, "finish_reason": "stop"} for n in (0, 1)
    ]
    async with running_grpc(tmp_path) as server:
        server.upstream.always(reply(whole("/chat/completions", "m", "") | {"choices": message}))
        with warnings.catch_warnings():  # The SDK means to drop it one day.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            answers = await server.client().chat.create("m", messages=[user("Hi")]).defer_batch(2)

        assert [answer.content for answer in answers] == ["0", "1"]
        assert server.upstream.requests[0].json["n"] == 2


async def test_the_clients_metadata_says_how_it_is_deferred(tmp_path: Path) -> None:
    options = (("raincheck-metadata", '{"team": "blue"}'), ("raincheck-max-attempts", "3"))
    async with running_grpc(tmp_path) as server:
        response = await server.client(metadata=options).chat.create("m", messages=[user("Hi")]).defer()
        wrong = await refused(start(server, raincheck_max_attempts="none"))

        record = (await server.http.get(f"/v1/requests/{response.id}")).json
        assert (record["metadata"], record["max_attempts"]) == ({"team": "blue"}, 3)
        assert wrong.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(wrong) == ("invalid_request", {"param": "max_attempts"})


async def test_what_http_deferred_is_read_over_grpc(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        request_id = await server.http.defer()

        told = await get(server, request_id)

        assert (told.status, told.response.id) == (DONE, request_id)
        assert told.response.outputs[0].message.content == HELLO


async def test_a_tenant_that_has_as_much_pending_as_it_may_is_told_so(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        key = await server.http.key("small")
        await server.http.tenant("small", max_pending=1)
        later = {"raincheck_not_before": f"{seconds(now()) + 3600}"}
        await start(server, key=key, **later)

        error = await refused(start(server, "Hi again", key=key, **later))

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(error)[0] == "too_many_pending"


async def test_a_server_that_is_stopping_records_nothing_and_says_so(tmp_path: Path) -> None:
    def stopped(edge: Edge) -> Edge:
        return replace(edge, stopping=lambda: True)

    async with running_grpc(tmp_path, change=stopped) as server:
        error = await refused(start(server))

        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(error)[0] == "stopping"
        assert (await server.http.get("/v1/requests")).json["data"] == []


async def test_an_unknown_model_is_not_recorded(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        error = await refused(server.client().chat.create("other", messages=[user("Hi")]).defer())

        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "Known models: m" in (error.details() or "")


async def test_g8_what_is_not_the_callers_is_unknown(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        mine, other = await server.http.key("mine"), await server.http.key("other")
        request_id = await start(server, key=mine)

        errors = [await refused(get(server, request_id, key=other)), await refused(get(server, "nothing", key=mine))]

        assert [error.code() for error in errors] == [grpc.StatusCode.NOT_FOUND] * 2
        assert (await get(server, request_id, key=mine)).response.id == request_id


async def test_the_id_of_something_else_says_where_that_is_read(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        video = await running(server.http.edge.store, tenant="default", queue=ELSEWHERE, operation="video.generation")
        embedding = (await server.http.post("/v1/embeddings", {"model": "m", "input": "Hi", "deferred": True})).json[
            "id"
        ]

        errors = [await refused(get(server, each)) for each in (video.fence.request_id, embedding)]

        assert [error.code() for error in errors] == [grpc.StatusCode.INVALID_ARGUMENT] * 2
        assert "client.video.get" in (errors[0].details() or "")
        assert f"GET /v1/requests/{embedding}" in (errors[1].details() or "")


async def test_a_key_needs_the_scope_of_what_it_does(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        reader, writer = await server.http.key("t", "read"), await server.http.key("t", "write")
        request_id = await start(server, key=writer)

        errors = [
            await refused(get(server, request_id, key=writer)),
            await refused(start(server, key=reader)),
            await refused(start(server, key=writer, raincheck_include_result="true")),
        ]

        assert [error.code() for error in errors] == [grpc.StatusCode.PERMISSION_DENIED] * 3
        assert "include_result" in (errors[2].details() or "")
        assert (await get(server, request_id, key=reader)).status == DONE


async def test_a_key_that_is_revoked_while_it_is_held_is_told_nothing_more(tmp_path: Path) -> None:
    clock, before = FakeClock(), asyncio.Event()

    def with_clock(edge: Edge) -> Edge:
        return replace(edge, gate=Gate(edge.store.registry, clock.now, loopback=True))

    async with running_grpc(tmp_path, change=with_clock) as server:
        server.upstream.always(text(before=before))
        key = await server.http.key()
        request_id = await start(server, key=key)
        asking = asyncio.create_task(refused(get(server, request_id, key=key)))
        await held_at(server, request_id)
        [made] = await server.http.edge.store.registry.keys()
        await server.http.edge.store.registry.revoke_key(made.id)
        clock.advance(seconds=TRUST_FOR / SECOND)
        before.set()

        assert (await asking).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_call_is_held_until_there_is_news(tmp_path: Path) -> None:
    before = asyncio.Event()
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=before))
        request_id = await start(server)
        asking = asyncio.create_task(get(server, request_id))
        await held_at(server, request_id)
        before.set()

        assert (await asking).status == DONE


@pytest.mark.slow("is held for a second")
async def test_a_call_that_was_held_in_vain_says_pending(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))

        assert (await get(server, await start(server))).status == PENDING


def test_a_minute_of_waiting_costs_some_eight_polls() -> None:
    polls, now = 0, 0.0
    while now < 60:
        polls += 1
        now += held(now) + 1  # The second is the SDK's own.

    assert polls <= 8
    assert held(3600) == 30


async def test_a_server_that_stops_lets_go_of_those_it_holds(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        request_id = await start(server)
        asking = asyncio.create_task(get(server, request_id))
        await held_at(server, request_id)
        server.http.edge.live.close()

        async with asyncio.timeout(0.5):
            assert (await asking).status == PENDING


async def test_what_failed_is_told_in_the_upstreams_words(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(error(400, "the context is too long", "context_length_exceeded"))
        mine = server.client().chat.create("m", messages=[user("Hi")])

        told = await refused(mine.defer(interval=EAGER))

        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the context is too long" in (told.details() or "")
        reason, more = reason_of(told)
        assert (reason, more["upstream"], more["upstream_status"]) == ("context_length_exceeded", "up", "400")

        blocking = server.sync_client().chat.create("m", messages=[user("Hi")])
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(blocking.defer)
        assert reason_of(caught.value)[0] == "context_length_exceeded"


async def test_what_an_upstream_says_of_this_servers_key_is_kept(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        for status in (401, 403):
            server.upstream.script(error(status, "wrong key sk-of-the-server"))

            told = await refused(server.client().chat.create("m", messages=[user("Hi")]).defer(interval=EAGER))

            assert told.code() is grpc.StatusCode.INTERNAL
            assert f"refused this server's own credentials (HTTP {status})" in (told.details() or "")
            assert reason_of(told) == ("upstream_key_refused", {})
            assert "sk-of" not in f"{told.details()}{told.trailing_metadata()}"


async def test_no_end_is_told_as_something_to_try_again(tmp_path: Path) -> None:
    """UNAVAILABLE would make the SDK ask four times more."""
    async with running_grpc(tmp_path, max_attempts=1) as server:
        server.upstream.always(error(503))

        told = await refused(server.client().chat.create("m", messages=[user("Hi")]).defer(interval=EAGER))

        assert told.code() is grpc.StatusCode.INTERNAL


async def test_g5_what_is_cancelled_by_http_is_told_at_once(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        asking = asyncio.create_task(refused(server.client().chat.create("m", messages=[user("Hi")]).defer()))
        received = await server.upstream.received()
        request_id = await the_id(server)
        await held_at(server, request_id)
        cancelled = await server.http.post(f"/v1/requests/{request_id}/cancel")

        async with asyncio.timeout(0.5):
            told = await asking
        await received.left.wait()
        assert cancelled.status == 200
        assert told.code() is grpc.StatusCode.CANCELLED
        assert reason_of(told)[0] == "cancelled"


@pytest.mark.slow("waits for a deadline")
async def test_what_expired_is_told_as_the_sdk_knows_it(tmp_path: Path) -> None:
    async with running_grpc(tmp_path, places=1) as server:
        server.upstream.always(text(before=asyncio.Event()))
        await start(server, "takes the only place")
        await server.upstream.received()
        hurried = server.client(metadata=(("raincheck-expires-in", "0.3"),))

        with pytest.raises(RuntimeError, match="expired"):
            await hurried.chat.create("m", messages=[user("Hi")]).defer(interval=EAGER)


@pytest.mark.slow("waits for the end of a retention")
async def test_what_was_purged_is_told_as_expired(tmp_path: Path) -> None:
    async with running_grpc(tmp_path, retention=SECOND) as server:
        request_id = await start(server)
        record = await server.http.ended(request_id)
        assert record["status"] == "completed"
        await asyncio.sleep(1)
        await server.http.edge.store.upkeep.purge(limit=10)

        assert (await get(server, request_id)).status == deferred_pb2.DeferredStatus.EXPIRED


@pytest.mark.slow("waits for the SDK's own timeouts")
@pytest.mark.parametrize("seconds", [0.5, 2.0])
async def test_a_timeout_of_the_sdk_is_kept_to_about_twice_its_time(tmp_path: Path, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        began = loop.time()
        with pytest.raises(TimeoutError, match="deferred chat completion"):
            await server.client().chat.create("m", messages=[user("Hi")]).defer(timeout=timedelta(seconds=seconds))

        assert loop.time() - began < 2 * seconds + 1.5


@pytest.mark.slow("waits for the end of a call's own time")
async def test_a_call_is_not_held_beyond_its_own_time(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        server.upstream.always(text(before=asyncio.Event()))
        request_id = await start(server)
        hasty: Any = server.client(timeout=1.2).chat  # Its own stub: the SDK would ask again.
        message = deferred_pb2.GetDeferredRequest(request_id=request_id)

        assert (await hasty._stub.GetDeferredCompletion(message)).status == PENDING


async def test_a_result_in_the_object_store_comes_back_whole(tmp_path: Path) -> None:
    content = "raincheck " * 300_000
    async with running_grpc(tmp_path, blobs_url=(tmp_path / "blobs").as_uri()) as server:
        server.upstream.always(reply(whole("/chat/completions", "m", content)))

        assert (await server.client().chat.create("m", messages=[user("Hi")]).defer()).content == content


@pytest.mark.slow("moves more than 20 MiB")
async def test_a_result_larger_than_a_message_is_refused_and_says_where_it_is(tmp_path: Path) -> None:
    async with running_grpc(tmp_path, blobs_url=(tmp_path / "blobs").as_uri()) as server:
        server.upstream.always(reply(whole("/chat/completions", "m", "raincheck " * 2_200_000)))

        told = await refused(server.client().chat.create("m", messages=[user("Hi")]).defer())

        assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "/result" in (told.details() or "")


@pytest.mark.parametrize("body", [b'{"odd": 1}', b"[1]", b"\xff", b"no JSON", b'{"choices": []}'])
async def test_a_result_that_is_no_completion_says_where_it_is(tmp_path: Path, body: bytes) -> None:
    async with running_grpc(tmp_path) as server:
        lease = await running(server.http.edge.store, tenant="default", queue=ELSEWHERE)
        assert await server.http.edge.store.leases.finish([success(lease, body)]) == []

        told = await refused(get(server, lease.fence.request_id))

        assert told.code() is grpc.StatusCode.INTERNAL
        assert reason_of(told)[0] == "not_a_completion"
        assert f"/v1/requests/{lease.fence.request_id}/result" in (told.details() or "")
