"""The lifecycle of a request: one table, and the only place that knows it."""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a request stands. Public and internal words are the same."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True when the status can never change again (G2)."""
        return self not in MOVES


MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.PROCESSING, Status.CANCELLED, Status.EXPIRED}),
    # Back to pending by retry, release or lapse; or any end.
    Status.PROCESSING: frozenset(Status) - {Status.PROCESSING},
}
FINAL = frozenset(Status) - frozenset(MOVES)
