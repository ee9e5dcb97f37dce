"""A client's payload in, the Response object that tells of it out (OpenAI's API, `POST /responses`).

A payload in the record may have a member `raincheck`, an object with what the edge did itself and the Response still
tells of: `previous_response_id` (its input was put before this one's) and `service_tier` (it chose the line here).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import msgspec

from raincheck.core.clock import SECOND

T = TypeVar("T")
Json = dict[str, Any]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

EVENTS = "events.jsonl"
"""The file that an attempt at a streamed response leaves: its events, one a line."""
LARGE = 256 << 10
"""Bytes of JSON that take a millisecond or more to go through item by item."""

DEFAULTS: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What a Response tells of its request, and what it says where the request said nothing or null."""
ECHOED = frozenset({"prompt_cache_key", "safety_identifier", "user"})
"""What it tells of only when the request named it."""
ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
"""The codes of a Response's `error` that any client knows; what fits none is a `server_error`."""


def response_object(
    members: Mapping[str, Any],
    request_id: str,
    created_at: int,
    status: ResponseStatus,
    *,
    output: Sequence[Json] = (),
    error: Json | None = None,
    incomplete_details: Json | None = None,
    usage: Json | None = None,
    completed_at: int | None = None,
    background: bool = True,
) -> Json:
    """A whole Response: every key that clients need is there, filled from the payload's `members` (decoded, or still
    msgspec.Raw). Times are in microseconds. Without `background` it is that of a caller who waits, and not kept.
    """
    said = {name: value for name in _TOLD if (value := plain(members.get(name))) is not None}
    if isinstance(text := said.get("text"), dict):
        said["text"] = DEFAULTS["text"] | text
    if isinstance(reasoning := said.get("reasoning"), dict):
        said["reasoning"] = DEFAULTS["reasoning"] | reasoning
    return {
        "id": request_id,
        "object": "response",
        "created_at": created_at // SECOND,
        "status": status,
        "background": background,
        "completed_at": None if completed_at is None else completed_at // SECOND,
        "error": error,
        "incomplete_details": incomplete_details,
        "model": said.pop("model", ""),
        "output": list(output),
        **DEFAULTS,
        **said,
        **edge_members(members),
        # The record here is the store, whatever the upstream was told.
        "store": background,
        "usage": usage,
    }


def edge_members(members: Mapping[str, Any]) -> Json:
    """What the payload's `raincheck` says that the edge did, and the Response therefore tells of."""
    ours = plain(members.get("raincheck"))
    if not isinstance(ours, dict):
        return {}
    return {name: value for name, value in cast("Json", ours).items() if name in _BY_EDGE and isinstance(value, str)}


def error_object(code: str | None, message: str) -> Json:
    """A Response's `error`, by the code of a RequestError."""
    return {"code": _CODES.get(code or "", code if code in ERROR_CODES else "server_error"), "message": message}


async def aside(size: int, work: Callable[[], T]) -> T:
    """What `work` makes of so many bytes of JSON; when those are many, in a thread, so that nobody waits for it."""
    return await asyncio.to_thread(work) if size > LARGE else work()


def plain(value: Any) -> Any:
    """A value that may still be raw JSON, decoded."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


_TOLD = (*DEFAULTS, *ECHOED, "model")
_BY_EDGE = frozenset({"previous_response_id", "service_tier"})
_CODES = {
    "upstream_busy": "rate_limit_exceeded",
    "rate_limit_error": "rate_limit_exceeded",
    "invalid_request_error": "invalid_prompt",
    "not_translatable": "invalid_prompt",
}
