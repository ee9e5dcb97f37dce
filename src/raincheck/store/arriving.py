"""What both stores make of a new request: its record, when it may start, and why it is not taken."""

from raincheck.core.batches import NewBatch
from raincheck.core.errors import QuotaExceeded, RaincheckError
from raincheck.core.model import NewRequest, Request
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status


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


def refused(error: RaincheckError) -> RequestError:
    """A refusal as it is told of a row of a batch, which has nobody to be refused to."""
    return RequestError(error.message, error.kind, error.code)


def named_key(idempotency_key: str) -> str:
    """What a repetition is recognised by that its tenant has a name for."""
    return f"key:{idempotency_key}"
