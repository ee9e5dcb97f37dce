"""Whose response it is: makes the Response object, and puts our id and times into an upstream's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from raincheck.core import clock
from raincheck.core.responses import Json, ResponseStatus, edge_members, response_object


@dataclass(frozen=True, slots=True)
class Frame:
    """What every Response object of one attempt has in common."""

    members: Mapping[str, msgspec.Raw]
    """The client's payload."""
    id: str
    created_at: int
    background: bool
    """False for a caller that waits: nothing of it is kept here."""

    def response(self, status: ResponseStatus, **parts: Any) -> Json:
        """As `response_object`."""
        at = clock.now() if status == "completed" else None
        return response_object(
            self.members, self.id, self.created_at, status, completed_at=at, background=self.background, **parts
        )

    def theirs(self, response: Json) -> Json:
        """An upstream's object under our id; what it left out is filled in."""
        status: ResponseStatus = response.get("status") or "in_progress"
        said = {name: value for name, value in response.items() if value is not None}
        if isinstance(said.get("usage"), dict):
            said["usage"] = _filled(cast("Json", said["usage"]))
        ours = {"id": self.id, "background": self.background, "store": self.background}
        made = self.response(status)
        return made | said | ours | edge_members(self.members) | {"created_at": made["created_at"]}


def usage_of(chat: Any) -> Json | None:
    """A chat completion's usage as a response has it; None when it has none."""
    if not isinstance(chat, dict):
        return None
    chat = cast("Json", chat)
    prompt, completion = _count(chat, "prompt_tokens"), _count(chat, "completion_tokens")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": _count(chat.get("prompt_tokens_details"), "cached_tokens"),
            "cache_write_tokens": 0,
        },
        "output_tokens": completion,
        "output_tokens_details": {
            "reasoning_tokens": _count(chat.get("completion_tokens_details"), "reasoning_tokens")
        },
        "total_tokens": _count(chat, "total_tokens") or prompt + completion,
    }


def _filled(usage: Json) -> Json:
    """Typed clients want the details, and some servers count none."""
    zeros = usage_of({}) or {}
    for name in ("input_tokens_details", "output_tokens_details"):
        usage = usage | {name: zeros[name] | (usage.get(name) or {})}
    return zeros | usage


def _count(holder: Any, name: str) -> int:
    number = cast("Json", holder).get(name) if isinstance(holder, dict) else None
    return number if isinstance(number, int) and number > 0 else 0
