"""`client.files` of the real xai-sdk, and the same files over HTTP."""

import asyncio
import datetime
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import pytest
from xai_sdk.proto import files_pb2

from raincheck.core.clock import DAY
from raincheck.core.model import File
from raincheck.grpc import methods
from raincheck.intake import gate
from raincheck.store.blobs import MARK
from raincheck.upkeep.collect import Collector
from tests.grpc.server import RunningGrpc, reason_of, running_grpc

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LONG = bytes(range(256)) * (7 << 12)
"""7 MiB: three pieces of an upload, and four of a download."""


@asynccontextmanager
async def a_server(folder: Path, **settings: Any) -> AsyncGenerator[RunningGrpc]:
    async with running_grpc(folder, blobs_url=(folder / "blobs").as_uri(), **settings) as server:
        yield server


async def refusal(asked: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.slow("carries tens of megabytes")
async def test_what_was_uploaded_comes_back_byte_for_byte_and_can_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(LONG)
    async with a_server(tmp_path) as server:
        files, told = server.client().files, list[tuple[int, int]]()
        uploads = [
            await files.upload(str(path), on_progress=lambda done, whole: told.append((done, whole))),
            await files.upload(LONG, filename="notes.txt"),
            await files.upload(BytesIO(LONG), filename="notes.txt", on_progress=lambda size: None),
        ]
        assert told[-1] == (len(LONG), len(LONG))
        for made in uploads:
            assert (made.filename, made.size) == ("notes.txt", len(LONG))
            assert made.created_at.seconds > 1_700_000_000
            assert not made.HasField("expires_at")
            assert await files.get(made.id) == made
            assert await files.content(made.id) == LONG
        gone = await files.delete(uploads[0].id)
        assert (gone.id, gone.deleted) == (uploads[0].id, True)
        for ask in (files.get, files.content, files.delete):
            assert (await refusal(ask(uploads[0].id)))[0] is grpc.StatusCode.NOT_FOUND


async def test_the_blocking_client_does_the_same(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"abc")
    async with a_server(tmp_path) as server:

        def work() -> None:
            files = server.sync_client().files
            made = files.upload(str(path))
            assert files.get(made.id).size == 3
            assert files.content(made.id) == b"abc"
            results = files.batch_upload([str(path), str(tmp_path / "missing")])
            assert isinstance(results[0], files_pb2.File)
            assert isinstance(results[1], FileNotFoundError)
            assert len(files.list().data) == 2
            assert files.delete(made.id).deleted

        await asyncio.to_thread(work)


async def test_many_files_are_uploaded_at_once(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(str(number))
    done = list[int]()
    async with a_server(tmp_path) as server:
        results = await server.client().files.batch_upload(
            [str(tmp_path / f"{number}.txt") for number in range(5)],
            on_file_complete=lambda index, file, result: done.append(index),
        )
        assert {index: made.filename for index, made in results.items() if isinstance(made, files_pb2.File)} == {
            number: f"{number}.txt" for number in range(5)
        }
        assert sorted(done) == list(range(5))


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        made = await files.upload(b"", filename="empty")
        assert (made.size, await files.content(made.id)) == (0, b"")


async def test_a_file_of_one_edge_is_a_file_of_the_other(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        made = await files.upload(b'{"a": 1}', filename="a.json", expires_after=3600)
        shown = (await server.http.get(f"/v1/files/{made.id}")).json
        assert (shown["filename"], shown["bytes"], shown["purpose"]) == ("a.json", 8, "user_data")
        assert (shown["created_at"], shown["expires_at"]) == (made.created_at.seconds, made.expires_at.seconds)
        content = await server.http.get(f"/v1/files/{made.id}/content")
        assert (content.body, content.headers["content-type"]) == (b'{"a": 1}', "application/json")
        form = b'--x\r\ncontent-disposition: form-data; name="file"; filename="b"\r\n\r\nhello\r\n--x--\r\n'
        reply = await server.http.call("POST", "/v1/files", form, {"content-type": "multipart/form-data; boundary=x"})
        theirs = reply.json["id"]
        assert await files.content(theirs) == b"hello"
        assert [file.id for file in (await files.list()).data] == [made.id, theirs]
        await files.delete(theirs)
        assert (await server.http.get(f"/v1/files/{theirs}")).status == 404


@pytest.mark.slow("makes a dozen calls, each with its commit")
async def test_files_are_listed_page_by_page(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        made = [(await files.upload(b"x", filename=str(number))).id for number in range(5)]
        pages, token = list[list[str]](), None
        while True:
            page = await files.list(limit=2, pagination_token=token, sort_by="created_at")
            pages.append([file.id for file in page.data])
            if not (token := page.pagination_token):
                break
        assert pages == [made[:2], made[2:4], made[4:]]
        assert [file.id for file in (await files.list(order="desc")).data] == made[::-1]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"limit": 101}, "limit"),
        ({"limit": -1}, "limit"),
        ({"sort_by": "size"}, "sort_by"),
        ({"filter": 'name = "a"'}, "filter"),
    ],
)
async def test_a_list_that_cannot_be_made_is_refused(tmp_path: Path, options: dict[str, Any], param: str) -> None:
    async with a_server(tmp_path) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client().files.list(**options)
        assert caught.value.code() is INVALID
        assert reason_of(caught.value) == ("invalid_request", {"param": param})


