"""Takes whatever went wrong, hands on the status a call ends with: the only translation of errors to gRPC.

A status has its code, a message that says what to do, and as details (`google.rpc.Status`, in
`grpc-status-details-bin`) an ErrorInfo whose reason is our error code, the same that HTTP shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from raincheck.core.canonical import Canonical, canonical_of
from raincheck.core.errors import RaincheckError, ResultGone
from raincheck.core.model import Request
from raincheck.core.outcome import RequestError, why_ended

LARGEST = 20 << 20
"""Bytes of a message, in each direction: what the xai-sdk sends and takes."""
DETAILS = "grpc-status-details-bin"
DOMAIN = "raincheck"
UPSTREAM_BODY = "upstream_body"
"""Among the details: all that an upstream said of an error."""
_MOST_WORDS, _MOST_AGAIN, _MOST_DETAILS = 3_600, 400, 1_500
"""Bytes on the wire of a message, of the same among the details, and of all details before they become base64.
Together they stay below 6 KiB: a client takes 8 KiB of metadata, and tells of another error when there is more."""
_MOST_REASON = 64
"""Characters of a reason: it may be a code of the upstream's."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is told to the caller."""

    code: Canonical
    message: str
    reason: str
    retry_after: float | None = None
    more: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def status(self) -> grpc.StatusCode:
        return _CODES[int(self.code)]

    @property
    def text(self) -> str:
        """The message, as long as metadata may be."""
        return _cut(self.message, _MOST_WORDS)

    def details(self) -> bytes:
        """All of it for programs. What is too much for metadata is left out: an upstream's whole answer first."""
        most = dict(self.more)
        less = {name: value for name, value in most.items() if name != UPSTREAM_BODY}
        told = (self._details(more) for more in (most, less))
        return next((each for each in told if len(each) <= _MOST_DETAILS), None) or self._details({})

    def _details(self, more: Mapping[str, str]) -> bytes:
        told = RpcStatus(code=int(self.code), message=_cut(self.message, _MOST_AGAIN))
        told.details.append(_packed(ErrorInfo(reason=self.reason[:_MOST_REASON], domain=DOMAIN, metadata=more)))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            told.details.append(_packed(RetryInfo(retry_delay=delay)))
        return told.SerializeToString()


class Ended(Exception):
    """A call that ends with what is known to be wrong: a recorded end, or what an upstream answered."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def result_too_large(request_id: str = "{id}") -> Ended:
    """For an answer that no message can carry; of a request that is recorded, if it is one."""
    words = (
        f"The answer is larger than the {LARGEST >> 20} MiB of a message. Ask for less at once, or read it over HTTP "
        f"(defer it, if it was not): GET /v1/requests/{request_id}/result."
    )
    return Ended(Problem(Canonical.RESOURCE_EXHAUSTED, words, "result_too_large"))


def problem_of(error: Exception) -> Problem:
    """What to tell of an error; one that nobody expected is told without details."""
    match error:
        case Ended():
            return error.problem
        case RaincheckError():
            more = {"param": error.param} if error.param else {}
            return Problem(error.grpc, error.message, error.code, error.retry_after, more)
        case _:
            return problem_of(RaincheckError())


def problem_of_end(request: Request) -> Problem | None:
    """Why an ended request has no result to hand over; None when it completed and has one.

    Never UNAVAILABLE: clients would send the call again, and what has ended stays so.
    """
    if request.purged:
        return problem_of(ResultGone())
    error = why_ended(request.status, request.error)
    return None if error is None else problem_of_failure(error)


def problem_of_failure(error: RequestError) -> Problem:
    """The same for a recorded failure; an upstream's own status and words come along.

    Not what it thinks of this server's key: the caller would take that for its own.
    """
    if error.code == "upstream_key_refused":
        status = error.upstream and error.upstream.status
        return _key_refused("" if status is None else f" (HTTP {status})", error.code)
    more = {"param": error.param} if error.param else {}
    if error.upstream is not None:
        more["upstream"] = error.upstream.name
        if error.upstream.status is not None:
            more["upstream_status"] = str(error.upstream.status)
        if (body := bytes(error.upstream.body)) != b"null":
            more[UPSTREAM_BODY] = body.decode("utf-8", "replace")
    return Problem(canonical_of(error), error.message, error.code or error.type, more=more)


def told_by_upstream(status: int, body: bytes, retry_after: float | None = None) -> Problem:
    """What an upstream answered to a call that was passed on, in its own words.

    UNAVAILABLE, which clients send again at once, only where it says when to come again: any other 503 may come after
    the model has worked.
    """
    if status in (401, 403):
        return _key_refused(f" (HTTP {status})", "upstream_refused")
    code = _OF_HTTP.get(status, Canonical.INTERNAL)
    if status == 503 and retry_after is not None:
        code = Canonical.UNAVAILABLE
    return Problem(code, _words(body) or f"HTTP {status}", "upstream_error", retry_after)


def _key_refused(status: str, reason: str) -> Problem:
    words = (
        f"The upstream refused this server's own credentials{status}; whoever runs this server should check the "
        "upstream's API key."
    )
    return Problem(Canonical.INTERNAL, words, reason)


_OF_HTTP: Mapping[int, Canonical] = {
    400: Canonical.INVALID_ARGUMENT,
    404: Canonical.NOT_FOUND,
    408: Canonical.DEADLINE_EXCEEDED,
    409: Canonical.ABORTED,
    413: Canonical.INVALID_ARGUMENT,
    422: Canonical.INVALID_ARGUMENT,
    429: Canonical.RESOURCE_EXHAUSTED,
    501: Canonical.UNIMPLEMENTED,
    504: Canonical.DEADLINE_EXCEEDED,
}


class _Inside(msgspec.Struct):
    message: str | None = None


class _Envelope(msgspec.Struct):
    error: _Inside | str | None = None
    message: str | None = None


def _words(body: bytes) -> str:
    """The sentence in an error body, in any of the usual shapes; else the body."""
    try:
        told = msgspec.json.decode(body, type=_Envelope)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")
    inside = told.error.message if isinstance(told.error, _Inside) else told.error
    return inside or told.message or body.decode("utf-8", "replace")


def _cut(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes of a status: all but plain ASCII takes three bytes for one there."""
    size = 0
    for n, char in enumerate(text):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode("utf-8", "replace"))
        if size > most:
            return text[: max(0, n - _ROOM)] + "…"
    return text


_ROOM = 9
"""Characters to leave out for the sign that something is: it takes as many bytes."""


def _packed(message: ErrorInfo | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
