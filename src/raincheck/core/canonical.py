"""gRPC's canonical codes: which one each error has, whatever the edge that tells it.

The numbers are gRPC's own, so that records and JSON can show them where no gRPC library is.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Its records are msgspec's, which `raincheck --help` does without.
    from raincheck.core.outcome import RequestError


class Canonical(IntEnum):
    """The codes that are used here, with their numbers on the wire."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_BY_CODE: Mapping[str | None, Canonical] = {
    "batch_cancelled": Canonical.CANCELLED,
    "cancelled": Canonical.CANCELLED,
    "batch_expired": Canonical.DEADLINE_EXCEEDED,
    "deadline_exceeded": Canonical.DEADLINE_EXCEEDED,
    "result_gone": Canonical.NOT_FOUND,
    "model_not_found": Canonical.NOT_FOUND,
}
_BY_TYPE: Mapping[str, Canonical] = {
    "invalid_request_error": Canonical.INVALID_ARGUMENT,
    "not_found_error": Canonical.NOT_FOUND,
    "rate_limit_error": Canonical.RESOURCE_EXHAUSTED,
}

_BY_UPSTREAM_STATUS: Mapping[int | None, Canonical] = {
    400: Canonical.INVALID_ARGUMENT,
    404: Canonical.NOT_FOUND,
    413: Canonical.INVALID_ARGUMENT,
    422: Canonical.INVALID_ARGUMENT,
    429: Canonical.RESOURCE_EXHAUSTED,
}


def canonical_of(error: "RequestError") -> Canonical:
    """The code of why something recorded did not succeed.

    Never UNAVAILABLE, which clients take for "not begun" and send again; nor what would be said of the caller's own
    key when an upstream refused this server's.
    """
    known = _BY_CODE.get(error.code) or _BY_TYPE.get(error.type)
    if known is not None or error.upstream is None:
        return known or Canonical.INTERNAL
    # Types are the upstream's own words: vLLM's is called BadRequestError.
    return _BY_UPSTREAM_STATUS.get(error.upstream.status, Canonical.INTERNAL)
