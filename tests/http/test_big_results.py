"""Results above 1 MiB: kept in the object store, and handed out as if they were not."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from raincheck import AsyncRaincheck, Raincheck
from raincheck.core.model import Lease
from raincheck.store.blobs import MARK, BlobStore
from raincheck.upkeep.collect import Collector
from tests.s3 import S3, s3_bucket
from tests.scripted import reply
from tests.scripted.completions import whole
from tests.server import Json, Running, a_chat, running_server
from tests.store.builders import running, success

MIB = 1 << 20
CONTENT = "raincheck " * (3 * MIB // 10)
COMPLETION = msgspec.json.encode(whole("/chat/completions", "m", CONTENT))
ELSEWHERE = "not-served"
"""A queue that no upstream serves, so that a test may do the work itself."""


@asynccontextmanager
async def a_server(folder: Path, blobs_url: str | None = None) -> AsyncGenerator[Running]:
    """One that keeps big results in a folder, unless told where, and whose upstream gives big answers."""
    async with running_server(folder, blobs_url=blobs_url or (folder / "blobs").as_uri()) as server:
        server.upstream.always(reply(COMPLETION))
        yield server


@pytest.fixture
def s3() -> Iterator[S3]:
    with s3_bucket() as s3:
        yield s3


def objects_of(server: Running) -> BlobStore:
    assert server.edge.objects is not None
    return server.edge.objects


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file() and path.name != MARK]


async def a_result(server: Running, body: bytes, *, size: int | None = None) -> str:
    """The id of a request that was completed with this body in the object store."""
    lease: Lease = await running(server.edge.store, tenant="default", queue=ELSEWHERE)
    await objects_of(server).put("results/this", body)
    done = success(lease, b"", blob="results/this", size=len(body) if size is None else size)
    assert await server.edge.store.leases.finish([done]) == []
    return lease.fence.request_id


async def test_a_big_result_is_not_in_the_request_object_which_says_where_it_is(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()

        record = await server.ended(request_id)

        assert record["status"] == "completed"
        assert record["result"] is None
        assert record["result_status"] == 200
        assert record["result_size"] == len(COMPLETION)
        assert record["result_url"] == f"/v1/requests/{request_id}/result"
        assert [path.read_bytes() for path in files(tmp_path)] == [COMPLETION]


@pytest.mark.parametrize(
    "path", ["/v1/chat/deferred-completion/{}", "/xai/v1/chat/deferred-completion/{}", "/v1/requests/{}/result"]
)
async def test_a_big_result_is_collected_verbatim(tmp_path: Path, path: str) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()

        collected = await server.get(f"{path.format(request_id)}?wait=10")

        assert collected.status == 200
        assert collected.body == COMPLETION
        assert collected.headers["content-length"] == str(len(COMPLETION))
        assert collected.headers["content-type"] == "application/json"


async def test_a_submit_that_waits_is_answered_with_the_big_result(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        answer = await server.post("/v1/chat/completions", a_chat(deferred=True), prefer="wait=10")

        assert answer.status == 200
        assert answer.body == COMPLETION
        assert answer.headers["raincheck-request-id"].startswith("req_")


async def test_a_result_that_is_not_big_stays_in_the_record(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        server.upstream.always(None)

        record = await server.ended(await server.defer())

        assert record["result"]["object"] == "chat.completion"
        assert record["result_url"] is None
        assert record["result_size"] > 0
        assert files(tmp_path) == []


async def test_without_an_object_store_big_results_stay_in_the_record_too(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        server.upstream.always(reply(COMPLETION))

        record = await server.ended(await server.defer())

        assert record["result"]["choices"][0]["message"]["content"] == CONTENT
        assert record["result_size"] == len(COMPLETION)


async def test_the_client_does_not_see_the_difference(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        async with AsyncRaincheck(base_url=server.base_url) as client:
            messages = a_chat()["messages"]
            completion = await client.chat.completions.create_and_wait(model="m", messages=messages, timeout=30)
            ticket = await client.chat.completions.defer(model="m", messages=messages)
            waited = await ticket.wait(timeout=30)
            record = await client.requests.retrieve(ticket.id)
            result = await client.requests.result(ticket.id)

        assert completion.choices[0].message.content == CONTENT
        assert waited == result == completion
        assert record.result == msgspec.json.decode(COMPLETION)
        assert record.result_size == len(COMPLETION)


async def test_the_blocking_client_does_not_see_the_difference(tmp_path: Path) -> None:
    def ask(base_url: str) -> tuple[str | None, object]:
        with Raincheck(base_url=base_url) as client:
            ticket = client.chat.completions.defer(model="m", messages=a_chat()["messages"])
            content = ticket.wait(timeout=30).choices[0].message.content
            return content, client.requests.retrieve(ticket.id).result

    async with a_server(tmp_path) as server:
        content, result = await asyncio.to_thread(ask, server.base_url)

        assert content == CONTENT
        assert result == msgspec.json.decode(COMPLETION)


async def test_a_deleted_request_takes_its_body_with_it(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()
        await server.ended(request_id)

        await server.call("DELETE", f"/v1/requests/{request_id}")
        await Collector(server.edge.store.blobs, objects_of(server)).turn()

        assert files(tmp_path) == []
        assert (await server.get(f"/v1/requests/{request_id}/result")).status == 404


async def test_in_a_bucket_the_link_is_signed_at_each_read_and_needs_no_key(tmp_path: Path, s3: S3) -> None:
    async with a_server(tmp_path, f"{s3.url}/prefix") as server:
        request_id = await server.defer()
        record = await server.ended(request_id)
        assert [key.partition("req_")[0] for key in s3.names()] == ["prefix/results/"]
        assert record["result"] is None
        assert "X-Amz-Expires=3600" in record["result_url"]

        async with aiohttp.ClientSession() as session, session.get(record["result_url"]) as response:
            assert response.content_type == "application/json"
            assert await response.read() == COMPLETION
        assert (await server.get(f"/v1/requests/{request_id}/result")).body == COMPLETION
        async with AsyncRaincheck(base_url=server.base_url) as client:
            assert (await client.requests.result(request_id)).choices[0].message.content == CONTENT


async def test_while_the_bucket_is_away_records_are_read_and_bodies_are_a_503(tmp_path: Path, s3: S3) -> None:
    async with a_server(tmp_path, s3.url) as server:
        request_id = await server.defer()
        await server.ended(request_id)
        await objects_of(server).delete(s3.names())
        s3.call("DELETE", f"/{s3.bucket}")

        answer = await server.get(f"/v1/chat/deferred-completion/{request_id}")

        assert (answer.status, answer.error["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "s3" not in answer.error["message"].lower()
        assert (await server.ended(request_id))["status"] == "completed"


async def test_a_body_that_is_gone_is_a_410(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()
        await server.ended(request_id)
        files(tmp_path)[0].unlink()

        answer = await server.get(f"/v1/chat/deferred-completion/{request_id}")

        assert (answer.status, answer.error["code"]) == (410, "result_gone")


async def test_a_server_without_the_object_store_says_what_is_missing(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()
        await server.ended(request_id)
    async with running_server(tmp_path) as server:
        answer = await server.get(f"/v1/requests/{request_id}/result")

        assert (answer.status, answer.error["code"]) == (503, "store_unavailable")
        assert "set store.blobs" in answer.error["message"]


async def test_a_body_that_breaks_off_cuts_the_connection(tmp_path: Path) -> None:
    """What a client has of it then can not be taken for the whole."""
    async with a_server(tmp_path) as server:
        request_id = await a_result(server, b"x" * (3 * MIB), size=5 * MIB)

        with pytest.raises(aiohttp.ClientPayloadError):
            await server.get(f"/v1/requests/{request_id}/result")


async def test_a_client_that_leaves_midway_stops_the_reading(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await a_result(server, b"x" * (32 * MIB))
        objects, read, left = objects_of(server), list[int](), asyncio.Event()
        reading = objects.read

        async def counted(name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
            try:
                async for piece in reading(name, start, end):
                    read.append(len(piece))
                    yield piece
            finally:
                left.set()

        objects.read = counted
        await server.raw(
            f"GET /v1/requests/{request_id}/result HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), until=b"xxx"
        )
        async with asyncio.timeout(5):
            await left.wait()

        assert sum(read) < 32 * MIB


@pytest.mark.slow("moves 64 MiB with every allocation watched")
async def test_a_body_of_64_mib_does_not_pass_through_memory_whole(tmp_path: Path) -> None:
    """G12"""
    async with a_server(tmp_path) as server:
        request_id = await a_result(server, bytes(64 * MIB))
        url = f"{server.url}/v1/requests/{request_id}/result"
        size = 0
        tracemalloc.start()
        try:
            async with server.session.get(url) as response:
                async for piece in response.content.iter_any():
                    size += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert size == 64 * MIB
        assert peak < 16 * MIB


async def test_the_final_status_of_an_event_stream_says_where_the_result_is(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await server.defer()
        await server.ended(request_id)

        stream = await server.get(f"/v1/requests/{request_id}/events")

        status: Json = msgspec.json.decode(stream.body.partition(b"data: ")[2])
        assert status["result"] is None
        assert status["result_url"] == f"/v1/requests/{request_id}/result"
