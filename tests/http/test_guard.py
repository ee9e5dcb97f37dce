"""What stands before everything: hosts, origins, ids, and the marks on each answer."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scripted import text
from tests.server import Running, a_chat, running_server


@pytest.mark.parametrize(
    "host", ["localhost:8421", "LOCALHOST", "127.0.0.1", "[::1]:8421", "app.localhost", "10.0.0.7"]
)
async def test_names_of_this_machine_and_bare_addresses_are_answered(server: Running, host: str) -> None:
    assert (await server.get("/v1/models", host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8421", "[::1"])
async def test_other_names_are_refused_for_they_may_be_rebound(server: Running, host: str) -> None:
    reply = await server.get("/v1/models", host=host)

    assert (reply.status, reply.error["code"]) == (421, "host_not_allowed")
    assert "allowed_hosts" in reply.error["message"]


async def test_a_configured_name_is_answered(tmp_path: Path) -> None:
    async with running_server(tmp_path, allowed_hosts=("api.example",)) as server:
        assert (await server.get("/v1/models", host="api.example")).status == 200
        assert (await server.get("/v1/models", host="other.example")).status == 421


async def test_any_name_is_answered_when_all_are_allowed(tmp_path: Path) -> None:
    async with running_server(tmp_path, allowed_hosts=("*",)) as server:
        assert (await server.get("/v1/models", host="other.example")).status == 200


async def test_http_1_1_without_a_host_is_refused_and_1_0_is_not(server: Running) -> None:
    newer = await server.raw(b"GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n")
    older = await server.raw(b"GET /health/live HTTP/1.0\r\n\r\n")

    assert newer.startswith(b"HTTP/1.1 400")
    assert older.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_a_page_of_another_site_can_change_nothing(server: Running, headers: dict[str, str]) -> None:
    for path in ("/v1/chat/completions", "/xai/v1/chat/completions", "/v1/requests/x/cancel"):
        reply = await server.post(path, a_chat(deferred=True), **headers)

        assert reply.status == 403
        assert "cors_origins" in reply.body.decode()
        assert "access-control-allow-origin" not in reply.headers
    assert (await server.get("/v1/requests")).json["data"] == []


async def test_a_page_of_our_own_and_programs_may(server: Running) -> None:
    own = await server.post("/v1/chat/completions", a_chat(deferred=True), origin=server.url)
    program = await server.post("/v1/chat/completions", a_chat(deferred=True))

    assert own.status == program.status == 200


async def test_without_cors_a_preflight_allows_nothing(server: Running) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}

    reply = await server.call("OPTIONS", "/v1/chat/completions", headers=asked)

    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_a_configured_origin_may_call_and_read(tmp_path: Path) -> None:
    origin = "https://app.example"
    async with running_server(tmp_path, cors_origins=(origin,)) as server:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await server.call("OPTIONS", "/v1/chat/completions", headers=asked)
        reply = await server.post("/v1/chat/completions", a_chat(deferred=True), origin=origin)
        other = await server.post("/v1/chat/completions", a_chat(deferred=True), origin="https://evil.example")

    assert preflight.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-origin"] == origin
    assert (reply.status, other.status) == (200, 403)


@pytest.mark.parametrize("path", ["/health/live", "/v1/models", "/nope", "/v1/requests/nope", "/schema/openapi.json"])
async def test_every_answer_is_signed(server: Running, path: str) -> None:
    headers = (await server.get(path)).headers

    assert headers["raincheck-version"] == server.edge.version
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]
    assert "server" not in headers


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-123", True), ("a b", False), ("x" * 129, False), ("<script>", False)]
)
async def test_a_sane_request_id_is_kept_and_another_replaced(server: Running, given: str, kept: bool) -> None:
    reply = await server.get("/health/live", x_request_id=given)

    assert (reply.headers["x-request-id"] == given) is kept


async def test_an_error_nobody_expected_is_a_500_without_details_and_is_told(tmp_path: Path) -> None:
    told: list[tuple[Exception, str]] = []

    async def broken(_: str, __: str) -> object:
        raise ZeroDivisionError("a secret")

    def note(error: Exception, request_id: str) -> None:
        told.append((error, request_id))

    async with running_server(tmp_path, change=lambda edge: replace(edge, crashed=note)) as server:
        server.edge.store.requests.get = broken  # pyright: ignore[reportAttributeAccessIssue]
        for path in ("/v1/requests/x", "/v1/requests/x/result"):
            reply = await server.get(path)
            error, request_id = told.pop()

            assert (reply.status, reply.error["code"]) == (500, "internal_error")
            assert "secret" not in reply.body.decode()
            assert isinstance(error, ZeroDivisionError)
            assert request_id == reply.headers["x-request-id"]


async def test_a_websocket_is_not_spoken(server: Running) -> None:
    head = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n"

    assert (await server.raw(head)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/v1/models", "/v1/requests", "/v1/requests/{id}", "/schema"]
)
async def test_head_is_answered_as_get_is_without_the_body(server: Running, path: str) -> None:
    request_id = await server.defer()
    await server.ended(request_id)
    path = path.format(id=request_id)

    got, head = await server.get(path), await server.call("HEAD", path)

    assert (head.status, head.body) == (got.status, b"")
    assert head.headers.keys() == got.headers.keys()
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_of_a_stream_ends_with_the_head_and_serves_the_next_call(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    path = f"/v1/requests/{await server.defer()}/events"
    lines = f"HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\nGET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"

    answer = await server.raw(lines.encode(), until=b'{"status":"ok"}')

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"event:" not in answer


async def test_head_of_what_is_not_there_is_a_404(server: Running) -> None:
    assert (await server.call("HEAD", "/v1/requests/req_none")).status == 404
