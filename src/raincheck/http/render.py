"""Takes records and views, hands on the JSON of the native dialect."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from raincheck.core.clock import seconds
from raincheck.core.model import Attempt, Page, Request, Result
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status
from raincheck.http.codec import is_json
from raincheck.intake.retrieve import Reason, View

_encode = msgspec.json.Encoder().encode


class UpstreamErrorObject(msgspec.Struct):
    """An upstream's own words about a failure."""

    name: str
    status: int | None
    body: Raw


class ErrorObject(msgspec.Struct):
    """Why a request or an attempt did not succeed."""

    message: str
    type: str
    code: str | None
    param: str | None
    upstream: UpstreamErrorObject | None


class WaitingForObject(msgspec.Struct):
    """Why a pending request waits."""

    reason: Reason
    until: float | None
    message: str


class AttemptObject(msgspec.Struct):
    """One try."""

    number: int
    upstream: str | None
    started_at: float
    ended_at: float
    outcome: str
    error: ErrorObject | None


class AttachmentObject(msgspec.Struct):
    """A file that a request has made."""

    name: str
    content_type: str
    size: int
    url: str
    """Where it can be fetched from without a key for a while."""


class RequestObject(msgspec.Struct, kw_only=True):
    """A deferred request. Times are Unix seconds."""

    id: str
    object: str = "request"
    status: str
    operation: str
    model: str
    queue: str
    service_tier: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    not_before: float | None
    deadline: float | None
    purge_at: float | None
    position: int | UnsetType | None = UNSET
    position_estimated: bool | UnsetType = UNSET
    eta_seconds: float | UnsetType | None = UNSET
    waiting_for: WaitingForObject | UnsetType | None = UNSET
    progress: float | None
    progress_message: str | None
    attempt: int
    max_attempts: int
    attempts: list[AttemptObject] | UnsetType = UNSET
    metadata: dict[str, str]
    webhook_url: str | None
    webhook_events: list[str]
    """Of which moments that address is told; none: of each end."""
    include_result: bool
    usage: Raw | None
    result: Raw | UnsetType | None = UNSET
    result_status: int | UnsetType | None = UNSET
    result_url: str | UnsetType | None = UNSET
    result_size: int | UnsetType | None = UNSET
    attachments: list[AttachmentObject] | UnsetType = UNSET
    error: ErrorObject | None


def view_json(view: View, base: str) -> bytes:
    """The whole request object; `base` is this server's URL, as this caller reaches it."""
    shown = _brief(view.request)
    place, reason, result = view.place, view.waiting_for, view.result
    shown.progress, shown.progress_message = view.progress, view.progress_message
    shown.position = place.ahead + 1 if place else None
    shown.position_estimated = place is not None and not place.exact
    shown.eta_seconds = None if place is None or place.eta is None else seconds(place.eta)
    shown.waiting_for = reason and WaitingForObject(reason.reason, _time(reason.until), reason.message)
    shown.attempts = [_attempt(attempt) for attempt in view.attempts]
    shown.result = result and _result(result)
    shown.result_status = result.status if result else None
    kept_elsewhere = result is not None and result.blob is not None
    shown.result_url = (view.link or f"/v1/requests/{view.request.id}/result") if kept_elsewhere else None
    shown.result_size = result and (len(result.body) if result.size is None else result.size)
    shown.attachments = [
        AttachmentObject(file.attachment.name, file.attachment.content_type, file.attachment.size, base + file.path)
        for file in view.files
    ]
    return _encode(shown)


def page_json(page: Page) -> bytes:
    """A list, its items without what would cost a read each."""
    shown = [_brief(request) for request in page.requests]
    return list_json(shown, page.has_more)


def list_json(items: Sequence[RequestObject], has_more: bool) -> bytes:
    first, last = (items[0].id, items[-1].id) if items else (None, None)
    return _encode({"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more})


def receipt_json(request: Request) -> bytes:
    """The request object for whoever may not read: what a ticket tells, under the object's names."""
    return _encode(
        {
            "id": request.id,
            "object": "request",
            "status": request.status,
            "created_at": seconds(request.created_at),
            "model": request.model,
        }
    )


def ticket_json(request: Request) -> bytes:
    """The body for a chat client that has no completion yet: no choices, and the id under both names it may have."""
    return _encode(
        {
            "id": request.id,
            "request_id": request.id,
            "object": "chat.completion",
            "status": request.status,
            "created": request.created_at // 1_000_000,
            "model": request.model,
            "choices": (),
        }
    )


def _brief(request: Request) -> RequestObject:
    pending = request.status is Status.PENDING
    return RequestObject(
        id=request.id,
        status=request.status.value,
        operation=request.operation,
        model=request.model,
        queue=request.queue,
        service_tier=request.priority.name.lower(),
        created_at=seconds(request.created_at),
        started_at=_time(request.started_at),
        ended_at=_time(request.ended_at),
        not_before=_time(request.due_at) if pending and request.attempt == 0 else None,
        deadline=_time(request.deadline),
        purge_at=_time(request.purge_at),
        progress=request.progress,
        progress_message=request.progress_message,
        attempt=request.attempt,
        max_attempts=request.max_attempts,
        metadata=dict(request.metadata),
        webhook_url=request.webhook_url,
        webhook_events=list(request.webhook_events),
        include_result=request.webhook_result,
        usage=None if request.usage is None else Raw(request.usage),
        error=error_object(request.error),
    )


def _attempt(attempt: Attempt) -> AttemptObject:
    return AttemptObject(
        attempt.number,
        attempt.upstream,
        seconds(attempt.started_at),
        seconds(attempt.ended_at),
        attempt.outcome,
        error_object(attempt.error),
    )


def error_object(error: RequestError | None) -> ErrorObject | None:
    """Why it did not succeed, as JSON has it."""
    if error is None:
        return None
    said = error.upstream
    upstream = None if said is None else UpstreamErrorObject(said.name, said.status, said.body)
    return ErrorObject(error.message, error.type, error.code, error.param, upstream)


def _result(result: Result) -> Raw | None:
    """Spliced in as it is; what is no JSON is at /result only."""
    return Raw(result.body) if is_json(result.content_type.encode()) and result.body else None


def _time(us: int | None) -> float | None:
    return None if us is None else seconds(us)
