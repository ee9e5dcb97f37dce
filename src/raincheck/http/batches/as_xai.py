"""A batch in xAI's dialect: no status, but counts, and times as texts.

Its numbers are JSON numbers, which some clients insist on; a batch is done when `num_pending` is 0.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from raincheck.core.batches import Batch
from raincheck.intake.batches.xai_words import XaiState, cancelled_at, refusal, state_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class XaiCost(msgspec.Struct):
    """What it has cost, in 1e-10 USD, as far as upstreams told it."""

    total_cost_usd_ticks: int


class XaiBatchObject(msgspec.Struct, kw_only=True):
    """A batch as xAI has it: every member is always there."""

    batch_id: str
    name: str
    create_time: str
    expire_time: str
    expires_at: str
    """The same: clients disagree on what it is called."""
    cancel_time: str | None
    """Null until it applies: clients take any time for an end."""
    cancel_by_xai_message: str | None
    """Why it was ended by the server, as when its file was refused."""
    create_api_key_id: str
    input_file_id: str | None
    state: XaiState
    cost_breakdown: XaiCost


class XaiRequestObject(msgspec.Struct, kw_only=True):
    """One request of a batch, and where it stands."""

    batch_request_id: str
    endpoint: str
    model: str
    create_time: str
    finish_time: str | None
    state: str


def xai(batch: Batch) -> XaiBatchObject:
    return XaiBatchObject(
        batch_id=batch.id,
        name=batch.name or "",
        create_time=moment(batch.created_at),
        expire_time=moment(batch.expires_at),
        expires_at=moment(batch.expires_at),
        cancel_time=None if (cancelled := cancelled_at(batch)) is None else moment(cancelled),
        cancel_by_xai_message=refusal(batch),
        create_api_key_id="",
        input_file_id=batch.input_file_id,
        state=state_of(batch),
        cost_breakdown=XaiCost(batch.usage.cost_ticks),
    )


def moment(us: int) -> str:
    """A time as RFC 3339 has it, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def page(name: str, items: Sequence[object], token: str | None) -> dict[str, object]:
    """A list; the token is null at its end, where an empty one would have some clients ask for ever."""
    return {name: items, "pagination_token": token}
