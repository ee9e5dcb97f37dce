"""Takes a video as it stands (Seen), hands on how xAI calls that, over HTTP and over gRPC alike."""

from enum import StrEnum

import msgspec
from msgspec import structs

from raincheck.core.model import Request
from raincheck.core.outcome import RequestError, why_ended
from raincheck.core.status import Status
from raincheck.intake.seen import Seen

_UNAVAILABLE = frozenset({"upstream_down", "upstream_busy", "no_object_store"})
_LONGEST = (1 << 31) - 1
_NO_FILE = RequestError("The upstream's answer held no video.")


class State(StrEnum):
    """Where a video stands, in xAI's words."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


class Film(msgspec.Struct, frozen=True):
    """A finished video."""

    url: str | None
    duration: int
    """Whole seconds, in 32 bits: xAI's clients cannot read any other number."""
    respect_moderation: bool = True


class Why(msgspec.Struct, frozen=True):
    """Why there is none."""

    code: str
    message: str


def state_of(seen: Seen) -> State:
    request = seen.request
    if request.purged:
        return State.EXPIRED
    match request.status:
        case Status.EXPIRED:
            return State.EXPIRED
        case Status.PENDING | Status.PROCESSING:
            return State.PENDING
        # Without a result: for a key that may only write, which is shown none.
        case Status.COMPLETED if seen.view.result is None or seen.videos:
            return State.DONE
        case _:
            return State.FAILED


def film_of(seen: Seen) -> Film | None:
    """What is handed over of a video that is done; None for a caller who is not shown it."""
    if seen.request.purged or not seen.videos:
        return None
    return Film(seen.url(seen.videos[0]), min(max(0, round(seen.length or 0)), _LONGEST))


def why_failed(request: Request) -> Why:
    """In the words that xAI has for why; `cancelled` is ours, as it has none for that."""
    error = _reason(request)
    match error:
        case RequestError(code="cancelled"):
            code = "cancelled"
        case RequestError(code=code) if code in _UNAVAILABLE:
            code = "service_unavailable"
        case RequestError(type="permission_error"):
            code = "permission_denied"
        case RequestError(type="invalid_request_error"):
            code = "invalid_argument"
        case _:
            code = "internal_error"
    return Why(code, error.message)


def _reason(request: Request) -> RequestError:
    told = why_ended(request.status, request.error) or _NO_FILE
    return structs.replace(told, code="cancelled") if request.status is Status.CANCELLED else told
