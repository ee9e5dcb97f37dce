"""What a flow is made of: it yields a `Call`, a `Submit` or a `Pause`, is sent a `Reply` for each of the first two, and
returns its end."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Literal, TypeAlias, TypeVar, cast

from openai import APIError, Timeout

T = TypeVar("T")
Flow: TypeAlias = Generator["Step", "Reply | None", T]


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP exchange below the base URL. The driver never repeats it: that is for the flow to decide."""

    method: Literal["GET", "POST"]
    path: str
    timeout: float
    query: Mapping[str, str | float] = field(default_factory=dict[str, str | float])


@dataclass(frozen=True, slots=True)
class Submit:
    """One POST of work to do, in an exchange of its own; the driver never repeats this either."""

    path: str
    timeout: float | Timeout | None
    body: object
    headers: Mapping[str, str]
    query: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Step: TypeAlias = Call | Submit | Pause


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `error` is the openai client's own exception: for a status of 400 and more, and when there was
    no answer at all (status 0)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    error: APIError | None = None
    lost: bool = False
    """There was a connection and it broke: what was asked for may have been done."""

    @property
    def version(self) -> str | None:
        """The version of the Raincheck server that answered; None when it was something else."""
        return self.headers.get("raincheck-version")

    @property
    def transient(self) -> bool:
        """Whether the same question may well be answered later: restarts, overload, rate limits."""
        if self.headers.get("x-should-retry") == "false":
            return False
        return self.status in (0, 408, 425, 429) or self.status >= 500

    @property
    def retry_after(self) -> float:
        """Seconds the server asked us to stay away, 0 when it did not say. A date is measured against the server's own
        clock (its Date header), so that a wrong clock here does no harm."""
        value = self.headers.get("retry-after", "")
        try:
            return max(0.0, seconds) if isfinite(seconds := float(value)) else 0.0
        except ValueError:
            pass
        try:
            then, now = parsedate_to_datetime(value), parsedate_to_datetime(self.headers.get("date", ""))
            return max(0.0, (then - now).total_seconds())
        except (ValueError, TypeError):
            return 0.0

    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None when it is anything else, an empty body included."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None


class Stopped(Exception):
    """Thrown into a flow when whoever started it has no more use for its end."""


def send(call: Call | Submit) -> Flow[Reply]:
    reply = yield call
    if reply is None:
        raise TypeError("A driver answers every call.")
    return reply
