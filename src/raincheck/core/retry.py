"""The policy of trying again: one pure function from what an upstream answered to what becomes of the request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from raincheck.core.clock import SECOND
from raincheck.core.model import Lease
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
from raincheck.core.status import Status

LAPSED = RequestError("The worker was not heard of for a whole lease; it may have crashed.", code="lease_lapsed")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait between tries, in microseconds."""

    base: int = SECOND
    longest: int = 60 * SECOND


def decide(
    lease: Lease, answer: Reply | Failure, policy: RetryPolicy, *, now: int, jitter: Callable[[], float]
) -> Outcome:
    """What an answer means for the request.

    `jitter` gives a number in [0, 1): waits are drawn evenly from zero to a doubling ceiling ("full jitter"), and an
    upstream's Retry-After is a floor under them. A retry that could only start after the deadline is not made: the
    request expires with its last error inside.
    """
    if isinstance(answer, Reply):
        return Succeeded(answer)
    match answer.kind:
        case FailureKind.REJECTED:
            return Ended(Status.FAILED, answer.error)
        case FailureKind.TRANSIENT:
            if lease.attempt >= lease.max_attempts:
                return Ended(Status.FAILED, answer.error)
            due_at = now + _wait(answer, lease.attempt, policy, jitter)
            pause = Pause(now + answer.retry_after, lease.misses) if answer.retry_after else None
            return _unless_late(lease, Retry(answer.error, due_at, pause), due_at)
        case FailureKind.BUSY:
            # Nothing was done, so nothing is counted; and whoever is next would be told the same, so all wait.
            misses = lease.misses + 1
            due_at = now + _wait(answer, misses, policy, jitter)
            return _unless_late(lease, Released(answer.error, pause=Pause(due_at, misses)), due_at)
        case FailureKind.UNREACHABLE:
            # The upstream's health keeps the next claim away from it; another upstream may take this one at once.
            return _unless_late(lease, Released(answer.error), now)
        case _:
            assert_never(answer.kind)


def expired(error: RequestError | None) -> Ended:
    """The end of a request whose deadline has passed, with the last error as the reason when there was one."""
    if error is None:
        message = "The deadline passed before the request could be completed."
        return Ended(Status.EXPIRED, RequestError(message, "invalid_request_error", "deadline_exceeded"))
    message = f"The deadline passed before another attempt could be made; the last one said: {error.message}"
    return Ended(Status.EXPIRED, RequestError(message, error.type, "deadline_exceeded", error.param, error.upstream))


def _wait(answer: Failure, time: int, policy: RetryPolicy, jitter: Callable[[], float]) -> int:
    """The wait after the `time`-th failure, counted from 1."""
    ceiling = min(policy.longest, policy.base * 2 ** min(time - 1, 30))
    return max(answer.retry_after or 0, 0) + int(ceiling * jitter())


def _unless_late(lease: Lease, outcome: Retry | Released, due_at: int) -> Outcome:
    if lease.deadline is not None and due_at >= lease.deadline:
        return expired(outcome.error if isinstance(outcome, Retry) else outcome.reason)
    return outcome
