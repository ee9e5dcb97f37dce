"""A video in the native dialect."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from raincheck.core.clock import SECOND, seconds
from raincheck.core.model import Request
from raincheck.core.videos import SPRITESHEET, THUMBNAIL
from raincheck.http.render import ErrorObject, WaitingForObject, error_object
from raincheck.intake.seen import Answer, Seen, completed_at, length_text, whole


class VideoFileObject(msgspec.Struct, kw_only=True):
    """A finished file. The links work without a key until they expire; each read makes new ones."""

    url: str
    content_type: str
    duration: float | None
    """Seconds."""
    width: int | None
    height: int | None
    bytes: int
    thumbnail_url: str | None
    spritesheet_url: str | None


class VideoObject(msgspec.Struct, kw_only=True):
    """A deferred video. It has all that OpenAI's object has, under its own statuses."""

    id: str
    request_id: str
    object: str = "video"
    operation: str
    status: str
    model: str
    created: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    progress: int
    progress_message: str | None
    prompt: str | None
    seconds: str | None
    size: str | None
    seed: int | None
    """What its chance began with, where its upstream says it: asked for again, it makes the same video."""
    remixed_from_video_id: str | None
    service_tier: str
    metadata: dict[str, str]
    webhook_url: str | None
    webhook_events: list[str]
    include_result: bool
    position: int | UnsetType | None = UNSET
    position_estimated: bool | UnsetType = UNSET
    eta_seconds: float | UnsetType | None = UNSET
    waiting_for: WaitingForObject | UnsetType | None = UNSET
    data: list[VideoFileObject] | UnsetType = UNSET
    usage: Raw | None
    error: ErrorObject | None


def ticket_of(request: Request) -> dict[str, object]:
    """What a submit is answered with: enough to come back by."""
    return {
        "id": request.id,
        "request_id": request.id,
        "object": "video",
        "status": request.status,
        "created": request.created_at // SECOND,
        "created_at": request.created_at // SECOND,
        "model": request.model,
        "progress": 0,
    }


def native(seen: Seen) -> VideoObject:
    """Of an item in a list, its place in line is left out: that would cost a read each."""
    request, view = seen.request, seen.view
    place, reason = view.place, view.waiting_for
    shown = VideoObject(
        id=request.id,
        request_id=request.id,
        operation=request.operation,
        status=request.status.value,
        model=request.model,
        created=request.created_at // SECOND,
        created_at=request.created_at // SECOND,
        completed_at=completed_at(request),
        expires_at=whole(request.purge_at),
        progress=seen.percent,
        progress_message=view.progress_message,
        prompt=seen.ask and seen.ask.prompt,
        seconds=length_text(seen.length),
        size=seen.size,
        seed=seen.answer.seed,
        remixed_from_video_id=seen.ask and seen.ask.of,
        service_tier=request.priority.name.lower(),
        metadata=dict(request.metadata),
        webhook_url=request.webhook_url,
        webhook_events=list(request.webhook_events),
        include_result=request.webhook_result,
        usage=None if request.usage is None else Raw(request.usage),
        error=error_object(request.error),
    )
    if place is not None:
        shown.position, shown.position_estimated = place.ahead + 1, not place.exact
        shown.eta_seconds = None if place.eta is None else seconds(place.eta)
    if reason is not None:
        until = None if reason.until is None else seconds(reason.until)
        shown.waiting_for = WaitingForObject(reason.reason, until, reason.message)
    if view.result is not None or request.purged:
        shown.data = _data(seen)
    return shown


def _data(seen: Seen) -> list[VideoFileObject]:
    """The files; the length and the size are those of the first, which the answer speaks of."""
    made: list[VideoFileObject] = []
    for number, file in enumerate(seen.videos):
        answer = Answer() if number else seen.answer
        made.append(
            VideoFileObject(
                url=seen.url(file) or "",
                content_type=file.attachment.content_type,
                duration=answer.seconds,
                width=answer.width,
                height=answer.height,
                bytes=file.attachment.size,
                thumbnail_url=None if number else seen.url(seen.file(THUMBNAIL)),
                spritesheet_url=None if number else seen.url(seen.file(SPRITESHEET)),
            )
        )
    return made
