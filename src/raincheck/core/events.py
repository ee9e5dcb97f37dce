"""Events: what the outbox says when a request or a batch ends, one per end (G6)."""

from dataclasses import dataclass

from raincheck.core.batches import BatchStatus
from raincheck.core.status import Status


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the outbox, written in the transaction that ended what it speaks of."""

    id: str
    tenant: str
    type: str
    created_at: int
    webhook_url: str | None = None
    request_id: str | None = None
    batch_id: str | None = None
    """What has ended: exactly one of these two is set."""


def event_type(what: str, status: Status | BatchStatus) -> str:
    """The event's name: the operation, or `batch`, and how it ended, as in `chat.completion.completed`."""
    return f"{what}.{status}"
