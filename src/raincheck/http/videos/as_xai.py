"""A video in xAI's dialect: `pending`, `done`, `failed` or `expired`, and no `video` before it is there."""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, structs

from raincheck.core.model import Request
from raincheck.core.outcome import RequestError, why_ended
from raincheck.core.status import Status
from raincheck.http.videos.seen import Seen

_UNAVAILABLE = frozenset({"upstream_down", "upstream_busy", "no_object_store"})
_NO_FILE = RequestError("The upstream's answer held no video.")


def xai(seen: Seen) -> dict[str, Any]:
    """What a status read tells."""
    request = seen.request
    if request.purged or request.status is Status.EXPIRED:
        return _told("expired", seen)
    match request.status:
        case Status.PENDING | Status.PROCESSING:
            return _told("pending", seen)
        case Status.COMPLETED if seen.view.result is None:
            return _told("done", seen)  # For a key that may only write, which is shown no result.
        case Status.COMPLETED if seen.videos:
            # Whole seconds: its clients cannot read any other number.
            video = {"url": seen.url(seen.videos[0]), "duration": round(seen.length or 0), "respect_moderation": True}
            usage = {} if request.usage is None else {"usage": Raw(request.usage)}
            return {**_told("done", seen), "video": video, **usage}
        case _:
            return {**_told("failed", seen), "error": _error(_reason(request))}


def _told(status: str, seen: Seen) -> dict[str, Any]:
    return {"status": status, "progress": seen.percent, "model": seen.request.model}


def _reason(request: Request) -> RequestError:
    told = why_ended(request.status, request.error) or _NO_FILE
    return structs.replace(told, code="cancelled") if request.status is Status.CANCELLED else told


def _error(error: RequestError) -> Mapping[str, str]:
    """In the words that xAI has for why; `cancelled` is ours, as it has none for that."""
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
    return {"code": code, "message": error.message}
