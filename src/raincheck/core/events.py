"""Events: what the outbox says when a request ends, one per end (G6)."""

from dataclasses import dataclass

from raincheck.core.status import Status


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the outbox, written in the transaction that ended the request."""

    id: str
    tenant: str
    request_id: str
    type: str
    created_at: int
    webhook_url: str | None = None


def event_type(operation: str, status: Status) -> str:
    """The event's name: the operation and how it ended, as in `chat.completion.completed`."""
    return f"{operation}.{status}"
