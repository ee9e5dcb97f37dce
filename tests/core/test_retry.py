"""What an answer means for the request: a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.core.clock import SECOND
from raincheck.core.model import Fence, Lease
from raincheck.core.outcome import (
    Ended,
    Failure,
    FailureKind,
    Outcome,
    Pause,
    Released,
    Reply,
    RequestError,
    Retry,
    Succeeded,
)
from raincheck.core.retry import RetryPolicy, decide, expired
from raincheck.core.status import Status

NOW = 1_000 * SECOND
ERROR = RequestError("no", code="c")
POLICY = RetryPolicy(base=SECOND, longest=60 * SECOND)


def a_lease(attempt: int = 1, max_attempts: int = 5, deadline: int | None = None, misses: int = 0) -> Lease:
    return Lease(
        fence=Fence("req_1", 1),
        tenant="t",
        queue="q",
        upstream="u",
        operation="chat.completion",
        path="/chat/completions",
        model="q",
        payload=b"{}",
        attempt=attempt,
        max_attempts=max_attempts,
        misses=misses,
        created_at=NOW,
        claimed_at=NOW,
        lapses_at=NOW + 60 * SECOND,
        deadline=deadline,
    )


def decided(lease: Lease, kind: FailureKind, retry_after: int | None = None, jitter: float = 0.5) -> Outcome:
    return decide(lease, Failure(kind, ERROR, retry_after), POLICY, now=NOW, jitter=lambda: jitter)


def test_a_reply_is_a_success() -> None:
    reply = Reply(b"{}")
    assert decide(a_lease(), reply, POLICY, now=NOW, jitter=lambda: 0.0) == Succeeded(reply)


@pytest.mark.parametrize(
    ("lease", "kind", "retry_after", "outcome"),
    [
        (a_lease(), FailureKind.REJECTED, None, Ended(Status.FAILED, ERROR)),
        (a_lease(), FailureKind.TRANSIENT, None, Retry(ERROR, NOW + SECOND // 2)),
        (a_lease(attempt=3), FailureKind.TRANSIENT, None, Retry(ERROR, NOW + 2 * SECOND)),
        (a_lease(attempt=90, max_attempts=99), FailureKind.TRANSIENT, None, Retry(ERROR, NOW + 30 * SECOND)),
        (a_lease(attempt=5), FailureKind.TRANSIENT, None, Ended(Status.FAILED, ERROR)),
        (
            a_lease(),
            FailureKind.TRANSIENT,
            9 * SECOND,
            Retry(ERROR, NOW + 9 * SECOND + SECOND // 2, Pause(NOW + 9 * SECOND, 0)),
        ),
        (a_lease(deadline=NOW + SECOND // 2), FailureKind.TRANSIENT, None, expired(ERROR)),
        (a_lease(attempt=5), FailureKind.BUSY, None, Released(ERROR, pause=Pause(NOW + SECOND // 2, 1))),
        (a_lease(), FailureKind.BUSY, 7 * SECOND, Released(ERROR, pause=Pause(NOW + 7 * SECOND + SECOND // 2, 1))),
        (a_lease(misses=3), FailureKind.BUSY, None, Released(ERROR, pause=Pause(NOW + 4 * SECOND, 4))),
        (a_lease(deadline=NOW + 5 * SECOND), FailureKind.BUSY, 7 * SECOND, expired(ERROR)),
        (a_lease(attempt=5), FailureKind.UNREACHABLE, None, Released(ERROR)),
        (a_lease(deadline=NOW), FailureKind.UNREACHABLE, None, expired(ERROR)),
    ],
)
def test_each_failure_has_its_outcome(
    lease: Lease, kind: FailureKind, retry_after: int | None, outcome: Outcome
) -> None:
    assert decided(lease, kind, retry_after) == outcome


def test_an_expired_request_says_what_the_last_attempt_said() -> None:
    plain, after = expired(None), expired(ERROR)
    assert plain.error.code == after.error.code == "deadline_exceeded"
    assert "no" in after.error.message


@given(
    attempt=st.integers(1, 99),
    retry_after=st.none() | st.integers(0, 3600 * SECOND),
    jitter=st.floats(0, 1, exclude_max=True),
    left=st.none() | st.integers(0, 7200 * SECOND),
    kind=st.sampled_from([FailureKind.TRANSIENT, FailureKind.BUSY]),
)
def test_waits_keep_their_bounds(
    attempt: int, retry_after: int | None, jitter: float, left: int | None, kind: FailureKind
) -> None:
    """G10: Retry-After is a floor, the deadline is never overrun."""
    deadline = None if left is None else NOW + left
    match decided(a_lease(attempt, 100, deadline), kind, retry_after, jitter):
        case Retry(_, due_at) | Released(_, _, Pause(due_at)):
            assert NOW + (retry_after or 0) <= due_at <= NOW + (retry_after or 0) + POLICY.longest
            assert deadline is None or due_at < deadline
        case outcome:
            assert isinstance(outcome, Ended)
            assert outcome.status is Status.EXPIRED
            assert deadline is not None
