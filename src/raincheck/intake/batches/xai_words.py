"""Takes a batch, hands on what xAI's dialect has for where it stands: it knows no status, but counts, and an end that
is told by when and why. Both edges say it in these words."""

import msgspec

from raincheck.core.batches import Batch, BatchStatus


class XaiState(msgspec.Struct):
    """How many requests there are, and where they stand; a batch is done when `num_pending` is 0."""

    num_requests: int
    num_pending: int
    num_success: int
    num_error: int
    num_cancelled: int


def state_of(batch: Batch) -> XaiState:
    """What expired is an error: there is no word for it. A file that is still being read has a request at least, or it
    will be refused; clients would take 0 of 0 for the end."""
    counts = batch.counts
    unread = batch.status is BatchStatus.VALIDATING
    return XaiState(
        num_requests=max(counts.total, 1) if unread else counts.total,
        num_pending=max(counts.pending, 1) if unread else counts.pending,
        num_success=counts.completed,
        num_error=counts.failed + counts.expired,
        num_cancelled=counts.cancelled,
    )


def cancelled_at(batch: Batch) -> int | None:
    """When it was ended before its time; None until that applies: clients take any time for an end."""
    if batch.status is BatchStatus.FAILED:
        return batch.ended_at
    ended_by_caller = batch.cancelling or batch.status is BatchStatus.CANCELLED
    return (batch.finalizing_at or batch.ended_at) if ended_by_caller else None


def refusal(batch: Batch) -> str | None:
    """Why it was ended by the server, as when its file was refused."""
    if batch.status is not BatchStatus.FAILED:
        return None
    told = [each.message if each.line is None else f"line {each.line}: {each.message}" for each in batch.errors[:5]]
    more = "" if len(batch.errors) <= len(told) else f" … ({len(batch.errors)} errors)"
    return f"JSONL file validation failed: {' '.join(told)}{more}"
