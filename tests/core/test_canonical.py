"""Which of gRPC's codes a recorded failure has."""

import pytest

from raincheck.core.canonical import Canonical, canonical_of
from raincheck.core.outcome import RequestError, UpstreamError


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Canonical.INVALID_ARGUMENT),
        (404, Canonical.NOT_FOUND),
        (422, Canonical.INVALID_ARGUMENT),
        (429, Canonical.RESOURCE_EXHAUSTED),
        (401, Canonical.INTERNAL),
        (500, Canonical.INTERNAL),
        (503, Canonical.INTERNAL),
        (None, Canonical.INTERNAL),
    ],
)
def test_an_upstreams_status_counts_where_its_words_are_its_own(status: int | None, code: Canonical) -> None:
    """vLLM's type of an error is BadRequestError; a 503 is never UNAVAILABLE, which would be sent again."""
    assert canonical_of(RequestError("m", "ItsOwnWord", "its_own", upstream=UpstreamError("up", status))) is code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("m", "invalid_request_error", "cancelled"), Canonical.CANCELLED),
        (RequestError("m", "invalid_request_error", "deadline_exceeded"), Canonical.DEADLINE_EXCEEDED),
        (RequestError("m", "invalid_request_error"), Canonical.INVALID_ARGUMENT),
        (RequestError("m", "server_error", upstream=UpstreamError("up", 502)), Canonical.INTERNAL),
        (RequestError("m"), Canonical.INTERNAL),
    ],
)
def test_our_own_words_count_first(error: RequestError, code: Canonical) -> None:
    assert canonical_of(error) is code
