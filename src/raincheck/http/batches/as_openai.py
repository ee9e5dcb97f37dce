"""A batch in OpenAI's dialect."""

import msgspec

from raincheck.core.batches import Batch, BatchStatus, LineError
from raincheck.core.clock import SECOND

_CANCELLING = "cancelling"


class LineErrorObject(msgspec.Struct):
    """What is wrong with a line of the input file."""

    code: str
    message: str
    param: str | None
    line: int | None


class LineErrorsObject(msgspec.Struct):
    """The first of what is wrong."""

    object: str
    data: list[LineErrorObject]


class CountsObject(msgspec.Struct):
    """How many lines there are, and what became of them; `total` is the sum of the others when all have ended."""

    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int


class CachedObject(msgspec.Struct):
    """Of the tokens in, those that an upstream had at hand."""

    cached_tokens: int


class ReasoningObject(msgspec.Struct):
    """Of the tokens out, those that were thought."""

    reasoning_tokens: int


class UsageObject(msgspec.Struct):
    """Tokens of all lines that were answered, as far as upstreams told them."""

    input_tokens: int
    input_tokens_details: CachedObject
    output_tokens: int
    output_tokens_details: ReasoningObject
    total_tokens: int


class OursObject(msgspec.Struct):
    """What is told beside OpenAI's members."""

    fed: int
    """Lines that have become requests; the others wait in the file."""
    pending: int
    """Lines that have not ended."""
    priority: str
    """What its lines wait with; it rises as the window closes."""
    cost_in_usd_ticks: int
    """In 1e-10 USD, as far as upstreams told it."""
    webhook_url: str | None
    webhook_events: list[str]
    """Of which ends that address is told; none: of each."""


class BatchObject(msgspec.Struct, kw_only=True):
    """A batch as OpenAI has it: every member is always there."""

    id: str
    object: str = "batch"
    endpoint: str | None
    model: str | None
    errors: LineErrorsObject | None
    input_file_id: str | None
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: CountsObject
    usage: UsageObject
    metadata: dict[str, str]
    raincheck: OursObject


def openai(batch: Batch) -> BatchObject:
    counts, ended = batch.counts, _ended(batch)
    cancelling = batch.cancelling or batch.status is BatchStatus.CANCELLED
    finalizing_at = _seconds(batch.finalizing_at)
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=_errors(batch.errors),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=_CANCELLING if batch.cancelling else batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at // SECOND,
        in_progress_at=_seconds(batch.in_progress_at),
        expires_at=batch.expires_at // SECOND,
        finalizing_at=None if cancelling else finalizing_at,
        completed_at=ended.get(BatchStatus.COMPLETED),
        failed_at=ended.get(BatchStatus.FAILED),
        expired_at=ended.get(BatchStatus.EXPIRED),
        cancelling_at=finalizing_at if cancelling else None,
        cancelled_at=ended.get(BatchStatus.CANCELLED),
        request_counts=CountsObject(counts.total, counts.completed, counts.failed, counts.cancelled, counts.expired),
        usage=_usage(batch),
        metadata=dict(batch.metadata),
        raincheck=OursObject(
            fed=counts.fed,
            pending=counts.pending,
            priority=batch.priority.name.lower(),
            cost_in_usd_ticks=batch.usage.cost_ticks,
            webhook_url=batch.webhook_url,
            webhook_events=list(batch.webhook_events),
        ),
    )


def _ended(batch: Batch) -> dict[BatchStatus, int]:
    return {} if batch.ended_at is None else {batch.status: batch.ended_at // SECOND}


def _errors(errors: tuple[LineError, ...]) -> LineErrorsObject | None:
    if not errors:
        return None
    return LineErrorsObject(
        "list", [LineErrorObject(each.code, each.message, each.param, each.line) for each in errors]
    )


def _usage(batch: Batch) -> UsageObject:
    usage = batch.usage
    return UsageObject(
        usage.input_tokens,
        CachedObject(usage.cached_tokens),
        usage.output_tokens,
        ReasoningObject(usage.reasoning_tokens),
        usage.total_tokens,
    )


def _seconds(us: int | None) -> int | None:
    return None if us is None else us // SECOND
