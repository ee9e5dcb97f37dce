"""What requests have made: by links that need no key, and by name with one."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raincheck.core.clock import HOUR, SECOND, now
from raincheck.core.model import Attachment
from raincheck.http.edge import Call, base_of
from raincheck.http.media import follow_link
from raincheck.store.blobs import MARK
from raincheck.upkeep.collect import Collector
from tests.s3 import s3_bucket
from tests.server import Running, running_server
from tests.store.builders import running, success

MIB = 1 << 20
VIDEO = bytes(range(256)) * 4
ELSEWHERE = "not-served"
"""A queue that no upstream serves, so that a test may do the work itself."""


@asynccontextmanager
async def a_server(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    settings = {"blobs_url": (folder / "blobs").as_uri()} | settings
    async with running_server(folder, **settings) as server:
        yield server


async def made(
    server: Running,
    body: bytes = VIDEO,
    *,
    tenant: str = "default",
    name: str = "video.mp4",
    content_type: str = "video/mp4",
) -> str:
    """The id of a request that was given a picture and has made a file."""
    inbox = server.edge.inbox
    given = await inbox.keep(_pieces(b"given"))
    kept = await inbox.keep(_pieces(body), content_type=content_type)
    picture = Attachment("input", "image", given.blob, "image/png", given.size, given.digest)
    lease = await running(server.edge.store, tenant=tenant, queue=ELSEWHERE, attachments=(picture,))
    file = Attachment("output", name, kept.blob, content_type, kept.size, kept.digest)
    assert await server.edge.store.leases.finish([success(lease, attachments=(file,))]) == []
    return lease.fence.request_id


async def _pieces(body: bytes) -> AsyncGenerator[bytes]:
    for at in range(0, len(body), MIB):
        yield body[at : at + MIB]


async def link(server: Running, request_id: str, tenant: str = "default") -> str:
    """The path of the file it made."""
    [linked] = (await server.edge.desk.view(tenant, request_id)).files
    return linked.path


async def a_made(server: Running, body: bytes = VIDEO, **changes: str) -> str:
    """The link to a file that was made."""
    return await link(server, await made(server, body, **changes), changes.get("tenant", "default"))


async def test_a_link_opens_without_a_key_what_a_key_was_needed_to_find(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server, tenant="t")
        await server.key("t")

        seen = await server.get(path)

        assert (await server.get("/v1/requests")).status == 401
        assert (seen.status, seen.body) == (200, VIDEO)
        assert seen.headers["content-type"] == "video/mp4"
        assert seen.headers["content-length"] == str(len(VIDEO))
        assert seen.headers["accept-ranges"] == "bytes"
        assert seen.headers["etag"] == f'"{hashlib.sha256(VIDEO).hexdigest()}"'
        assert seen.headers["content-disposition"] == "inline; filename=\"video.mp4\"; filename*=UTF-8''video.mp4"


async def test_any_page_may_show_it_and_nothing_in_it_can_run(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        seen = await server.get(await a_made(server), origin="https://app.example", sec_fetch_site="cross-site")

        assert seen.headers["cross-origin-resource-policy"] == "cross-origin"
        assert seen.headers["access-control-allow-origin"] == "*"
        policy = seen.headers["content-security-policy"]
        assert policy.startswith("sandbox allow-same-origin; default-src 'none'; media-src 'self'; img-src 'self'")
        assert "allow-scripts" not in policy
        assert seen.headers["x-content-type-options"] == "nosniff"
        private, age = seen.headers["cache-control"].split("max-age=")
        assert private == "private, "
        assert 0 < int(age) <= server.edge.settings.link_lifetime // SECOND + 1


@pytest.mark.parametrize(
    ("name", "content_type", "way"),
    [
        ("a.webp", "image/webp", "inline"),
        ("a.svg", "image/svg+xml", "attachment"),
        ("a.html", "text/html", "attachment"),
        ('Bericht ä".pdf', "application/pdf", "attachment"),
        ("a.zip", "application/zip", "attachment"),
    ],
)
async def test_what_a_browser_should_not_open_is_to_be_saved(
    tmp_path: Path, name: str, content_type: str, way: str
) -> None:
    async with a_server(tmp_path) as server:
        seen = await server.get(await a_made(server, name=name, content_type=content_type))

        assert seen.status == 200
        assert seen.headers["content-disposition"].startswith(f"{way}; filename=")
        assert seen.headers["content-type"] == content_type


@pytest.mark.parametrize("by", ["link", "name"])
async def test_a_part_can_be_asked_for(tmp_path: Path, by: str) -> None:
    async with a_server(tmp_path) as server:
        request_id = await made(server)
        path = await link(server, request_id) if by == "link" else f"/v1/requests/{request_id}/attachments/video.mp4"
        whole = await server.get(path)

        part = await server.get(path, range="bytes=100-199")
        rest = await server.get(path, range="bytes=1000-", if_range=whole.headers["etag"])
        end = await server.get(path, range="bytes=-1")
        changed = await server.get(path, range="bytes=0-0", if_range='"another"')
        beyond = await server.get(path, range="bytes=1024-")
        known = await server.get(path, if_none_match=whole.headers["etag"])

        assert (part.status, part.body) == (206, VIDEO[100:200])
        assert part.headers["content-range"] == "bytes 100-199/1024"
        assert part.headers["content-length"] == "100"
        assert (rest.status, rest.body, end.body) == (206, VIDEO[1000:], VIDEO[-1:])
        assert (changed.status, changed.body) == (200, VIDEO)
        assert (beyond.status, beyond.error["code"]) == (416, "range_not_satisfiable")
        assert beyond.headers["content-range"] == "bytes */1024"
        assert (known.status, known.body) == (304, b"")
        assert known.headers["etag"] == whole.headers["etag"]


async def test_head_tells_the_same_and_sends_nothing(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server)

        head = await server.call("HEAD", path)
        part = await server.call("HEAD", path, headers={"range": "bytes=0-9"})
        beyond = await server.call("HEAD", path, headers={"range": "bytes=9999-"})

        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "1024")
        assert head.headers.keys() == (await server.get(path)).headers.keys()
        for one in (part, beyond):  # A Range means nothing to HEAD.
            assert (one.status, one.headers["content-length"]) == (200, "1024")
            assert "content-range" not in one.headers


@pytest.mark.parametrize("cors", [(), ("https://other.example",), ("https://app.example",), ("*",)])
async def test_a_page_may_read_what_it_has_a_link_to_and_nothing_else(tmp_path: Path, cors: tuple[str, ...]) -> None:
    origin = "https://app.example"
    async with a_server(tmp_path, cors_origins=cors) as server:
        request_id = await made(server)
        path = await link(server, request_id)
        asked = {"origin": origin, "access-control-request-method": "GET", "access-control-request-headers": "range"}

        part = await server.get(path, origin=origin, range="bytes=0-9")
        preflight = await server.call("OPTIONS", path, headers=asked)
        over = server.edge.links.sign("default", request_id, "video.mp4", now() - server.edge.links.lifetime - HOUR)
        others = [await server.get(each, origin=origin) for each in ("/media/x/video.mp4", over, "/v1/requests")]

        assert part.headers["access-control-allow-origin"] in ("*", origin)
        told = {each.strip() for each in part.headers["access-control-expose-headers"].split(",")}
        assert told & {"*", "content-range"}
        assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "*")
        assert preflight.headers["cross-origin-resource-policy"] == "cross-origin"
        assert preflight.headers["access-control-allow-methods"] == "GET, HEAD"
        assert "range" in preflight.headers["access-control-allow-headers"]
        allowed = cors in ((origin,), ("*",))
        assert [("access-control-allow-origin" in each.headers) for each in others] == [allowed] * 3


async def test_a_body_that_is_not_the_one_that_is_meant_is_not_sent(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server)
        tag = (await server.get(path)).headers["etag"]

        same = await server.get(path, if_match=tag, range="bytes=0-9")
        other = await server.get(path, if_match='"another"', range="bytes=0-9", if_none_match=tag)

        assert (same.status, same.body) == (206, VIDEO[:10])
        assert (other.status, other.error["code"]) == (412, "precondition_failed")
        assert other.headers["etag"] == tag


async def test_a_kind_that_no_header_can_carry_is_not_told(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        seen = await server.get(await a_made(server, content_type="text/plain\r\nset-cookie: a=b"))

        assert seen.headers["content-type"] == "application/octet-stream"
        assert "set-cookie" not in seen.headers


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        seen = await server.get(await a_made(server, b"", name="report.txt", content_type="text/plain"))

        assert (seen.status, seen.body, seen.headers["content-length"]) == (200, b"", "0")


async def test_a_part_across_what_is_read_at_once_is_whole(tmp_path: Path) -> None:
    body = bytes(range(251)) * (5 * MIB // 251)
    async with a_server(tmp_path) as server:
        part = await server.get(await a_made(server, body), range=f"bytes={2 * MIB - 3}-{4 * MIB + 3}")

        assert part.body == body[2 * MIB - 3 : 4 * MIB + 4]


async def test_forged_and_bent_links_are_unknown_and_nothing_of_them_is_kept(tmp_path: Path) -> None:
    """G8: they say nothing of what there is."""
    async with a_server(tmp_path) as server:
        request_id = await made(server)
        path = await link(server, request_id)
        _, _, token, _ = path.split("/")
        others = [
            path.replace("video.mp4", "image"),
            path.replace("video.mp4", "..%2fvideo.mp4"),
            path.replace("video.mp4", "%2e%2e"),
            path.replace("video.mp4", "video.mp4%00"),
            path + "/",
            path + "/x",
            f"/media/{token[:-1]}/video.mp4",
            f"/media/{token}x/video.mp4",
            f"/media/{'A' * 60}/video.mp4",
            "/media/x/video.mp4",
            "/media/%ff/%ff",
            "/media/../v1/requests",
            "/media",
            "/media/",
        ]
        for other in others[:-3]:
            answer = await raw_get(server, other)
            # A slash more at the end is no other path.
            assert answer.startswith(b"HTTP/1.1 404" if other != path + "/" else b"HTTP/1.1 200"), other
            if other != path + "/":
                assert b"cache-control: no-store" in answer
                assert b"cross-origin-resource-policy: same-origin" in answer
        for other in others[-3:]:
            assert (await raw_get(server, other)).startswith(b"HTTP/1.1 404")


async def raw_get(server: Running, path: str) -> bytes:
    """The answer to a path as it is written, which clients would tidy up."""
    return await server.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())


async def test_a_link_that_is_over_says_how_to_get_another(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await made(server)
        old = server.edge.links.sign("default", request_id, "video.mp4", now() - server.edge.links.lifetime - HOUR)

        over = await server.get(old)

        assert (over.status, over.error["code"]) == (410, "attachment_gone")
        assert "read the request again" in over.error["message"]
        assert over.headers["cache-control"] == "no-store"


async def test_links_of_a_request_end_with_it(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await made(server)
        path = await link(server, request_id)
        assert server.edge.objects is not None

        await server.call("DELETE", f"/v1/requests/{request_id}")
        gone = await server.get(path)
        await Collector(server.edge.store.blobs, server.edge.objects).turn()

        assert (gone.status, gone.error["code"]) == (410, "attachment_gone")
        assert request_id not in gone.error["message"]
        assert [each for each in (tmp_path / "blobs").rglob("*") if each.is_file() and each.name != MARK] == []


async def test_a_link_holds_in_every_process_on_the_store(tmp_path: Path) -> None:
    """A second start is another process with the same secret."""
    async with a_server(tmp_path) as server:
        path = await a_made(server)
    async with a_server(tmp_path) as server:
        assert (await server.get(path)).body == VIDEO


async def test_links_are_made_at_each_read_and_last_from_then(tmp_path: Path) -> None:
    async with a_server(tmp_path, link_lifetime=HOUR) as server:
        request_id = await made(server)
        desk = server.edge.desk
        later = replace(desk, clock=lambda: now() + 2 * HOUR)

        first, second = [(await each.view("default", request_id)).files[0].path for each in (desk, later)]
        read = server.edge.links.read

        assert read(first.split("/")[2], "video.mp4", now()).until <= now() + HOUR + SECOND
        assert read(second.split("/")[2], "video.mp4", now() + 2 * HOUR).until > now() + 2 * HOUR


async def test_with_a_key_inputs_and_outputs_are_read_by_name(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        request_id = await made(server, tenant="mine")
        mine = {"authorization": f"Bearer {await server.key('mine')}"}
        theirs = {"authorization": f"Bearer {await server.key('theirs')}"}
        writes = {"authorization": f"Bearer {await server.key('mine', 'write')}"}
        files = f"/v1/requests/{request_id}/attachments"

        output, given = await server.get(f"{files}/video.mp4", **mine), await server.get(f"{files}/image", **mine)

        assert (output.body, given.body) == (VIDEO, b"given")
        assert given.headers["content-type"] == "image/png"
        assert output.headers["cache-control"] == "no-store"
        assert output.headers["cross-origin-resource-policy"] == "same-origin"
        assert (await server.get(f"{files}/other", **mine)).status == 404
        assert (await server.get(f"{files}/video.mp4")).status == 401
        assert (await server.get(f"{files}/video.mp4", **writes)).status == 403
        unknown = await server.get(f"{files}/video.mp4", **theirs)
        never = await server.get("/v1/requests/req_none/attachments/video.mp4", **theirs)
        assert unknown.status == never.status == 404
        assert unknown.error["message"].replace(request_id, "req_none") == never.error["message"]


async def test_a_body_that_is_gone_is_a_410_and_one_out_of_reach_a_503(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server)
        for body in (tmp_path / "blobs" / "uploads").iterdir():
            body.unlink()
        gone = await server.get(path)
        (tmp_path / "blobs" / MARK).unlink()
        away = await server.get(path)

        assert (gone.status, gone.error["code"]) == (410, "attachment_gone")
        assert (away.status, away.error["code"]) == (503, "store_unavailable")


async def test_what_is_in_a_bucket_is_served_here_as_well(tmp_path: Path) -> None:
    """Its own links would name a host that callers may not reach, and could not be taken back."""
    with s3_bucket() as s3:
        async with a_server(tmp_path, blobs_url=s3.url) as server:
            path = await a_made(server)

            assert path.startswith("/media/")
            assert (await server.get(path)).body == VIDEO
            assert (await server.get(path, range="bytes=5-6")).body == VIDEO[5:7]


async def test_big_results_have_ranges_and_tags_too(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        kept = await server.edge.inbox.keep(_pieces(VIDEO))
        lease = await running(server.edge.store, tenant="default", queue=ELSEWHERE)
        done = success(lease, b"", blob=kept.blob, size=kept.size, content_type="application/json")
        assert await server.edge.store.leases.finish([done]) == []
        path = f"/v1/requests/{lease.fence.request_id}/result"

        whole = await server.get(path)
        part = await server.get(path, range="bytes=0-9")
        known = await server.get(path, if_none_match=whole.headers["etag"])

        assert (whole.body, part.status, part.body, known.status) == (VIDEO, 206, VIDEO[:10], 304)


@pytest.mark.parametrize(
    ("public_url", "host", "base"),
    [
        (None, "localhost:8421", "http://localhost:8421"),
        (None, "127.0.0.1", "http://127.0.0.1"),
        ("https://rain.example/api", "localhost", "https://rain.example/api"),
    ],
)
async def test_links_begin_where_the_server_is_reached(
    tmp_path: Path, public_url: str | None, host: str, base: str
) -> None:
    async with a_server(tmp_path, public_url=public_url) as server:
        assert base_of(a_call(server, [(b"host", host.encode())])) == base


async def test_one_who_does_not_say_is_told_by_the_address(server: Running) -> None:
    assert base_of(a_call(server, [])) == "http://127.0.0.1:80"


def a_call(server: Running, headers: list[tuple[bytes, bytes]]) -> Call:
    app = SimpleNamespace(state={"edge": server.edge})
    address = ("127.0.0.1", 80)
    scope: Any = {"type": "http", "scheme": "http", "headers": headers, "server": address, "litestar_app": app}
    return Call(scope)


def test_a_link_asks_for_no_key_in_the_schema() -> None:
    assert follow_link.security == [{}]


@pytest.mark.slow("moves 64 MiB with every allocation watched")
async def test_g12_a_large_file_does_not_pass_through_memory_whole(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server, bytes(64 * MIB))
        size = 0
        tracemalloc.start()
        try:
            async with server.session.get(server.url + path, headers={"range": "bytes=1-"}) as response:
                async for piece in response.content.iter_any():
                    size += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert size == 64 * MIB - 1
        assert peak < 16 * MIB


async def test_g12_a_client_that_leaves_midway_stops_the_reading(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        path = await a_made(server, bytes(64 * MIB))
        objects = server.edge.objects
        assert objects is not None
        read, left = list[int](), asyncio.Event()
        reading = objects.read

        async def counted(name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
            try:
                async for piece in reading(name, start, end):
                    read.append(len(piece))
                    yield piece
            finally:
                left.set()

        objects.read = counted
        await server.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), until=b"\0\0\0\0")
        async with asyncio.timeout(5):
            await left.wait()

        assert sum(read) < 64 * MIB
