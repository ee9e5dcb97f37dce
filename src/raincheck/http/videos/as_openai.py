"""A video in OpenAI's dialect."""

import msgspec

from raincheck.core.clock import SECOND
from raincheck.core.model import Request
from raincheck.core.outcome import why_ended
from raincheck.core.status import Status
from raincheck.core.videos import VideoAsk, dimensions
from raincheck.intake.seen import Seen, completed_at, length_text, whole, words_of

STATUS = {
    Status.PENDING: "queued",
    Status.PROCESSING: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
    Status.EXPIRED: "failed",
}
"""OpenAI's clients take every word that they do not know for an end."""
_CODES = {Status.CANCELLED: "cancelled", Status.EXPIRED: "expired"}
"""Why a video is `failed` that did not fail."""


class OpenAIError(msgspec.Struct):
    """Why there is no video."""

    code: str
    message: str


class OpenAIVideo(msgspec.Struct, kw_only=True):
    """A video as OpenAI has it: every member is always there."""

    id: str
    object: str = "video"
    model: str
    status: str
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    size: str
    seconds: str
    remixed_from_video_id: str | None
    error: OpenAIError | None


def openai(seen: Seen) -> OpenAIVideo:
    request = seen.request
    return OpenAIVideo(
        id=request.id,
        model=request.model,
        status=STATUS[request.status],
        progress=seen.percent,
        created_at=request.created_at // SECOND,
        completed_at=completed_at(request),
        expires_at=whole(request.purge_at),
        prompt=seen.ask and seen.ask.prompt,
        # Both must be said, though nobody knows how large and how long an edit will be before it is there.
        size=seen.size or words_of(dimensions(seen.ask or VideoAsk(model=""))),
        seconds=length_text(seen.length) or "0",
        remixed_from_video_id=seen.ask and seen.ask.of,
        error=_openai_error(request),
    )


def _openai_error(request: Request) -> OpenAIError | None:
    told = why_ended(request.status, request.error)
    return told and OpenAIError(_CODES.get(request.status) or told.code or "failed", told.message)
