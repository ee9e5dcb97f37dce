"""What an upstream's answer says about the upstream."""

import pytest

from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError, UpstreamError
from raincheck.dispatch.readings import congested, tokens
from raincheck.upstream.openai import failures


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        (b'{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}', 9),
        (b'{"prompt_tokens": 3, "completion_tokens": 4}', 7),
        (b'{"input_tokens": 5, "output_tokens": 1}', 6),
        (b'{"prompt_tokens": 3}', 3),
        (b'{"total_tokens": null, "input_tokens": 2}', 2),
        (b'{"total_tokens": -4}', None),
        (b'{"total_tokens": "many"}', None),
        (b'{"images": 1}', None),
        (b"[]", None),
        (b"{", None),
        (None, None),
    ],
)
def test_tokens_are_read_in_whatever_shape_they_come(usage: bytes | None, used: int | None) -> None:
    assert tokens(Reply(b"{}", usage=usage)) == used


def test_a_failure_and_no_answer_used_nothing_that_is_known() -> None:
    assert tokens(None) is None
    assert tokens(Failure(FailureKind.BUSY, RequestError("busy"))) is None


@pytest.mark.parametrize(
    ("answer", "is_congested"),
    [
        (failures.answered("up", 429, {}, b"slow down", now=0), True),
        (failures.answered("up", 503, {}, b"overloaded", now=0), True),
        (failures.answered("up", 529, {}, b"overloaded", now=0), True),
        (failures.broke("up", TimeoutError()), True),
        (failures.streamed("up", b'{"error": {"message": "slow down", "type": "rate_limit_error"}}'), True),
        (failures.answered("up", 503, {}, b"loading the model", now=0), False),
        (failures.answered("up", 500, {}, b"oops", now=0), False),
        (failures.answered("up", 400, {}, b"bad", now=0), False),
        (failures.broke("up", ConnectionResetError()), False),
        (Failure(FailureKind.REJECTED, RequestError("no", upstream=UpstreamError("up", 429))), False),
        (Reply(b"{}"), False),
        (None, False),
    ],
)
def test_an_upstream_that_has_too_much_is_told_from_one_that_is_broken(
    answer: Reply | Failure | None, is_congested: bool
) -> None:
    assert congested(answer) is is_congested
