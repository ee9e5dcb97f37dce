"""A remote job as it was last seen, however its server tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec


class Stage(Enum):
    """What is to be done about a job."""

    WAITING = auto()
    """It is under way, or in a state nobody has heard of: look again."""
    DONE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a server says of a job; what it leaves out is None."""

    id: str
    stage: Stage
    word: str | None = None
    """Its own word for where it stands, for people."""
    progress: float | None = None
    """Between 0 and 1."""
    poll_after: float | None = None
    """Seconds after which it wants to be asked again."""
    model: str | None = None
    seconds: float | None = None
    size: str | None = None
    usage: msgspec.Raw | None = None
    url: str | None = None
    """Where the video is, of servers that say so."""
    refused: str | None = None
    """Why the video is withheld though it was made."""
    body: bytes = b""
    """All that was said, for the error of a job that failed."""


def text(members: Mapping[str, Any], *names: str) -> str | None:
    """The first of these members that holds words."""
    return next((value for name in names if isinstance(value := members.get(name), str) and value), None)


def number(members: Mapping[str, Any], *names: str) -> float | None:
    """The first of these members that is a number, also one in a string."""
    for name in names:
        value = members.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except (ValueError, OverflowError):
                continue
    return None


def fraction(members: Mapping[str, Any]) -> float | None:
    """Its progress, which all servers tell in percent."""
    percent = number(members, "progress")
    return None if percent is None else min(max(percent / 100, 0.0), 1.0)


def usage(members: Mapping[str, Any]) -> msgspec.Raw | None:
    """Its usage as JSON, when it is an object."""
    value = members.get("usage")
    return msgspec.Raw(msgspec.json.encode(value)) if isinstance(value, dict) else None
