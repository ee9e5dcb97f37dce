"""An event, typed: what has happened, to what, and the body it was told in."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import msgspec.structs

from raincheck.webhooks.errors import BadPayload


class EventError(msgspec.Struct, frozen=True, kw_only=True):
    """Why something did not complete."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What the event is about. What does not apply to it is None; `raw` has all members, those without a name here
    too."""

    id: str = ""
    """Of the request, video, response, batch or endpoint."""
    status: str | None = None
    operation: str | None = None
    model: str | None = None
    metadata: dict[str, Any] | None = None
    error: EventError | None = None
    usage: dict[str, Any] | None = None
    progress: float | None = None
    """From 0 to 1."""
    progress_message: str | None = None
    result: Any = None
    """The JSON that the upstream answered, where `include_result` was asked for."""
    result_omitted: str | None = None
    """Why it is not there although it was asked for: `too_large`, `not_json`, `gone` or `unavailable`. It is had with
    `client.requests.result(event.data.id)`."""
    request_counts: dict[str, int] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    url: str | None = None
    """Of the endpoint that was disabled."""
    reason: str | None = None
    """Why it was."""
    raw: dict[str, Any] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. The same event may arrive more than once, under the same `id`."""

    id: str
    """The `webhook-id`: what to remember so as not to handle it twice."""
    type: str
    """As in `video.completed`."""
    created_at: float
    """When it happened, in Unix seconds."""
    data: EventData
    attempt: int | None = None
    """Which try of the sender this was, from 1; None where it does not say."""
    raw: dict[str, Any] = {}
    """The whole body."""

    @property
    def status(self) -> str:
        """In which state it now is, in the words of the API it was submitted by; else what the type says."""
        return self.data.status or self.moment

    @property
    def moment(self) -> str:
        """The last word of the type: `completed`, `failed`, `progress`, …"""
        return self.type.rpartition(".")[2]

    @property
    def is_final(self) -> bool:
        """Whether this tells of the end of a piece of work."""
        return self.moment in _ENDS

    @property
    def time(self) -> datetime:
        """When it happened."""
        return datetime.fromtimestamp(self.created_at, UTC)


def read(body: bytes, webhook_id: str, sent_at: int, attempt: str | None) -> Event:
    """The event in an authentic body; `sent_at` stands in where it does not say when it happened. Raises BadPayload."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload(f"The webhook is authentic, but its body is no JSON that can be read: {error}") from None
    whole = _members(raw)
    kind, data = whole.get("type"), _members(whole.get("data"))
    if not isinstance(kind, str):
        raise BadPayload("The webhook is authentic, but its body is no event: an object with `type` and `data`.")
    told, created_at = whole.get("created_at"), float(sent_at)
    if isinstance(told, int | float) and 0 <= told < _END_OF_TIME:
        created_at = float(told)
    number = int(attempt) if attempt and attempt.isdecimal() and len(attempt) < 9 else None
    return Event(id=webhook_id, type=kind, created_at=created_at, data=_data(data), attempt=number, raw=whole)


def _data(members: dict[str, Any]) -> EventData:
    """What is not of the type that is known here is left to `raw`: no authentic event is refused for a member."""
    try:
        return msgspec.convert({**members, "raw": members}, EventData)
    except msgspec.ValidationError:
        return EventData(**dict(_fitting(members)), raw=members)


def _fitting(members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for each in msgspec.structs.fields(EventData):
        if each.name in members and each.name != "raw":
            with suppress(msgspec.ValidationError):
                yield each.name, msgspec.convert(members[each.name], each.type)


def _members(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


_END_OF_TIME = 253_402_300_800
"""The year 10000, of which `datetime` knows nothing."""
_ENDS = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})
