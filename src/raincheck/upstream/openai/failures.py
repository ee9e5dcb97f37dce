"""What went wrong in a call, as a Failure that says whether another try makes sense."""

import os
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp
import msgspec

from raincheck.core.clock import HOUR, SECOND, micros
from raincheck.core.outcome import Failure, FailureKind, RequestError, UpstreamError

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading an upstream's bytes as JSON may raise: not JSON, not UTF-8, or nested too deep."""
KEPT = 64 << 10
"""How much of an upstream's error body is kept, in bytes."""
_LONGEST_MESSAGE = 2_000
_LONGEST_WAIT = HOUR
_OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_STUMBLES = frozenset({408, 409, 425})
_STATUS_BY_WORD = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
}
# llama.cpp answers 500 to an image part; no retry will give the model eyes.
_NEVER_WILL = re.compile(
    r"\b(image|audio|video|file|multimodal)s?\b.*\b(not|un)\s?supported", re.IGNORECASE | re.DOTALL
)
_LOADING = re.compile(r"\bloading\b.*\bmodel\b|\bmodel\b.*\bloading\b", re.IGNORECASE)


def answered(name: str, status: int, headers: Mapping[str, str], body: bytes, *, now: int) -> Failure:
    """What an answer that is no success means. `now` is in microseconds, for a Retry-After that is a date."""
    theirs = _Theirs(body)
    kind = _kind(status, theirs)
    error = RequestError(
        theirs.message or f"The upstream {name!r} answered {status}.",
        theirs.type or _type(status),
        theirs.code or ("upstream_busy" if kind is FailureKind.BUSY else "upstream_error"),
        theirs.param,
        UpstreamError(name, status, theirs.body),
    )
    if status in (401, 403):
        said = f" It said: {theirs.message}" if theirs.message else ""
        message = f"The upstream {name!r} refused Raincheck's API key ({status}); check its api_key_env.{said}"
        error = msgspec.structs.replace(error, message=message, type="server_error", code="upstream_key_refused")
    elif 300 <= status < 400:
        message = f"The upstream {name!r} answered with a redirect ({status}); check its base_url."
        error = msgspec.structs.replace(error, message=message)
    return Failure(kind, error, retry_after(headers, now=now))


def streamed(name: str, data: bytes) -> Failure:
    """What an error inside a stream means: its own status or words tell, and without any it was a stumble."""
    theirs = _Theirs(data)
    words = (theirs.status, _STATUS_BY_WORD.get(theirs.code or ""), _STATUS_BY_WORD.get(theirs.type or ""))
    status = next((word for word in words if word), 500)
    failure = answered(name, status, {}, data, now=0)
    # The 200 that began the stream is no status of this error, and neither is one that we concluded.
    upstream = UpstreamError(name, theirs.status, theirs.body)
    return Failure(failure.kind, msgspec.structs.replace(failure.error, upstream=upstream), None)


def broke(name: str, error: Exception) -> Failure:
    """What an exception of the HTTP client means.

    Its own words stay out: they tell callers where the upstream is, and may quote what it sent.
    """
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.ServerFingerprintMismatch():
            return unreachable(name, error)
        case aiohttp.SocketTimeoutError():
            return transient(name, "upstream_timeout", "sent nothing for longer than its silence_timeout.")
        case TimeoutError():
            return transient(name, "upstream_timeout", "did not answer within its silence_timeout.")
        case aiohttp.ClientPayloadError():
            return transient(name, "upstream_disconnected", "broke the connection in the middle of its answer.")
        case aiohttp.ClientResponseError():
            return transient(name, "upstream_disconnected", "answered something that is no HTTP.")
        case _:
            return transient(name, "upstream_disconnected", f"broke the connection{_why(error)}.")


def unreachable(name: str, error: Exception) -> Failure:
    message = f"The upstream {name!r} cannot be reached{_why(error)}."
    return Failure(FailureKind.UNREACHABLE, RequestError(message, code="upstream_unreachable"))


