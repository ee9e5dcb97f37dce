"""What a batch's files and listings say of a line: pure, and as bytes, since a file may have a million of them."""

import hashlib
from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple

import msgspec

from raincheck.core.batches import Row
from raincheck.core.errors import ResultGone
from raincheck.core.model import Request, Result
from raincheck.core.outcome import RequestError, envelope
from raincheck.core.status import Status

CLOSING = b'},"error":null}\n'
"""What follows the body of an answer."""
GONE = RequestError(ResultGone().message, "invalid_request_error", ResultGone.code)
ENDINGS = {
    Status.CANCELLED: RequestError("The batch was cancelled before this line was done.", code="batch_cancelled"),
    Status.EXPIRED: RequestError("The completion window closed before this line was done.", code="batch_expired"),
}
"""What is told of a line that ended without having been tried to the last, or was never fed."""

_RAW = msgspec.json.Decoder(msgspec.Raw)
_SPACES = bytes.maketrans(b"\r\n", b"  ")


class Told(NamedTuple):
    """What became of a line, each as JSON; what does not apply is `null`."""

    response: bytes
    error: bytes
    good: bool = False
    """Whether it belongs into the output file; other lines are in the error file."""


def line_id(batch_id: str, line: int, request: Request | None) -> str:
    """What a line is called in outputs: after its request, or always the same for one that has none."""
    if request is not None:
        return "batch_req_" + request.id.rpartition("_")[2]
    return "batch_req_" + hashlib.sha256(f"{batch_id}:{line}".encode()).hexdigest()[:32]


def told(row: Row, answer: bytes | None) -> Told:
    """What became of a row that has ended; `answer` is the body of its result as JSON in one line, None when there is
    none."""
    request = row.request
    if request is None:
        return without_response(row.error or GONE)
    match request.status:
        case Status.COMPLETED if row.result is not None and answer is not None:
            return Told(response(request.id, row.result.status, answer), b"null", good=True)
        case Status.CANCELLED | Status.EXPIRED:
            return without_response(ENDINGS[request.status])
        case Status.FAILED if request.error is not None:
            upstream = request.error.upstream
            if upstream is None or upstream.status is None:
                return without_response(request.error)
            return Told(response(request.id, upstream.status, envelope(request.error)), b"null")
        case _:
            return without_response(GONE)


def opening(id_: str, custom_id: str, request_id: str, status: int) -> bytes:
    """The beginning of a line whose body follows, and then CLOSING."""
    head = b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":'
    return head % (id_.encode(), msgspec.json.encode(custom_id), status, request_id.encode())


def line(id_: str, custom_id: str, told: Told) -> bytes:
    """A whole line of an output or an error file."""
    head = b'{"id":"%b","custom_id":%b,"response":%b,"error":%b}\n'
    return head % (id_.encode(), msgspec.json.encode(custom_id), told.response, told.error)


def response(request_id: str, status: int, body: bytes) -> bytes:
    """The member `response`."""
    return b'{"status_code":%d,"request_id":"%b","body":%b}' % (status, request_id.encode(), body)


def without_response(error: RequestError) -> Told:
    """A line to which no upstream has an answer."""
    said = {"code": error.code or "request_failed", "message": error.message}
    return Told(b"null", msgspec.json.encode(said))


def as_json(result: Result) -> bytes:
    """The body of a result that stands in the record, as JSON in one line: other text as a string, and what is no text
    as a data URI."""
    body = result.body
    if is_json(result.content_type) and _is_sound(body):
        return one_line(body) if b"\n" in body or b"\r" in body else body
    try:
        return msgspec.json.encode(body.decode())
    except UnicodeDecodeError:
        return b'"%b%b"' % (data_uri(result.content_type), b64encode(body))


def one_line(piece: bytes) -> bytes:
    """Any piece of valid JSON without line breaks: they can only stand between its tokens."""
    return piece.translate(_SPACES)


@lru_cache(maxsize=64)
def is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def data_uri(content_type: str) -> bytes:
    """The beginning of a data URI, fit to stand in a JSON string."""
    kind = content_type.partition(";")[0].strip()
    plain = kind.isascii() and kind.isprintable() and not {'"', "\\"} & set(kind)
    return b"data:%b;base64," % (kind.encode() if plain and kind else b"application/octet-stream")


def _is_sound(body: bytes) -> bool:
    """Whether it is JSON that may be copied as it is."""
    try:
        _RAW.decode(body)
        return body.isascii() or bool(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
