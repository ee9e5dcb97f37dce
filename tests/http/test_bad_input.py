"""What bad input gets: each row over a real socket, and after each the server still answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from raincheck.http.edge import Limits
from tests.server import Reply, Running, a_chat, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_BODY = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("bad-input")
    limits = Limits(body_seconds=0.2, head_seconds=0.2)
    async with running_server(folder, limits=limits, max_body_bytes=MAX_BODY) as running:
        yield running


@dataclass(frozen=True)
class Row:
    """A POST to /v1/chat/completions (or what `call` does), and what it gets."""

    name: str
    status: int
    says: str
    """Part of the message that tells what to do."""
    body: object = None
    code: str = "invalid_request"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    call: Callable[[Running], Awaitable[Reply]] | None = None


def chat(**members: Any) -> dict[str, Any]:
    return a_chat(deferred=True, **members)


def with_options(**options: Any) -> dict[str, Any]:
    return chat(raincheck=options)


def reading(path: str) -> Callable[[Running], Awaitable[Reply]]:
    return lambda server: server.get(path)


def nested(levels: int) -> bytes:
    return b'{"model":"m","deferred":true,"messages":[{"content":' + b"[" * levels + b"]" * levels + b"}]}"


async def wait_for(server: Running, wait: str) -> Reply:
    request_id = await server.defer()
    return await server.get(f"/v1/requests/{request_id}?wait={wait}")


async def same_key_again(server: Running) -> Reply:
    first = await server.post("/v1/chat/completions", chat(), idempotency_key="k1")
    assert first.status == 200
    return await server.post("/v1/chat/completions", chat(temperature=0.5), idempotency_key="k1")


async def too_slow(server: Running) -> Reply:
    return _parsed(await server.raw(_head("content-length: 100") + b'{"model"'))


async def too_long_in_chunks(server: Running) -> Reply:
    chunk = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    return _parsed(
        await server.raw(_head("transfer-encoding: chunked", "connection: close") + chunk + chunk + b"0\r\n\r\n")
    )


async def chunks_without_end(server: Running) -> Reply:
    chunk = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    return _parsed(await server.raw(_head("transfer-encoding: chunked") + chunk + chunk, until=b"}}"))


async def head_without_end(server: Running) -> Reply:
    return _parsed(await server.raw(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-long: " + b"x" * 20_000))


def _head(*lines: str) -> bytes:
    first = "POST /v1/chat/completions HTTP/1.1"
    return "\r\n".join([first, "host: localhost", "content-type: application/json", *lines, "", ""]).encode()


def _parsed(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


ROWS = [
    Row("no body", 400, "send a JSON object", b""),
    Row("white space alone", 400, "send a JSON object", b" \n"),
    Row("broken JSON", 400, "byte 10", b'{"model": }'),
    Row("JSON that ends early", 400, "byte 9", b'{"model":'),
    Row("invalid UTF-8", 400, "UTF-8 (byte 10)", b'{"model":"\xff"}'),
    Row("a list", 400, "must be a JSON object", b"[1]"),
    Row("half a surrogate pair", 400, "surrogate", b'{"model":"m","messages":[{"content":"\\ud800 x"}]}'),
    Row("the other half", 400, "surrogate", b'{"model":"m","messages":[{"content":"\\\\\\udc00"}]}'),
    Row("nested too deep", 400, "64 levels", nested(65)),
    Row("nested far too deep", 400, "64 levels", nested(30_000)),
    Row("no model", 400, "GET /v1/models", {"messages": ["hi"]}, param="model"),
    Row("a model that is no string", 400, "wrong type", a_chat() | {"model": 7}, param="model"),
    Row("a model with NUL", 400, "control characters", chat(model="m\0"), param="model"),
    Row("an empty model", 400, "between 1 and 256", chat(model=""), param="model"),
    Row("a long model", 400, "between 1 and 256", chat(model="m" * 257), param="model"),
    Row("an unknown model", 404, "Known models: m", chat(model="nope"), "model_not_found", "model"),
    Row("no messages", 400, "at least one", {"model": "m"}, param="messages"),
    Row("empty messages", 400, "at least one", {"model": "m", "messages": []}, param="messages"),
    Row("messages that are no list", 400, "must be a list", {"model": "m", "messages": "hi"}, param="messages"),
    Row("deferred that is no bool", 400, "wrong type", a_chat(deferred="yes"), param="deferred"),
    Row("deferred and stream", 400, "/events", chat(stream=True), param="stream"),
    Row("an unknown tier", 400, "one of", chat(service_tier="gold"), param="service_tier"),
    Row(
        "text for JSON",
        415,
        "application/json",
        b"hi",
        "unsupported_media_type",
        headers={"content_type": "text/plain"},
    ),
    Row("options that are no object", 400, "object", chat(raincheck=[]), param="raincheck"),
    Row("an unknown option", 400, "Known options", with_options(deadlin=1), param="raincheck"),
    Row("a deadline in the past", 400, "in the past", with_options(deadline=1_000), param="deadline"),
    Row("a deadline in words", 400, "RFC3339", with_options(deadline="soon"), param="deadline"),
    Row("a deadline without a zone", 400, "timezone", with_options(deadline="2040-01-01T00:00:00"), param="deadline"),
    Row("a deadline beyond all time", 400, "Unix seconds", with_options(deadline=1e300), param="deadline"),
    Row("a deadline in a century", 400, "365 days", with_options(deadline=5e9), param="deadline"),
    Row("two deadlines", 400, "not both", with_options(deadline=5e9, expires_in=5), param="expires_in"),
    Row("no time at all", 400, "more than 0", with_options(expires_in=0), param="expires_in"),
    Row(
        "less than no time",
        400,
        "number of seconds",
        chat(),
        param="expires_in",
        headers={"raincheck_expires_in": "-1"},
    ),
    Row(
        "attempts beyond all numbers",
        400,
        "max_attempts",
        chat(),
        param="max_attempts",
        headers={"raincheck_max_attempts": "9" * 5_000},
    ),
    Row(
        "metadata without a bottom",
        400,
        "Raincheck-Metadata",
        chat(),
        param="metadata",
        headers={"raincheck_metadata": '{"a":' + "[" * 5_000},
    ),
    Row("a start in a century", 400, "365 days", with_options(not_before=5e9), param="not_before"),
    Row("no attempts", 400, "between 1 and 100", with_options(max_attempts=0), param="max_attempts"),
    Row("metadata of numbers", 400, "Expected `str`", with_options(metadata={"a": 1}), param="metadata"),
    Row("long metadata", 400, "shorten", with_options(metadata={"a": "x" * 513}), param="metadata"),
    Row(
        "much metadata",
        400,
        "at most 16",
        with_options(metadata={str(number): "" for number in range(17)}),
        param="metadata",
    ),
    Row("metadata with NUL", 400, "NUL", with_options(metadata={"a": "\0"}), param="metadata"),
    Row("metadata that is no JSON", 400, "JSON object", chat(), param="metadata", headers={"raincheck_metadata": "{"}),
    Row(
        "a webhook by file",
        400,
        "https",
        with_options(webhook_url="file:///etc/passwd"),
        "webhook_refused",
        param="webhook_url",
    ),
    Row(
        "a webhook to an address inside",
        400,
        "webhooks.allow",
        with_options(webhook_url="https://169.254.169.254/latest"),
        "webhook_refused",
        param="webhook_url",
    ),
    Row(
        "a webhook by plain http",
        400,
        "webhooks.allow",
        with_options(webhook_url="http://example.com/hook"),
        "webhook_refused",
        param="webhook_url",
    ),
    Row("an unknown moment", 400, "progress, completed", with_options(webhook_events=["done"]), param="webhook_events"),
    Row("moments as a text", 400, "array", with_options(webhook_events="completed"), param="webhook_events"),
    Row(
        "an unknown moment in a header",
        400,
        "'done'",
        chat(),
        param="webhook_events",
        headers={"raincheck_webhook_events": "completed, done"},
    ),
    Row("a result perhaps", 400, "bool", with_options(include_result="perhaps"), param="include_result"),
    Row("a long key", 400, "255", chat(), param="Idempotency-Key", headers={"idempotency_key": "k" * 256}),
    Row("the same key, another body", 409, "new key", code="idempotency_conflict", call=same_key_again),
    Row("a huge body", 413, "100000", b" " * (MAX_BODY + 1), "request_too_large"),
    Row("a huge body in chunks", 413, "100000", code="request_too_large", call=too_long_in_chunks),
    Row("chunks without an end", 413, "100000", code="request_too_large", call=chunks_without_end),
    Row("10 k header bytes", 431, "fewer or shorter", chat(), "headers_too_large", headers={"x_long": "x" * 10_000}),
    Row("a head without an end", 431, "fewer or shorter", code="headers_too_large", call=head_without_end),
    Row("a slow body", 408, "in one go", code="body_too_slow", call=too_slow),
    Row("wait=-1", 400, "0 to 60", param="wait", call=lambda server: wait_for(server, "-1")),
    Row("wait=1e9", 400, "0 to 60", param="wait", call=lambda server: wait_for(server, "1e9")),
    Row("wait=soon", 400, "0 to 60", param="wait", call=lambda server: wait_for(server, "soon")),
    Row("wait=nan", 400, "0 to 60", param="wait", call=lambda server: wait_for(server, "nan")),
    Row("an unknown since", 400, "one of pending", param="since", call=lambda s: wait_for(s, "1&since=done")),
    Row("an unknown id", 404, "check the id", code="not_found", call=reading("/v1/requests/req_nope")),
    Row(
        "an unknown deferred id", 404, "check the id", code="not_found", call=reading("/v1/chat/deferred-completion/x")
    ),
    Row("an unknown status", 400, "one of pending", param="status", call=reading("/v1/requests?status=done")),
    Row("an unknown filter", 400, "no filter", param="colour", call=reading("/v1/requests?colour=red")),
    Row("a limit of 1000", 400, "1 to 100", param="limit", call=reading("/v1/requests?limit=1000")),
    Row("a limit in no digits of ours", 400, "1 to 100", param="limit", call=reading("/v1/requests?limit=%D9%A3")),
    Row("a strange time", 400, "RFC 3339", param="created_after", call=reading("/v1/requests?created_after=soon")),
    Row("an unknown cursor", 404, "check the id", code="not_found", call=reading("/v1/requests?after=req_nope")),
    Row("an id with NUL", 404, "check the id", code="not_found", call=reading("/v1/requests/req_%00")),
    Row("a path with NUL", 404, "check the id", code="not_found", call=reading("/v1/models/a%00b")),
    Row("a filter with NUL", 400, "NUL", call=reading("/v1/requests?model=a%00b")),
    Row("no such path", 404, "/schema", code="not_found", call=reading("/nope")),
    Row("no such path below /v1", 404, "/schema", code="not_found", call=reading("/v1/nope/nope")),
    Row(
        "no such method",
        405,
        "/schema",
        code="method_not_allowed",
        call=lambda server: server.call("DELETE", "/v1/chat/completions"),
    ),
    Row(
        "a path that climbs",
        400,
        "cannot be passed on",
        call=lambda server: server.post("/v1/a/%2e%2e%2fmodels", a_chat()),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_bad_input_gets_the_right_status_and_says_what_to_do(shared: Running, row: Row) -> None:
    if row.call is not None:
        reply = await row.call(shared)
    else:
        reply = await shared.post("/v1/chat/completions", row.body, **row.headers)

    assert reply.status == row.status, reply.body
    assert row.says in reply.error["message"]
    assert (reply.error["code"], reply.error["param"]) == (row.code, row.param)
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert (await shared.get("/health/live")).status == 200


async def test_what_was_accepted_survives_all_of_this(shared: Running) -> None:
    accepted = await asyncio.gather(*(shared.defer(content=f"number {number}") for number in range(20)))
    await shared.post("/v1/chat/completions", nested(30_000))
    await shared.raw(b"\x00\xff\r\n\r\n")

    ends = await asyncio.gather(*(shared.ended(request_id) for request_id in accepted))

    assert {end["status"] for end in ends} == {"completed"}


async def test_nul_and_whole_pairs_in_strings_are_passed_on_as_they_came(shared: Running) -> None:
    content = rb'"a\u0000b \ud83d\ude00 \\ud800"'
    body = b'{"model":"m", "deferred": true, "messages":[{"role":"user","content":' + content + b"}]}"

    reply = await shared.post("/v1/chat/completions", body)
    await shared.ended(reply.json["id"])

    assert any(content in request.body for request in shared.upstream.requests)


async def test_sixty_four_levels_are_accepted(shared: Running) -> None:
    assert (await shared.post("/v1/chat/completions", nested(61))).status == 200


async def test_brackets_in_strings_are_no_levels(shared: Running) -> None:
    assert (await shared.post("/v1/chat/completions", chat(content='\\"[{' * 1_000))).status == 200


async def test_a_connection_that_sends_nothing_is_closed(shared: Running) -> None:
    assert await shared.raw(b"") == b""


async def test_a_head_that_never_ends_is_closed(shared: Running) -> None:
    assert await shared.raw(b"GET / HTTP/1.1\r\nhost: local") == b""


async def test_errors_are_json_of_the_documented_shape(shared: Running) -> None:
    class Inside(msgspec.Struct, forbid_unknown_fields=True):
        message: str
        type: str
        param: str | None
        code: str | None

    class Envelope(msgspec.Struct, forbid_unknown_fields=True):
        error: Inside

    reply = await shared.post("/v1/chat/completions", b"{")

    assert msgspec.json.decode(reply.body, type=Envelope).error.type == "invalid_request_error"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
