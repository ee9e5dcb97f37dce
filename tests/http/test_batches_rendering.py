"""How a batch's record is told in each dialect, where that is more than copying."""

from typing import Any

import pytest

from raincheck.core.batches import Batch, BatchDialect, BatchStatus, Counts, LineError, Usage
from raincheck.core.clock import HOUR, SECOND
from raincheck.core.model import Priority
from raincheck.http.batches.as_openai import openai
from raincheck.http.batches.as_xai import moment, xai

NOW = 1_790_000_000 * SECOND


def a_batch(**changes: Any) -> Batch:
    told: dict[str, Any] = {
        "id": "b",
        "tenant": "t",
        "dialect": BatchDialect.XAI,
        "name": "n",
        "endpoint": None,
        "model": None,
        "status": BatchStatus.IN_PROGRESS,
        "ends_as": None,
        "completion_window": "24h",
        "metadata": {},
        "webhook_url": None,
        "webhook_events": (),
        "input_file_id": None,
        "output_file_id": None,
        "error_file_id": None,
        "output_expires_after": None,
        "errors": (),
        "counts": Counts(total=10, fed=8, completed=3, failed=2, cancelled=1, expired=1),
        "usage": Usage(),
        "priority": Priority.BATCH,
        "created_at": NOW,
        "in_progress_at": NOW + SECOND,
        "finalizing_at": None,
        "ended_at": None,
        "expires_at": NOW + 24 * HOUR,
    }
    return Batch(**(told | changes))


def test_what_expired_is_an_error_in_xai_s_counts_and_all_of_them_add_up() -> None:
    state = xai(a_batch()).state

    assert (state.num_requests, state.num_pending, state.num_success, state.num_error, state.num_cancelled) == (
        10,
        3,
        3,
        3,
        1,
    )


def test_a_file_that_is_still_read_is_never_0_of_0_for_xai_s_pollers() -> None:
    state = xai(a_batch(status=BatchStatus.VALIDATING, counts=Counts(), input_file_id="file_1")).state

    assert (state.num_requests, state.num_pending) == (1, 1)


def test_xai_s_cancel_time_is_null_until_someone_cancels() -> None:
    expired = a_batch(status=BatchStatus.EXPIRED, finalizing_at=NOW + HOUR, ended_at=NOW + HOUR)
    cancelling = a_batch(status=BatchStatus.FINALIZING, ends_as=BatchStatus.CANCELLED, finalizing_at=NOW + HOUR)

    assert xai(a_batch()).cancel_time is None
    assert xai(expired).cancel_time is None
    assert xai(cancelling).cancel_time == moment(NOW + HOUR) == "2026-09-21T15:13:20.000000Z"


def test_a_refused_file_is_told_with_its_first_lines() -> None:
    errors = tuple(LineError("invalid_json_line", "It is broken.", line) for line in range(1, 8))
    told = xai(a_batch(status=BatchStatus.FAILED, errors=errors, ended_at=NOW, counts=Counts()))

    assert told.cancel_by_xai_message is not None
    assert told.cancel_by_xai_message.startswith("JSONL file validation failed: line 1: It is broken. line 2:")
    assert told.cancel_by_xai_message.endswith("(7 errors)")


@pytest.mark.parametrize(
    ("changes", "status", "member"),
    [
        ({"ended_at": NOW, "status": BatchStatus.COMPLETED}, "completed", "completed_at"),
        ({"ended_at": NOW, "status": BatchStatus.FAILED}, "failed", "failed_at"),
        ({"ended_at": NOW, "status": BatchStatus.EXPIRED}, "expired", "expired_at"),
        ({"ended_at": NOW, "status": BatchStatus.CANCELLED}, "cancelled", "cancelled_at"),
        (
            {"finalizing_at": NOW, "status": BatchStatus.FINALIZING, "ends_as": BatchStatus.CANCELLED},
            "cancelling",
            "cancelling_at",
        ),
        (
            {"finalizing_at": NOW, "status": BatchStatus.FINALIZING, "ends_as": BatchStatus.EXPIRED},
            "finalizing",
            "finalizing_at",
        ),
    ],
)
def test_openai_s_times_are_those_of_what_has_happened(changes: dict[str, Any], status: str, member: str) -> None:
    told = openai(a_batch(**changes))
    times = ("completed_at", "failed_at", "expired_at", "cancelled_at", "cancelling_at", "finalizing_at")

    assert told.status == status
    assert {name: getattr(told, name) for name in times if getattr(told, name) is not None} == {member: NOW // SECOND}
