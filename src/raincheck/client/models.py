"""The records the server sends, in openai's manner: known fields typed, unknown ones kept, nothing refused."""

from typing import Any, Literal

from openai import BaseModel

Status = Literal["pending", "processing", "completed", "failed", "cancelled", "expired"]


class UpstreamError(BaseModel):
    """What the upstream itself answered, word for word."""

    name: str | None = None
    status: int | None = None
    body: object = None


class RequestError(BaseModel):
    """Why a request did not complete."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    upstream: UpstreamError | None = None


class WaitingFor(BaseModel):
    """Why a pending request is not being worked on: `position`, `rate_limited`, `tenant_limit`, `upstream_down`,
    `paused`, `scheduled`, `retry` or `not_served`; `until` in Unix seconds where it is known."""

    reason: str
    until: float | None = None
    message: str | None = None


class Attempt(BaseModel):
    number: int
    upstream: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None
    error: RequestError | None = None


class Attachment(BaseModel):
    """A file that a request made. `url` can be followed without a key until it expires; each read makes a new one."""

    name: str
    content_type: str | None = None
    size: int | None = None
    """In bytes."""
    url: str | None = None


class Request(BaseModel):
    """One call to be made later, as the server knows it. Times are Unix seconds.

    In lists `attempts`, `position`, `eta_seconds`, `waiting_for` and `result` are left out: `retrieve` has them.
    """

    id: str
    object: str = "request"
    status: Status = "pending"
    operation: str | None = None
    model: str | None = None
    queue: str | None = None
    service_tier: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    not_before: float | None = None
    deadline: float | None = None
    purge_at: float | None = None
    """When the stored result will be purged; None before the end."""
    position: int | None = None
    """1 is next. None unless pending."""
    position_estimated: bool | None = None
    eta_seconds: float | None = None
    waiting_for: WaitingFor | None = None
    progress: float | None = None
    progress_message: str | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    attempts: list[Attempt] | None = None
    metadata: dict[str, str] | None = None
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    include_result: bool | None = None
    usage: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    result_status: int | None = None
    result_url: str | None = None
    """Where a result is that is too large to be in the record: `client.requests.result` fetches it."""
    result_size: int | None = None
    """In bytes."""
    attachments: list[Attachment] | None = None
    """Files that it made; `client.requests.download` fetches them."""
    error: RequestError | None = None

    @property
    def ended(self) -> bool:
        return self.status not in ("pending", "processing")

    def __str__(self) -> str:
        return f"{self.id} {describe(self)}"


class RequestDeleted(BaseModel):
    id: str
    object: str = "request.deleted"
    deleted: bool = True


def describe(request: Request, *, share: bool = True) -> str:
    """A request's state in a few words: `pending, position 3, about 4 s, 2 requests are ahead`. Without `share`, for
    where a bar shows how far it is."""
    words: list[str] = [request.status]
    if request.status == "pending" and request.position is not None:
        words.append(f"position {'about ' if request.position_estimated else ''}{request.position}")
    if not request.ended:
        if request.progress and share:
            words.append(f"{request.progress:.0%}")
        if request.progress_message:
            words.append(request.progress_message)
        if request.eta_seconds is not None:
            words.append(f"about {request.eta_seconds:.0f} s left")
        if request.waiting_for and request.waiting_for.message:
            words.append(request.waiting_for.message)
    elif request.error and request.error.message:
        words.append(request.error.message)
    return ", ".join(words)
