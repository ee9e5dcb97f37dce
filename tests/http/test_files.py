"""/v1/files, as the unmodified openai client uses it, and as nobody should."""

import asyncio
import hashlib
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from raincheck.core.clock import HOUR
from raincheck.core.errors import TooLarge
from raincheck.http.edge import Limits
from raincheck.http.files import MOST
from raincheck.store.blobs import MARK
from raincheck.upkeep.collect import Collector
from tests.server import Json, Reply, Running, running_server

MIB = 1 << 20
HEAD = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b0\r\n"
PART = b'--b0\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'


@asynccontextmanager
async def a_server(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    async with running_server(folder, blobs_url=(folder / "blobs").as_uri(), **settings) as server:
        yield server


async def left_over(server: Running, folder: Path) -> list[Path]:
    """The bodies in the object store once it has been collected."""
    assert server.edge.objects is not None
    await Collector(server.edge.store.blobs, server.edge.objects).turn()
    return [path for path in (folder / "blobs").rglob("*") if path.is_file() and path.name != MARK]


async def upload(
    server: Running,
    body: bytes | AsyncIterator[bytes] = b"hello",
    *,
    path: str = "/v1/files",
    key: str | None = None,
    filename: str = "a.txt",
    kind: str = "text/plain",
    fields: Mapping[str, str] | None = None,
) -> Reply:
    """What a form with this file gets, and with these fields before it."""
    form = aiohttp.FormData()
    for name, value in (fields or {}).items():
        form.add_field(name, value)
    content = BytesIO(body) if isinstance(body, bytes) else body
    form.add_field("file", content, filename=filename, content_type=kind)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with server.session.post(server.url + path, data=form, headers=headers) as response:
        return Reply(response.status, dict(response.headers), await response.read())


async def uploaded(server: Running, body: bytes = b"hello", **how: Any) -> Json:
    reply = await upload(server, body, **how)
    assert reply.status == 200, reply.body
    return reply.json


async def test_the_openai_client_uploads_lists_reads_and_deletes(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server, openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
        made = await client.files.create(
            file=("wäves.bin", b"\0\1\2" * 1_000),
            purpose="vision",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        second = await client.files.create(file=("b.txt", b""), purpose="user_data")

        assert made.id.startswith("file-")
        assert (made.object, made.bytes, made.filename) == ("file", 3_000, "wäves.bin")
        assert (made.purpose, made.status) == ("vision", "processed")
        assert made.expires_at == made.created_at + 3600
        assert second.expires_at is None
        assert await client.files.retrieve(made.id) == made
        assert [each.id async for each in await client.files.list()] == [second.id, made.id]
        assert [each.id async for each in await client.files.list(limit=1, order="asc")] == [made.id, second.id]
        assert [each.id async for each in await client.files.list(purpose="vision")] == [made.id]
        content = await client.files.content(made.id)
        assert content.content == b"\0\1\2" * 1_000
        deleted = await client.files.delete(made.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made.id)
        await client.files.delete(second.id)
        assert await left_over(server, tmp_path) == []


async def test_the_blocking_openai_client_does_too(tmp_path: Path) -> None:
    def use(base_url: str) -> bytes:
        with openai.OpenAI(base_url=base_url, api_key="any") as client:
            made = client.files.create(file=tmp_path / "raincheck.db", purpose="user_data")
            content = client.files.content(made.id).read()
            client.files.delete(made.id)
            return content[:6]

    async with a_server(tmp_path) as server:
        assert await asyncio.to_thread(use, server.base_url) == b"SQLite"


async def test_a_page_has_the_shape_that_clients_page_by(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        assert (await server.get("/v1/files")).json == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }
        ids = [(await uploaded(server))["id"] for _ in range(3)]

        page = (await server.get("/v1/files?limit=2&order=asc")).json
        rest = (await server.get(f"/v1/files?limit=2&order=asc&after={page['last_id']}")).json

        assert [each["id"] for each in page["data"]] == ids[:2]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)
        assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[2:], False)


async def test_xai_s_path_takes_and_shows_the_same_files(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        made = (await upload(server, path="/xai/v1/files")).json

        assert (await server.get(f"/v1/files/{made['id']}")).json == made
        assert (await server.get(f"/xai/v1/files/{made['id']}/content")).body == b"hello"
        assert set((await server.get("/xai/v1/files/nope")).json) == {"code", "error"}


async def test_the_content_is_typed_named_and_can_do_no_harm(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        page = await uploaded(server, b"<script>alert(1)</script>", filename="x.html", kind="text/html")

        shown = await server.get(f"/v1/files/{page['id']}/content")

        assert shown.headers["content-type"] == "text/html"
        assert shown.headers["content-disposition"].startswith("attachment")
        assert shown.headers["content-security-policy"].startswith("sandbox allow-same-origin; default-src 'none'")
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert shown.headers["etag"] == f'"{hashlib.sha256(shown.body).hexdigest()}"'


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a\x1b[31m\u202eb.txt", "a[31mb.txt"),
        ("..", ".."),
        ("x" * 300, "x" * 255),
        ("dir/", "file"),
    ],
)
async def test_a_name_is_no_path_and_prints(tmp_path: Path, given: str, kept: str) -> None:
    body = PART.replace(b'"a"', f'"{given}"'.encode()) + b"x\r\n--b0--\r\n"
    async with a_server(tmp_path) as server:
        reply = await server.post("/v1/files", body, content_type="multipart/form-data; boundary=b0")

        assert reply.json["filename"] == kept
        content = await server.get(f"/v1/files/{reply.json['id']}/content")
        assert content.headers["content-disposition"].isprintable()


async def test_a_content_type_that_is_none_is_not_believed(tmp_path: Path) -> None:
    part = PART[:-2] + b"content-type: text/html\x0bx; a=b\r\n\r\n"
    async with a_server(tmp_path) as server:
        body = part + b"x\r\n--b0--\r\n"
        reply = await server.post("/v1/files", body, content_type="multipart/form-data; boundary=b0")

        content = await server.get(f"/v1/files/{reply.json['id']}/content")

        assert content.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "A b"}, "purpose"),
        ({"purpose": "x" * 65}, "purpose"),
        ({"expires_after[anchor]": "now"}, "expires_after[anchor]"),
        ({"expires_after[seconds]": "soon"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "0"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "99999999999"}, "expires_after[seconds]"),
        ({"purpose": "x" * 200_000}, "purpose"),
    ],
)
async def test_a_wrong_field_is_named_and_the_file_is_let_go(
    tmp_path: Path, fields: dict[str, str], param: str
) -> None:
    async with a_server(tmp_path) as server:
        reply = await upload(server, fields=fields)

        assert (reply.status, reply.error["param"]) == (400, param)
        assert await left_over(server, tmp_path) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Unexpected end"),
        (b"--b0--\r\n", "no file"),
        (b'--b0\r\ncontent-disposition: form-data; name="file"\r\n\r\nhello\r\n--b0--\r\n', "no file"),
        (PART.replace(b'"file"', b'"image"') + b"x\r\n--b0--\r\n", "part named `file`"),
        ((PART + b"x\r\n") * 2 + b"--b0--\r\n", "one file a time"),
        (PART + b"x" * 100, "Unexpected end"),
        (PART + b"x\r\n--b0junk", "boundary"),
        (b"--b0\r\n" + b"x-many: 1\r\n" * 30 + b"\r\nx\r\n--b0--\r\n", "headers"),
    ],
)
async def test_a_broken_form_is_a_400_and_leaves_nothing(tmp_path: Path, body: bytes, says: str) -> None:
    async with a_server(tmp_path) as server:
        reply = await server.post("/v1/files", body, content_type="multipart/form-data; boundary=b0")

        assert reply.status == 400, reply.body
        assert says in reply.error["message"]
        assert await left_over(server, tmp_path) == []
        assert (await server.get("/v1/files")).json["data"] == []