def transient(name: str, code: str, what: str, body: bytes | None = None) -> Failure:
    """A call that broke on the way: `what` goes on after the upstream's name."""
    upstream = UpstreamError(name) if body is None else UpstreamError(name, body=_kept(body))
    return Failure(FailureKind.TRANSIENT, RequestError(f"The upstream {name!r} {what}", code=code, upstream=upstream))


def too_large(name: str, largest: int) -> Failure:
    message = f"The answer of the upstream {name!r} is larger than {largest >> 20} MiB; ask for less at once."
    return Failure(FailureKind.REJECTED, RequestError(message, code="result_too_large"))


def retry_after(headers: Mapping[str, str], *, now: int) -> int | None:
    """How long an upstream asked to be left alone, in microseconds, at most an hour.

    Read from `retry-after-ms`, or `retry-after` in seconds or as an HTTP date (RFC 9110, section 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1_000), ("retry-after", SECOND)):
        try:
            return min(max(round(float(headers[name]) * unit), 0), _LONGEST_WAIT)
        except (KeyError, ValueError, OverflowError):
            continue
    try:
        at = micros(parsedate_to_datetime(headers["retry-after"]).timestamp())
    except (KeyError, ValueError, OverflowError):
        return None
    return min(max(at - now, 0), _LONGEST_WAIT)


def _kind(status: int, theirs: "_Theirs") -> FailureKind:
    said = theirs.message or ""
    if status == 429:
        out_of_money = theirs.code in _OUT_OF_MONEY or theirs.type in _OUT_OF_MONEY
        return FailureKind.REJECTED if out_of_money else FailureKind.BUSY
    if status == 503 and _LOADING.search(said):
        # The model is not there yet, nothing was begun: this costs no attempt.
        return FailureKind.UNREACHABLE
    if status == 501 or (status == 500 and _NEVER_WILL.search(said)):
        return FailureKind.REJECTED
    return FailureKind.TRANSIENT if status >= 500 or status in _STUMBLES else FailureKind.REJECTED


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _kept(body: bytes) -> msgspec.Raw:
    """A body as JSON: as it is, or its beginning as a string."""
    if len(body) <= KEPT:
        try:
            msgspec.json.decode(body)
        except NOT_JSON:
            pass
        else:
            return msgspec.Raw(body)
    return msgspec.Raw(msgspec.json.encode(body[:KEPT].decode(errors="replace")))


def _why(error: Exception) -> str:
    """What the system says of it; where it happened is for those who know the upstream's name."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return ": no such host"
        case aiohttp.ClientSSLError():
            return ": no TLS connection could be made; check its certificate"
        case TimeoutError():
            return ": it did not take the connection in time"
        case OSError(errno=int(number)) if number > 0:
            return f": {os.strerror(number)}"
        case _:
            return ""


class _Theirs:
    """An upstream's error body, read as any of the shapes in use: OpenAI's, xAI's flat one, FastAPI's `detail`."""

    def __init__(self, body: bytes) -> None:
        self.body = _kept(body)
        whole = self._object(body)
        inner = whole.get("error")
        error: dict[str, Any] = cast("dict[str, Any]", inner) if isinstance(inner, dict) else whole
        said = inner if isinstance(inner, str) else error.get("message") or error.get("detail")
        if said is not None and not isinstance(said, str):
            said = msgspec.json.encode(said).decode()
        if said is None and not whole and b"<" not in body:
            said = body[:_LONGEST_MESSAGE].decode(errors="replace").strip()
        self.message = said[:_LONGEST_MESSAGE] if said else None
        self.type = self._word(error.get("type"))
        self.code = self._word(error.get("code"))
        self.param = self._word(error.get("param"))
        numbers = (error.get(key) for key in ("code", "status", "status_code"))
        self.status = next((number for number in numbers if isinstance(number, int) and 400 <= number < 600), None)

    @staticmethod
    def _object(body: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except NOT_JSON:
            return {}

    @staticmethod
    def _word(value: Any) -> str | None:
        # Some put the HTTP status here as a number; that is no code.
        return value if isinstance(value, str) and value else None
