"""What an upstream answered (Reply, Failure) and what that means for the request (Outcome)."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from raincheck.core.status import Status

if TYPE_CHECKING:
    from raincheck.core.model import Attachment


@dataclass(frozen=True, slots=True)
class Made:
    """A file that an attempt made, on this machine's disk until it is stowed."""

    name: str
    """What the caller shall find it by, as in `video.mp4`."""
    path: Path
    content_type: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer from an upstream: the body is what the caller of a direct call would have read."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    usage: bytes | None = None
    """The answer's `usage` member as JSON, when it had one."""
    incomplete: bool = False
    """A response that stopped before it was done, as it says itself."""
    blob: str | None = None
    """The body's name in the object store when it is kept there; `body` is empty then."""
    size: int | None = None
    """How many bytes the blob has; None without one."""
    made: tuple[Made, ...] = ()
    """Files that belong to the answer, on their way into the object store."""
    attachments: "tuple[Attachment, ...]" = ()
    """The same once they are there."""


class FailureKind(StrEnum):
    """What a failed call says about trying again."""

    REJECTED = "rejected"
    """The upstream refused this payload and always will."""
    TRANSIENT = "transient"
    """The call broke on the way or the upstream stumbled; another try may do."""
    BUSY = "busy"
    """The upstream has no place or no budget just now (429): nothing was done."""
    UNREACHABLE = "unreachable"
    """Nothing was sent: no connection could be made."""


class UpstreamError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An upstream's own words about a failure, kept verbatim."""

    name: str
    status: int | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    """The JSON it sent, its text as a JSON string when that was no JSON, or null.

    Always a Raw: of a union with one, msgspec could write either but read back only the other.
    """


class RequestError(msgspec.Struct, frozen=True):
    """Why a request or an attempt did not succeed, in the shape of the OpenAI error envelope's inside."""

    message: str
    type: str = "server_error"
    code: str | None = None
    param: str | None = None
    upstream: UpstreamError | None = None


def envelope(error: RequestError) -> bytes:
    """An error as OpenAI's API tells it, and `upstream` with it when there is one."""
    inside: dict[str, object] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if error.upstream is not None:
        inside["upstream"] = error.upstream
    return msgspec.json.encode({"error": inside})


def why_ended(status: Status, error: RequestError | None) -> RequestError | None:
    """Why an ended request has nothing to hand over, in general words where its record has none; None for one that
    completed."""
    match status:
        case Status.FAILED:
            return error or RequestError("The request failed.", "server_error", "failed")
        case Status.CANCELLED:
            return error or RequestError("The request was cancelled.", "invalid_request_error", "cancelled")
        case Status.EXPIRED:
            told = error or RequestError("The deadline passed.", "invalid_request_error")
            return msgspec.structs.replace(told, code="deadline_exceeded")
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that gave no whole answer."""

    kind: FailureKind
    error: RequestError
    retry_after: int | None = None
    """Microseconds the upstream asked to be left alone for."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The request is completed with this reply."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Pause:
    """The upstream asked to be left alone: the whole queue is closed until then."""

    until: int
    misses: int
    """How often in a row it has asked, this time included; what completes starts the count anew."""


@dataclass(frozen=True, slots=True)
class Retry:
    """This attempt counts; another may start at `due_at` (microseconds)."""

    error: RequestError
    due_at: int
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Given back untried: the attempt is refunded and the request is pending again.

    `due_at` says when it may be claimed again (None: at once).
    """

    reason: RequestError | None = None
    due_at: int | None = None
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The request ends without a result."""

    status: Literal[Status.FAILED, Status.EXPIRED, Status.CANCELLED]
    error: RequestError


Outcome = Succeeded | Retry | Released | Ended
