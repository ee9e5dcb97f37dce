"""What goes wrong in a call, and whether another try makes sense."""

import errno
import ssl
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from raincheck.core.clock import HOUR, SECOND, micros
from raincheck.core.outcome import Failure, FailureKind, RequestError
from raincheck.upstream.openai import failures

REJECTED, TRANSIENT, BUSY, UNREACHABLE = (
    FailureKind.REJECTED,
    FailureKind.TRANSIENT,
    FailureKind.BUSY,
    FailureKind.UNREACHABLE,
)
NOON = micros(1_790_000_000)
HEADERS = CIMultiDictProxy(CIMultiDict[str]())


def answered(status: int, body: Any = b"", **headers: str) -> Failure:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return failures.answered("pool", status, names, data, now=NOON)


def envelope(message: str = "no", code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "their_type", "param": "messages", "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, envelope("context too long", "context_length_exceeded"), REJECTED),
        (401, envelope(), REJECTED),
        (402, envelope(), REJECTED),
        (403, envelope(), REJECTED),
        (404, envelope(), REJECTED),
        (408, envelope(), TRANSIENT),
        (409, envelope(), TRANSIENT),
        (413, envelope(), REJECTED),
        (422, {"detail": [{"loc": ["body"], "msg": "missing"}]}, REJECTED),
        (425, envelope(), TRANSIENT),
        (429, envelope(), BUSY),
        (429, envelope("pay", "insufficient_quota"), REJECTED),
        (429, envelope("pay", "billing_hard_limit_reached"), REJECTED),
        (429, {"error": {"message": "pay", "type": "insufficient_quota"}}, REJECTED),
        (301, b"", REJECTED),
        (500, envelope("oops"), TRANSIENT),
        (500, envelope("image input is not supported - hint: you may need the mmproj"), REJECTED),
        (500, b"<html>Internal Server Error</html>", TRANSIENT),
        (501, envelope("This server does not support embeddings"), REJECTED),
        (502, b"Bad Gateway", TRANSIENT),
        (503, envelope("overloaded"), TRANSIENT),
        (503, envelope("Loading model"), UNREACHABLE),
        (504, b"", TRANSIENT),
        (520, b"", TRANSIENT),
        (529, envelope("overloaded_error"), TRANSIENT),
    ],
)
def test_a_status_and_its_body_tell_whether_to_try_again(status: int, body: Any, kind: FailureKind) -> None:
    assert answered(status, body).kind is kind


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "2"}, 2 * SECOND),
        ({"retry_after": "0.25"}, SECOND // 4),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1_500_000),
        ({"retry_after": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30 * SECOND),
        ({"retry_after": "Mon, 21 Sep 2020 00:00:00 GMT"}, 0),
        ({"retry_after": "-5"}, 0),
        ({"retry_after": "86400"}, HOUR),
        ({"retry_after": "1e400"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], wait: int | None) -> None:
    """G10: what the upstream asked for is what it gets, within reason."""
    assert answered(429, envelope(), **headers).retry_after == wait
    assert answered(503, envelope(), **headers).retry_after == wait


def test_the_upstreams_own_words_are_kept() -> None:
    body = b'{ "error": {"message":"too long","type":"t","param":"messages","code":"context_length_exceeded"} }'
    error = answered(400, body).error
    assert (error.message, error.type, error.code, error.param) == (
        "too long",
        "t",
        "context_length_exceeded",
        "messages",
    )
    assert error.upstream is not None
    assert (error.upstream.name, error.upstream.status, bytes(error.upstream.body)) == ("pool", 400, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"code": "Client specified an invalid argument", "error": "bad n"}, "bad n"),
        ({"error": "model not loaded"}, "model not loaded"),
        ({"object": "error", "message": "old vLLM", "code": 400}, "old vLLM"),
        ({"detail": "fast"}, "fast"),
        ({"detail": [{"msg": "api"}]}, '[{"msg":"api"}]'),
        (b"plain words", "plain words"),
        (b"<html>nginx</html>", "The upstream 'pool' answered 400."),
        (b"", "The upstream 'pool' answered 400."),
        ([1], "[1]"),
    ],
)
def test_the_message_is_found_in_every_shape_of_error(body: Any, message: str) -> None:
    assert answered(400, body).error.message == message


