"""A video in xAI's dialect: `pending`, `done`, `failed` or `expired`, and no `video` before it is there."""

from typing import Any

from msgspec import Raw

from raincheck.intake.seen import Seen
from raincheck.intake.seen_by_xai import State, film_of, state_of, why_failed


def xai(seen: Seen) -> dict[str, Any]:
    """What a status read tells."""
    request, state = seen.request, state_of(seen)
    told: dict[str, Any] = {"status": state, "progress": seen.percent, "model": request.model}
    if state is State.FAILED:
        return {**told, "error": why_failed(request)}
    if state is not State.DONE or (film := film_of(seen)) is None:
        return told
    return {**told, "video": film} | ({} if request.usage is None else {"usage": Raw(request.usage)})