async def test_json_is_no_form(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        reply = await server.post("/v1/files", {"file": "x"})

        assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("query", ["limit=0", f"limit={MOST + 1}", "limit=²", "limit=٣", "order=up", "after=nope"])
async def test_a_wrong_question_is_refused(tmp_path: Path, query: str) -> None:
    async with a_server(tmp_path) as server:
        assert (await server.get(f"/v1/files?{query}")).status in (400, 404)


async def test_without_an_object_store_there_is_nowhere_to_keep_files(server: Running) -> None:
    reply = await upload(server)

    assert (reply.status, reply.error["code"]) == (501, "no_object_store")
    assert "store.blobs" in reply.error["message"]


async def test_g8_another_tenant_s_file_is_unknown(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        mine, theirs = await server.key("mine"), await server.key("theirs")
        file_id = (await upload(server, key=mine)).json["id"]
        asked = {"authorization": f"Bearer {theirs}"}

        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            reply = await server.call(method, f"/v1/files/{file_id}{path}", headers=asked)
            nothing = await server.call(method, f"/v1/files/file_none{path}", headers=asked)
            assert reply.status == nothing.status == 404
            assert reply.error["message"].replace(file_id, "") == nothing.error["message"].replace("file_none", "")
        assert (await server.get("/v1/files", **asked)).json["data"] == []
        assert (await server.get(f"/v1/files?after={file_id}", **asked)).status == 404
        assert (await server.get(f"/v1/files/{file_id}", authorization=f"Bearer {mine}")).status == 200


async def test_scopes_hold_for_files(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        reads, writes = await server.key("t", "read"), await server.key("t", "write")

        assert (await upload(server)).status == 401
        assert (await upload(server, key=reads)).status == 403
        file_id = (await upload(server, key=writes)).json["id"]
        assert (await server.get(f"/v1/files/{file_id}/content", authorization=f"Bearer {writes}")).status == 403
        assert (await server.get(f"/v1/files/{file_id}/content", authorization=f"Bearer {reads}")).body == b"hello"


async def test_a_tenant_s_cap_holds_for_files(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        await server.tenant("small", max_body_bytes=10_000)
        key = await server.key("small")

        assert (await upload(server, b"x" * 5_000, key=key)).status == 200
        refused = await upload(server, b"x" * 200_000, key=key)

        assert (refused.status, refused.error["code"]) == (413, "request_too_large")


async def test_a_file_may_be_larger_than_a_body_and_json_may_not(tmp_path: Path) -> None:
    async with a_server(tmp_path, max_body_bytes=100_000, files_max_bytes=4 * MIB) as server:
        assert (await upload(server, bytes(3 * MIB))).status == 200
        too_large = await upload(server, bytes(4 * MIB + 1))
        json = await server.post("/v1/videos", b" " * 200_000)
        elsewhere = await upload(server, bytes(3 * MIB), path="/v1/chat/completions")

        assert (too_large.status, json.status, elsewhere.status) == (413, 413, 413)
        assert str(4 * MIB) in too_large.error["message"]


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/edits", "/xai/v1/videos/generations", "/xai/v1/files"])
async def test_all_paths_that_take_files_take_large_ones(tmp_path: Path, path: str) -> None:
    async with a_server(tmp_path, max_body_bytes=100_000, media_max_bytes=MIB, files_max_bytes=MIB) as server:
        taken = await upload(server, bytes(200_000), path=path)
        too_large = await upload(server, bytes(3 * MIB), path=path)

        assert taken.status in (200, 400)
        assert too_large.status == 413


async def test_ten_gibibytes_that_are_only_announced_are_refused_at_once(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        answer = await server.raw(f"{HEAD}content-length: {10 << 30}\r\n\r\n".encode(), until=b"}}")

        assert answer.startswith(b"HTTP/1.1 413")


async def test_an_upload_without_an_end_is_cut_at_the_limit(tmp_path: Path) -> None:
    async with a_server(tmp_path, max_body_bytes=1, files_max_bytes=MIB) as server:
        chunk = b"%x\r\n%b\r\n" % (MIB, bytes(MIB))
        answer = await server.raw(
            f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + b"%x\r\n%b\r\n" % (len(PART), PART) + chunk * 3,
            until=b"}}",
        )

        assert answer.startswith(b"HTTP/1.1 413")
        assert await left_over(server, tmp_path) == []


async def test_an_upload_that_stalls_is_given_up_and_leaves_nothing(tmp_path: Path) -> None:
    async with a_server(tmp_path, limits=Limits(body_seconds=0.2)) as server:
        answer = await server.raw(f"{HEAD}content-length: 1000000\r\n\r\n".encode() + PART + b"x" * 1_000)

        assert answer.startswith(b"HTTP/1.1 408")
        assert await left_over(server, tmp_path) == []


async def trickle(server: Running, *, pieces: int, size: int, every: float) -> bytes:
    """What an upload gets that comes a piece at a time."""
    end = b"\r\n--b0--\r\n"
    length = len(PART) + pieces * size + len(end)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = asyncio.create_task(reader.read())
    try:
        writer.write(f"{HEAD}connection: close\r\ncontent-length: {length}\r\n\r\n".encode() + PART)
        for _ in range(pieces):
            writer.write(b"x" * size)
            await asyncio.wait([answer], timeout=every)
            if answer.done():
                break
        else:
            writer.write(end)
        async with asyncio.timeout(10):
            return await answer
    finally:
        writer.close()


async def test_an_upload_may_take_long_as_long_as_it_comes(tmp_path: Path) -> None:
    """Longer than any other body may."""
    async with a_server(tmp_path, limits=Limits(body_seconds=0.15, upload_pace=10_000)) as server:
        assert (await trickle(server, pieces=8, size=2_000, every=0.04)).startswith(b"HTTP/1.1 200")


async def test_a_drip_is_not_taken_for_an_upload(tmp_path: Path) -> None:
    """It is never silent for long, and never gets anywhere."""
    async with a_server(tmp_path, limits=Limits(body_seconds=0.15, upload_pace=10_000)) as server:
        assert (await trickle(server, pieces=100, size=10, every=0.02)).startswith(b"HTTP/1.1 408")


async def test_a_client_that_hangs_up_midway_leaves_nothing(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        dropped = asyncio.Event()
        names = server.edge.store.blobs
        expect = names.expect

        async def noticed(name: str, *, keep_for: int) -> None:
            await expect(name, keep_for=keep_for)
            if keep_for == 0:
                dropped.set()

        names.expect = noticed
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"{HEAD}content-length: 1000000\r\n\r\n".encode() + PART + b"x" * 100_000)
        await writer.drain()
        writer.close()
        async with asyncio.timeout(5):
            await dropped.wait()

        assert await left_over(server, tmp_path) == []


async def test_a_file_goes_when_it_was_said_to(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        made = (await upload(server, fields=expiry)).json
        record = await server.edge.store.files.get("default", made["id"])

        assert record.expires_at == record.created_at + HOUR
        assert made["expires_at"] == made["created_at"] + 3600


@pytest.mark.slow("moves 96 MiB through the server and back with every allocation watched")
async def test_g12_a_large_file_does_not_pass_through_memory_whole(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(96):
            yield bytes(MIB)

    async with a_server(tmp_path) as server:
        tracemalloc.start()
        try:
            made = (await upload(server, body())).json
            got = 0
            async with server.session.get(f"{server.base_url}/files/{made['id']}/content") as response:
                async for piece in response.content.iter_any():
                    got += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert made["bytes"] == got == 96 * MIB
        assert peak < 32 * MIB


async def test_a_file_that_is_kept_may_be_larger_than_an_input_and_is_then_none(tmp_path: Path) -> None:
    async with a_server(tmp_path, media_max_bytes=MIB) as server:
        made = await uploaded(server, bytes(2 * MIB))

        with pytest.raises(TooLarge, match="may have"):
            await server.edge.inbox.from_file("default", "image", made["id"])


async def test_a_batch_s_input_is_kept_for_30_days_unless_it_says_otherwise(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        plain = await uploaded(server, fields={"purpose": "batch"})
        said = await uploaded(server, fields={"purpose": "batch", "expires_after[seconds]": "3600"})

        assert plain["expires_at"] == plain["created_at"] + 30 * 24 * 3600
        assert said["expires_at"] == said["created_at"] + 3600


async def test_a_file_shows_its_sha_256_and_is_held_against_the_one_that_was_told(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    async with a_server(tmp_path) as server:
        kept = await uploaded(server, fields={"sha256": digest.upper()})
        assert kept["sha256"] == digest
        await server.call("DELETE", f"/v1/files/{kept['id']}")

        for told in ("0" * 64, "sha"):
            refused = await upload(server, fields={"sha256": told})
            assert (refused.status, refused.error["param"]) == (400, "sha256")
        assert await left_over(server, tmp_path) == []


async def test_the_header_content_digest_speaks_of_the_whole_body(tmp_path: Path) -> None:
    body = PART + b"x" * 200_000 + b"\r\n--b0--\r\n"
    right = b64encode(hashlib.sha256(body).digest()).decode()
    wrong = b64encode(hashlib.sha256(b"").digest()).decode()
    kind = "multipart/form-data; boundary=b0"
    async with a_server(tmp_path) as server:
        for told, status in (
            (f"sha-256=:{wrong}:", 400),
            (f"sha-512=:AAAA:, sha-256=:{wrong}:", 400),
            ("sha-256=:AAAA:", 400),
            ("sha-512=:AAAA:", 200),
            (f"sha-256=:{right}:", 200),
        ):
            reply = await server.post("/v1/files", body, content_type=kind, content_digest=told)
            assert reply.status == status, told
            if status == 200:
                await server.call("DELETE", f"/v1/files/{reply.json['id']}")
        assert await left_over(server, tmp_path) == []


async def test_xai_s_clients_page_by_a_token_that_is_null_at_the_end(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        ids = [(await uploaded(server))["id"] for _ in range(3)]

        first = (await server.get("/xai/v1/files?limit=2&order=ascending&sort_by=created_at")).json
        rest = (await server.get(f"/xai/v1/files?limit=2&order=asc&pagination_token={first['pagination_token']}")).json

        assert [each["id"] for each in first["data"] + rest["data"]] == ids
        assert rest["pagination_token"] is None
        assert (await server.get("/xai/v1/files?sort_by=size")).status == 400