def test_a_refused_key_says_which_setting_to_check() -> None:
    error = answered(401, envelope("Incorrect API key", "invalid_api_key")).error
    assert error.code == "upstream_key_refused"
    assert "api_key_env" in error.message
    assert "Incorrect API key" in error.message


def test_a_long_error_body_is_cut_and_a_failure_survives_being_stored() -> None:
    for body in (b"x" * 100_000, b'{"error":{"message":"m"}}', b"\xff", b"[" * 5_000):
        error = answered(500, body).error
        stored = msgspec.json.encode(error)
        assert len(stored) < failures.KEPT * 2
        assert msgspec.json.decode(stored, type=RequestError) == error


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error":{"message":"m","code":500}}', TRANSIENT),
        (b'{"error":{"message":"m","code":400}}', REJECTED),
        (b'{"error":{"message":"m","type":"invalid_request_error"}}', REJECTED),
        (b'{"error":{"message":"m","code":"rate_limit_exceeded"}}', BUSY),
        (b'{"error":{"message":"m","code":"insufficient_quota"}}', REJECTED),
        (b'{"error":{"message":"m","type":"server_error"}}', TRANSIENT),
        (b'{"error":"boom"}', TRANSIENT),
        (b'{"object":"error","message":"m","code":400}', REJECTED),
        (b"not json", TRANSIENT),
    ],
)
def test_an_error_in_a_stream_is_told_by_its_own_words(data: bytes, kind: FailureKind) -> None:
    assert failures.streamed("pool", data).kind is kind


def _connector_error(kind: type[aiohttp.ClientConnectorError], cause: OSError) -> aiohttp.ClientConnectorError:
    key = ConnectionKey("pool", 80, False, True, None, None, None)
    return kind(key, cause)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (_connector_error(aiohttp.ClientConnectorError, OSError(errno.ECONNREFUSED, "refused")), UNREACHABLE, None),
        (_connector_error(aiohttp.ClientConnectorDNSError, OSError(-2, "no such name")), UNREACHABLE, None),
        (_connector_error(aiohttp.ClientConnectorSSLError, ssl.SSLError(1, "bad")), UNREACHABLE, None),
        (aiohttp.ConnectionTimeoutError("slow"), UNREACHABLE, None),
        (aiohttp.SocketTimeoutError("silent"), TRANSIENT, "upstream_timeout"),
        (TimeoutError(), TRANSIENT, "upstream_timeout"),
        (aiohttp.ServerDisconnectedError(), TRANSIENT, "upstream_disconnected"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), TRANSIENT, "upstream_disconnected"),
        (aiohttp.ClientPayloadError("torn"), TRANSIENT, "upstream_disconnected"),
    ],
)
def test_a_broken_call_is_told_from_one_that_never_began(error: Exception, kind: FailureKind, code: str | None) -> None:
    failure = failures.broke("pool", error)
    assert (failure.kind, failure.error.code) == (kind, code or "upstream_unreachable")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_connector_error(aiohttp.ClientConnectorError, OSError(errno.ECONNREFUSED, "at 10.9")), "Connection refused"),
        (_connector_error(aiohttp.ClientConnectorDNSError, OSError(-2, "no such name")), "no such host"),
        (_connector_error(aiohttp.ClientConnectorSSLError, ssl.SSLError(1, "bad")), "TLS"),
        (aiohttp.ConnectionTimeoutError("http://10.9:80"), "in time"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "10.9"), "broke the connection: Connection reset"),
        (aiohttp.ServerDisconnectedError("10.9"), "broke the connection."),
        (aiohttp.ClientResponseError(RequestInfo(URL("http://10.9"), "POST", HEADERS), ()), "no HTTP"),
        (aiohttp.SocketTimeoutError("10.9"), "sent nothing for longer"),
        (TimeoutError(), "did not answer within"),
    ],
)
def test_a_broken_call_is_told_without_where_the_upstream_is(error: Exception, words: str) -> None:
    message = failures.broke("up", error).error.message
    assert words in message
    assert not any(inside in message for inside in ("10.9", "pool", "Errno", "http:"))
