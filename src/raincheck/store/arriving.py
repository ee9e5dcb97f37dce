"""What both stores make of a new request: its record, when it may start, and why it is not taken."""

from typing import NamedTuple

from raincheck.core.batches import NewBatch, NewPart
from raincheck.core.clock import SECOND
from raincheck.core.errors import QuotaExceeded, RaincheckError
from raincheck.core.model import RESENT_WITHIN, NewRequest, Request
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status

_NEVER = 10**12 - 1
"""A second that no clock shows, of as many digits as are written."""


def as_submitted(new: NewRequest, *, due_at: int | None) -> Request:
    """The record of a request that was just recorded."""
    return Request(
        id=new.id,
        tenant=new.tenant,
        queue=new.queue,
        operation=new.operation,
        path=new.path,
        model=new.model,
        status=Status.PENDING,
        priority=new.priority,
        attempt=0,
        max_attempts=new.max_attempts,
        created_at=new.created_at,
        due_at=due_at,
        deadline=new.deadline,
        metadata=new.metadata,
        webhook_url=new.webhook_url,
        webhook_events=new.webhook_events,
        webhook_result=new.webhook_result,
    )


def later(new: NewRequest, now: int) -> int | None:
    """When it may start; None for at once."""
    return new.not_before if new.not_before is not None and new.not_before > now else None


def over_quota(new: NewRequest, pending: int) -> QuotaExceeded | None:
    """The refusal when its tenant has as many pending requests as it may."""
    if new.max_pending is None or pending < new.max_pending:
        return None
    return QuotaExceeded(
        f"This tenant has {pending} pending requests and may have {new.max_pending}; "
        "wait for some to end, or cancel some.",
        retry_after=5,
    )


def seen_key(new: NewRequest | NewBatch) -> str:
    """What a repetition is recognised by: what the tenant calls it, or what it says."""
    return (
        named_key(new.idempotency_key) if new.idempotency_key is not None else f"body:{(new.fingerprint or b'').hex()}"
    )


class PartKey(NamedTuple):
    """What lines that are added to a batch are recognised by."""

    own: str
    """To be recorded with them."""
    least: str
    most: str
    """What they repeat was recorded with a key from `least` to `most`."""

    def fresh(self, before: str | None) -> str | None:
        """What to record with lines that are added though `before`, the latest such key, is there already."""
        return self.own if before is None or before < self.own else None


def part_key(part: NewPart, now: int) -> PartKey | None:
    """The user's own, which has no space in it; or what the call says and when that was, since it says so for a while
    only."""
    if part.idempotency_key is not None:
        return PartKey(part.idempotency_key, part.idempotency_key, part.idempotency_key)
    if part.fingerprint is None:
        return None
    said = part.fingerprint.hex()
    since = max(0, now - RESENT_WITHIN) // SECOND
    return PartKey(*(f"body {said} {second:012}" for second in (now // SECOND, since, _NEVER)))


def repeats(part: NewPart) -> bool:
    """Whether there is nothing to do when lines with such a key are there already. A client that says the same
    twice on purpose means both."""
    return part.idempotency_key is not None or part.is_retry


def refused(error: RaincheckError) -> RequestError:
    """A refusal as it is told of a row of a batch, which has nobody to be refused to."""
    return RequestError(error.message, error.kind, error.code)


def named_key(idempotency_key: str) -> str:
    """What a repetition is recognised by that its tenant has a name for."""
    return f"key:{idempotency_key}"