async def test_an_unknown_token_is_refused(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        assert (await refusal(server.client().files.list(pagination_token="x")))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_file_goes_when_it_was_told_to(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        made = await files.upload(b"x", filename="x", expires_after=datetime.timedelta(days=1))
        assert made.expires_at.ToMicroseconds() - made.created_at.ToMicroseconds() == DAY
        for seconds in (0, 3_599, 2_592_001, -5):
            code, words = await refusal(files.upload(b"x", filename="x", expires_after=seconds))
            assert (code, "expires_after" in words) == (INVALID, True)


async def test_another_tenants_files_do_not_exist(tmp_path: Path) -> None:
    """G8."""
    async with a_server(tmp_path) as server:
        mine = server.client(await server.http.key("a")).files
        other = server.client(await server.http.key("b")).files
        made = await mine.upload(b"secret", filename="x")
        assert not (await other.list()).data
        for ask in (other.get, other.content, other.delete):
            assert (await refusal(ask(made.id)))[0] is grpc.StatusCode.NOT_FOUND
        assert (await refusal(other.list(pagination_token=made.id)))[0] is grpc.StatusCode.NOT_FOUND
        assert await mine.content(made.id) == b"secret"


async def test_links_for_everyone_are_not_made(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        made = await files.upload(b"x", filename="x")
        for ask in (files.create_public_url, files.revoke_public_url):
            code, words = await refusal(ask(made.id))
            assert (code, "could not be taken back" in words) == (grpc.StatusCode.UNIMPLEMENTED, True)


async def test_text_is_not_made_of_files(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        made = await server.client().files.upload(b"x", filename="x")
        ask = files_pb2.RetrieveFileContentRequest(file_id=made.id, format=files_pb2.DOWNLOAD_FORMAT_TEXT)
        code, words = await refusal(server.call("Files/RetrieveFileContent", ask, files_pb2.FileContentChunk))
        assert (code, "as they were uploaded" in words) == (INVALID, True)


async def test_a_file_that_is_too_large_is_refused_and_not_kept(tmp_path: Path) -> None:
    async with a_server(tmp_path, files_max_bytes=1 << 20) as server:
        code, words = await refusal(server.client().files.upload(LONG, filename="x"))
        assert (code, f"more than {1 << 20} bytes" in words) == (INVALID, True)
        assert await left_over(server, tmp_path) == []


async def test_a_tenants_own_cap_holds_for_files_too(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        await server.http.tenant("small", max_body_bytes=10)
        files = server.client(await server.http.key("small")).files
        assert (await refusal(files.upload(b"x" * 11, filename="x")))[0] is INVALID
        assert (await files.upload(b"x" * 10, filename="x")).size == 10


async def test_an_upload_begins_with_one_init(tmp_path: Path) -> None:
    init, data = files_pb2.UploadFileChunk(), files_pb2.UploadFileChunk(data=b"x")
    init.init.name = "x"
    async with a_server(tmp_path) as server, grpc.aio.insecure_channel(server.host) as channel:
        for chunks in ([], [data], [data, init], [init, init], [init, data, init], [files_pb2.UploadFileChunk()]):
            code, words = await refusal(upload(channel, chunks))
            assert (code, "init" in words) == (INVALID, True), chunks
        assert await left_over(server, tmp_path) == []
        made = await upload(channel, [init, data, files_pb2.UploadFileChunk(), data])
        assert made.size == 2


async def test_the_name_of_a_file_has_no_folders(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        files = server.client().files
        assert (await files.upload(b"x", filename="../../etc/passwd")).filename == "passwd"
        assert (await files.upload(b"x", filename="a\x1b[2J\n.txt")).filename == "a[2J.txt"


async def test_who_hangs_up_midway_leaves_nothing_behind(tmp_path: Path) -> None:
    init, data = files_pb2.UploadFileChunk(), files_pb2.UploadFileChunk(data=LONG)
    init.init.name = "x"
    async with a_server(tmp_path) as server, grpc.aio.insecure_channel(server.host) as channel:
        begun, dropped = asyncio.Event(), asyncio.Event()
        names = server.http.edge.store.blobs
        expect = names.expect

        async def noticed(name: str, *, keep_for: int) -> None:
            await expect(name, keep_for=keep_for)
            (begun if keep_for else dropped).set()

        names.expect = noticed

        async def stalling() -> AsyncGenerator[files_pb2.UploadFileChunk]:
            for chunk in (init, data, data):
                yield chunk
            await asyncio.Event().wait()

        call = asyncio.ensure_future(upload(channel, stalling()))
        await begun.wait()
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await dropped.wait()
        assert await left_over(server, tmp_path) == []
        assert not (await server.client().files.list()).data


async def test_who_hangs_up_while_the_file_is_recorded_leaves_nothing_behind(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        recording, dropped = asyncio.Event(), asyncio.Event()
        store = server.http.edge.store
        expect = store.blobs.expect

        async def stuck(file: File) -> None:
            del file
            recording.set()
            await asyncio.Event().wait()

        async def noticed(name: str, *, keep_for: int) -> None:
            await expect(name, keep_for=keep_for)
            if not keep_for:
                dropped.set()

        store.files.add, store.blobs.expect = stuck, noticed
        call = asyncio.ensure_future(server.client().files.upload(LONG, filename="x"))
        await recording.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await dropped.wait()
        assert await left_over(server, tmp_path) == []


@pytest.mark.parametrize("piece", [b"a", b""])
async def test_an_upload_that_hardly_comes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(methods, "PIECE_WITHIN", 0.1)

    async def dribbling() -> AsyncGenerator[files_pb2.UploadFileChunk]:
        yield init()
        while True:
            yield files_pb2.UploadFileChunk(data=piece)
            await asyncio.sleep(0.01)

    async with a_server(tmp_path) as server, grpc.aio.insecure_channel(server.host) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(upload(channel, dribbling()), 5)
        assert reason_of(caught.value)[0] == "body_too_slow"
        assert await left_over(server, tmp_path) == []


async def test_an_upload_that_comes_fast_enough_may_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "PIECE_WITHIN", 0.2)

    async def steady() -> AsyncGenerator[files_pb2.UploadFileChunk]:
        yield init()
        for _ in range(8):
            yield files_pb2.UploadFileChunk(data=bytes(methods.UPLOAD_PACE))
            await asyncio.sleep(0.05)

    async with a_server(tmp_path) as server, grpc.aio.insecure_channel(server.host) as channel:
        assert (await upload(channel, steady())).size == 8 * methods.UPLOAD_PACE


async def test_a_key_that_is_revoked_during_an_upload_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "TRUST_FOR", 0)
    async with a_server(tmp_path) as server:
        secret = await server.http.key()
        made = await server.client(secret).auth.get_api_key_info()

        async def revoked_midway() -> AsyncGenerator[files_pb2.UploadFileChunk]:
            yield init()
            yield files_pb2.UploadFileChunk(data=b"x")
            await server.http.edge.store.registry.revoke_key(made.api_key_id)

        async with grpc.aio.insecure_channel(server.host) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await upload(channel, revoked_midway(), secret)
        assert reason_of(caught.value)[0] == "api_key_invalid"
        assert await left_over(server, tmp_path) == []


def init(name: str = "x") -> files_pb2.UploadFileChunk:
    """How an upload begins."""
    return files_pb2.UploadFileChunk(init=files_pb2.UploadFileInit(name=name))


async def upload(channel: grpc.aio.Channel, chunks: Any, key: str = "none") -> files_pb2.File:
    serialize: Any = files_pb2.UploadFileChunk.SerializeToString
    ask: Any = channel.stream_unary(
        "/xai_api.Files/UploadFile",
        request_serializer=serialize,
        response_deserializer=files_pb2.File.FromString,
    )
    told = (("authorization", f"Bearer {key}"),)
    return await ask(chunks if isinstance(chunks, AsyncGenerator) else iter(chunks), metadata=told)


async def left_over(server: RunningGrpc, folder: Path) -> list[Path]:
    """The bodies in the object store once it has been collected."""
    edge = server.http.edge
    assert edge.objects is not None
    await Collector(edge.store.blobs, edge.objects).turn()
    return [path for path in (folder / "blobs").rglob("*") if path.is_file() and path.name != MARK]
